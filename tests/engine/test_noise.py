"""Planted noise is measured as what it is: on flat tiles, on repeats, and where nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.shapes import SINGLE_PIXEL
from napari_autostructn2v.engine.mask.verdict import judge
from napari_autostructn2v.engine.noise.correlation import Correlation
from napari_autostructn2v.engine.noise.flat_tiles import TILE
from napari_autostructn2v.engine.noise.measure import measure, measure_empty, measure_repeats
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.synthetic import (
    NoiseKind,
    noise_autocorrelation,
    plant,
    sample,
)

LAG, PATCH, THRESHOLD = 20, 64, 0.02
STATIONARY = ("white", "horizontal", "vertical", "isotropic", "diagonal", "negative", "row_offsets")
WHITE = np.random.default_rng(7).standard_normal((256, 256)).astype(np.float32)


def rho_error(noise: Noise, kind: NoiseKind) -> float:
    """Root mean square over 21 x 21 lags."""
    near = slice(LAG - 10, LAG + 11)
    difference = noise.rho - noise_autocorrelation(kind, LAG)
    return float(np.sqrt(np.mean(difference[near, near] ** 2)))


def frames(
    kind: NoiseKind, count: int, size: int = 512, psnr: float = 18.0, shift: int = 0
) -> list[np.ndarray]:
    """Frames of one scene, each later one `shift` px further."""
    clean = sample("nuclei", "white", size=size, seed=5).clean
    return [
        plant(np.roll(clean, i * shift, 1), kind, psnr, rng).astype(np.float32)
        for i, rng in enumerate(np.random.default_rng(5).spawn(count))
    ]


def name(noise: Noise) -> str:
    return judge(noise, THRESHOLD, PATCH).name


@pytest.mark.parametrize("kind", STATIONARY)
def test_strength_and_correlation_are_the_planted_ones(kind: NoiseKind) -> None:
    made = sample("vesicles", kind, size=320, seed=3)
    noise = measure([made.noisy], LAG)
    assert noise.sigma == pytest.approx(float((made.noisy - made.clean).std()), rel=0.08)
    assert rho_error(noise, kind) < 0.04
    np.testing.assert_allclose(noise.rho, noise.rho[::-1, ::-1], atol=1e-6)
    assert noise.rho[LAG, LAG] == 1


def test_the_standard_error_is_what_the_estimate_varies_by() -> None:
    rng = np.random.default_rng(0)
    noises = [measure([rng.standard_normal((256, 256))], LAG) for _ in range(12)]
    lags = (slice(LAG, LAG + 8), slice(LAG + 1, LAG + 9))
    spread = np.std([noise.short[lags] for noise in noises], axis=0)
    claimed = np.mean([noise.short_error[lags] for noise in noises], axis=0)
    assert 0.6 < np.median(spread / claimed) < 1.4


@pytest.mark.parametrize("seed", range(4))
def test_estimation_noise_alone_leaks_nothing(seed: int) -> None:
    noise = measure([np.random.default_rng(seed).standard_normal((256, 256))], LAG)
    leak, bound = Correlation(noise, PATCH).leak(SINGLE_PIXEL)
    assert 0 <= leak <= bound < THRESHOLD
    assert name(noise) == "unstructured"


def test_several_blocks_are_measured_together() -> None:
    rng = np.random.default_rng(0)
    blocks = [100 * i + rng.standard_normal((64, 64)).astype(np.float32) for i in range(4)]
    noise = measure(blocks, LAG)
    assert noise.sigma == pytest.approx(1, rel=0.08)
    assert len(set(noise.places[:, 0])) > 1


def test_the_same_image_gives_the_same_numbers() -> None:
    image = sample("nuclei", "horizontal", size=256).noisy
    one, two = measure([image], LAG), measure([image.copy()], LAG)
    np.testing.assert_array_equal(one.rho, two.rho)
    np.testing.assert_array_equal(one.error, two.error)
    assert (one.sigma, one.doubt, one.variance) == (two.sigma, two.doubt, two.variance)


# Repeats


@pytest.mark.parametrize("kind", ["white", "horizontal", "isotropic", "row_offsets"])
def test_differences_of_frames_give_the_correlation_closely(kind: NoiseKind) -> None:
    one, two, three, four = frames(kind, 4)
    noise = measure_repeats([(one, two), (three, four)], LAG)
    assert rho_error(noise, kind) <= 0.005
    assert noise.sigma == pytest.approx(2000 * 10 ** (-18 / 20), rel=0.03)
    assert noise.doubt == 0


def test_differences_of_frames_see_noise_where_no_place_is_flat() -> None:
    clean = sample("texture", "white", size=256, seed=5).clean
    rngs = np.random.default_rng(0).spawn(2)
    pair = [plant(clean, "white", 24.0, rng).astype(np.float32) for rng in rngs]
    assert name(measure(pair[:1], LAG)) == "can't tell"
    assert name(measure_repeats([(pair[0], pair[1])], LAG)) == "unstructured"


def test_what_is_fixed_in_time_is_not_in_the_differences() -> None:
    fixed = 400 * np.random.default_rng(9).standard_normal((256, 1)).astype(np.float32)
    one, two = (frame + fixed for frame in frames("white", 2, size=256))
    assert name(measure([one], LAG)) == "row offsets"
    assert name(measure_repeats([(one, two)], LAG)) == "unstructured"


@pytest.mark.parametrize("shift", [1, 4])
def test_a_moving_scene_is_refused(shift: int) -> None:
    one, two = frames("white", 2, size=256, shift=shift)
    with pytest.raises(InputError, match=r"its movement explains \d+% .*\(mask_source = raw\)"):
        measure_repeats([(one, two)], LAG)


@pytest.mark.parametrize("kind", ["vertical", "isotropic", "poisson", "signal_horizontal"])
def test_noise_is_no_movement(kind: NoiseKind) -> None:
    one, two, three, four = frames(kind, 4, 256, psnr=16.0)
    measure_repeats([(one, two), (three, four)], LAG)


def test_offsets_of_rows_are_no_movement() -> None:
    clean = sample("nuclei", "white", size=256, seed=5).clean
    for seed in range(6):
        rng = np.random.default_rng(seed)
        one, two = (
            clean + 200 * rng.standard_normal(clean.shape) + 400 * rng.standard_normal((256, 1))
            for _ in range(2)
        )
        measure_repeats([(one, two)], LAG)


def test_too_few_edges_tell_no_movement() -> None:
    for seed in range(12):
        one, two = np.random.default_rng(seed).standard_normal((2, 12, 12)).astype(np.float32)
        measure_repeats([(one, two)], LAG)


def test_repeats_that_are_alike_are_refused() -> None:
    with pytest.raises(InputError, match="is constant"):
        measure_repeats([(WHITE, WHITE)], LAG)


# Nothing but noise


def test_an_empty_region_is_used_whole() -> None:
    made = sample("texture", "isotropic", size=256, seed=2)
    empty = (made.noisy - made.clean)[:96, :96]
    noise = measure_empty([empty], [made.noisy], LAG)
    assert name(noise) == "isotropic"
    assert noise.share == 1
    assert noise.doubt == 0
    # The signal's own covariance is the image's, not the empty region's.
    assert noise.autocovariance[LAG, LAG] == pytest.approx(float(made.noisy.var()), rel=0.01)


# Awkward images


def test_holes_are_left_out() -> None:
    image = sample("vesicles", "horizontal", size=256, seed=1).noisy.copy()
    image[::80, ::40] = np.nan
    image[0, 0] = np.inf
    image[255, :9] = -np.inf
    noise = measure([image], LAG)
    assert name(noise) == "along x"
    assert np.isfinite(noise.rho).all()
    for _, y, x in noise.places:
        assert np.isfinite(image[y : y + TILE, x : x + TILE]).mean() > 0.9


@pytest.mark.parametrize(
    "shape", [(1, 2), (2, 1), (2, 2), (1, 300), (300, 1), (5, 5), (5, 7), (3, 400), (33, 31)]
)
def test_tiny_images_are_measured_and_not_overrated(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, *shape)).astype(np.float32)
    for noise in (
        measure([one], LAG),
        measure_empty([one], [one], LAG),
        measure_repeats([(one, two)], LAG),
    ):
        assert np.isfinite(noise.rho).all()
        assert np.isfinite(noise.error).all()
        assert noise.sigma > 0
        assert one.size < 100 or name(noise) == "unstructured"


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.clip(40 + 6 * WHITE, 0, 255).astype(np.uint8), id="uint8"),
        pytest.param(WHITE > 0, id="bool"),
        pytest.param(1e6 + WHITE, id="high offset"),
        pytest.param(np.clip(100 + 20 * WHITE, 0, 120), id="saturated"),
        pytest.param(np.random.default_rng(0).poisson(0.05, WHITE.shape), id="rare photons"),
        pytest.param(np.where(np.arange(256) < 128, 0, WHITE), id="half of it constant"),
        pytest.param(np.where(np.arange(256) % 8, WHITE, np.nan), id="no tile without NaN"),
    ],
)
def test_white_noise_of_any_make_is_unstructured(image: np.ndarray) -> None:
    noise = measure([image.astype(np.float32)], LAG)
    assert name(noise) == "unstructured"
    assert np.isfinite(noise.sigma)


def test_what_holds_no_noise_is_refused() -> None:
    with pytest.raises(InputError, match=r"constant \(every pixel is 7\)"):
        measure([np.full((64, 64), 7.0)], LAG)
    with pytest.raises(InputError, match="no finite value"):
        measure([np.full((64, 64), np.nan)], LAG)
    half = np.full((64, 64), np.nan)
    half[:32] = 3
    with pytest.raises(InputError, match=r"constant \(every pixel is 3\)"):
        measure([half], LAG)
