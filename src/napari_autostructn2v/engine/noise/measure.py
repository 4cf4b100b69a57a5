"""Measures the correlation of an image's noise, on raw pixels, before any training.

The estimate comes from flat tiles (`measure`), from places without signal (`measure_empty`), or
from the differences of repeated frames (`measure_repeats`), in which the signal cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_autostructn2v.engine.data.sampling import check_measurable
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.noise import structure_test
from napari_autostructn2v.engine.noise.correlation import autocovariance, shrink
from napari_autostructn2v.engine.noise.flat_tiles import (
    FlatTiles,
    Surface,
    all_tiles,
    flat_tiles,
    plane,
)
from napari_autostructn2v.engine.noise.line_offsets import (
    LONG,
    SHORT,
    offset_variance,
    offset_wavelength,
)
from napari_autostructn2v.engine.noise.motion import movement
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.noise.noise_variance import (
    Variance,
    fine_variances,
    variance_model,
)
from napari_autostructn2v.engine.noise.periodic import Wave, find_wave
from napari_autostructn2v.engine.noise.pixel_phase import phases
from napari_autostructn2v.engine.noise.statistics import SURE, median_error
from napari_autostructn2v.engine.types import Array

_SHORT = 6  # px: range of the short correlation
_LEAST_OFFSET = 0.01  # share of the variance
_HARMLESS = 0.01  # sum of squared correlations, about the leak if they are small
_FLOOR = 0.1  # share of the tiles' variance that must be left when structure is removed
_MOVES = 0.1  # share of the changes between frames that a movement may explain


def measure(blocks: Sequence[Array], max_lag: int) -> Noise:
    """Measure the noise of 2-D blocks of one channel; see `check_measurable` for errors."""
    check_measurable(blocks)
    surfaces = [Surface.of(block) for block in blocks]
    return _of_tiles(flat_tiles(surfaces), surfaces, max_lag)


def measure_empty(empty: Sequence[Array], blocks: Sequence[Array], max_lag: int) -> Noise:
    """Measure the noise in blocks without signal: a background region, or dark frames.

    `blocks` are those of the image, for the covariance of its signal.
    """
    check_measurable(empty)
    surfaces = [Surface.of(block) for block in empty]
    return _of_tiles(all_tiles(surfaces), surfaces, max_lag, image=blocks)


def measure_repeats(pairs: Sequence[tuple[Array, Array]], max_lag: int) -> Noise:
    """Measure the noise from the differences of two frames of one scene, everywhere.

    Whatever both frames share cancels, including fixed-pattern noise.

    Parameters
    ----------
    pairs
        The same block of two frames; each frame is in one pair only.

    Raises
    ------
    InputError
        If the scene moves between the frames.
    """
    differences = [(one - other) / np.float32(math.sqrt(2)) for one, other in pairs]
    check_measurable(differences)
    moved = max(movement(one, other) for one, other in pairs)
    if moved > _MOVES:
        raise InputError(
            f"the frames do not repeat one scene: its movement explains {moved:.0%} of the "
            "changes between them; measure the noise another way (mask_source = raw)"
        )
    surfaces = [Surface.of(difference) for difference in differences]
    tiles = all_tiles(surfaces)
    frames = [one for one, _ in pairs]
    if tiles is not None:
        height, width = tiles.values.shape[1:]
        means = [np.nanmean(frames[i][y : y + height, x : x + width]) for i, y, x in tiles.places]
        tiles = replace(tiles, means=np.nan_to_num(np.array(means, float)))
    return _of_tiles(tiles, surfaces, max_lag, image=frames)


def _of_tiles(
    flat: FlatTiles | None, surfaces: Sequence[Surface], max_lag: int, image: Sequence[Array] = ()
) -> Noise:
    """Measure the noise of tiles that were cut from `surfaces`.

    With `image`, the tiles hold only noise, and the image's covariance is taken from `image`.
    """
    shown = [Surface.of(block) for block in image] or surfaces
    if flat is None:
        return _scarce(surfaces, shown, max_lag)
    tiles, valid = flat.levelled, flat.valid
    ratios, variances = _correlations(tiles, max_lag, valid)
    total = float(np.median(variances))
    rows, columns = (
        _offset(surfaces, axis, np.median(profiles, axis=0), total)
        for axis, profiles in ((1, ratios[:, max_lag, max_lag:]), (0, ratios[:, max_lag:, max_lag]))
    )
    # Adjacent tiles share rows and their offsets, so chance similarities would look like a
    # correlation: remove the offsets before measuring the rest.
    for axis, offset in ((2, rows), (1, columns)):
        if offset > 0:
            counts = np.maximum(valid.sum(axis, keepdims=True), 1)
            tiles = (tiles - tiles.sum(axis, keepdims=True) / counts) * valid
    if rows + columns > 0:
        ratios, variances = _correlations(tiles, max_lag, valid)
    wave = find_wave(ratios)
    for axis, offset in ((1, rows), (0, columns)):
        length = offset_wavelength(surfaces, axis) if offset > 0 else None
        if length is None:
            continue
        # The offsets form a wave, so neighbours differ by less than independent ones would.
        amount = offset / (1 - math.cos(2 * math.pi / length))
        if axis == 1:
            wave, rows = Wave(length, math.inf), amount
        else:
            wave, columns = Wave(math.inf, length), amount
    share = float(valid.mean())
    rho = _undo_levelling(np.median(ratios, axis=0), tiles.shape[1:], rows > 0, columns > 0, share)
    inside = float(np.median(variances))
    own = inside * float(rho[max_lag, max_lag])
    rho = rho / rho[max_lag, max_lag]
    error = np.maximum(median_error(ratios, len(tiles)), _least_error(tiles.shape, max_lag, share))
    error[max_lag, max_lag] = 0  # it is 1 by definition
    evidence, removed = 0.0, 0.0
    # Structure that hardly adds correlation is harmless.
    if not image and (shrink(rho, error) ** 2).sum() > 1 + _HARMLESS:
        evidence = structure_test.doubt(tiles, ratios, share * tiles[0].size)
        if evidence > 1:
            rho, error, removed = _without_structure(rho, error)
    everything = own * (1 - removed) + rows + columns
    fine = fine_variances(tiles, valid)
    fine = fine if np.median(fine) > 0 else variances
    return Noise(
        short=rho,
        short_error=error,
        sigma=math.sqrt(everything),
        row_offset=rows / everything,
        column_offset=columns / everything,
        autocovariance=_image_autocovariance(shown, max_lag),
        tiles=len(tiles),
        variance=variance_model(flat.means, fine).scaled(everything / float(np.median(fine))),
        doubt=evidence,
        removed=removed,
        wave=wave,
        phases=phases(flat),
        share=flat.share,
        places=flat.places,
    )


def no_noise(max_lag: int) -> Noise:
    """Return the noise of an image without any: sigma 0, no correlation."""
    short = np.zeros((2 * max_lag + 1, 2 * max_lag + 1))
    short[max_lag, max_lag] = 1
    nothing = np.zeros_like(short)
    return Noise(short, nothing, 0.0, 0.0, 0.0, nothing, 0, Variance(0.0), share=0.0, scarce=True)


def _scarce(surfaces: Sequence[Surface], shown: Sequence[Surface], max_lag: int) -> Noise:
    """Measure only the strength, from differences of neighbours, if no tile has enough data."""
    steps = [
        (line[1:] - line[:-1])[finite[1:] & finite[:-1]]
        for surface in surfaces
        for line, finite in (
            (surface.image, surface.finite), (surface.image.T, surface.finite.T),
        )
    ]  # fmt: skip
    squares = np.concatenate(steps).astype(float) ** 2 / 2
    # 0.4549 is the median of the square of a standard normal variable.
    variance = float(np.median(squares)) / 0.4549 if len(squares) else 0.0
    if variance == 0:
        values = np.concatenate([surface.image[surface.finite] for surface in surfaces])
        variance = float(values.astype(float).var())
    return replace(
        no_noise(max_lag),
        sigma=math.sqrt(variance),
        variance=Variance(variance),
        autocovariance=_image_autocovariance(shown, max_lag),
    )


def _least_error(shape: tuple[int, ...], max_lag: int, share: float) -> Array:
    """Return the standard error for white noise, as the spread of few tiles can be too small."""
    lag = np.abs(np.arange(-max_lag, max_lag + 1))
    pairs = np.multiply.outer(*(np.maximum(side - lag, 1) for side in shape[1:]))
    result: Array = 1 / np.sqrt(share * pairs * max(1.0, shape[0] / 2))
    return result


def _without_structure(rho: Array, error: Array) -> tuple[Array, Array, float]:
    """Remove the isotropic part of the correlation, if that leaves enough noise at lag 0.

    If not, the noise itself must be blurred, as structure alone would leave none.
    """
    part, scatter = structure_test.isotropic_part(rho, error)
    centre = rho.shape[0] // 2
    removed = float(part[centre, centre])
    if removed > 1 - _FLOOR:
        return rho, error, 0.0
    error = np.hypot(error, scatter) / (1 - removed)
    error[centre, centre] = 0
    return (rho - part) / (1 - removed), error, removed


def _offset(surfaces: Sequence[Surface], axis: int, profile: Array, total: float) -> float:
    """Return the variance of the offsets of whole lines, 0 if it is not significant.

    `profile` is the correlation along the lines from lag 0 on. If it stops falling beyond the
    shortest lags, offsets that drift along the line are tried, too.
    """
    runs = [LONG]
    if len(profile) > 8 and 0 < profile[3:6].mean() < 2 * profile[6:9].mean():
        runs.append(SHORT)
    for lengths in runs:
        variance, error = offset_variance(surfaces, axis, lengths)
        if variance > max(SURE * error, _LEAST_OFFSET * total):
            return variance
    return 0.0


def _undo_levelling(
    rho: Array, shape: tuple[int, ...], rows: bool, columns: bool, share: float
) -> Array:
    """Add back, on average, the correlation that levelling the tiles removed.

    Removing a projection P from noise of short correlation removes S(0) P, with S(0) the sum of
    the correlation over the directions that P averages. At lag 0 the result is the variance
    before levelling over that after it. If only a `share` of the tiles is data, a plane removes
    1 / `share` times as much.
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
            autocovariance(np.multiply.outer(v, u)[None], max_lag)[0] for v, u in plane(shape)
        )
        lost = lost / share
        taken = lost[near, near].sum()
        rho = rho + max(rho[near, near].sum() / (1 - taken), 0.0) * lost if taken < 0.5 else rho
    return rho


def _correlations(tiles: Array, max_lag: int, valid: Array) -> tuple[Array, Array]:
    """Return the autocorrelation and the variance of each tile."""
    covariances = autocovariance(tiles, max_lag, valid)
    variances = covariances[:, max_lag, max_lag]
    return covariances / np.maximum(variances, 1e-30)[:, None, None], variances


def _image_autocovariance(surfaces: Sequence[Surface], max_lag: int) -> Array:
    """Return the (2L+1, 2L+1) autocovariance of whole blocks, signal and noise."""
    total, count = np.zeros((2 * max_lag + 1, 2 * max_lag + 1)), 0
    for surface in surfaces:
        finite, size = surface.finite, int(surface.finite.sum())
        if size:
            centred = (surface.image - surface.image[finite].mean()) * finite
            total += autocovariance(centred[None], max_lag, finite[None])[0] * size
            count += size
    return total / max(count, 1)
