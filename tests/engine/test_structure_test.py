"""Structure in the tiles is told from noise, and what is alike in all directions is taken out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.noise.structure_test import isotropic_part
from napari_autostructn2v.engine.synthetic import NoiseKind, noise_autocorrelation, sample

LAG = 20
LAGS = np.arange(-LAG, LAG + 1)


def structure(width: float) -> np.ndarray:
    """The correlation of structures of one size, which ends at 1."""
    return np.exp(-np.add.outer(LAGS**2, LAGS**2) / (2 * width**2))


@pytest.mark.parametrize("scene", ["nuclei", "vesicles"])
@pytest.mark.parametrize("kind", ["white", "horizontal", "vertical", "isotropic", "poisson"])
def test_no_doubt_where_there_are_flat_places(scene: str, kind: NoiseKind) -> None:
    noise = measure([sample(scene, kind, size=256, seed=5, psnr=18.0).noisy], LAG)
    assert noise.doubt < 1
    assert noise.removed == 0


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("kind", ["white", "negative", "poisson"])
def test_doubt_in_dense_texture(kind: NoiseKind, seed: int) -> None:
    noise = measure([sample("texture", kind, size=256, seed=seed, psnr=20.0).noisy], LAG)
    assert noise.doubt > 1
    assert noise.removed > 0.1


def test_small_bright_spots_are_told_by_their_sign_alone() -> None:
    """They are strewn evenly: the tiles are all alike."""
    rng = np.random.default_rng(0)
    spots = np.zeros((256, 256))
    spots[tuple(rng.integers(0, 256, (2, 768)))] = 1
    spots = 40 * ndimage.gaussian_filter(spots, 1.5, mode="wrap")
    noise = rng.standard_normal((256, 256))
    assert measure([noise + spots], LAG).doubt > 1
    # As many dark ones make the sum as often low as high.
    assert measure([noise + spots - spots[::-1, ::-1]], LAG).doubt < 1


def test_taking_structure_out_mends_strength_and_correlation() -> None:
    made = sample("texture", "horizontal", size=256, seed=5, psnr=20.0)
    noise = measure([made.noisy], LAG)
    true = float((made.noisy - made.clean).std())
    with_structure = noise.sigma / (1 - noise.removed) ** 0.5
    assert abs(noise.sigma / true - 1) < 0.15 < with_structure / true - 1
    rho = noise_autocorrelation("horizontal", LAG)
    np.testing.assert_allclose(noise.rho[LAG, LAG : LAG + 5], rho[LAG, LAG : LAG + 5], atol=0.1)


@pytest.mark.parametrize("kind", ["white", "horizontal", "vertical", "diagonal"])
def test_the_part_alike_in_all_directions(kind: NoiseKind) -> None:
    mixed = 0.6 * noise_autocorrelation(kind, LAG) + 0.4 * structure(2.5)
    part, scatter = isotropic_part(mixed, np.full(mixed.shape, 0.005))
    np.testing.assert_allclose(part[LAG, LAG], 0.4, atol=0.06)
    assert scatter < 0.03


def test_noise_without_structure_has_no_such_part() -> None:
    part, _ = isotropic_part(noise_autocorrelation("horizontal", LAG), np.full((41, 41), 0.005))
    assert part[LAG, LAG] < 0.05


def test_noise_blurred_in_all_directions_is_not_taken_for_structure() -> None:
    noise = measure([sample("texture", "isotropic", size=256, seed=5, psnr=24.0).noisy], LAG)
    assert noise.removed == 0
