"""Detects pixels without data: constant areas, hot and dead pixels, fill values.

Stitching, masks, saturation and dead lines leave areas of exactly one value, which have no noise
to measure; one hot pixel in a thousand can double a standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from napari_autostructn2v.engine.types import Array

_SIDES = (5, 8, 16)  # px: sides of squares, or runs of as many pixels, of one value
_BY_CHANCE = 0.01  # number of such squares in a block that chance may explain
_OUTLYING = 5.0, 8.0  # standard deviations: the threshold if outliers are many, and if few
_ALONE = 0.25  # share of a hot pixel's excess that its neighbours may have
_MANY, _MOST = 2e-3, 0.03  # share of the pixels: many outliers; more are part of the noise
_NEIGHBOURS = 6  # of 24 that must have a value
_REPEATED = 8  # pixels that share an isolated extreme value
_CLOSE = 0.01  # share of a fill value's pixels that may have values close to it
_EXTREMES = 4  # fill values at each end
_SAMPLED = 2**16  # pixels sampled to estimate a scale
_AROUND = tuple((y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1))


@dataclass(frozen=True)
class Defects:
    """How to detect pixels without data in an image, from a few neighbours of each.

    Attributes
    ----------
    outlying, scale
        A hot or dead pixel differs from its neighbours by more than `outlying` times `scale`, the
        standard deviation of the noise, and as many times their spread. Infinite if there are no
        outliers, or so many that they are part of the noise.
    blank
        Fill values, such as those of a border or a burnt-in scale bar: many pixels have exactly
        this value and no others are close to it.
    """

    outlying: float = np.inf
    scale: float = 0.0
    blank: tuple[float, ...] = ()

    @classmethod
    def of(cls, blocks: Sequence[Array]) -> Defects:
        """Detect defects in (H, W) blocks of one channel."""
        return _Search(blocks).defects

    @property
    def any(self) -> bool:
        return bool(self.blank) or self.outlying < np.inf

    def spikes(self, block: Array) -> Array:
        """Return hot and dead pixels, (H, W) bool; some within 2 px of an edge may be missed."""
        return _spikes(block, self.outlying, self.scale)[0]

    def mended(self, block: Array) -> Array:
        """Return a block with NaN for fill values and medians for hot and dead pixels."""
        if self.blank:
            block = np.where(np.isin(block, np.array(self.blank, block.dtype)), np.nan, block)
        spikes, medians = _spikes(block, self.outlying, self.scale)
        if len(medians):
            block = block.copy()
            block[spikes] = medians
        return block


def measurable(blocks: Sequence[Array]) -> tuple[list[Array], float]:
    """Return blocks of one channel with their defects removed, and the share of outliers.

    Constant areas and fill values are NaN; hot and dead pixels get the median of their neighbours.
    """
    search = _Search(blocks)
    return [search.defects.mended(block) for block in search.uneven], search.outliers


class _Search:
    """Searches blocks for defects, with results that are computed once."""

    def __init__(self, blocks: Sequence[Array]) -> None:
        self._blocks = blocks
        found = [constant(block) for block in blocks]
        self.uneven = [
            _without(block, area) for block, (area, _) in zip(blocks, found, strict=True)
        ]
        self._filling = {value for _, values in found for value in values}

    @cached_property
    def _scale(self) -> float:
        """Standard deviation of a pixel relative to its neighbours."""
        scales = [_scale(block) for block in self.uneven if np.isfinite(block).any()]
        return float(np.median(scales)) if scales else np.inf

    @cached_property
    def _outliers(self) -> tuple[float, float]:
        """The threshold for outliers, in standard deviations, and their share of the pixels."""
        outlying, share = np.inf, 0.0
        for outlying, least in zip(_OUTLYING, (_MANY, 0.0), strict=True):
            found = sum(
                int(_spikes(block, outlying, self._scale)[0].sum()) for block in self.uneven
            )
            share = found / max(sum(block.size for block in self.uneven), 1)
            if share > least:
                break
        return (outlying, share) if 0 < share <= _MOST else (np.inf, 0.0)

    @property
    def outliers(self) -> float:
        return self._outliers[1]

    @cached_property
    def defects(self) -> Defects:
        outlying, _ = self._outliers
        values = [
            block[np.isfinite(block) & ~_spikes(block, outlying, self._scale)[0]]
            for block in self._blocks
        ]
        lone = _lone_extremes(np.concatenate(values), max(_OUTLYING) * self._scale)
        return Defects(outlying, self._scale, tuple(sorted(self._filling.union(lone))))


def _without(block: Array, where: Array) -> Array:
    return np.where(where, np.nan, block).astype(block.dtype, copy=False) if where.any() else block


def constant(block: Array) -> tuple[Array, list[float]]:
    """Find areas and runs of exactly one value that noise does not produce by chance.

    The probability is estimated from neighbouring pixels around the area: if most photon counts
    are 0, large squares of zeros are data.

    Returns
    -------
    area, filling
        (H, W) bool, and its fill values: those that no other values are close to.
    """
    alike = [block[1:] == block[:-1], block[:, 1:] == block[:, :-1]]
    for side in _SIDES:
        area = np.zeros(block.shape, bool)
        for height, width in ((side, side), (1, side**2), (side**2, 1)):
            area |= _one_value(alike, height, width, block.shape)
        if not area.any():
            break
        near = _widened(area, side) & ~area
        pairs = [near[1:] & near[:-1], near[:, 1:] & near[:, :-1]]
        chance = max(
            float(same[pair].mean()) if pair.any() else 0.0
            for same, pair in zip(alike, pairs, strict=True)
        )
        if (lone := _lone(block)) >= _REPEATED:  # single photons in the dark
            chance = max(chance, (1 - min(lone / int(area.sum()), 1.0)) ** 2)
        if chance ** (side**2 / 2) * block.size < _BY_CHANCE:
            return _all_of(area, block)
    return np.zeros(block.shape, bool), []


def _lone(block: Array) -> int:
    """Count single pixels in an area of one value that differ from it by at most two steps."""
    parts = [block[y : y + n - 2, x : x + m - 2] for n, m in [block.shape] for y, x in _AROUND]
    middle = np.where(np.isfinite(block), block, np.nan)[1:-1, 1:-1]
    beside = np.abs(middle - np.where(np.isfinite(parts[0]), parts[0], np.nan))
    alone = (beside > 0) & (beside <= 2 * _step(block))
    for part in parts[1:]:
        alone &= part == parts[0]
    return int(alone.sum())


def _all_of(area: Array, block: Array) -> tuple[Array, list[float]]:
    """Return the area, extended to all pixels with its fill values, and these values."""
    values, counts = np.unique(block[area], return_counts=True)
    rest = _without(block, area)
    near, filling = 2 * _scale(rest), []
    for index in np.argsort(counts)[::-1][:_EXTREMES]:
        value, same = values[index], rest == values[index]
        close = int((np.abs(rest - value) <= near).sum() - same.sum())
        if close <= _CLOSE * (counts[index] + same.sum()):
            area = area | same
            filling.append(float(value))
    return area, filling


def _one_value(alike: Sequence[Array], height: int, width: int, shape: tuple[int, ...]) -> Array:
    """Return the pixels of all rectangles of this size that have only one value."""
    if height > shape[0] or width > shape[1]:
        return np.zeros(shape, bool)
    starts = np.ones((shape[0] - height + 1, shape[1] - width + 1), bool)
    for axis, (same, lengths) in enumerate(
        zip(alike, ((height - 1, width), (height, width - 1)), strict=True)
    ):
        if lengths[axis]:
            starts &= _all(_all(same, lengths[axis], axis), lengths[1 - axis], 1 - axis)
    if not starts.any():
        return np.zeros(shape, bool)
    padded = np.pad(~starts, [(n - 1, n - 1) for n in (height, width)], constant_values=True)
    return ~_all(_all(padded, height, 0), width, 1)


def _all(mask: Array, length: int, axis: int) -> Array:
    """Return where all of `length` consecutive pixels along an axis are true."""
    mask = mask.swapaxes(0, axis)
    done = 1
    while done < length:
        step = min(done, length - done)
        mask = mask[:-step] & mask[step:]
        done += step
    return mask.swapaxes(0, axis)


def _widened(mask: Array, by: int) -> Array:
    padded = np.pad(~mask, by, constant_values=True)
    return ~_all(_all(padded, 2 * by + 1, 0), 2 * by + 1, 1)


def _excess(block: Array) -> Array:
    """Return each pixel less the median of its four neighbours."""
    image = np.where(np.isfinite(block), block, np.float32(0))
    padded = np.pad(image, 1, mode="reflect")
    above, below = padded[:-2, 1:-1], padded[2:, 1:-1]
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    lower = np.maximum(np.minimum(above, below), np.minimum(left, right))
    upper = np.minimum(np.maximum(above, below), np.maximum(left, right))
    excess: Array = image - (lower + upper) / 2
    return excess


def _step(block: Array) -> float:
    """Return the smallest difference between two grey values."""
    values = block[np.isfinite(block)]
    steps = np.diff(np.unique(values[:: max(1, len(values) // _SAMPLED)].astype(float)))
    return float(steps.min()) if len(steps) else 0.0


def _scale(block: Array) -> float:
    """Return the standard deviation of the excess, at least the step between grey values."""
    step, finite = _step(block), np.isfinite(block)
    stride = max(1, int(finite.sum()) // _SAMPLED)
    if min(block.shape) < 3 or not finite.any():
        return step
    excess = _excess(block)[finite][::stride]
    return max(1.4826 * float(np.median(np.abs(excess - np.median(excess)))), step)


def _spikes(block: Array, outlying: float, scale: float) -> tuple[Array, Array]:
    """Return isolated outliers, (H, W) bool, and the medians of their neighbours.

    A small bright object is not isolated, as the optics spread it over its neighbours.
    """
    none = np.zeros(block.shape, bool), np.zeros(0, block.dtype)
    if not outlying * scale < np.inf or min(block.shape) < 3:
        return none
    finite = np.isfinite(block)
    found = (np.abs(_excess(block)) > outlying * scale) & finite
    count = int(found.sum())
    if not count:
        return none
    y, x = np.nonzero(found)
    padded = np.pad(np.where(finite, block, np.nan), 2, constant_values=np.nan)
    steps = np.arange(5)
    around = padded[y[:, None, None] + steps[:, None], x[:, None, None] + steps].reshape(-1, 25)
    around = np.delete(around, 12, axis=1)
    enough = np.isfinite(around).sum(1) >= _NEIGHBOURS
    y, x, around = y[enough], x[enough], around[enough]
    beside = around[:, [7, 11, 12, 16]]
    middle = np.nanmedian(around, axis=1)
    spread = np.nanquantile(np.abs(around - middle[:, None]), 0.8, axis=1) / 1.2816
    # Neighbours without data are replaced by the median.
    beside = np.where(np.isfinite(beside), beside, middle[:, None])
    excess = np.abs(block[y, x] - middle)
    near = np.abs(np.median(beside, axis=1) - middle)
    alone = (excess > outlying * np.maximum(spread, scale)) & (near < _ALONE * excess)
    spikes = none[0]
    spikes[y[alone], x[alone]] = True
    return spikes, middle[alone].astype(block.dtype)


def _lone_extremes(values: Array, gap: float) -> tuple[float, ...]:
    """Return the lowest and highest values that many pixels share and no others are close to."""
    if not len(values) or not gap < np.inf:
        return ()
    centre = float(np.median(values[:: max(1, len(values) // _SAMPLED)]))
    lone: list[float] = []
    for sign in (1, -1):
        rest, found = sign * (values - values.dtype.type(centre)), []
        original = values
        for _ in range(_EXTREMES):
            end = rest.max()
            below = rest < end
            if not below.any() or len(rest) - int(below.sum()) < _REPEATED:
                break
            if end - rest[below].max() < max(gap, float(rest[below].max())):
                break
            found.append(float(original[int(np.argmax(rest))]))
            rest, original = rest[below], original[below]
        lone += found
    return tuple(lone)
