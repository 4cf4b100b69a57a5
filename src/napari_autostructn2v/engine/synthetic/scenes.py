"""Scenes as microscopes show them, without noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from scipy import ndimage, spatial

from napari_autostructn2v.engine.types import Array

Scene = Literal["filaments", "nuclei", "membranes", "vesicles", "texture"]

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


SCENES: dict[Scene, Callable[[tuple[int, int], np.random.Generator], Array]] = {
    "filaments": _filaments,
    "nuclei": _nuclei,
    "membranes": _membranes,
    "vesicles": _vesicles,
    "texture": _texture,
}
