"""Makes microscopy-like images with planted noise, so that claims can be checked against a truth.

The demo, the tests and the benchmarks draw from here; no image file is bundled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.synthetic.noise import (
    NoiseKind,
    draw_noise,
    noise_autocorrelation,
)
from napari_autostructn2v.engine.synthetic.scenes import SCENES, Scene
from napari_autostructn2v.engine.types import Array

__all__ = [
    "NoiseKind", "Sample", "Scene", "noise_autocorrelation", "plant", "psnr", "sample",
]  # fmt: skip

# Grey values of the dimmest and the brightest structure. The offset is high enough that noise at
# 15 dB is not clipped at 0.
_DARK, _BRIGHT = 1400.0, 3400.0
_BACKGROUND = 0.05  # light that reaches even the dark, as a share of the brightest (Poisson)


@dataclass(frozen=True, eq=False)
class Sample:
    """A clean image, the same image with noise, and what that noise is.

    Attributes
    ----------
    clean, noisy
        (H, W), the same grey values.
    noise
        The kind of noise.
    """

    clean: Array
    noisy: Array
    noise: NoiseKind

    def rho(self, max_lag: int) -> Array:
        """Autocorrelation of the whole noise: (2L+1, 2L+1), lag (0, 0) in the centre."""
        return noise_autocorrelation(self.noise, max_lag)


def sample(
    scene: Scene = "filaments",
    noise: NoiseKind = "horizontal",
    size: int | tuple[int, int] = 512,
    seed: int = 0,
    psnr: float = 18.0,
    dtype: npt.DTypeLike = np.float32,
) -> Sample:
    """Draw a scene and add noise of a given kind and strength.

    Parameters
    ----------
    size
        Height and width in pixels, or one number for both.
    psnr
        Of the noisy image, in dB, as `psnr` defines it. It is met exactly before rounding, but
        for "poisson", whose photon counts are drawn at the expected strength, and
        "poisson_horizontal", half of whose variance are such counts.
    dtype
        An integer type is rounded and saturated.
    """
    for name, value, known in (("scene", scene, Scene), ("noise", noise, NoiseKind)):
        if value not in get_args(known):
            raise InputError(f"{name} {value!r} is not one of {', '.join(get_args(known))}")
    shape = (size, size) if isinstance(size, int) else size
    # Two streams: the same scene whatever the noise.
    scene_rng, noise_rng = (np.random.default_rng([seed, stream]) for stream in range(2))
    clean = _normalise(SCENES[scene](shape, scene_rng))
    noisy = plant(clean, noise, psnr, noise_rng)
    return Sample(_cast(clean, dtype), _cast(noisy, dtype), noise)


def plant(clean: Array, noise: NoiseKind, psnr: float, rng: np.random.Generator) -> Array:
    """Add noise to a clean (H, W) image so that the result has the given `psnr`."""
    strength = float(np.ptp(clean)) * 10 ** (-psnr / 20)
    if noise == "poisson":
        return _poisson(clean, strength, rng)
    if noise == "poisson_horizontal":
        counts = _poisson(clean, strength / np.sqrt(2), rng) - clean
        result: Array = plant(clean, "horizontal", psnr + 10 * np.log10(2), rng) + counts
        return result
    if noise == "signal_horizontal":  # variance proportional to the light, as of photons
        planted = draw_noise("horizontal", clean.shape, rng) * np.sqrt(_light(clean))
    else:
        planted = draw_noise(noise, clean.shape, rng)
    noisy: Array = clean + planted * (strength / np.sqrt(np.mean(planted**2)))
    return noisy


def psnr(truth: Array, image: Array) -> float:
    """Peak signal-to-noise ratio in dB: 20 log10(range / rms(image - truth)).

    The range is max - min of `truth`; neither image is rescaled.
    """
    truth = np.asarray(truth, np.float64)
    rms = np.sqrt(np.mean((np.asarray(image, np.float64) - truth) ** 2))
    return float(20 * np.log10(np.ptp(truth) / rms)) if rms > 0 else float("inf")


def _light(clean: Array) -> Array:
    """What a detector collects; a little of it reaches even the dark."""
    light: Array = clean - clean.min() + _BACKGROUND * np.ptp(clean)
    return light


def _poisson(clean: Array, strength: float, rng: np.random.Generator) -> Array:
    light = _light(clean)
    gain = strength**2 / float(np.mean(light))  # grey values per photon: variance = gain * light
    result: Array = clean - light + gain * rng.poisson(light / gain)
    return result


def _cast(image: Array, dtype: npt.DTypeLike) -> Array:
    dtype = np.dtype(dtype)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        image = np.clip(np.rint(image), limits.min, limits.max)
    return image.astype(dtype)


def _normalise(image: Array) -> Array:
    low, high = float(image.min()), float(image.max())
    return _DARK + (_BRIGHT - _DARK) * (image - low) / (high - low)
