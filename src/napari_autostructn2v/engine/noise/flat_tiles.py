"""Finds the flat tiles of an image, which hold noise plus at most a plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_autostructn2v.engine.types import Array

TILE = 32  # px; larger ones do not fit between dense structures, smaller ones add bias
_SHARE = 0.15  # of the tiles of each intensity stratum
_MOST = 20  # tiles per stratum: with many to choose from, take only the best
_LEAST = 8
_STRATA = 3
_STRATIFIED = 60  # tiles: fewer are not stratified
_SMOOTHING = 4.0  # px; gradients on this scale separate signal from noise
_STEEPER = 1.5  # times the flattest third; steeper tiles are not flat
_NEARLY, _HALF = 0.9, 0.5  # share of a tile that must be data; the second if tiles are few
_SMALL = 16  # px: side of tiles if there are too few large ones


@dataclass(frozen=True, eq=False)
class Surface:
    """A block of an image, with quantities that are used several times.

    Attributes
    ----------
    image
        (H, W), less its median; 0 where there is no finite value.
    finite
        (H, W) bool.
    slope
        (H/2, W/2) steepness of the smoothed image in each 2 x 2 square.
    level
        The median that was subtracted.
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
        return cls(image, finite, _slope(image, finite), level)


@dataclass(frozen=True, eq=False)
class FlatTiles:
    """The flattest tiles of each intensity stratum.

    Attributes
    ----------
    values, valid
        (N, h, w) grey values less the block's median, 0 where there is none; and where there is.
    means
        (N,) mean grey value.
    places
        (N, 3) block, y and x of each tile's first pixel.
    share
        Share of the blocks' area that the tiles cover.
    """

    values: Array
    valid: Array
    means: Array
    places: Array
    share: float

    @property
    def levelled(self) -> Array:
        """The tiles without their least-squares planes."""
        return remove_plane(self.values, self.valid)


@dataclass(frozen=True, eq=False)
class _Tile:
    values: Array
    valid: Array
    steepness: float
    variance: float
    mean: float
    place: tuple[int, int, int]


def flat_tiles(surfaces: Sequence[Surface]) -> FlatTiles | None:
    """Choose the tiles with the lowest low-pass gradient and variance.

    Tiles with more than a tenth of missing pixels are skipped. If too few are left, smaller tiles
    are used, or those with at least half of their pixels. Blocks smaller than a tile are used
    whole. Return None if there is no tile.
    """
    tiles = _cut(surfaces)
    if not tiles:
        return None
    columns = np.array([(tile.steepness, tile.variance, tile.mean) for tile in tiles])
    return _join([tiles[i] for i in _flattest(*columns.T)], surfaces)


def all_tiles(surfaces: Sequence[Surface]) -> FlatTiles | None:
    """Return all tiles of blocks that hold only noise; None if there is none."""
    tiles = _cut(surfaces)
    return _join(tiles, surfaces) if tiles else None


def _cut(surfaces: Sequence[Surface]) -> list[_Tile]:
    """Cut tiles of one size at half-tile steps."""
    height, width = (
        min(TILE, *(surface.image.shape[axis] for surface in surfaces)) for axis in (0, 1)
    )
    partial: list[_Tile] = []
    for side in (TILE, _SMALL):
        shape = min(side, height), min(side, width)
        tiles = [
            _tile(surface, (index, y, x), shape)
            for index, surface in enumerate(surfaces)
            for y, x in _origins(surface.image.shape, shape)
            if surface.finite[y : y + shape[0], x : x + shape[1]].mean() >= _HALF
        ]
        tiles = [tile for tile in tiles if tile.variance > 0]
        whole = [tile for tile in tiles if tile.valid.mean() >= _NEARLY]
        if len(whole) >= min(_LEAST, max(len(tiles), 1)):
            return whole
        partial = partial or tiles
    return partial


def _tile(surface: Surface, place: tuple[int, int, int], shape: tuple[int, int]) -> _Tile:
    _, y, x = place
    (height, width), window = shape, (slice(y, y + shape[0]), slice(x, x + shape[1]))
    values, valid = surface.image[window], surface.finite[window]
    slope = surface.slope[y // 2 : (y + height + 1) // 2, x // 2 : (x + width + 1) // 2]
    at = slope.size * 9 // 10
    steepness = float(np.partition(slope, at, axis=None)[at])
    data = values if valid.all() else values[valid]
    mean = surface.level + float(data.mean())
    variance = float(data.var()) if np.ptp(data) > 0 else 0.0  # not a rounding error
    return _Tile(values, valid, steepness, variance, mean, place)


def _join(tiles: Sequence[_Tile], surfaces: Sequence[Surface]) -> FlatTiles:
    valid = np.stack([tile.valid for tile in tiles])
    area = sum(int(surface.finite.sum()) for surface in surfaces)
    return FlatTiles(
        np.stack([tile.values for tile in tiles]),
        valid,
        np.array([tile.mean for tile in tiles]),
        np.array([tile.place for tile in tiles]),
        min(int(valid.sum()) / area, 1.0),
    )


def _flattest(steepness: Array, variance: Array, means: Array) -> list[int]:
    # The slope of pure noise is proportional to its standard deviation.
    flatness = steepness / np.sqrt(variance)
    chosen: list[int] = []
    strata = _STRATA if len(means) >= _STRATIFIED else 1
    for stratum in np.array_split(np.argsort(means), strata):
        order = _rank(steepness[stratum]) + _rank(variance[stratum])
        count = min(len(stratum), max(_LEAST, min(_MOST, round(_SHARE * len(stratum)))))
        chosen += list(stratum[np.argsort(order, kind="stable")[:count]])
    reference = np.sort(flatness[chosen])[: max(1, len(chosen) // 3)].mean()
    return [i for i in chosen if flatness[i] <= _STEEPER * reference] or chosen


def _slope(image: Array, finite: Array) -> Array:
    """Return the steepness of the smoothed image at half resolution, grey values per 2 px."""
    half = _halved(image)
    if not finite.all():  # fill missing pixels from their surroundings
        share = _halved(finite.astype(np.float32))
        sums, weights = (ndimage.gaussian_filter(v, _SMOOTHING / 2) for v in (half, share))
        around = sums / np.maximum(weights, 1e-6)
        half = np.where(share > 0, half / np.maximum(share, 0.25), around)
    slopes = [
        ndimage.gaussian_filter(half, _SMOOTHING / 2, order=order, mode="nearest")
        for order in ((0, 1), (1, 0))
    ]
    result: Array = np.hypot(*slopes)
    return result


def _halved(image: Array) -> Array:
    height, width = (n + n % 2 for n in image.shape)
    even = np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1])), mode="edge")
    half: Array = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    return half


def _origins(shape: tuple[int, ...], tile: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield tile origins at half-tile steps."""
    for y in range(0, shape[0] - tile[0] + 1, max(1, tile[0] // 2)):
        for x in range(0, shape[1] - tile[1] + 1, max(1, tile[1] // 2)):
            yield y, x


def _rank(values: Array) -> Array:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def plane(shape: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """Return an orthonormal basis of the planes over a tile, as (y, x) pairs of profiles."""
    y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
    pairs = [(y * 0 + 1, x * 0 + 1), (y, x * 0 + 1), (y * 0 + 1, x)]
    norms = [np.linalg.norm(np.multiply.outer(*pair)) for pair in pairs]
    return [(v / n, u) for (v, u), n in zip(pairs, norms, strict=True) if n > 0]


def remove_plane(tiles: Array, valid: Array | None = None) -> Array:
    """Subtract from each tile of (N, h, w) the least-squares plane of its valid pixels.

    Invalid pixels become 0.
    """
    basis = plane(tiles.shape[1:])
    if valid is not None and not valid.all():
        functions = np.stack([np.multiply.outer(v, u) for v, u in basis], -1)
        weight = valid.astype(float)
        normal = np.einsum("nyx,yxi,yxj->nij", weight, functions, functions)
        target = np.einsum("nyx,yxi->ni", tiles * weight, functions)
        amounts = np.einsum("nij,nj->ni", np.linalg.pinv(normal), target)
        rest: Array = (tiles - np.einsum("ni,yxi->nyx", amounts, functions)) * weight
        return rest
    for v, u in basis:
        amount = np.einsum("nyx,y,x->n", tiles, v, u)
        tiles = tiles - amount[:, None, None] * np.multiply.outer(v, u)
    return tiles
