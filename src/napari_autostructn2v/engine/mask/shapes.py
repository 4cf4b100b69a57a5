"""Structural masks as arrays: union and validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_autostructn2v.engine.config import LONGEST_SIDE
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array

SINGLE_PIXEL: Array = np.ones((1, 1), np.uint8)


def union(*masks: Array) -> Array:
    """Return the union of masks, with their centres aligned."""
    half = np.max([np.array(mask.shape) // 2 for mask in masks], axis=0)
    total = np.zeros(2 * half + 1, np.uint8)
    for mask in masks:
        pad = half - np.array(mask.shape) // 2
        total |= np.pad(mask.astype(np.uint8), [(n, n) for n in pad])
    return total


def check_size(shape: Sequence[int], name: str = "mask") -> None:
    """Refuse an image that is too large for a mask, before it is read."""
    if max(shape) > LONGEST_SIDE:
        raise InputError(f"{name} is too large; a mask has at most {LONGEST_SIDE} px per side")


def check_mask(mask: Array, name: str = "mask") -> Array:
    """Validate a mask and return it as uint8 of 0 and 1; `name` is used in error messages.

    Raises
    ------
    InputError
        Unless it is 2-D with odd sides of at most `LONGEST_SIDE` and its centre is hidden.
    """
    values = np.asarray(mask)
    if values.ndim != 2:
        raise InputError(f"{name}: expected 2 axes, got shape {values.shape}")
    check_size(values.shape, name)
    if not all(side % 2 for side in values.shape):
        raise InputError(
            f"{name}: both sides must be odd, so that it has a centre; got {values.shape}"
        )
    result = (values > 0).astype(np.uint8)
    if not result[result.shape[0] // 2, result.shape[1] // 2]:
        raise InputError(f"{name}: its central pixel, the one to predict, is not set; set it to 1")
    return result
