"""Measures how an image's noise is correlated, on raw pixels, before any training.

The estimate comes from flat tiles: there the image is noise plus, at most, a plane.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from napari_autostructn2v.engine.errors import InputError

if TYPE_CHECKING:
    from napari_autostructn2v.engine.source import Source

Array = npt.NDArray[Any]

TILE = 32  # px; larger ones find no flat place between dense structures, smaller ones bias
_FLAT_SHARE = 0.15  # of the tiles of each intensity stratum
_FLAT_MOST = 20  # of a stratum: with many tiles to choose from, choose better ones
_STRATA = 3
_SHORT = 6  # px; correlation beyond this is not counted as short
_SMOOTHING = 4.0  # px; gradients of this scale tell signal from noise
_SAMPLE_PIXELS = 2**21
_LEAST_PIXELS = 2**14
_BLOCK = 1024


@dataclass(frozen=True)
class Noise:
    """The noise of one channel, as measured.

    Attributes
    ----------
    short, short_error
        (2L+1, 2L+1) autocorrelation without the offsets of whole rows and columns, and its
        standard error; lag (0, 0) in the centre.
    sigma
        Standard deviation of the noise in grey values, offsets included.
    row_offset, column_offset
        Share of the noise variance that a whole row (column) has in common, and 0 where that
        is not significant.
    autocovariance
        (2L+1, 2L+1) autocovariance of the image itself (signal and noise), grey values squared.
    tiles
        Number of flat tiles used.
    """

    short: Array
    short_error: Array
    sigma: float
    row_offset: float
    column_offset: float
    autocovariance: Array
    tiles: int

    @property
    def rho(self) -> Array:
        """(2L+1, 2L+1) autocorrelation, offsets included."""
        centre = self.short.shape[0] // 2
        rho = self.short * (1 - self.row_offset - self.column_offset)
        rho[centre, :] += self.row_offset
        rho[:, centre] += self.column_offset
        rho[centre, centre] = 1
        return rho


def autocovariance(stack: Array, max_lag: int) -> Array:
    """Unbiased autocovariance of each image of a stack, by zero-padded FFT.

    Parameters
    ----------
    stack
        (N, H, W), mean already removed.
    max_lag
        Largest lag L along both axes; lags beyond the image are 0.

    Returns
    -------
    (N, 2L+1, 2L+1), lag (0, 0) in the centre: sum of x(p) x(p+d) over the number of such pairs.
    """
    height, width = stack.shape[-2:]
    reach = (min(max_lag, height - 1), min(max_lag, width - 1))
    padded = (fft.next_fast_len(height + reach[0], True), fft.next_fast_len(width + reach[1], True))
    spectrum = fft.rfft2(stack, padded, workers=-1)
    sums = fft.irfft2(spectrum.real**2 + spectrum.imag**2, padded, workers=-1)
    dy = np.arange(-reach[0], reach[0] + 1)
    dx = np.arange(-reach[1], reach[1] + 1)
    pairs = np.multiply.outer(height - np.abs(dy), width - np.abs(dx))
    result = np.zeros((len(stack), 2 * max_lag + 1, 2 * max_lag + 1))
    inner = (
        slice(None),
        slice(max_lag - reach[0], max_lag + reach[0] + 1),
        slice(max_lag - reach[1], max_lag + reach[1] + 1),
    )
    result[inner] = sums[:, dy[:, None], dx[None, :]] / pairs
    return result


def sample_blocks(
    source: Source, channel: int, rng: np.random.Generator, images: int = 1
) -> list[Array]:
    """Read a bounded number of blocks of one channel: whole planes when small, else random ones.

    `images` is how many images share the bound.
    """
    pixels = max(_SAMPLE_PIXELS // images, _LEAST_PIXELS)
    side = min(_BLOCK, math.isqrt(pixels))
    planes = [plane for plane in range(source.planes) if source.channel(plane) == channel]
    block = tuple(min(length, side) for length in source.size)
    wanted = max(1, pixels // math.prod(block))
    rows, columns = (
        _spread(range(0, length - n + 1, n), wanted)
        for length, n in zip(source.size, block, strict=True)
    )
    grid = [(plane, y, x) for plane in _spread(planes, wanted) for y in rows for x in columns]
    chosen = sorted(rng.choice(len(grid), min(wanted, len(grid)), replace=False))
    return [
        source.read(p, slice(y, y + block[0]), slice(x, x + block[1]))
        for p, y, x in (grid[i] for i in chosen)
    ]


def _spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).astype(int)]


def check_measurable(blocks: Sequence[Array]) -> None:
    """Refuse blocks without noise.

    Raises
    ------
    InputError
        If no block has two different finite values.
    """
    finite = [values for block in blocks if (values := block[np.isfinite(block)]).size]
    if not finite:
        raise InputError("the image holds no finite value (all NaN or infinite)")
    if all(np.ptp(values) == 0 for values in finite):
        raise InputError(
            f"the image is constant (every pixel is {finite[0][0]:g}): there is no noise to remove"
        )


def _filled(block: Array) -> Array:
    """Zero where there is no finite value, and the rest about zero."""
    finite = np.isfinite(block)
    centre = np.median(block[finite]) if finite.any() else 0.0
    filled: Array = np.where(finite, block - centre, 0).astype(np.float32)
    return filled


def measure(blocks: Sequence[Array], max_lag: int) -> Noise:
    """Measure the noise of 2-D blocks of one channel; `check_measurable` says what is refused."""
    check_measurable(blocks)
    filled = [_filled(block) for block in blocks]
    tiles = _remove_plane(flat_tiles(blocks))
    ratios, variances = _correlations(tiles, max_lag)
    row_offset = _offset(ratios[:, max_lag, :], len(tiles))
    column_offset = _offset(ratios[:, :, max_lag], len(tiles))
    # Tiles side by side share their rows' offsets, so that what rows have in common by chance
    # would look like a correlation: lines are levelled before the rest is measured.
    offset_variance = (row_offset + column_offset) * float(np.median(variances))
    for axis, share in ((2, row_offset), (1, column_offset)):
        if share > 0:
            tiles = tiles - tiles.mean(axis, keepdims=True)
    if offset_variance > 0:
        ratios, variances = _correlations(tiles, max_lag)
    rho = _undo_levelling(
        np.median(ratios, axis=0), tiles.shape[1:], row_offset > 0, column_offset > 0
    )
    rho_error = _median_error(ratios, len(tiles))
    return Noise(
        short=rho,
        short_error=rho_error,
        sigma=float(np.sqrt(np.median(variances) + offset_variance)),
        row_offset=row_offset,
        column_offset=column_offset,
        autocovariance=_image_autocovariance(filled, max_lag),
        tiles=len(tiles),
    )


def _image_autocovariance(blocks: Sequence[Array], max_lag: int) -> Array:
    total = np.zeros((2 * max_lag + 1, 2 * max_lag + 1))
    for block in blocks:
        total += autocovariance((block - block.mean())[None], max_lag)[0] * block.size
    return total / sum(block.size for block in blocks)


def flat_tiles(blocks: Sequence[Array]) -> Array:
    """The flattest tiles of each intensity stratum, (N, h, w); tiles with a NaN are left out."""
    side = max(2, min(TILE, *(n for block in blocks for n in block.shape if n > 1)))
    rows = []
    for block in blocks:
        good, filled = np.isfinite(block), _filled(block)
        shape = tuple(min(side, n) for n in block.shape)
        slope = _low_pass_gradient(filled)
        for y, x in _origins(block.shape, shape):
            window = (slice(y, y + shape[0]), slice(x, x + shape[1]))
            tile = filled[window]
            variance = float(tile.var())
            if variance > 0 and good[window].all():
                steepness = float(np.quantile(slope[window], 0.9))
                rows.append((tile, steepness, variance, float(block[window].mean())))
    if not rows:  # tiny, or riddled with NaN: the whole blocks are the best there is
        whole = [_filled(block) for block in blocks]
        rows = [(block, 1.0, float(block.var()), 0.0) for block in whole if block.var() > 0]
    largest = max(tile.size for tile, *_ in rows)
    rows = [row for row in rows if row[0].size == largest]
    steepnesses, variances, means = np.array([row[1:] for row in rows]).T
    # The slope that noise alone gives is proportional to its standard deviation.
    flatness = steepnesses / np.sqrt(variances)
    chosen: list[int] = []
    for stratum in np.array_split(np.argsort(means), _STRATA if len(rows) >= 60 else 1):
        order = _rank(steepnesses[stratum]) + _rank(variances[stratum])
        share = min(_FLAT_MOST, round(_FLAT_SHARE * len(stratum)))
        count = min(len(stratum), max(8, share))
        chosen += list(stratum[np.argsort(order, kind="stable")[:count]])
    reference = np.sort(flatness[chosen])[: max(1, len(chosen) // 3)].mean()
    kept = [i for i in chosen if flatness[i] <= 1.5 * reference] or chosen
    return np.stack([rows[i][0] for i in kept])


def _low_pass_gradient(block: Array) -> Array:
    slopes = [
        ndimage.gaussian_filter(block, _SMOOTHING, order=order, mode="nearest")
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


def _plane(shape: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """Orthonormal basis of the planes over a tile, each as a (y, x) pair of profiles."""
    y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
    pairs = [(y * 0 + 1, x * 0 + 1), (y, x * 0 + 1), (y * 0 + 1, x)]
    norms = [np.linalg.norm(np.multiply.outer(*pair)) for pair in pairs]
    return [(v / n, u) for (v, u), n in zip(pairs, norms, strict=True) if n > 0]


def _remove_plane(tiles: Array) -> Array:
    """Subtract from each tile its least-squares plane."""
    for v, u in _plane(tiles.shape[1:]):
        amount = np.einsum("nyx,y,x->n", tiles, v, u)
        tiles = tiles - amount[:, None, None] * np.multiply.outer(v, u)
    return tiles


def _undo_levelling(rho: Array, shape: tuple[int, ...], rows: bool, columns: bool) -> Array:
    """Add back, on average, the correlation that levelling the tiles took away.

    Removing a projection P from noise of short correlation takes S(0) P away, with S(0) the sum
    of the correlation over the directions that P averages.
    """
    max_lag = rho.shape[0] // 2
    near = slice(max(max_lag - _SHORT, 0), max_lag + _SHORT + 1)
    count = 2 * min(_SHORT, max_lag) + 1
    if rows and shape[1] > count:
        rho = rho + rho[:, near].sum(1, keepdims=True) / (shape[1] - count)
    if columns and shape[0] > count:
        rho = rho + rho[near, :].sum(0, keepdims=True) / (shape[0] - count)
    if not (rows or columns):
        lost = sum(
            autocovariance(np.multiply.outer(v, u)[None], max_lag)[0] for v, u in _plane(shape)
        )
        share = lost[near, near].sum()
        rho = rho + max(rho[near, near].sum() / (1 - share), 0.0) * lost if share < 0.5 else rho
    result: Array = rho / rho[max_lag, max_lag]
    return result


def _correlations(tiles: Array, max_lag: int) -> tuple[Array, Array]:
    """The autocorrelation of each tile, and its variance."""
    covariances = autocovariance(tiles, max_lag)
    variances = covariances[:, max_lag, max_lag]
    return covariances / variances[:, None, None], variances


def _median_error(values: Array, tiles: int) -> Any:
    """Standard error of the median over tiles that overlap by half, and so share data."""
    spread = 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    # Of a few tiles some lag's values always agree by chance.
    spread = np.maximum(spread, np.median(spread))
    return 1.2533 * spread / np.sqrt(max(1.0, tiles / 2))


def _offset(profiles: Array, tiles: int) -> float:
    """Share of the variance common to a whole line, from the plateau of its correlation.

    Parameters
    ----------
    profiles
        (N, 2L+1) correlation of each tile along the line.
    """
    max_lag = profiles.shape[1] // 2
    far = profiles[:, max_lag + max_lag // 2 :]
    if far.shape[1] < 4 or len(far) < 4:
        return 0.0
    plateaus = far.mean(1)
    plateau = float(np.median(plateaus))
    error = _median_error(plateaus, tiles)
    # A correlation that still falls is a long kernel, not an offset.
    near, last = np.median(far[:, : far.shape[1] // 2]), np.median(far[:, far.shape[1] // 2 :])
    level = last > 0.5 * near
    return plateau if plateau > max(4 * error, 0.01) and level else 0.0
