"""Reads a structural mask from an image file, such as one of another data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.source import open_source
from napari_autostructn2v.engine.structure import check_mask

Array = npt.NDArray[Any]

_LONGEST = 2047  # px: a full line of the largest patch; what is longer is a picture


def read_mask(path: Path) -> Array:
    """Give the mask as uint8 of 0 and 1.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no mask (see `check_mask`).
    """
    with open_source(path) as source:
        if source.planes != 1:
            raise InputError(f"mask {path} has {source.planes} planes; it must be one 2-D image")
        if max(source.size) > _LONGEST:
            raise InputError(
                f"mask {path} has {source.size[0]} x {source.size[1]} px: that is a picture, not "
                f"a mask, which has at most {_LONGEST} px on each side"
            )
        return check_mask(source.read(0, slice(None), slice(None)))
