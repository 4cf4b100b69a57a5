"""Makes microscopy-like images with planted noise, so that claims can be checked against a truth.

The demo, the tests and the benchmarks draw from here; no image file is bundled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal, spatial

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array

Scene = Literal["filaments", "nuclei", "membranes", "vesicles", "texture"]
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
    clean = _normalise(_SCENES[scene](shape, scene_rng))
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
        planted = _draw_noise("horizontal", clean.shape, rng) * np.sqrt(_light(clean))
    else:
        planted = _draw_noise(noise, clean.shape, rng)
    noisy: Array = clean + planted * (strength / np.sqrt(np.mean(planted**2)))
    return noisy


def psnr(truth: Array, image: Array) -> float:
    """Peak signal-to-noise ratio in dB: 20 log10(range / rms(image - truth)).

    The range is max - min of `truth`; neither image is rescaled.
    """
    truth = np.asarray(truth, np.float64)
    rms = np.sqrt(np.mean((np.asarray(image, np.float64) - truth) ** 2))
    return float(20 * np.log10(np.ptp(truth) / rms)) if rms > 0 else float("inf")


# Noise: white noise through a kernel, plus white noise with a share of the variance of its own.


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


def _draw_noise(noise: NoiseKind, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
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


# Scenes: lengths in pixels, counts in proportion to the area, the brightest about 1.


def _filaments(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Microtubule-like: bent lines, most of them fanning out from a few centres."""
    lines = np.zeros(shape)
    for centre in _scatter(shape, rng, spacing=300.0):
        for _ in range(rng.integers(28, 44)):
            start = centre + rng.normal(0, 6, 2)
            length = rng.uniform(60, 320)
            _draw(lines, start, rng.uniform(0, 2 * np.pi), length, 0.006, rng)
    for _ in range(_count(shape, 2500, rng)):
        start = rng.uniform(0, 1, 2) * shape
        _draw(lines, start, rng.uniform(0, 2 * np.pi), rng.uniform(40, 160), 0.012, rng)
    sharp = _blur(lines, 1.3)
    haze = _blur(lines, 12)
    return _saturate(sharp / np.percentile(sharp, 98) + 0.5 * haze / haze.max())


def _draw(
    image: Array,
    start: Array,
    angle: float,
    length: float,
    bend: float,
    rng: np.random.Generator,
) -> None:
    """Add a line whose direction drifts smoothly; `bend` is its curvature in 1/px."""
    steps = 2 * max(2, int(length))
    curvature = ndimage.gaussian_filter1d(rng.normal(0, 1, steps), 25, mode="wrap")
    curvature *= bend / max(float(curvature.std()), 1e-9)
    angles = angle + np.cumsum(curvature) / 2
    points = start + 0.5 * np.cumsum(np.stack([np.sin(angles), np.cos(angles)], 1), axis=0)
    brightness = rng.uniform(0.5, 1.0) * (
        1 + 0.25 * np.sin(np.linspace(0, rng.uniform(3, 12), steps))
    )
    _splat(image, points, brightness)


def _nuclei(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Nuclei-like: textured blobs with darker nucleoli, now and then in division."""
    yy, xx = np.indices(shape, dtype=np.float32)
    image = np.zeros(shape)
    chromatin = _band(shape, rng, 2.2) + 0.6 * _band(shape, rng, 6)
    for y, x in _scatter(shape, rng, spacing=64.0):
        radius = rng.uniform(15, 25)
        window = tuple(
            slice(max(0, int(c - 2 * radius)), max(0, int(c + 2 * radius) + 1)) for c in (y, x)
        )
        dy, dx = yy[window] - y, xx[window] - x
        turn, flat = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
        u = dx * np.cos(turn) + dy * np.sin(turn)
        v = (dy * np.cos(turn) - dx * np.sin(turn)) / flat
        phi = np.arctan2(v, u)
        border = radius * (
            1
            + sum(rng.normal(0, 0.05 / k) * np.cos(k * phi + rng.uniform(0, 6)) for k in (2, 3, 4))
        )
        inside = 1 / (1 + np.exp((np.hypot(u, v) - border) / 0.8))
        body = 0.7 + 0.2 * chromatin[window]
        for _ in range(rng.integers(1, 4)):
            offset, size = rng.normal(0, radius / 3, 2), rng.uniform(2.0, 4.0)
            body -= 0.45 * np.exp(-((dy - offset[0]) ** 2 + (dx - offset[1]) ** 2) / (2 * size**2))
        image[window] += rng.uniform(0.45, 1.0) * inside * np.clip(body, 0.05, None)
    return _blur(image, 1.1) + 0.08 * _blur(image, 15)


def _membranes(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Epithelium-like: bent cell borders of uneven brightness over dim cells."""
    seeds = np.array([*_scatter((shape[0] + 120, shape[1] + 120), rng, spacing=52.0)]) - 60
    bent = np.indices(shape, dtype=np.float64)
    bent += 3.5 * np.stack([_band(shape, rng, 12), _band(shape, rng, 12)])
    points = bent.reshape(2, -1).T
    distance, nearest = spatial.cKDTree(seeds).query(points, k=2)
    gap = (distance[:, 1] - distance[:, 0]).reshape(shape)
    border = np.exp(-(gap**2) / (2 * 2.6**2)) * (1 + 0.35 * _band(shape, rng, 7))
    cells = rng.uniform(0.02, 0.14, len(seeds))[nearest[:, 0]].reshape(shape)
    image = 0.8 * np.clip(border, 0.1, None) + cells * (1 + 0.3 * _band(shape, rng, 4))
    return _blur(image, 1.0)


def _vesicles(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Vesicle-like: spots of very different brightness, crowded in cells with dim cytoplasm."""
    cells = _blur(rng.standard_normal(shape), 40)
    rim = float(np.quantile(cells, 0.45))
    density: Array = np.clip((cells - rim) / (float(cells.max()) - rim), 0, 1)
    count = 2 * _count(shape, 220, rng)
    chosen = rng.choice(density.size, count, p=(density / density.sum()).ravel())
    points = np.stack(np.unravel_index(chosen, shape), 1) + rng.uniform(-0.5, 0.5, (count, 2))
    brightness = np.clip(rng.pareto(1.6, count) + 0.15, 0, 5)
    spots = np.zeros(shape)
    large = rng.random(count) < 0.15
    for group, sigma in ((~large, 1.3), (large, 2.4)):
        layer = np.zeros(shape)
        _splat(layer, points[group], brightness[group])
        spots += _blur(layer, sigma) * 2 * np.pi * sigma**2
    cytoplasm = _blur((density > 0).astype(np.float64), 3) * (0.5 + density)
    image: Array = _saturate(spots / 3) + 0.1 * cytoplasm * (1 + 0.2 * _band(shape, rng, 3))
    return image


def _texture(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Tissue-like: structure of all sizes everywhere, with no flat place to measure noise in."""
    field = 0.5 * _band(shape, rng, 2) + 0.6 * _band(shape, rng, 5) + 0.8 * _band(shape, rng, 16)
    return _saturate(0.25 * np.exp(0.8 * field))


def _blur(image: Array, sigma: float) -> Array:
    blurred: Array = ndimage.gaussian_filter(image, sigma)
    return blurred


def _band(shape: tuple[int, int], rng: np.random.Generator, scale: float) -> Array:
    """Smooth random field of zero mean and unit variance."""
    field: Array = _blur(rng.standard_normal(shape), scale)
    return (field - float(field.mean())) / max(float(field.std()), 1e-9)


def _scatter(shape: tuple[int, int], rng: np.random.Generator, spacing: float) -> Iterator[Array]:
    """Jittered grid points: spread out, never in step."""
    counts = [max(1, round(n / spacing)) for n in shape]
    for cell in np.ndindex(*counts):
        jitter = rng.uniform(0.15, 0.85, 2)
        yield (np.array(cell) + jitter) * [n / c for n, c in zip(shape, counts, strict=True)]


def _count(shape: tuple[int, int], area: float, rng: np.random.Generator) -> int:
    return int(rng.poisson(shape[0] * shape[1] / area)) + 1


def _splat(image: Array, points: Array, values: Array | float) -> None:
    """Add values at real-valued (y, x) points, each shared between its four pixels."""
    corner = np.floor(points).astype(int)
    part = points - corner
    for dy, dx in np.ndindex(2, 2):
        weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
        y, x = corner[:, 0] + dy, corner[:, 1] + dx
        inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
        np.add.at(image, (y[inside], x[inside]), (weight * values)[inside])


def _saturate(image: Array) -> Array:
    """Bend the brightest down, so that a few crossings do not take the whole range."""
    return np.asarray(np.tanh(image))


_SCENES: dict[Scene, Callable[[tuple[int, int], np.random.Generator], Array]] = {
    "filaments": _filaments,
    "nuclei": _nuclei,
    "membranes": _membranes,
    "vesicles": _vesicles,
    "texture": _texture,
}
