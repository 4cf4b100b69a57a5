"""Measures the offsets of whole rows or columns, separately from the correlation of neighbours.

Differences of neighbouring rows cancel slow variations of the image. The means of such a
difference over two runs of pixels, a few pixels apart, covary only if rows have offsets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_autostructn2v.engine.noise.flat_tiles import Surface
from napari_autostructn2v.engine.types import Array

LONG, SHORT = (16, 6), (8, 3)  # px: length of a run, gap between two
_GROUPS = 32  # groups of rows, for the standard error
_LEAST_RUNS = 64
_FULL = 0.75  # share of a run that must be flat
_LONGEST_WAVE = 40.0  # px
_ONE_WAVE = 0.85  # share of the power; a scanner's hum beside other offsets had 0.67
_CLIP = 3.0  # standard deviations, so that edges weigh no more than noise


def offset_variance(
    surfaces: Sequence[Surface], axis: int, runs: tuple[int, int]
) -> tuple[float, float]:
    """Return the variance of the lines' offsets, in grey values squared, and its error.

    Parameters
    ----------
    axis
        1: each row has an offset; 0: each column.
    runs
        `LONG`, or `SHORT` for offsets that drift along the line.

    Returns
    -------
    variance, error
        Variance of the offset, and its standard error; infinite if too little is flat.
    """
    sums, counts = [], []
    for surface in surfaces:
        total, count = _products(*_steps(surface, axis), *runs)
        groups = np.array_split(np.arange(len(total)), _GROUPS)
        sums += [total[group].sum() for group in groups]
        counts += [count[group].sum() for group in groups]
    total, count = np.array(sums), np.array(counts)
    if count.sum() < _LEAST_RUNS:
        return 0.0, np.inf
    mean = total.sum() / count.sum()
    error = np.sqrt(((total - mean * count) ** 2).sum()) / count.sum()
    return mean / 2, max(error / 2, 1e-30)  # each difference has the variance of two rows


def offset_wavelength(surfaces: Sequence[Surface], axis: int) -> float | None:
    """Return the wavelength in px of offsets that form a wave across the lines, else None.

    Nearly all power of a wave is at one frequency, that of independent offsets at all. It is
    measured on the differences of neighbouring lines, whose spectrum is that of the offsets times
    4 sin^2(pi f).
    """
    steps, flat = _steps(max(surfaces, key=lambda surface: surface.image.size), axis)
    means = steps.sum(1) / np.maximum(flat.sum(1), 1)
    frequency = np.fft.rfftfreq(len(means)) if len(means) else np.zeros(1)
    near = frequency > 1 / _LONGEST_WAVE
    if near.sum() < _LEAST_RUNS:
        return None
    power = np.abs(np.fft.rfft(means * np.hanning(len(means)))) ** 2
    power = np.where(near, power / np.maximum(4 * np.sin(np.pi * frequency) ** 2, 1e-12), 0)
    peak = int(np.argmax(power))
    if power[peak - 2 : peak + 3].sum() < _ONE_WAVE * power.sum():
        return None
    return float(1 / frequency[peak])


def _steps(surface: Surface, axis: int) -> tuple[Array, Array]:
    """Return clipped differences of neighbouring lines, 0 unless flat, and where it is flat."""
    image = surface.image
    height, width = image.shape
    steep = surface.slope.repeat(2, 0).repeat(2, 1)[:height, :width]
    data = steep if surface.finite.all() else steep[surface.finite]
    flat = (steep <= (np.median(data) if data.size else 0)) & surface.finite
    if axis == 0:
        image, flat = image.T, flat.T
    steps = np.diff(image, axis=0)
    good = flat[1:] & flat[:-1]
    limit = _CLIP * (1.4826 * np.median(np.abs(steps[good])) if good.any() else 0.0)
    if limit <= 0:  # photon counts, most of them 0
        limit = _CLIP * (float(steps[good].std()) if good.any() else 0.0)
    return np.where(good, np.clip(steps, -limit, limit), 0.0), good


def _products(steps: Array, good: Array, length: int, gap: int) -> tuple[Array, Array]:
    """Return the sum over each row of the products of two runs' means, and their number."""
    width = steps.shape[1]
    if not len(steps) or width < 2 * length + gap:
        return np.zeros(len(steps)), np.zeros(len(steps))

    def totals(values: Array) -> Array:
        running = np.cumsum(np.pad(values.astype(float), ((0, 0), (1, 0))), axis=1)
        result: Array = running[:, length:] - running[:, :-length]
        return result

    start = np.arange(0, width - 2 * length - gap + 1, (length + gap) // 2)
    count = totals(good)
    mean = totals(steps) / np.maximum(count, 1)
    full = count >= _FULL * length
    both = full[:, start] & full[:, start + length + gap]
    product = mean[:, start] * mean[:, start + length + gap] * both
    return product.sum(1), both.sum(1)
