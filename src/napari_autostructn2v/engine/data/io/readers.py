"""Opens image files of every supported format lazily."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.io.axes import default_axes
from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.data.io.storage import Mapped, Stored, check_block
from napari_autostructn2v.engine.data.io.tiff_reading import open_tiff, set_name
from napari_autostructn2v.engine.data.io.zarr_reading import open_zarr
from napari_autostructn2v.engine.errors import InputError, first_line

__all__ = ["SUFFIXES", "Stored", "is_zarr", "read", "set_name", "stem"]

# `read` reports damaged files; libpng's warnings would only repeat it.
logging.getLogger("imagecodecs").addHandler(logging.NullHandler())

SUFFIXES = (".tif", ".tiff", ".png", ".npy", ".zarr")

Opener = Callable[[Path, str | None], list[Stored]]


def stem(path: Path) -> str:
    """Return the file name without suffixes such as .tif and .ome.zarr.

    The name of an image inside a Zarr folder includes its path in it: `plate_A_1_0`.
    """
    stores = [folder for folder in path.parents if folder.suffix.lower() == ".zarr"]
    if stores:
        inner = path.relative_to(stores[-1]).parts
        return "_".join((stores[-1].stem.removesuffix(".ome"), *inner))
    return path.stem.removesuffix(".ome")


def is_zarr(path: Path) -> bool:
    """Whether a path is a Zarr folder, which is an image, and not a folder of images."""
    return path.is_dir() and (
        path.suffix.lower() == ".zarr"
        or any((path / mark).is_file() for mark in ("zarr.json", ".zarray", ".zgroup"))
    )


def read(path: Path, axes: str | None) -> list[Stored]:
    """Open every image in `path`; `axes`, in stored order, overrides the file's own axes.

    Raises
    ------
    InputError
        If there is no such file, it is not an image, or it is damaged or rgb.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}")
    suffix = path.suffix.lower()
    opener = open_zarr if is_zarr(path) else _OPENERS.get(suffix) if path.is_file() else None
    if opener is None:
        if suffix == ".zarr" and path.is_file() and zipfile.is_zipfile(path):
            raise InputError(f"{path} is a zipped Zarr; unpack it to a folder")
        raise InputError(f"{path} is not an image; it takes {', '.join(SUFFIXES)}")
    try:
        return opener(path, axes)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory; save it in parts") from error
    except Exception as error:  # decoders raise all kinds of errors on damaged data
        raise InputError(f"{path} cannot be read as an image ({first_line(error)})") from error


def _open_png(path: Path, axes: str | None) -> list[Stored]:
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or head[:8] != b"\x89PNG\r\n\x1a\n":
        raise InputError(f"{path} is not a PNG image")
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    depth, colour = head[24], head[25]
    if colour != 0:
        kind = {2: "an rgb", 3: "a palette", 4: "a grey image with transparency, not a plain"}
        raise InputError(
            f"{path} is {kind.get(colour, 'an rgb')} image; convert it to grey or split its "
            "channels"
        )
    data = _Png(path, (height, width), np.dtype(np.uint16 if depth == 16 else np.uint8))
    check_block(path, data.shape, data.dtype)
    return [Stored(data, axes or default_axes(data.shape), Metadata())]


class _Png:
    """A grey PNG, decoded as a whole when first read: the format has no tiles."""

    def __init__(self, path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype

    @cached_property
    def _pixels(self) -> npt.NDArray[Any]:
        import imagecodecs

        content = self.path.read_bytes()
        _check_png(content)
        return np.asarray(imagecodecs.png_decode(content))

    def __getitem__(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        return self._pixels[index]


def _check_png(content: bytes) -> None:
    """Raise ValueError on a wrong checksum, which libpng reports on standard error only."""
    position, kind = 8, b""
    while kind != b"IEND":
        head = content[position : position + 8]
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        checked, stored = (
            position + 8 + length,
            content[position + 8 + length : position + 12 + length],
        )
        if len(stored) < 4 or zlib.crc32(content[position + 4 : checked]) != int.from_bytes(
            stored, "big"
        ):
            raise ValueError(f"the checksum at byte {position} is wrong")
        position = checked + 4


def _open_npy(path: Path, axes: str | None) -> list[Stored]:
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(data, np.memmap):
        raise InputError(f"{path} holds several arrays; save one of them as .npy")
    mapped = Mapped(
        path, data.dtype, data.offset, data.shape, "C" if data.flags.c_contiguous else "F"
    )
    return [Stored(mapped, axes or default_axes(data.shape), Metadata())]


_OPENERS: dict[str, Opener] = {
    ".tif": open_tiff,
    ".tiff": open_tiff,
    ".png": _open_png,
    ".npy": _open_npy,
}
