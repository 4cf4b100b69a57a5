"""Planted noise is measured as what it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from napari_autostructn2v.engine.config import Ring, Structure
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.noise import autocovariance, measure, sample_blocks
from napari_autostructn2v.engine.source import as_source
from napari_autostructn2v.engine.structure import (
    Correlation,
    check_mask,
    judge,
    leak_mask,
    ring_mask,
    union,
)

OPTIONS = Structure()
LAG = OPTIONS.max_lag
PATCH = 64
SHAPE = (320, 320)


def scene(rng: np.random.Generator) -> np.ndarray:
    """Blurred spots on a dark background: some of the image is flat, not all of it."""
    points = np.zeros(SHAPE)
    points[rng.integers(0, SHAPE[0], 60), rng.integers(0, SHAPE[1], 60)] = 1
    spots = ndimage.gaussian_filter(points, 6)
    return 1000 * spots / spots.max()


def noise(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit variance."""
    white = rng.standard_normal(SHAPE)
    match kind:
        case "white":
            made = white
        case "horizontal":
            kernel = np.array([1, 2, 3, 2, 1.0])
            line = ndimage.convolve1d(white, kernel / np.linalg.norm(kernel), axis=1)
            made = 15 * line + 8 * rng.standard_normal(SHAPE)
        case "vertical":
            made = signal.lfilter([1], [1, -0.7], white, axis=0)
        case "negative":
            made = white - np.roll(white, 1, 1)
        case "isotropic":
            made = ndimage.gaussian_filter(white, 1)
        case "rows":
            made = white + 0.75 * rng.standard_normal((SHAPE[0], 1))
        case "columns":
            made = white + 0.75 * rng.standard_normal((1, SHAPE[1]))
        case "diagonal":
            made = sum(np.roll(white, (i, i), (0, 1)) for i in range(3))
    return made / made.std()


def planted(kind: str, seed: int = 0, sigma: float = 120.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (scene(rng) + sigma * noise(kind, rng)).astype(np.float32)


def test_autocovariance_counts_pairs() -> None:
    image = np.array([[1.0, 2.0, 4.0]])
    expected = [4.0, (1 * 2 + 2 * 4) / 2, (1 + 4 + 16) / 3, (1 * 2 + 2 * 4) / 2, 4.0]
    np.testing.assert_allclose(autocovariance(image[None], 2)[0][2], expected, atol=1e-12)


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(0, 2**31)
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_autocovariance_is_the_direct_sum(h: int, w: int, lag: int, seed: int) -> None:
    image = np.random.default_rng(seed).standard_normal((h, w))
    found = autocovariance(image[None], lag)[0]
    for dy in range(-lag, lag + 1):
        for dx in range(-lag, lag + 1):
            pairs = [
                image[y, x] * image[y + dy, x + dx]
                for y in range(max(-dy, 0), min(h, h - dy))
                for x in range(max(-dx, 0), min(w, w - dx))
            ]
            expected = np.mean(pairs) if pairs else 0.0
            assert found[lag + dy, lag + dx] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("white", "unstructured"),
        ("horizontal", "along x"),
        ("vertical", "along y"),
        ("negative", "along x"),
        ("isotropic", "isotropic"),
        ("rows", "row offsets"),
        ("columns", "column offsets"),
        ("diagonal", "other"),
    ],
)
def test_verdict_on_planted_noise(kind: str, verdict: str, seed: int) -> None:
    measured = measure([planted(kind, seed)], LAG)
    assert judge(measured, OPTIONS.leak_threshold, PATCH).name == verdict
    assert measured.sigma == pytest.approx(120, rel=0.08)


def test_rho_is_the_planted_one() -> None:
    measured = measure([planted("horizontal", 3)], LAG)
    kernel = np.array([1, 2, 3, 2, 1.0])
    ideal = np.convolve(kernel, kernel)[4:] / (kernel @ kernel) * 15**2 / (15**2 + 8**2)
    np.testing.assert_allclose(measured.rho[LAG, LAG + 1 : LAG + 5], ideal[1:], atol=0.05)
    assert np.abs(measured.rho[LAG + 3 : LAG + 6, LAG - 5 : LAG + 6]).max() < 0.08
    np.testing.assert_allclose(measured.rho, measured.rho[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_horizontal_mask_covers_the_noise_and_little_more(seed: int) -> None:
    measured = measure([planted("horizontal", seed)], LAG)
    mask = leak_mask(measured, judge(measured, OPTIONS.leak_threshold, PATCH), OPTIONS, PATCH)
    assert mask.shape[0] == 1
    assert mask.all()
    # rho at lags 1 to 4 is .66 .41 .16 .04: those above .05 reach 3; at most two pairs wider.
    assert 3 <= mask.shape[1] // 2 <= 5


def test_offsets_give_full_lines() -> None:
    for kind, axis in (("rows", 1), ("columns", 0)):
        measured = measure([planted(kind, 7)], LAG)
        mask = leak_mask(measured, judge(measured, OPTIONS.leak_threshold, PATCH), OPTIONS, PATCH)
        assert mask.shape[axis] == 2 * (PATCH - 1) + 1
        assert mask.shape[1 - axis] == 1


def test_isotropic_mask_is_a_disk() -> None:
    measured = measure([planted("isotropic", 8)], LAG)
    mask = leak_mask(measured, judge(measured, OPTIONS.leak_threshold, PATCH), OPTIONS, PATCH)
    assert np.array_equal(mask, mask.T)
    assert np.array_equal(mask, mask[::-1])
    assert 5 <= mask.shape[0] <= 9
    assert mask[0, 0] == 0


def test_masks_are_point_symmetric_with_a_hidden_centre() -> None:
    for kind in ("horizontal", "vertical", "isotropic", "diagonal", "rows", "white"):
        measured = measure([planted(kind, 9)], LAG)
        mask = leak_mask(measured, judge(measured, OPTIONS.leak_threshold, PATCH), OPTIONS, PATCH)
        assert np.array_equal(check_mask(mask), mask[::-1, ::-1])


def test_leak_falls_as_the_mask_grows_and_is_zero_for_white_noise() -> None:
    correlation = Correlation(measure([planted("horizontal", 10)], LAG), PATCH)
    leaks = [correlation.leak(np.ones((1, 2 * n + 1)))[0] for n in range(8)]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(leaks))
    assert leaks[0] == pytest.approx(0.63, abs=0.06)  # R2 of the planted correlation
    assert leaks[5] < 0.02
    white = Correlation(measure([planted("white", 10)], LAG), PATCH)
    assert white.leak(np.ones((1, 1)))[1] < 0.02


def test_blind_error_prefers_the_right_mask() -> None:
    correlation = Correlation(measure([planted("horizontal", 11)], LAG), PATCH)
    errors = {n: correlation.blind_error(np.ones((1, 2 * n + 1))) for n in (0, 1, 4)}
    assert errors[4] < errors[1] < errors[0]
    assert correlation.blind_error(np.ones((9, 1))) > errors[4]  # the wrong direction


def test_awkward_images() -> None:
    rng = np.random.default_rng(0)
    holes = planted("horizontal", 1)
    holes[40:60, 30:200] = np.nan
    holes[0, 0] = np.inf
    assert judge(measure([holes], LAG), 0.02, PATCH).name == "along x"
    for shape in ((1, 300), (300, 1), (5, 7), (2, 2)):
        tiny = measure([rng.standard_normal(shape).astype(np.float32)], LAG)
        assert np.isfinite(tiny.rho).all()
        assert tiny.sigma > 0
    with pytest.raises(InputError, match=r"constant \(every pixel is 7\)"):
        measure([np.full((64, 64), 7.0)], LAG)
    with pytest.raises(InputError, match="no finite value"):
        measure([np.full((64, 64), np.nan)], LAG)


def test_samples_are_bounded() -> None:
    class Huge:
        shape, dtype, ndim = (50, 3, 100_000, 100_000), np.dtype(np.uint16), 4
        read = 0

        def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
            sizes = [len(range(*i.indices(n))) for i, n in zip(index, self.shape, strict=True)
                     if isinstance(i, slice)]  # fmt: skip
            Huge.read += int(np.prod(sizes))
            return np.zeros(sizes, np.uint16)

    sample_blocks(as_source(Huge(), "TCYX"), 1, np.random.default_rng(0))
    assert 2**20 <= Huge.read <= 2**22


def test_ring_rule_finds_a_line_in_patches_of_line_noise() -> None:
    rng = np.random.default_rng(0)
    patches = ndimage.uniform_filter1d(rng.standard_normal((40, 48, 48)), 7, axis=2)
    mask, square = ring_mask(patches, Ring())
    assert mask.shape == square.shape == (11, 11)
    assert mask[5, 4:7].all()
    assert not mask[3:5, 5].any()
    assert mask.sum() <= 25


def test_ring_rule_parameters_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    patches = ndimage.gaussian_filter(rng.standard_normal((20, 32, 32)), (0, 1.5, 1.5))
    assert ring_mask(patches, Ring(center_size=8))[0].shape == (9, 9)
    assert ring_mask(patches, Ring(max_true_pixels=5))[0].sum() <= 5
    assert ring_mask(patches, Ring(center_ratio_threshold=1.0))[0].sum() == 1
    low, high = (
        ring_mask(patches, Ring(base_percentile=p, max_true_pixels=None))[0] for p in (10, 90)
    )
    assert low.sum() > high.sum()
    whole = ring_mask(patches, Ring(crop_autocorr=False))[0]
    assert whole.shape == (63, 63)


def test_union_and_check() -> None:
    both = union(np.ones((1, 5)), np.ones((3, 1)))
    assert both.tolist() == [[0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]]
    for bad, words in (
        (np.ones((2, 3)), "odd"),
        (np.zeros((3, 3)), "central pixel"),
        (np.ones((3, 3, 3)), "2 axes"),
    ):
        with pytest.raises(InputError, match=words):
            check_mask(bad)
