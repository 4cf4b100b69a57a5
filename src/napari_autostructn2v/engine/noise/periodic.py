"""Periodic noise: waves in the correlation of flat tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_autostructn2v.engine.noise.statistics import SURE, median_error
from napari_autostructn2v.engine.types import Array

_OSCILLATING = 0.08  # correlation, root mean square over the far lags


@dataclass(frozen=True)
class Wave:
    """A wave in the noise.

    Attributes
    ----------
    y, x
        Wavelength along each axis in px; infinite along an axis without variation.
    lines
        "rows" or "columns" if each of them has its own wave, empty if all share one.
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
    """Find a wave in the correlations of tiles, (N, 2L+1, 2L+1), shared by all lines or not."""
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
    """Whether a correlation, (N, 2L+1) or (N, 2L+1, 2L+1), oscillates at large lags.

    A wave oscillates around zero; the correlation of an offset keeps its sign.
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
    """Return the strongest wave of a correlation, (2L+1, 2L+1) or with one axis of length 1."""
    windows = [np.hanning(n + 2)[1:-1] for n in rho.shape]
    shape = [512 if n > 1 else 1 for n in rho.shape]
    spectrum = np.abs(np.fft.fft2(rho * np.multiply.outer(*windows), shape))
    waves = [np.fft.fftfreq(n) for n in shape]
    spectrum[np.hypot.outer(*waves) < 1 / max(rho.shape)] = 0  # no wave, but an offset
    peak = np.unravel_index(int(np.argmax(spectrum)), spectrum.shape)
    y, x = (float(wave[k]) for wave, k in zip(waves, peak, strict=True))
    slant = -1 if y * x < 0 else 1
    return Wave(1 / abs(y) if y else math.inf, 1 / abs(x) if x else math.inf, lines, slant)
