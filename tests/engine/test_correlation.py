"""What is solved with a measured correlation is a share, whatever the measurement."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_autostructn2v.engine.noise.correlation import Correlation, autocovariance
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.noise.noise_variance import Variance
from napari_autostructn2v.engine.synthetic import noise_autocorrelation, sample

LAG, PATCH = 20, 64


def line(n: int) -> np.ndarray:
    return np.ones((1, 2 * n + 1), np.uint8)


def known(short: np.ndarray, error: float = 0.001, rows: float = 0.0) -> Noise:
    """Noise of unit strength whose correlation is given, on an image without signal."""
    return Noise(
        short=short,
        short_error=np.full(short.shape, error),
        sigma=1.0,
        row_offset=rows,
        column_offset=0.0,
        autocovariance=short,
        tiles=8,
        variance=Variance(1.0),
    )


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


@given(st.integers(0, 2**31), st.floats(0, 1.5), st.floats(0.001, 0.3), st.floats(0, 0.9))
@settings(max_examples=6, deadline=None)
def test_a_leak_is_a_share_even_of_an_impossible_correlation(
    seed: int, size: float, error: float, rows: float
) -> None:
    rho = np.random.default_rng(seed).uniform(-size, size, (17, 17))
    rho = (rho + rho[::-1, ::-1]) / 2
    rho[8, 8] = 1
    correlation = Correlation(known(rho, error, rows), PATCH)
    for mask in (line(0), line(3), np.ones((3, 3), np.uint8)):
        leak, bound = correlation.leak(mask)
        assert 0 <= leak <= bound <= 1


def test_leak_is_that_of_the_planted_correlation() -> None:
    # An autoregressive process is predicted from its two nearest: R2 = 2 r^2 / (1 + r^2).
    # The ridge, 2 % of the variance, takes a little of it.
    leak, _ = Correlation(known(noise_autocorrelation("vertical", LAG)), PATCH).leak(line(0))
    assert leak == pytest.approx(2 * 0.49 / 1.49, abs=0.02)


def test_offsets_leak_until_the_mask_reaches_across_a_patch() -> None:
    white = np.zeros((41, 41))
    white[20, 20] = 1
    correlation = Correlation(known(white, rows=0.15), PATCH)
    assert correlation.leak(line(0))[0] == pytest.approx(0.15)
    assert correlation.leak(line(40))[0] == pytest.approx(0.15)
    assert correlation.leak(line(PATCH - 1))[0] == 0


def test_leak_falls_as_the_mask_grows_and_is_zero_for_white_noise() -> None:
    correlation = Correlation(measure([sample("vesicles", seed=3).noisy], LAG), PATCH)
    leaks = [correlation.leak(line(n))[0] for n in range(8)]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(leaks))
    assert leaks[0] == pytest.approx(0.63, abs=0.06)  # R2 of the planted correlation
    assert leaks[5] < 0.02
    white = Correlation(measure([sample("vesicles", "white", seed=3).noisy], LAG), PATCH)
    assert white.leak(line(0))[1] < 0.02


def test_blind_error_prefers_the_right_mask() -> None:
    correlation = Correlation(measure([sample("vesicles", seed=3).noisy], LAG), PATCH)
    errors = {n: correlation.blind_error(line(n)) for n in (0, 1, 4)}
    assert errors[4] < errors[1] < errors[0]
    assert correlation.blind_error(line(4).T) > errors[4]  # the wrong direction


def test_greedy_starts_from_a_mask_and_takes_pairs() -> None:
    correlation = Correlation(known(noise_autocorrelation("horizontal", LAG)), PATCH)
    masks = list(correlation.greedy(3))
    assert [mask.sum() for mask in masks] == [3, 5, 7]
    assert masks[0].tolist() == [[1, 1, 1]]
    lopsided = np.array([[0, 0, 1, 1, 1]])
    grown = next(iter(correlation.greedy(1, lopsided)))
    assert grown.tolist() == [[1] * 7]
