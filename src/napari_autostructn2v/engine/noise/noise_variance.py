"""How the noise variance depends on the signal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_autostructn2v.engine.noise.statistics import SURE
from napari_autostructn2v.engine.types import Array


@dataclass(frozen=True)
class Variance:
    """The noise variance as a function of the signal: read + gain * signal, in grey values.

    `signal` is the range of grey values of the fit; values outside are clipped to it.
    """

    read: float
    gain: float = 0.0
    signal: tuple[float, float] = (-math.inf, math.inf)

    def at(self, signal: Array) -> Array:
        """Return the variance at each grey value, at least a hundredth of the largest."""
        low, high = self.signal
        variance = self.read + self.gain * np.clip(signal, low, high)
        result: Array = np.maximum(variance, 0.01 * float(np.max(variance, initial=0.0)))
        return result

    def scaled(self, factor: float) -> Variance:
        return Variance(float(self.read * factor), float(self.gain * factor), self.signal)


def fine_variances(tiles: Array, valid: Array) -> Array:
    """Return the mean square of each tile's differences, which smooth structure hardly affects.

    It is proportional to the noise variance if the correlation is the same everywhere.
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
    """Fit variance = read + gain * signal robustly; constant unless the gain is significant."""
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
    # Tiles overlap by half, so only half of the measurements are independent.
    error = scatter * float(np.sqrt(2 * np.linalg.pinv(weighted.T @ weighted)[1, 1]))
    gain = float(fit[1])
    if gain < SURE * error:
        return constant
    return Variance(float(fit[0]), gain, (float(means.min()), float(means.max())))
