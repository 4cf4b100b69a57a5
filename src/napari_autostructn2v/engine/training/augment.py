"""Augmentation: flips and rotations of patches, as far as the mask allows them."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from napari_autostructn2v.engine.types import Array

Symmetry = tuple[bool, bool, bool]  # transpose, flip y, flip x; in this order


def symmetries(mask: Array, which: str, square: bool) -> list[Symmetry]:
    """Return the flips and rotations to use: none, those that leave the mask unchanged, or all."""
    if which == "none":
        return [(False, False, False)]
    every = itertools.product((False, True) if square else (False,), (False, True), (False, True))
    return [s for s in every if which == "all" or np.array_equal(_move(mask, s), mask)]


def _move(mask: Array, symmetry: Symmetry) -> Array:
    transpose, flip_y, flip_x = symmetry
    moved = mask.T if transpose else mask
    return moved[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def move(batch: Tensor, choice: Tensor) -> Tensor:
    """Apply a symmetry, a row of `choice` (B, 3) bool, to each patch of a (B, h, w) batch."""
    transpose, flip_y, flip_x = choice[:, :, None, None].unbind(1)
    if batch.shape[1] == batch.shape[2]:
        batch = torch.where(transpose, batch.transpose(1, 2), batch)
    batch = torch.where(flip_y, batch.flip(1), batch)
    return torch.where(flip_x, batch.flip(2), batch)
