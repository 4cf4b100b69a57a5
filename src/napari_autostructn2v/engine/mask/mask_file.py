"""Reads and writes structural masks as image files, to be edited or used on other data."""

from __future__ import annotations

from pathlib import Path

from napari_autostructn2v.engine.data.files import write_tiff
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.shapes import check_mask, check_size
from napari_autostructn2v.engine.types import Array


def read_mask(path: Path) -> Array:
    """Read a mask as uint8 of 0 and 1.

    Raises
    ------
    InputError
        If the file cannot be read, or does not hold a valid mask (see `check_mask`).
    """
    with open_source(path) as source:
        if source.planes != 1:
            raise InputError(f"mask {path} has {source.planes} planes; it must be one 2-D image")
        name = f"mask {path} of {source.size[0]} x {source.size[1]} px"
        check_size(source.size, name)
        return check_mask(source.read(0, slice(None), slice(None)), name)


def write_mask(path: Path, mask: Array) -> None:
    """Write a mask as TIFF.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    write_tiff(path, mask)
