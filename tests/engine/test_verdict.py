"""Each kind of noise gets its name, its sentence and the mask that hides it."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from napari_autostructn2v.engine.config import Structure
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.leak_rule import leak_mask
from napari_autostructn2v.engine.mask.score import Score, score
from napari_autostructn2v.engine.mask.shapes import SINGLE_PIXEL, check_mask, union
from napari_autostructn2v.engine.mask.verdict import Verdict, judge
from napari_autostructn2v.engine.noise.correlation import Correlation
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.synthetic import NoiseKind, plant, sample

OPTIONS = Structure()
LAG, PATCH = OPTIONS.max_lag, 64
WHOLE = 2 * (PATCH - 1) + 1
SHAPE = (320, 320)
Y, X = np.indices(SHAPE)
KINDS = ("horizontal", "vertical", "isotropic", "diagonal", "row_offsets", "white", "periodic")


def spots(seed: int = 0) -> np.ndarray:
    """Blurred spots on a dark background: some of the image is flat, not all of it."""
    rng = np.random.default_rng(seed)
    points = np.zeros(SHAPE)
    points[rng.integers(0, SHAPE[0], 60), rng.integers(0, SHAPE[1], 60)] = 1
    blurred = ndimage.gaussian_filter(points, 6)
    return 1000 * blurred / blurred.max()


@cache
def planted(kind: NoiseKind, seed: int = 0) -> Noise:
    return measure([plant(spots(seed), kind, 18.0, np.random.default_rng(seed))], LAG)


def verdict(noise: Noise) -> Verdict:
    return judge(noise, OPTIONS.leak_threshold, PATCH)


@cache
def measured(kind: NoiseKind) -> np.ndarray:
    return mask_of(planted(kind, 4))


def mask_of(noise: Noise) -> np.ndarray:
    return leak_mask(noise, verdict(noise), OPTIONS, PATCH)


def waves(angle: float | None) -> Noise:
    """A wave of 8 px that all lines share, at an angle; or one for each row."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6.28, (SHAPE[0], 1)) if angle is None else 0
    turn = np.deg2rad(angle or 0)
    along = np.cos(turn) * X + np.sin(turn) * Y
    wave = np.sqrt(2) * np.sin(2 * np.pi * along / 8 + phase)
    return measure([spots() + 80 * (0.6 * wave + 0.8 * rng.standard_normal(SHAPE))], LAG)


# Verdicts


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("white", "unstructured", "one blind pixel is enough"),
        ("poisson", "unstructured", "one blind pixel is enough"),
        ("horizontal", "along x", "a horizontal run of pixels is hidden"),
        ("negative", "along x", "a horizontal run of pixels is hidden"),
        ("poisson_horizontal", "along x", "a horizontal run of pixels is hidden"),
        ("signal_horizontal", "along x", "a horizontal run of pixels is hidden"),
        ("vertical", "along y", "a vertical run of pixels is hidden"),
        ("diagonal", "diagonal", "that diagonal is hidden"),
        ("isotropic", "isotropic", "a disk of pixels is hidden"),
        ("row_offsets", "row offsets", "whole rows are hidden"),
        ("periodic", "periodic", "repeats every 8 px, .* whole rows are hidden"),
    ],
)
def test_names_and_sentences(kind: NoiseKind, name: str, words: str, seed: int) -> None:
    found = verdict(planted(kind, seed))
    assert found.name == found.kind == name
    assert 0 <= found.leak <= found.leak_bound <= 1
    assert found.sentence.count(".") == 1
    assert re.search(words, found.sentence)


def test_both_diagonals_are_told() -> None:
    noise = plant(spots(), "diagonal", 18.0, np.random.default_rng(0)) - spots()
    for image in (noise, noise[:, ::-1]):
        assert verdict(measure([spots() + image], LAG)).name == "diagonal"


def test_column_offsets_and_offsets_beside_other_noise() -> None:
    rng = np.random.default_rng(3)
    rows, columns = 60 * rng.standard_normal((320, 1)), 60 * rng.standard_normal((1, 320))
    white = spots() + 120 * rng.standard_normal(SHAPE)
    assert verdict(measure([white + columns], LAG)).name == "column offsets"
    assert verdict(measure([white + rows + columns], LAG)).name == "row offsets and column offsets"
    horizontal = plant(spots(), "horizontal", 18.0, rng)
    assert verdict(measure([horizontal + rows], LAG)).name == "along x with row offsets"


def test_a_pattern_of_its_own_is_mixed() -> None:
    kernel = np.zeros((5, 5))
    kernel[[0, 2, 2], [4, 2, 0]] = 1
    noise = ndimage.convolve(np.random.default_rng(0).standard_normal(SHAPE), kernel)
    assert verdict(measure([spots() + 60 * noise], LAG)).name == "mixed"


@pytest.mark.parametrize("psnr", [16.0, 20.0, 24.0])
@pytest.mark.parametrize("kind", ["white", "poisson"])
@pytest.mark.parametrize("seed", [5])
def test_white_noise_on_dense_texture_can_not_be_told(
    kind: NoiseKind, seed: int, psnr: float
) -> None:
    noise = measure([sample("texture", kind, size=256, seed=seed, psnr=psnr).noisy], LAG)
    found = verdict(noise)
    assert found.name in ("can't tell", "unstructured")
    if psnr >= 20:
        assert found.name == "can't tell"
        assert "Measure on a dark frame, repeated frames or an empty region" in found.sentence
    if noise.removed or found.name == "unstructured":
        assert mask_of(noise).tolist() == [[1]]


def test_blurred_noise_on_dense_structure_is_taken_for_noise() -> None:
    noise = measure([sample("filaments", "isotropic", size=256, seed=5, psnr=18.0).noisy], LAG)
    found = verdict(noise)
    assert found.name == "can't tell"
    assert "the noise must be blurred: a disk is hidden" in found.sentence
    mask = mask_of(noise)
    np.testing.assert_array_equal(mask, mask.T)
    assert 7 <= mask.shape[0] <= 15


def test_lines_are_told_even_on_dense_texture() -> None:
    for kind, name in (("horizontal", "along x"), ("vertical", "along y")):
        made = sample("texture", kind, size=256, seed=5, psnr=18.0)
        assert verdict(measure([made.noisy], LAG)).name == name


# Masks


def test_rho_above_the_ground_is_covered_and_little_more() -> None:
    for seed in (4, 5, 6):
        mask = mask_of(planted("horizontal", seed))
        assert mask.shape[0] == 1
        assert mask.all()
        # rho at lags 1 to 4 is .66 .41 .16 .04: those above .05 reach 3; at most two pairs wider.
        assert 3 <= mask.shape[1] // 2 <= 5


def test_offsets_give_full_lines() -> None:
    assert mask_of(planted("row_offsets", 7)).shape == (1, WHOLE)
    rows = plant(spots(), "row_offsets", 18.0, np.random.default_rng(7))
    assert mask_of(measure([rows.T], LAG)).shape == (WHOLE, 1)


def test_isotropic_noise_gives_a_disk() -> None:
    mask = mask_of(planted("isotropic", 8))
    np.testing.assert_array_equal(mask, mask.T)
    np.testing.assert_array_equal(mask, mask[::-1])
    assert 5 <= mask.shape[0] <= 11
    assert mask[0, 0] == 0


def test_a_diagonal_is_hidden_along_itself() -> None:
    y, x = np.nonzero(mask_of(planted("diagonal", 8)))
    near = np.abs(y - x) <= 1
    assert near.mean() > 0.8
    assert 5 <= len(np.unique(y)) <= 13


def test_a_wave_is_hidden_where_a_mask_can() -> None:
    assert mask_of(waves(None)).shape == (1, WHOLE)
    for angle in (0, 30, 90):  # known from the next lines, whatever is hidden
        noise = waves(angle)
        assert mask_of(noise).shape == (1, 1)
        assert "no mask hides it" in verdict(noise).sentence
        assert "No mask" in score(noise, np.ones((1, WHOLE)), OPTIONS, PATCH).advice


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_point_symmetric_and_do_not_leak(kind: NoiseKind) -> None:
    noise = planted(kind, 9)
    mask = mask_of(noise)
    np.testing.assert_array_equal(check_mask(mask), mask[::-1, ::-1])
    if kind != "periodic":
        assert Correlation(noise, PATCH).leak(mask)[0] < 0.1


# Scores


@pytest.fixture(scope="module")
def horizontal() -> Noise:
    return planted("horizontal", 4)


def scored(noise: Noise, mask: np.ndarray) -> Score:
    return score(noise, mask, OPTIONS, PATCH)


def test_the_measured_mask_scores_best(horizontal: Noise) -> None:
    mask = mask_of(horizontal)
    found = scored(horizontal, mask)
    assert found.advice == "The noise does not get past it."
    assert (found.error_db, found.pixels) == (0, mask.sum())
    assert found == score(horizontal, mask, OPTIONS, PATCH, mask)


def test_a_narrow_mask_leaks_and_is_told_where_to_grow(horizontal: Noise) -> None:
    single = scored(horizontal, SINGLE_PIXEL)
    assert single.leak == pytest.approx(0.63, abs=0.08)
    assert single.error_db > 1
    assert single.advice.startswith(f"{single.leak:.0%} of the noise gets past it. ")
    assert "pixels to the left and right would help." in single.advice
    three = scored(horizontal, np.ones((1, 3)))
    assert 0.1 < three.leak < single.leak
    across = scored(horizontal, np.ones((9, 1)))
    assert across.leak > 0.5
    assert "to the left and right" in across.advice


def test_what_gets_past_the_best_mask_is_told(horizontal: Noise) -> None:
    found = score(horizontal, SINGLE_PIXEL, OPTIONS, PATCH, SINGLE_PIXEL)
    assert found.advice.startswith(f"{found.leak:.0%} of the noise gets past it, and past any")


def test_advice_for_other_kinds() -> None:
    assert "above and below" in scored(planted("vertical", 4), SINGLE_PIXEL).advice
    assert "around it" in scored(planted("isotropic", 4), SINGLE_PIXEL).advice
    rows = planted("row_offsets", 4)
    for mask in (SINGLE_PIXEL, np.ones((1, 9))):
        assert scored(rows, mask).advice.endswith("Hiding whole rows would help.")
    columns = plant(spots(), "row_offsets", 18.0, np.random.default_rng(7)).T
    assert "whole columns" in scored(measure([columns], LAG), SINGLE_PIXEL).advice


def test_a_disk_too_wide_costs() -> None:
    noise = planted("white", 4)
    lag = np.arange(-9, 10)
    disk = (np.add.outer(lag**2, lag**2) <= 81).astype(np.uint8)
    found = scored(noise, disk)
    assert found.leak < 0.02
    assert found.error_db > 0.3
    assert f"at a cost of about {found.error_db:.1f} dB" in found.advice


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.array([[0, 0, 1, 1, 1]]), id="one-sided"),
        pytest.param(np.pad(np.ones((1, 1)), 4), id="a border of zeros"),
        pytest.param(np.eye(7), id="a diagonal"),
        pytest.param(np.ones((1, 41)), id="longer than the lags that are solved with"),
        pytest.param(np.ones((WHOLE, 1)), id="a column"),
        pytest.param(np.pad(np.ones((1, WHOLE)), ((5, 5), (0, 0))), id="a row with a border"),
        pytest.param(np.ones((21, 21)), id="nothing left to see"),
    ],
)
@pytest.mark.parametrize("kind", ["row_offsets", "isotropic"])
def test_any_mask_can_be_scored(kind: NoiseKind, mask: np.ndarray) -> None:
    found = score(planted(kind, 4), mask, OPTIONS, PATCH, measured(kind))
    assert 0 <= found.leak <= found.leak_bound <= 1
    assert np.isfinite(found.error_db)
    assert found.pixels == mask.sum()
    assert found.advice.endswith(".")


def test_a_border_of_zeros_changes_nothing(horizontal: Noise) -> None:
    mask = np.ones((1, 5), np.uint8)
    assert scored(horizontal, np.pad(mask, 3)) == scored(horizontal, mask)
    wide = np.pad(SINGLE_PIXEL, ((0, 0), (PATCH, PATCH)))  # as wide as a row, but no row
    assert scored(planted("row_offsets", 4), wide).leak == pytest.approx(0.15, abs=0.05)


# Masks from outside


def test_union_and_check() -> None:
    both = union(np.ones((1, 5)), np.ones((3, 1)))
    assert both.tolist() == [[0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]]
    assert check_mask(np.array([[0.0, 0.5, 255]])).tolist() == [[0, 1, 1]]
    for bad, words in (
        (np.ones((2, 3)), "odd"),
        (np.zeros((3, 3)), "central pixel"),
        (np.ones((3, 3, 3)), "2 axes"),
        (np.ones((1, 2049)), "is too large"),
    ):
        with pytest.raises(InputError, match=words):
            check_mask(bad)
