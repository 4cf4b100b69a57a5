"""Simulates noise as measured, to test how a network responds to it."""

from __future__ import annotations

import math

import numpy as np
from scipy import fft, ndimage

from napari_autostructn2v.engine.noise.correlation import Correlation
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.types import Array

FINE_SHARE = 0.5  # of the noise that a high-pass filter must keep to be useful
_SECOND = np.array([1.0, -2.0, 1.0]) / math.sqrt(6)  # keeps the variance of white noise


def simulate(noise: Noise, result: Array, rng: np.random.Generator, count: int) -> Array:
    """Simulate the measured noise for a denoised (H, W) image: (count, H, W)."""
    short = Correlation(noise, patch=1).short
    lags = [np.arange(side) - side // 2 for side in short.shape]
    # Pad by all lags, so that the periodic FFT does not correlate opposite edges.
    sizes = zip(result.shape, lags, strict=True)
    shape = [fft.next_fast_len(length + len(lag), True) for length, lag in sizes]
    kernel = np.zeros(shape)
    kernel[np.ix_(*lags)] = short
    passed = np.sqrt(np.maximum(fft.rfft2(kernel).real, 0))
    height, width = result.shape
    shares = 1 - noise.row_offset - noise.column_offset, noise.row_offset, noise.column_offset
    own, rows, columns = (math.sqrt(max(share, 0)) for share in shares)
    drawn = np.empty((count, height, width))
    for index in range(count):
        white = fft.rfft2(rng.standard_normal(shape))
        drawn[index] = own * fft.irfft2(white * passed, shape)[:height, :width]
        drawn[index] += rows * rng.standard_normal((height, 1))
        drawn[index] += columns * rng.standard_normal((1, width))
    scaled: Array = drawn * np.sqrt(noise_variance(noise, result))
    return scaled


def noise_variance(noise: Noise, result: Array) -> Array:
    """Return the (H, W) variance of the noise at the grey values of a denoised image."""
    smooth = ndimage.gaussian_filter(np.nan_to_num(result).astype(float), 1.0)
    return noise.variance.at(smooth)


def bands(image: Array) -> tuple[Array, Array, Array]:
    """Return the image and its second differences along x and along y."""
    x, y = (ndimage.convolve1d(image, _SECOND, axis=axis) for axis in (1, 0))
    return image, x, y
