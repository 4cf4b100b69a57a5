"""Estimates the error of a denoiser without the clean image, by adding simulated noise.

Stein's unbiased risk estimate (Stein 1981; by Monte Carlo: Ramani et al. 2008) gives the error as
|y - f(y)|^2 - sigma^2 + 2 cov(y, f(y)). If most of the noise is removed, that is a small
difference of large numbers: an error of 5 % in sigma^2 can be several decibels. Here the same
terms are computed tile by tile. The remaining noise is simulated. The lost signal is the energy of
the residual beyond that of noise, which varies between tiles; the noise level is fitted with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage, optimize

from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.noise.simulation import FINE_SHARE, bands, noise_variance, simulate
from napari_autostructn2v.engine.types import Array

Denoise = Callable[[Array], Array]

_TILE = 16  # px
_LEAST = 4  # tiles
_DRAWS = 4
_STEP = 0.1  # of the noise: small enough for a derivative, large enough for float32
_SIGMAS = (1.0, 2.0, 4.0, 16.0)  # px; octaves are differences between successive Gaussians
_SEEN = 0.1  # share of the noise in an octave that the signal must exceed to be visible

# The fit, tuned on synthetic filaments, nuclei and vesicles.
_LEVEL = (0.1, 0.03)  # prior spread of the noise level; upwards if there is no usable high pass
_GROWTH = (1e-3, 1.0)  # prior spread of its excess growth with the signal, without and with one
_LOSS = (1.0, 0.6)  # distortion of the signal over that of the result, and its prior spread
_FLOOR = 0.1  # share of the noise variance: error of the simulated residual
_MISFIT = 0.5  # share of a tile's distortion, and of the signal's energy in a high pass
_OUTLYING = 2.5  # standard deviations; residual energy above this is lost signal
_UNEXPLAINED, _BY_CHANCE = 1.5, 0.0293  # standard deviations; mean excess of Gaussian noise
_ROUNDS = 40


@dataclass(frozen=True, eq=False)
class Probe:
    """The response of a denoiser to added noise, in N tiles of some blocks.

    Attributes
    ----------
    variance
        (N,) measured variance of the noise.
    left
        (N,) variance of the noise in the result.
    distortion
        (N,) squared bias of denoising the result once more.
    signal, contrast
        (N,) mean and variance of the result.
    seen, expected, scatter
        (N, 3) energy of the residual, unfiltered and high-passed along x and y; its expectation
        from noise alone; and the relative standard deviation of that.
    stray
        (N, 3) energy of the result in the high passes, where lost signal may have as much.
    common, present
        (N, octaves) covariance of result and noisy image, variance of the noisy image.
    shared, drawn
        (N, octaves) the same for noise alone: covariance before and after denoising, variance.
    """

    variance: Array
    left: Array
    distortion: Array
    signal: Array
    contrast: Array
    seen: Array
    expected: Array
    scatter: Array
    stray: Array
    common: Array
    present: Array
    shared: Array
    drawn: Array


def probe(
    denoise: Denoise, blocks: Sequence[Array], noises: Sequence[Noise], rng: np.random.Generator
) -> Probe | None:
    """Measure how a denoiser responds to noise, by calling it 17 times on each block.

    Parameters
    ----------
    blocks
        (H, W) each, in grey values; NaN for missing values.
    noises
        The noise of each block.

    Returns
    -------
    None if there are too few tiles without a NaN.
    """
    pairs = zip(blocks, noises, strict=True)
    usable = [(block, noise) for block, noise in pairs if _whole_tiles(block).any()]
    if sum(int(_whole_tiles(block).sum()) for block, _ in usable) < _LEAST:
        return None
    probes = [_probe(denoise, block, noise, rng) for block, noise in usable]
    names = [field.name for field in fields(Probe)]
    return Probe(**{name: np.concatenate([getattr(p, name) for p in probes]) for name in names})


def _probe(denoise: Denoise, block: Array, noise: Noise, rng: np.random.Generator) -> Probe:
    whole = _whole_tiles(block)

    def means(image: Array) -> Array:
        tiles: Array = _tile_means(image)[whole]
        return tiles

    def energies(image: Array) -> Array:
        return np.stack([means(band**2) for band in bands(image)], -1)

    def products(one: Array, other: Array) -> Array:
        """Return the mean products of two images' octaves, (N, octaves)."""
        return np.stack([means(a * b) for a, b in zip(one, other, strict=True)], -1)

    noisy = complete(block)
    # In float64, as the squares of a diverged network's output exceed float32.
    result = denoise(noisy).astype(float)
    smooth = ndimage.gaussian_filter(result, 1.0)
    draws = simulate(noise, result, rng, _DRAWS)
    changes, again = [], []
    for draw in draws.astype(np.float32):
        step = _STEP * draw
        changes.append((denoise(noisy + step) - denoise(noisy - step)) / (2 * _STEP))
        again += [denoise(result + draw) - result, denoise(result - draw) - result]
    pairs = list(zip(draws, changes, strict=True))
    variance, left = means(noise_variance(noise, result)), means(np.mean(np.square(changes), 0))
    removed = np.stack([energies(draw - change) for draw, change in pairs])
    expected = np.maximum(removed.mean(0), 1e-30)
    scatter = np.std(removed / expected, (0, 1))
    expected[:, 0] = variance - 2 * means(np.mean([a * b for a, b in pairs], 0)) + left
    stray = energies(result)
    stray[:, 0] = 0
    scales, drawn = _octaves(noisy), [_octaves(draw) for draw in draws]
    return Probe(
        variance=variance,
        left=left,
        distortion=means(np.mean(again, 0) ** 2 - np.var(again, 0) / (len(again) - 1)),
        signal=means(result),
        contrast=means(smooth**2) - means(smooth) ** 2,
        seen=energies(noisy - result),
        expected=expected,
        scatter=np.broadcast_to(scatter, expected.shape),
        stray=stray,
        common=products(_octaves(result), scales),
        present=products(scales, scales),
        shared=np.mean([products(a, _octaves(b)) for a, b in zip(drawn, changes, strict=True)], 0),
        drawn=np.mean([products(a, a) for a in drawn], 0),
    )


def complete(block: Array) -> Array:
    """Return the block in float32, with missing values replaced by its median."""
    finite = np.isfinite(block)
    centre = np.median(block[finite]) if finite.any() else 0.0
    filled: Array = np.where(finite, block, centre).astype(np.float32)
    return filled


def _whole_tiles(block: Array) -> Array:
    """Return whether each tile of the block is free of NaN, (N,) bool."""
    whole: Array = _tile_means(np.isfinite(block)) == 1
    return whole


def _tile_means(image: Array) -> Array:
    side = min(_TILE, *image.shape)
    height, width = (n // side for n in image.shape)
    cut = image[: height * side, : width * side].astype(float)
    means: Array = cut.reshape(height, side, width, side).mean((1, 3)).ravel()
    return means


def _octaves(image: Array) -> Array:
    """Return the octaves of an image as differences of Gaussians, (octaves, H, W)."""
    blurred = [ndimage.gaussian_filter(image, sigma) for sigma in _SIGMAS]
    octaves: Array = -np.diff(blurred, axis=0)
    return octaves


@dataclass(frozen=True, eq=False)
class Risk:
    """The error estimated from the residual.

    Attributes
    ----------
    gain
        PSNR gain of the result over the noisy image, in dB.
    level
        (N,) ratio of the noise variance to the measured one.
    excess
        (N,) energy of the residual beyond that of the removed noise.
    """

    gain: float
    level: Array
    excess: Array


def estimate(seen: Probe, scale: float = 1.0) -> Risk:
    """Fit noise and lost signal to the residual; `scale` multiplies the measured noise variance.

    The residual's energy in a tile is modelled as (level + growth * brightness) * expected +
    loss * distortion. High passes that keep enough of the noise contain only the first term.
    """
    expected, noise = scale * seen.expected, scale * float(seen.variance.mean())
    brightness = np.maximum(seen.signal - np.quantile(seen.signal, 0.1), 0)
    brightness = brightness / max(float(brightness.mean()), 1e-30)
    distortion = np.maximum(seen.distortion, 0)
    distortion = np.maximum(distortion - np.quantile(distortion, 0.2), 0)
    fine = [b for b in (1, 2) if expected[:, b].mean() > FINE_SHARE * expected[:, 0].mean()]
    used = [0, *fine]

    def stack(values: Array) -> Array:
        """Concatenate the bands that are used."""
        return values[:, used].T.ravel()

    alone, bright = stack(expected), np.tile(brightness, len(used))
    lost = np.concatenate([distortion, np.zeros(len(fine) * len(distortion))])
    design, target = np.stack([alone, alone * bright, lost], 1), stack(seen.seen)
    misfit = _MISFIT * (_LOSS[0] * lost + stack(seen.stray))

    prior, weights = np.array([1.0, 0.0, _LOSS[0]]), np.ones(len(target))
    found = prior
    for _ in range(_ROUNDS):  # reweighted least squares: only energy that is too high is an outlier
        level = found[0] + found[1] * bright
        error = np.hypot(stack(seen.scatter) * np.hypot(level * alone, _FLOOR * noise), misfit)
        free = _LEVEL[0 if fine or found[0] <= 1 else 1]
        spread = np.array([free, _GROWTH[bool(fine)], _LOSS[1]])
        scaled = np.sqrt(weights) / error
        last, found = found, optimize.lsq_linear(
            np.concatenate([design * scaled[:, None], np.diag(1 / spread)]),
            np.concatenate([target * scaled, prior / spread]),
            bounds=([0.05, 0, 0], np.inf),
        ).x  # fmt: skip
        if np.abs(found - last).max() < 1e-4:
            break
        above = np.maximum((target - design @ found) / error, _OUTLYING)
        weights = (weights + _OUTLYING / above) / 2

    count = len(distortion)
    rest, error = (target - design @ found)[:count], error[:count]
    unexplained = (np.maximum(rest - _UNEXPLAINED * error, 0) - _BY_CHANCE * error).mean()
    level = scale * (found[0] + found[1] * brightness)
    gone = max(found[2] * distortion.mean() + max(unexplained, 0), _least_lost(seen, level))
    remaining = float((level * seen.left).mean() + gone)
    present = float((level * seen.variance).mean())
    gain = 10 * math.log10(max(present, 1e-30) / max(remaining, 1e-30))
    return Risk(gain, level, seen.seen[:, 0] - level * seen.expected[:, 0])


def detail(seen: Probe, level: Array) -> tuple[Array, Array, Array]:
    """Return per octave: result-signal covariance, signal variance, whether it is visible."""
    weight = float((level * seen.variance).mean() / seen.variance.mean())
    noise = weight * seen.drawn.mean(0)
    signal = np.maximum(seen.present.mean(0) - noise, 0)
    return seen.common.mean(0) - weight * seen.shared.mean(0), signal, signal > _SEEN * noise


def _least_lost(seen: Probe, level: Array) -> float:
    """Return a lower bound on the squared error from lost contrast, by Cauchy-Schwarz."""
    common, signal, visible = detail(seen, level)
    short = np.maximum(signal - common, 0)[visible]
    return float((short**2 / signal[visible]).sum())
