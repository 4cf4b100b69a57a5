"""Finds the image files that a path, a folder or a glob stands for."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from napari_autostructn2v.engine.data.io import readers
from napari_autostructn2v.engine.data.io.mark import is_ours
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.paths import user_path


def find_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """List the files given, those in folders and those that globs match, each once.

    Folders and globs give their images in natural order (2 before 10), without hidden files and
    without results, masks and pages written by this package; these are opened only by name.

    Raises
    ------
    InputError
        If nothing is given, or a folder or glob holds no image.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise InputError("no input was given; name an image, a folder or a glob")
    return list(dict.fromkeys(file for item in given for file in _files(item)))


def _files(item: str | Path) -> list[Path]:
    path = user_path(item)
    if not path.exists() and isinstance(item, str) and glob.has_magic(item):
        found = [Path(match) for match in glob.glob(str(path), recursive=True)]
        inside = any(part.lower().endswith(".zarr") for part in path.parts[:-1])
        if not inside:  # a pattern that names a Zarr folder looks inside it
            found = [file for file in found if not _inside_zarr(file)]
        if not found:
            raise InputError(f"nothing matches {item}")
        return _images(found, item)
    if path.is_dir() and not readers.is_zarr(path):
        return _images(path.iterdir(), path)
    return [path]


def _images(files: Iterable[Path], where: str | Path) -> list[Path]:
    found = [
        file
        for file in files
        if not file.name.startswith(".")
        and ((file.suffix.lower() in readers.SUFFIXES and file.is_file()) or readers.is_zarr(file))
    ]
    if not found:
        raise InputError(f"there is no image in {where}; it takes {', '.join(readers.SUFFIXES)}")
    if not (images := [file for file in found if not is_ours(file)]):
        raise InputError(
            f"all images in {where} are results, masks or pages written by this program; to open "
            "one all the same, name it"
        )
    return sorted(images, key=_natural)


def _inside_zarr(file: Path) -> bool:
    return any(parent.suffix.lower() == ".zarr" for parent in file.parents)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
