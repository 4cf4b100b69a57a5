"""Flips and rotations of patches, and which of them a mask allows."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from napari_autostructn2v.engine.types import Array

Symmetry = tuple[bool, bool, bool]  # transpose, flip y, flip x; in this order


def symmetries(mask: Array, which: str, square: bool) -> list[Symmetry]:
    """The flips and rotations a stage may use: none, those that keep the mask, or all eight."""
    if which == "none":
        return [(False, False, False)]
    every = itertools.product((False, True) if square else (False,), (False, True), (False, True))
    return [s for s in every if which == "all" or np.array_equal(_move(mask, s), mask)]


def _move(mask: Array, symmetry: Symmetry) -> Array:
    transpose, flip_y, flip_x = symmetry
    moved = mask.T if transpose else mask
    return moved[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def move(batch: Tensor, choice: Tensor) -> Tensor:
    """Apply to each patch of (B, h, w) its symmetry: `choice` is (B, 3) bool."""
    transpose, flip_y, flip_x = choice[:, :, None, None].unbind(1)
    if batch.shape[1] == batch.shape[2]:
        batch = torch.where(transpose, batch.transpose(1, 2), batch)
    batch = torch.where(flip_y, batch.flip(1), batch)
    return torch.where(flip_x, batch.flip(2), batch)
