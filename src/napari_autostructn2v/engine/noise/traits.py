"""What noise is besides correlated: growing with the signal, periodic, uneven over the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_autostructn2v.engine.noise.flat_tiles import FlatTiles
from napari_autostructn2v.engine.types import Array

SURE = 4.0  # standard errors
_OSCILLATING = 0.08  # correlation, root mean square over the far lags
_PHASE_LEVEL = 1.02  # ratio of variances


def median_error(values: Array, tiles: int) -> Any:
    """Standard error of the median over tiles that overlap by half, and so share data."""
    spread = 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    # Of a few tiles some lag's values always agree by chance.
    spread = np.maximum(spread, np.median(spread))
    return 1.2533 * spread / np.sqrt(max(1.0, tiles / 2))


@dataclass(frozen=True)
class Variance:
    """How the noise variance depends on the signal: read + gain * signal, in grey values.

    `signal` spans the grey values it was fitted on; outside, the nearest of them counts.
    """

    read: float
    gain: float = 0.0
    signal: tuple[float, float] = (-math.inf, math.inf)

    def at(self, signal: Array) -> Array:
        """Variance at each grey value; never below a hundredth of the largest in the span."""
        low, high = self.signal
        variance = self.read + self.gain * np.clip(signal, low, high)
        result: Array = np.maximum(variance, 0.01 * float(np.max(variance, initial=0.0)))
        return result

    def scaled(self, factor: float) -> Variance:
        return Variance(float(self.read * factor), float(self.gain * factor), self.signal)

    @property
    def is_photons(self) -> bool:
        """Whether the variance grows with the signal as photon counts do."""
        return self.gain > 0


@dataclass(frozen=True)
class Wave:
    """A periodic noise.

    Attributes
    ----------
    y, x
        Wavelength along each axis in px, infinite along one it does not vary along.
    lines
        "rows" or "columns" if each of them has a wave of its own, empty if all share one.
    slant
        1 if the phase grows along both axes, -1 if it grows along y and falls along x.
    """

    y: float
    x: float
    lines: Literal["", "rows", "columns"] = ""
    slant: int = 1

    @property
    def length(self) -> float:
        """Distance between crests, in px."""
        return 1 / math.hypot(1 / self.y, 1 / self.x)


def find_wave(ratios: Array) -> Wave | None:
    """Find a wave in the correlations of tiles, (N, 2L+1, 2L+1): one all lines share, or not."""
    if _swings(ratios):
        return _strongest(np.median(ratios, axis=0))
    profiles = ratios[:, ratios.shape[1] // 2, :]
    if _swings(profiles):
        return _strongest(np.median(profiles, axis=0)[None], "rows")
    profiles = ratios[:, :, ratios.shape[2] // 2]
    if _swings(profiles):
        return _strongest(np.median(profiles, axis=0)[:, None], "columns")
    return None


def _swings(ratios: Array) -> bool:
    """Whether a correlation, (N, 2L+1) or (N, 2L+1, 2L+1), still swings at the far lags.

    It does so about a mean of zero: that of an offset stays on one side.
    """
    max_lag = ratios.shape[-1] // 2
    if max_lag < 8 or len(ratios) < 4:
        return False
    far = np.abs(np.arange(-max_lag, max_lag + 1)) > max_lag // 2
    values = ratios[:, far] if ratios.ndim == 2 else ratios[:, far][:, :, far]
    rho, error = np.median(values, axis=0), median_error(values, len(values))
    swing, sure = (float(np.sqrt(np.mean(v**2))) for v in (rho, SURE * error))
    return swing > max(_OSCILLATING, sure) and abs(float(rho.mean())) < swing / 2


def _strongest(rho: Array, lines: Literal["", "rows", "columns"] = "") -> Wave:
    """The strongest wave of a correlation, (2L+1, 2L+1) or with one axis of length 1."""
    windows = [np.hanning(n + 2)[1:-1] for n in rho.shape]
    shape = [512 if n > 1 else 1 for n in rho.shape]
    spectrum = np.abs(np.fft.fft2(rho * np.multiply.outer(*windows), shape))
    waves = [np.fft.fftfreq(n) for n in shape]
    spectrum[np.hypot.outer(*waves) < 1 / max(rho.shape)] = 0  # what does not swing at all
    peak = np.unravel_index(int(np.argmax(spectrum)), spectrum.shape)
    y, x = (float(wave[k]) for wave, k in zip(waves, peak, strict=True))
    slant = -1 if y * x < 0 else 1
    return Wave(1 / abs(y) if y else math.inf, 1 / abs(x) if x else math.inf, lines, slant)


def fine_variances(tiles: Array, valid: Array) -> Array:
    """Mean square of each tile's differences along both axes, where smooth structure hardly counts.

    It is proportional to the noise variance as long as the correlation is the same everywhere.
    """
    for axis in (1, 2):
        if tiles.shape[axis] > 1:
            tiles = np.diff(tiles, axis=axis)
            valid = np.logical_and(
                *(np.take(valid, range(i, valid.shape[axis] - 1 + i), axis) for i in (0, 1))
            )
    sums, counts = (tiles**2 * valid).sum((1, 2)), valid.sum((1, 2))
    result: Array = sums / np.maximum(counts, 1)
    return result


def variance_model(means: Array, variances: Array) -> Variance:
    """Fit variance = read + gain * signal to tiles, robustly; constant unless gain is sure."""
    middle = float(np.median(variances))
    constant = Variance(middle)
    if len(means) < 12 or np.ptp(means) == 0:
        return constant
    design = np.stack([np.ones_like(means), means], 1)
    weights = np.ones_like(means)
    for _ in range(10):  # iteratively reweighted least squares with Tukey's biweight
        scaled = design * weights[:, None]
        fit, *_ = np.linalg.lstsq(scaled, variances * weights, rcond=None)
        expected = np.maximum(design @ fit, 0.05 * middle)
        # The scatter of a variance is proportional to it.
        rest = variances / expected - 1
        scatter = max(1.4826 * float(np.median(np.abs(rest))), 1e-6)
        weights = np.clip(1 - (rest / (4 * scatter)) ** 2, 0, 1) / expected
    weighted = design * weights[:, None]
    # Tiles overlap by half: there are half as many measurements.
    error = scatter * float(np.sqrt(2 * np.linalg.pinv(weighted.T @ weighted)[1, 1]))
    gain = float(fit[1])
    if gain < SURE * error:
        return constant
    return Variance(float(fit[0]), gain, (float(means.min()), float(means.max())))


def phases(flat: FlatTiles) -> Array:
    """Standard deviation at the four pixel phases, relative; ones unless they surely differ."""
    tiles = flat.levelled
    if min(tiles.shape[1:]) < 8 or len(tiles) < 4:
        return np.ones((2, 2))
    total = (tiles**2).sum((1, 2)) / flat.valid.sum((1, 2))
    shares = np.empty((len(tiles), 2, 2))
    for i, (tile, (_, y, x)) in enumerate(zip(tiles, flat.places, strict=True)):
        for dy, dx in np.ndindex(2, 2):
            count = int(flat.valid[i, dy::2, dx::2].sum())
            squares = (tile[dy::2, dx::2] ** 2).sum()
            share = squares / count / total[i] if count else 1.0
            shares[i, (y + dy) % 2, (x + dx) % 2] = share
    ratio = np.median(shares, axis=0)
    sure = np.abs(ratio - 1) > SURE * median_error(shares, len(tiles))
    if not (sure.any() and ratio.max() / ratio.min() > _PHASE_LEVEL):
        return np.ones((2, 2))
    result: Array = np.sqrt(ratio)
    return result
