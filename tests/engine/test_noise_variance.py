"""Noise that grows with the signal, repeats, or differs between pixels is seen to do so."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from scipy import ndimage

from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.noise.noise_variance import Variance, variance_model
from napari_autostructn2v.engine.noise.periodic import Wave
from napari_autostructn2v.engine.synthetic import NoiseKind, plant, sample

LAG = 20
SHAPE = (320, 320)
Y, X = np.indices(SHAPE)


def blotches(rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Broad spots of any brightness: flat tiles at every grey value."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 40)
    return 1000 * (field - field.min()) / np.ptp(field)


# How the variance depends on the signal


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_photon_gain(gain: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    light = 50 + blotches(rng, (512, 512))
    image = 100 + gain * rng.poisson(light / gain)
    variance = measure([image.astype(np.float32)], LAG).variance
    assert variance.gain == pytest.approx(gain, rel=0.15)
    # The dark level is where the variance would be 0.
    assert -variance.read / variance.gain == pytest.approx(100, abs=0.15 * light.mean())


def test_photon_gain_beside_line_noise() -> None:
    rng = np.random.default_rng(0)
    light = 50 + blotches(rng, (512, 512))
    shared = ndimage.convolve1d(rng.standard_normal(light.shape), [0.5, 0.7071, 0.5], axis=1)
    variance = measure([light + np.sqrt(2 * light) * shared], LAG).variance
    assert variance.gain == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("scene", ["filaments", "membranes", "texture"])
@pytest.mark.parametrize("kind", ["white", "horizontal", "isotropic", "row_offsets"])
def test_constant_noise_has_no_gain(scene: str, kind: NoiseKind) -> None:
    """Even where brighter tiles hold more structure."""
    noise = measure([sample(scene, kind, size=256, seed=6, psnr=18.0).noisy], LAG)
    assert noise.variance.gain == 0
    assert noise.variance.read == pytest.approx(noise.sigma**2)


def test_variance_follows_the_signal_within_what_was_seen() -> None:
    variance = Variance(10.0, 2.0, (100.0, 200.0))
    assert variance.at(np.array([0.0, 100, 150, 300])).tolist() == [210, 210, 310, 410]
    assert variance.scaled(2).at(np.array([150.0])) == 620
    assert Variance(5.0).at(np.array([-1e9, 1e9])).tolist() == [5, 5]
    negative = Variance(-50.0, 1.0, (0.0, 100.0)).at(np.array([0.0, 100.0]))
    assert negative.tolist() == [0.5, 50]


def test_outliers_and_few_tiles_make_no_gain() -> None:
    rng = np.random.default_rng(0)
    means = np.linspace(0, 100, 60)
    variances = 10 + rng.standard_normal(60)
    variances[-3:] = 500  # structure in the brightest tiles
    assert variance_model(means, variances).gain == 0
    assert variance_model(means[:5], 10 + means[:5]).gain == 0
    assert variance_model(np.full(60, 7.0), variances).gain == 0


# Waves


@pytest.mark.parametrize("wavelength", [6.0, 9.5, 14.0])
@pytest.mark.parametrize("lines", ["rows", "columns"])
def test_each_line_with_a_wave_of_its_own(
    lines: Literal["rows", "columns"], wavelength: float
) -> None:
    rng = np.random.default_rng(0)
    wave = np.sqrt(2) * np.sin(2 * np.pi * X / wavelength + rng.uniform(0, 6.28, (320, 1)))
    image = blotches(rng) + 80 * (0.6 * wave + 0.8 * rng.standard_normal(SHAPE))
    noise = measure([image if lines == "rows" else image.T], LAG)
    assert noise.wave is not None
    assert noise.wave.lines == lines
    assert noise.wave.length == pytest.approx(wavelength, rel=0.03)
    assert math.isinf(noise.wave.y if lines == "rows" else noise.wave.x)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 150])
@pytest.mark.parametrize("wavelength", [6.0, 9.5])
def test_one_wave_that_all_lines_share(angle: float, wavelength: float) -> None:
    rng = np.random.default_rng(1)
    along = np.cos(np.deg2rad(angle)) * X + np.sin(np.deg2rad(angle)) * Y
    wave = np.sqrt(2) * np.sin(2 * np.pi * along / wavelength)
    noise = measure([blotches(rng) + 80 * (0.6 * wave + 0.8 * rng.standard_normal(SHAPE))], LAG)
    assert noise.wave is not None
    assert noise.wave.lines == ""
    assert noise.wave.length == pytest.approx(wavelength, rel=0.03)
    assert noise.sigma == pytest.approx(80, rel=0.05)
    if angle in (30, 45, 150):
        assert noise.wave.slant == (1 if angle < 90 else -1)


def test_wavelength_across_the_crests() -> None:
    assert Wave(10.0, math.inf).length == pytest.approx(10)
    assert Wave(10.0, 10.0).length == pytest.approx(10 / math.sqrt(2))


@pytest.mark.parametrize("kind", ["white", "horizontal", "isotropic", "negative", "row_offsets"])
def test_other_noise_is_no_wave(kind: NoiseKind) -> None:
    for scene in ("nuclei", "texture"):
        assert measure([sample(scene, kind, size=256, seed=8).noisy], LAG).wave is None


# The four pixels of a colour camera


def test_the_pattern_of_a_colour_camera() -> None:
    rng = np.random.default_rng(0)
    pattern = np.array([[0.8, 1.0], [1.0, 1.2]])
    camera = np.tile(pattern, (160, 160)) * rng.standard_normal(SHAPE)
    found = measure([blotches(rng) + 50 * camera], LAG).phases
    np.testing.assert_allclose(found, pattern / np.sqrt(np.mean(pattern**2)), rtol=0.04)


@pytest.mark.parametrize("kind", ["white", "horizontal", "vertical", "isotropic", "negative"])
def test_other_noise_is_alike_on_all_four(kind: NoiseKind) -> None:
    image = plant(blotches(np.random.default_rng(3)), kind, 18.0, np.random.default_rng(4))
    assert (measure([image], LAG).phases == 1).all()
