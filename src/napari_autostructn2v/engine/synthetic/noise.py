"""Noise with a known autocorrelation."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import signal

from napari_autostructn2v.engine.types import Array

NoiseKind = Literal[
    "white",
    "horizontal",
    "vertical",
    "isotropic",
    "diagonal",
    "negative",
    "periodic",
    "row_offsets",
    "poisson",
    "poisson_horizontal",
    "signal_horizontal",
]


# White noise through a kernel, plus white noise with a share of the variance


def _along(taps: npt.ArrayLike) -> Array:
    return np.atleast_2d(np.asarray(taps, np.float64))


def _gabor() -> Array:
    x = np.arange(-36, 37)
    return _along(np.exp(-(x**2) / (2 * 12.0**2)) * np.cos(2 * np.pi * x / 8))


def _gaussian() -> Array:
    x = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    return np.outer(x, x)


_TENT = [1.0, 2.0, 3.0, 2.0, 1.0]
_KERNELS: dict[NoiseKind, tuple[Array, float]] = {  # kernel, variance share of the white part
    "white": (_along([1.0]), 0.0),
    "horizontal": (_along(_TENT), 8**2 / (15**2 + 8**2)),  # sigma 15 and sigma 8
    "vertical": (_along(0.7 ** np.arange(40)).T, 0.0),  # autoregressive, to 1e-6
    "isotropic": (_gaussian(), 0.0),
    "diagonal": (np.diag(_TENT), 0.1),
    "negative": (_along([1.0, -1.0]), 0.0),
    "periodic": (_gabor(), 0.3),
}
_ROW_SHARE = 0.15  # of the variance that a row has in common, for "row_offsets"


def noise_autocorrelation(noise: NoiseKind, max_lag: int) -> Array:
    """Autocorrelation of a kind of noise: (2L+1, 2L+1), lag (0, 0) in the centre.

    Where parts of it follow the signal, averaged over the image.
    """
    rho = np.zeros((2 * max_lag + 1,) * 2)
    if noise == "row_offsets":
        rho[max_lag] = _ROW_SHARE
    elif noise != "poisson":
        share = 0.5 if noise == "poisson_horizontal" else 1.0
        kernel, white = _KERNELS["horizontal" if noise.endswith("_horizontal") else noise]
        full = signal.correlate2d(kernel, kernel)
        full *= share * (1 - white) / full.max()
        margin = [max(0, max_lag - n // 2) for n in full.shape]
        full = np.pad(full, [(n, n) for n in margin])
        y, x = (n // 2 - max_lag for n in full.shape)
        rho = full[y : y + 2 * max_lag + 1, x : x + 2 * max_lag + 1]
    rho[max_lag, max_lag] = 1
    return rho


def draw_noise(noise: NoiseKind, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Noise of unit variance in the mean over many draws."""
    white = rng.standard_normal(shape)
    if noise == "row_offsets":
        offsets = rng.standard_normal((shape[0], 1))
        return _mix(offsets, white, 1 - _ROW_SHARE)
    kernel, share = _KERNELS[noise]
    kernel = kernel / np.sqrt(np.sum(kernel**2))
    source = rng.standard_normal([n + k - 1 for n, k in zip(shape, kernel.shape, strict=True)])
    coloured = signal.fftconvolve(source, kernel, mode="valid")
    return _mix(coloured, white, share)


def _mix(noise: Array, white: Array, share: float) -> Array:
    mixed: Array = (1 - share) ** 0.5 * noise + share**0.5 * white
    return mixed
