"""Subtracts a large offset from an image before rounding to float32 would destroy its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_autostructn2v.engine.data.source import Source, View
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array, middle, slices, whole

_FINE = 0.01  # of the noise: the coarsest rounding that is accepted
_PLANES, _SIDE = 8, 64  # sampled planes, and px of the square sampled in each
_EXACT = 2**53  # float64 cannot hold larger integers exactly


def levelled(sources: Sequence[Source]) -> list[Source]:
    """Return the images, less a common offset if float32 would lose the noise of one.

    Only float64 and integers of more than 16 bits can need it, if their offset is large compared
    with their noise. Otherwise the pixel values stay the same.

    Raises
    ------
    InputError
        If no single offset suits all images.
    """
    seen = {source: _samples(source) for source in sources}
    lost = [level for samples in seen.values() for level, noise in samples if _loses(level, noise)]
    if not lost:
        return list(sources)
    offset = sorted(lost)[len(lost) // 2]
    for source, samples in seen.items():
        for level, noise in samples:
            if _loses(level - offset, noise) or abs(level) > _EXACT:
                raise InputError(
                    f"{source.name} has grey values about {level:.10g} with a noise of about "
                    f"{noise:.2g}, too little to be resolved with the common offset of "
                    f"{offset:.10g}; subtract an offset from the image, or denoise it by itself"
                )
    return [source.through(_Less(offset), offset) for source in sources]


def _loses(level: float, noise: float) -> bool:
    if abs(level) >= float(np.finfo(np.float32).max):
        return False  # rejected later, when the noise is measured
    return float(np.spacing(np.float32(abs(level)))) > _FINE * noise


def _samples(source: Source) -> list[tuple[float, float]]:
    """Return level and noise in the middle of a few planes; empty if float32 holds the type."""
    wide = source.dtype.itemsize >= 4 if source.dtype.kind in "ui" else source.dtype.itemsize > 4
    if not wide or source.offset:
        return []
    y, x = slices(middle(whole(source.size), _SIDE))
    found = []
    for plane in np.unique(np.linspace(0, source.planes - 1, _PLANES).astype(int)):
        block = source.stored(int(plane), y, x)
        finite = np.isfinite(block)
        if not finite.any():
            continue
        level = np.median(block[finite]).item() if block.dtype.kind == "f" else _median(block)
        rest = np.where(finite, _difference(block, level), np.nan)
        steps = np.concatenate([np.diff(rest, axis=axis).ravel() for axis in (0, 1)])
        steps = np.abs(steps[np.isfinite(steps)])
        noise = 1.4826 * float(np.median(steps)) if steps.size else 0.0
        noise = (noise or (float(steps.mean()) if steps.size else 0.0)) / math.sqrt(2)
        if noise > 0:
            found.append((level, noise))
    return found


def _median(block: Array) -> int:
    ordered = np.sort(block, axis=None)
    return int(ordered[len(ordered) // 2])


def _difference(block: Array, offset: float) -> Array:
    """Return `block - offset` without rounding: for integers, wrap-around makes it exact."""
    if block.dtype.kind == "f":
        rest: Array = block - block.dtype.type(offset)
        return rest
    wide = np.uint64 if block.dtype.kind == "u" else np.int64
    with np.errstate(over="ignore"):
        difference: Array = (block.astype(wide) - wide(offset)).astype(np.int64)
    return difference


@dataclass(frozen=True)
class _Less(View):
    """An image less an offset."""

    offset: float

    def region(self, source: Source, plane: int, y: slice, x: slice) -> Array:
        return _difference(source.stored(plane, y, x), self.offset)
