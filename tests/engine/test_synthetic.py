"""The planted noise is what it says it is: everything else is judged by it."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.synthetic import NoiseKind, Scene, plant, psnr, sample

SCENES = get_args(Scene)
KINDS = get_args(NoiseKind)


def correlation(noise, max_lag):
    """Circular autocorrelation: enough for a field much larger than its lags."""
    noise = noise - noise.mean()
    values = np.fft.ifft2(np.abs(np.fft.fft2(noise)) ** 2).real
    lags = np.arange(-max_lag, max_lag + 1)
    return values[np.ix_(lags, lags)] / values[0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_rho_is_the_autocorrelation_of_the_planted_noise(kind):
    made = sample("vesicles", kind, size=512, seed=1)
    noise = made.noisy.astype(np.float64) - made.clean

    # 4 standard errors of one lag for correlated noise; row offsets vary with 512 rows only.
    np.testing.assert_allclose(correlation(noise, 8), made.rho(8), atol=0.04)


@pytest.mark.parametrize(
    ("kind", "lag", "expected"),
    [
        ("white", (0, 1), 0.0),
        ("horizontal", (0, 1), 225 / 289 * 16 / 19),
        ("horizontal", (0, 4), 225 / 289 * 1 / 19),
        ("horizontal", (0, 5), 0.0),
        ("horizontal", (1, 0), 0.0),
        ("vertical", (1, 0), 0.7),
        ("vertical", (3, 0), 0.7**3),
        ("vertical", (0, 1), 0.0),
        ("negative", (0, 1), -0.5),
        ("negative", (0, 2), 0.0),
        ("diagonal", (1, 1), 0.9 * 16 / 19),
        ("diagonal", (1, -1), 0.0),
        ("row_offsets", (0, 7), 0.15),
        ("row_offsets", (1, 0), 0.0),
        ("poisson", (0, 1), 0.0),
        ("poisson_horizontal", (0, 1), 0.5 * 225 / 289 * 16 / 19),
        ("poisson_horizontal", (1, 0), 0.0),
        ("signal_horizontal", (0, 1), 225 / 289 * 16 / 19),
    ],
)
def test_rho_by_hand(kind, lag, expected):
    rho = sample("vesicles", kind, size=32).rho(8)

    assert rho[8, 8] == 1
    assert rho[8 + lag[0], 8 + lag[1]] == pytest.approx(expected, abs=1e-5)
    assert rho[8 - lag[0], 8 - lag[1]] == pytest.approx(expected, abs=1e-5)


def test_isotropic_is_the_same_in_x_and_y_and_periodic_swings():
    isotropic, periodic = (sample("vesicles", k, size=32).rho(8) for k in ("isotropic", "periodic"))

    np.testing.assert_allclose(isotropic, isotropic.T)
    assert isotropic[8, 9] == pytest.approx(np.exp(-1 / 4), abs=0.01)
    assert periodic[8, 12] < -0.5
    assert periodic[8, 16] > 0.5


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("level", [12.0, 18.0])
def test_psnr_is_met(scene, level):
    made = sample(scene, "horizontal", size=(96, 160), psnr=level)

    assert made.noisy.shape == (96, 160)
    assert made.noisy.dtype == np.float32
    assert psnr(made.clean, made.noisy) == pytest.approx(level, abs=1e-3)


@pytest.mark.parametrize("kind", ["poisson", "poisson_horizontal", "signal_horizontal"])
def test_photon_noise_grows_with_the_signal_and_meets_psnr_nearly(kind):
    made = sample("nuclei", kind, seed=2)
    squared = (made.noisy - made.clean) ** 2
    light = made.clean - made.clean.min()
    dark, bright = light < 200, light > 1000
    growth = squared[bright].mean() / squared[dark].mean()

    assert psnr(made.clean, made.noisy) == pytest.approx(18, abs=0.1)
    # A twentieth of the brightest light reaches the dark: proportional, or over a constant half.
    if kind == "poisson_horizontal":
        assert 1.5 < growth < 4
    else:
        expected = (light[bright].mean() + 100) / (light[dark].mean() + 100)
        assert growth == pytest.approx(expected, rel=0.1)


def test_half_of_poisson_horizontal_is_constant_line_noise():
    made = sample("nuclei", "poisson_horizontal", seed=2)
    light = made.clean - made.clean.min() + 100
    noise = (made.noisy - made.clean).astype(np.float64)
    slope, constant = np.polyfit(light.ravel(), noise.ravel() ** 2, 1)

    assert constant == pytest.approx(noise.var() / 2, rel=0.15)
    assert slope * light.mean() == pytest.approx(noise.var() / 2, rel=0.15)


def test_noise_can_be_planted_on_any_image():
    clean = np.linspace(0, 1, 96 * 80).reshape(96, 80)
    for kind in KINDS:
        noisy = plant(clean, kind, 20.0, np.random.default_rng(0))
        assert noisy.shape == clean.shape
        assert psnr(clean, noisy) == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_depends_on_its_seed_alone(scene):
    one, same, other = (sample(scene, "white", size=64, seed=s) for s in (3, 3, 4))
    other_noise = sample(scene, "vertical", size=64, seed=3)

    np.testing.assert_array_equal(one.noisy, same.noisy)
    np.testing.assert_array_equal(one.clean, other_noise.clean)
    assert not np.array_equal(one.clean, other.clean)
    assert np.ptp(one.clean) == 2000


def test_integers_are_rounded_and_not_clipped():
    made = sample("filaments", "horizontal", size=256, dtype=np.uint16)

    assert made.noisy.dtype == made.clean.dtype == np.uint16
    assert made.noisy.min() > 0
    assert psnr(made.clean, made.noisy) == pytest.approx(18, abs=0.01)


def test_psnr_by_hand():
    truth = np.array([[0.0, 10.0]])

    assert psnr(truth, truth + 1) == pytest.approx(20)
    assert psnr(truth, truth) == np.inf


def test_unknown_names_are_told():
    with pytest.raises(InputError, match="scene 'cats' is not one of filaments"):
        sample("cats")
    with pytest.raises(InputError, match="noise 'pink' is not one of white"):
        sample("nuclei", "pink")
