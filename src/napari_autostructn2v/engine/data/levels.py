"""Takes a large offset off an image before float32 rounds its noise away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_autostructn2v.engine.data.source import Source, View
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array, middle, slices, whole

_FINE = 0.01  # of the noise: the least that values may be rounded to
_PLANES, _SIDE = 8, 64  # planes looked at, and px of each
_EXACT = 2**53  # integers beyond are no float64


def levelled(sources: Sequence[Source]) -> list[Source]:
    """The same images; where float32 would lose the noise of one, all less a common `offset`.

    Of float64 and of integers of over 16 bits alone, whose offset is large against their noise;
    what is read of all others stays the same.

    Raises
    ------
    InputError
        If there is no one offset that does.
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
                    f"{noise:.2g}, which cannot be told beside an offset of {offset:.10g}; "
                    "subtract the offset from the image, or denoise it by itself"
                )
    return [source.through(_Less(offset), offset) for source in sources]


def _loses(level: float, noise: float) -> bool:
    if abs(level) >= float(np.finfo(np.float32).max):
        return False  # refused wherever noise is measured
    return float(np.spacing(np.float32(abs(level)))) > _FINE * noise


def _samples(source: Source) -> list[tuple[float, float]]:
    """Level and noise in the middle of a few planes, as far as float32 might not hold them."""
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
    """Exact before it is rounded: integers wrap around in their own type and back."""
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
