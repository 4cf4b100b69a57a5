"""Finds the flat tiles of an image: there it is noise plus, at most, a plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]

TILE = 32  # px; larger ones find no flat place between dense structures, smaller ones bias
_SHARE = 0.15  # of the tiles of each intensity stratum
_MOST = 20  # of a stratum: with many tiles to choose from, choose better ones
_LEAST = 8
_STRATA = 3
_STRATIFIED = 60  # tiles in all, from which on they are stratified
_SMOOTHING = 4.0  # px; gradients of this scale tell signal from noise
_STEEPER = 1.5  # times the flattest third: no longer flat


@dataclass(frozen=True, eq=False)
class Surface:
    """A block of an image with what is looked at more than once.

    Attributes
    ----------
    image
        (H, W) about its median, 0 where there is no finite value.
    finite
        (H, W) bool.
    slope
        (H/2, W/2) steepness of the smoothed image, of each square of two by two pixels.
    level
        The median that was taken off.
    """

    image: Array
    finite: Array
    slope: Array
    level: float

    @classmethod
    def of(cls, block: Array) -> Surface:
        finite = np.isfinite(block)
        level = float(np.median(block[finite])) if finite.any() else 0.0
        image = np.where(finite, block - level, 0).astype(np.float32)
        return cls(image, finite, _slope(image), level)


@dataclass(frozen=True, eq=False)
class FlatTiles:
    """The flattest tiles of each intensity stratum.

    Attributes
    ----------
    values
        (N, h, w) as read, about the block's median.
    means
        (N,) mean grey value.
    places
        (N, 3) block, y and x of each tile's first pixel.
    share
        The tiles' share of the area looked at.
    """

    values: Array
    means: Array
    places: Array
    share: float

    @property
    def levelled(self) -> Array:
        """Without their least-squares planes."""
        return remove_plane(self.values)


@dataclass(frozen=True, eq=False)
class _Tile:
    values: Array
    steepness: float
    variance: float
    mean: float
    place: tuple[int, int, int]


def flat_tiles(surfaces: Sequence[Surface]) -> FlatTiles:
    """Choose tiles where the low-pass gradient and the variance are lowest.

    Tiles with a NaN are left out. Of blocks too small or too riddled for one tile, the whole
    blocks are taken.
    """
    tiles = _cut(surfaces)
    columns = np.array([(tile.steepness, tile.variance, tile.mean) for tile in tiles])
    return _join([tiles[i] for i in _flattest(*columns.T)], surfaces)


def all_tiles(surfaces: Sequence[Surface]) -> FlatTiles:
    """Take every tile, of blocks that hold nothing but noise."""
    return _join(_cut(surfaces), surfaces)


def _cut(surfaces: Sequence[Surface]) -> list[_Tile]:
    """Tiles of one size at half-tile steps."""
    height, width = (
        min(TILE, *(surface.image.shape[axis] for surface in surfaces)) for axis in (0, 1)
    )
    tiles = []
    for index, surface in enumerate(surfaces):
        for y, x in _origins(surface.image.shape, (height, width)):
            window = (slice(y, y + height), slice(x, x + width))
            values = surface.image[window]
            variance = float(values.var())
            if variance > 0 and surface.finite[window].all():
                slope = surface.slope[y // 2 : (y + height + 1) // 2, x // 2 : (x + width + 1) // 2]
                steepness = float(
                    np.partition(slope, slope.size * 9 // 10, axis=None)[slope.size * 9 // 10]
                )
                mean = surface.level + float(values.mean())
                tiles.append(_Tile(values, steepness, variance, mean, (index, y, x)))
    if not tiles:
        for index, surface in enumerate(surfaces):
            if (variance := float(surface.image.var())) > 0:
                tiles.append(_Tile(surface.image, 1.0, variance, surface.level, (index, 0, 0)))
    largest = max(tile.values.size for tile in tiles)
    return [tile for tile in tiles if tile.values.size == largest]


def _join(tiles: Sequence[_Tile], surfaces: Sequence[Surface]) -> FlatTiles:
    values = np.stack([tile.values for tile in tiles])
    area = sum(surface.image.size for surface in surfaces)
    return FlatTiles(
        values,
        np.array([tile.mean for tile in tiles]),
        np.array([tile.place for tile in tiles]),
        min(values.size / area, 1.0),
    )


def _flattest(steepness: Array, variance: Array, means: Array) -> list[int]:
    # The slope that noise alone gives is proportional to its standard deviation.
    flatness = steepness / np.sqrt(variance)
    chosen: list[int] = []
    strata = _STRATA if len(means) >= _STRATIFIED else 1
    for stratum in np.array_split(np.argsort(means), strata):
        order = _rank(steepness[stratum]) + _rank(variance[stratum])
        count = min(len(stratum), max(_LEAST, min(_MOST, round(_SHARE * len(stratum)))))
        chosen += list(stratum[np.argsort(order, kind="stable")[:count]])
    reference = np.sort(flatness[chosen])[: max(1, len(chosen) // 3)].mean()
    return [i for i in chosen if flatness[i] <= _STEEPER * reference] or chosen


def _slope(image: Array) -> Array:
    """Steepness of the smoothed image at half its resolution, grey values per two pixels."""
    height, width = (n + n % 2 for n in image.shape)
    even = np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1])), mode="edge")
    half = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    slopes = [
        ndimage.gaussian_filter(half, _SMOOTHING / 2, order=order, mode="nearest")
        for order in ((0, 1), (1, 0))
    ]
    result: Array = np.hypot(*slopes)
    return result


def _origins(shape: tuple[int, ...], tile: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Tile origins at half-tile steps."""
    for y in range(0, shape[0] - tile[0] + 1, max(1, tile[0] // 2)):
        for x in range(0, shape[1] - tile[1] + 1, max(1, tile[1] // 2)):
            yield y, x


def _rank(values: Array) -> Array:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def plane(shape: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """Orthonormal basis of the planes over a tile, each as a (y, x) pair of profiles."""
    y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
    pairs = [(y * 0 + 1, x * 0 + 1), (y, x * 0 + 1), (y * 0 + 1, x)]
    norms = [np.linalg.norm(np.multiply.outer(*pair)) for pair in pairs]
    return [(v / n, u) for (v, u), n in zip(pairs, norms, strict=True) if n > 0]


def remove_plane(tiles: Array) -> Array:
    """Subtract from each tile of (N, h, w) its least-squares plane."""
    for v, u in plane(tiles.shape[1:]):
        amount = np.einsum("nyx,y,x->n", tiles, v, u)
        tiles = tiles - amount[:, None, None] * np.multiply.outer(v, u)
    return tiles
