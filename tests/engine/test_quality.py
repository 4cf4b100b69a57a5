"""Quality without a truth is what it is against the truth; leaks and losses are told apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
from scipy import linalg, ndimage

from napari_autostructn2v.engine.evaluation.quality import MEANING, Card, assess, recommend
from napari_autostructn2v.engine.evaluation.residual import check
from napari_autostructn2v.engine.mask.shapes import union
from napari_autostructn2v.engine.noise.correlation import Correlation
from napari_autostructn2v.engine.noise.measure import Variance, measure
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.noise.simulation import simulate
from napari_autostructn2v.engine.synthetic import Sample, plant, sample

LAG = 20
SINGLE = np.ones((1, 1), np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def row(width: int) -> np.ndarray:
    return np.ones((1, width), np.uint8)


def blur(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda block: ndimage.gaussian_filter(block, sigma)


def gain(drawn: Sample, result: np.ndarray) -> float:
    errors = [np.mean((image - drawn.clean) ** 2) for image in (drawn.noisy, result)]
    return float(10 * np.log10(errors[0] / errors[1]))


def made(scene: str, noise: str, seed: int = 7, size: int = 256) -> tuple[Sample, Noise]:
    drawn = sample(scene, noise, size=size, seed=seed, psnr=18)  # type: ignore[arg-type]
    return drawn, measure([drawn.noisy], LAG)


def known(rho: np.ndarray, sigma: float, **about: float) -> Noise:
    """Noise of a known correlation, (2L+1, 2L+1)."""
    return Noise(
        short=rho,
        short_error=np.full_like(rho, 1e-3),
        sigma=sigma,
        row_offset=about.get("row_offset", 0.0),
        column_offset=0.0,
        autocovariance=rho * sigma**2,
        tiles=20,
        variance=Variance(sigma**2),
        doubt=about.get("doubt", 0.0),
    )


def lags(**values: float) -> np.ndarray:
    """A correlation of 1 at lag 0, and of the values given along x: `one=0.5` is at lags +-1."""
    rho = np.zeros((2 * LAG + 1,) * 2)
    rho[LAG, LAG] = 1
    for lag, name in enumerate(("one", "two", "three", "four"), 1):
        rho[LAG, [LAG - lag, LAG + lag]] = values.get(name, 0.0)
    return rho


TENT = lags(one=16 / 19, two=10 / 19, three=4 / 19, four=1 / 19)  # of the kernel [1 2 3 2 1]


def test_simulated_noise_is_the_noise_measured() -> None:
    noise = known(TENT, 30.0, row_offset=0.2)
    noise = dataclasses.replace(noise, variance=Variance(500, 4, (0, 200)))
    result = np.where(np.arange(400) < 200, 0.0, 100.0) * np.ones((300, 1))
    drawn = simulate(noise, result, rng(), 3)
    dark, bright = drawn[:, :, 20:180], drawn[:, :, 220:380]
    np.testing.assert_allclose([dark.var(), bright.var()], [500, 900], rtol=0.05)
    shifted = [(dark[..., lag:] * dark[..., : 160 - lag]).mean() / 500 for lag in (1, 2, 4, 8)]
    np.testing.assert_allclose(shifted, 0.2 + 0.8 * np.array([16, 10, 1, 0]) / 19, atol=0.03)
    assert abs((dark[:, 1:] * dark[:, :-1]).mean() / 500) < 0.03


@pytest.mark.parametrize("noise", ["white", "horizontal", "row_offsets"])
@pytest.mark.parametrize(("scene", "sigma"), [("nuclei", 1.0), ("nuclei", 2.0), ("membranes", 1.0)])
def test_gain_is_the_true_one(scene: str, noise: str, sigma: float) -> None:
    drawn, measured = made(scene, noise)
    card = assess(blur(sigma), [drawn.noisy], measured, rng())
    assert card.gain_db == pytest.approx(gain(drawn, blur(sigma)(drawn.noisy)), abs=1)


@pytest.mark.parametrize("factor", [0.75, 1.25])
def test_gain_survives_a_wrong_noise_level(factor: float) -> None:
    drawn, measured = made("nuclei", "white")
    scaled = dataclasses.replace(
        measured,
        sigma=measured.sigma * factor**0.5,
        variance=Variance(measured.variance.read * factor),
    )
    right, wrong = (assess(blur(1.5), [drawn.noisy], n, rng()) for n in (measured, scaled))
    assert wrong.gain_db == pytest.approx(right.gain_db, abs=0.4)
    assert right.gain_range_db is not None
    assert right.gain_range_db[0] <= right.gain_db <= right.gain_range_db[1]


def test_photon_noise_is_not_taken_for_lost_structure() -> None:
    drawn, measured = made("nuclei", "poisson")
    dark = dataclasses.replace(measured, variance=Variance(measured.variance.read))
    card = assess(blur(1.0), [drawn.noisy], dark, rng())
    assert card.gain_db == pytest.approx(gain(drawn, blur(1.0)(drawn.noisy)), abs=1.5)


def test_noise_left_and_detail_kept_are_the_true_ones() -> None:
    drawn, measured = made("filaments", "white", seed=3)
    kernel = np.zeros((31, 31))
    kernel[15, 15] = 1
    for sigma in (1.0, 3.0):
        card = assess(blur(sigma), [drawn.noisy], measured, rng())
        passed = (blur(sigma)(kernel) ** 2).sum()
        assert card.noise_left_percent == pytest.approx(100 * passed, rel=0.15)
        band = blur(1.0)(drawn.clean) - blur(4.0)(drawn.clean)
        kept = (blur(sigma)(band) * band).sum() / (band**2).sum()
        assert card.detail_kept_percent == pytest.approx(100 * kept, abs=8)


def test_a_blur_cannot_win() -> None:
    drawn, measured = made("filaments", "white", seed=3)
    cards = {
        str(sigma): assess(blur(sigma), [drawn.noisy], measured, rng()) for sigma in (1.0, 5.0)
    }
    mild, heavy = cards.values()
    # The noise that is left would choose it.
    assert (heavy.noise_left_percent or 0) < (mild.noise_left_percent or 0)
    assert (heavy.structure_lost_percent or 0) > 20 > (mild.structure_lost_percent or 0)
    assert recommend(cards) == "1.0"


@pytest.mark.parametrize("count", [1, 2])
def test_gain_against_repeats_is_the_true_one(count: int) -> None:
    drawn, measured = made("nuclei", "horizontal", size=384)
    frames = [
        plant(drawn.clean, "horizontal", 18.0, np.random.default_rng(seed)) for seed in range(count)
    ]
    card = assess(blur(1.0), [drawn.noisy], measured, rng(), [[frame] for frame in frames])
    true = gain(drawn, blur(1.0)(drawn.noisy))
    assert card.repeats_gain_db == pytest.approx(true, abs=0.3)


def test_missing_values_are_left_out() -> None:
    drawn, measured = made("nuclei", "white")
    holed = drawn.noisy.copy()
    holed[40:60, 40:60] = np.nan
    whole, with_hole = (assess(blur(1.0), [b], measured, rng()) for b in (drawn.noisy, holed))
    assert with_hole.gain_db == pytest.approx(whole.gain_db, abs=0.3)
    empty = np.full_like(holed, np.nan)
    assert assess(blur(1.0), [empty], measured, rng()).report() == {}
    both = assess(blur(1.0), [drawn.noisy, empty], measured, rng())
    assert both.gain_db == pytest.approx(whole.gain_db, abs=0.01)


def test_noise_in_doubt_gives_no_gain_unless_the_residual_is_clean() -> None:
    drawn, measured = made("nuclei", "horizontal")
    doubtful = dataclasses.replace(measured, doubt=2.0)
    card = assess(blur(1.0), [drawn.noisy], doubtful, rng())  # mixes neighbours along x
    assert card.gain_db is None
    assert card.gain_range_db is None
    clean = assess(lambda block: drawn.clean, [drawn.noisy], doubtful, rng())
    assert clean.gain_db is not None


def card(gain_db: float | None, width: float = 0.1, repeats: float | None = None) -> Card:
    ends = None if gain_db is None else (gain_db - width, gain_db + width)
    return Card(gain_db, ends, 5.0, 90.0, 0.0, repeats)


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [
        (card(5), card(8), "stage2"),
        (card(8), card(5), "stage1"),
        (card(5), card(5.2), "stage1"),  # a tie
        (card(5), card(6, width=2), "stage1"),  # not whatever the noise
        (card(None), card(5), "stage2"),
        (card(None), card(None), "stage2"),
        (card(8, repeats=3.0), card(5, repeats=6.0), "stage2"),
    ],
)
def test_recommend(first: Card, second: Card, best: str) -> None:
    assert recommend({"stage1": first, "stage2": second}) == best


def test_report_is_plain_and_explained() -> None:
    report = card(5.0, repeats=4.0).report()
    assert json.loads(json.dumps(report)) == report
    assert set(MEANING) == set(report) - {"gain_range_db"}
    assert "gain_db" not in card(None).report()
    for texts in MEANING.values():
        assert set(texts) == {"title", "meaning", "bias"}


# The check of the residual: results are made, so that what leaks and what is lost is known.


def leaked(noise: np.ndarray, rho: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The best linear prediction of noise from the pixels a mask leaves visible, within 9 px."""
    hidden = np.pad(mask, [((19 - n) // 2,) * 2 for n in mask.shape]).astype(bool)
    seen = np.argwhere(~hidden)

    def at(between: np.ndarray) -> np.ndarray:
        return rho[LAG + between[..., 0], LAG + between[..., 1]]

    apart = seen[:, None] - seen[None]
    kernel = np.zeros((19, 19))
    kernel[tuple(seen.T)] = linalg.solve(at(apart) + 0.02 * np.eye(len(seen)), at(seen - 9))
    return ndimage.correlate(noise, kernel, mode="wrap")


def planted(rho: np.ndarray, mask: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image, and the result of a network trained with a mask."""
    clean = sample("nuclei", "white", size=256, seed=7).clean
    draw = np.random.default_rng(seed)
    noise = simulate(known(rho, 250.0), np.zeros(clean.shape), draw, 1)[0]
    return clean + noise, clean + leaked(noise, rho, mask)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("rho", "mask", "verdict"),
    [
        (TENT, row(9), "fits"),
        (TENT, row(15), "fits"),
        (TENT, row(5), "leaks"),
        (TENT, row(3), "leaks"),
        (TENT, row(9).T, "leaks"),
        (lags(), SINGLE, "fits"),
        (lags(one=-0.48), row(3), "fits"),
        (lags(one=-0.48), SINGLE, "leaks"),
    ],
    ids=["exact", "wide", "narrow", "narrower", "across", "white", "negative", "negative narrow"],
)
def test_check_finds_leaks(rho: np.ndarray, mask: np.ndarray, verdict: str, seed: int) -> None:
    noise = known(rho, 250.0)
    noisy, denoised = planted(rho, mask, seed)
    found = check([noisy], [denoised], noise, mask, rng())
    assert found.verdict == verdict
    if verdict == "fits":
        assert abs(found.missing) < 0.08
        assert found.lobes < 0.1
        assert found.extend is None
        reach = found.rho.shape[0] // 2
        near = found.rho[reach, reach + 1 : reach + 4]
        np.testing.assert_allclose(near, rho[LAG, LAG + 1 : LAG + 4], atol=0.08)
    else:
        assert found.extend is not None
        wider = Correlation(noise, 64).leak(found.extend)[0]
        assert wider < 0.1 < Correlation(noise, 64).leak(mask)[0] + 0.06
        np.testing.assert_array_equal(union(found.extend, mask), found.extend)
        np.testing.assert_array_equal(found.extend[::-1, ::-1], found.extend)


def test_averaging_neighbours_that_share_no_noise_is_no_leak() -> None:
    clean = sample("nuclei", "white", size=256, seed=7).clean
    noise = simulate(known(TENT, 250.0), np.zeros(clean.shape), rng(), 1)[0]
    averaged = ndimage.correlate1d(noise, [0.08, 0, 0, 0, 0.08], axis=0)
    found = check([clean + noise], [clean + averaged], known(TENT, 250.0), row(9), rng())
    assert found.lobes > 0.06
    assert found.verdict == "fits"


def test_noise_that_was_not_taken_away_is_no_fit() -> None:
    drawn, measured = made("nuclei", "white")
    for kept in (1.0, 0.9):
        result = drawn.clean + kept * (drawn.noisy - drawn.clean)
        found = check([drawn.noisy], [result], measured, SINGLE, rng())
        assert found.verdict == "leaks"
        assert found.missing > 0.9
    card = assess(lambda block: block, [drawn.noisy], measured, rng())
    assert card.gain_db == pytest.approx(0, abs=0.2)
    assert card.noise_left_percent == pytest.approx(100, abs=2)
    assert card.detail_kept_percent == pytest.approx(100, abs=2)


def test_missing_is_the_share_that_leaked() -> None:
    noisy, denoised = planted(TENT, row(3))
    found = check([noisy], [denoised], known(TENT, 250.0), row(3), rng())
    expected = Correlation(known(TENT, 250.0), 64).leak(row(3))[0]
    assert found.missing == pytest.approx(expected, abs=0.06)
    assert 0 < found.error < 0.05
    assert found.lobes > 0.2


def test_check_asks_for_whole_rows_where_their_offsets_leak() -> None:
    clean = sample("nuclei", "white", size=256, seed=7).clean
    offsets = 100 * np.random.default_rng(1).standard_normal((256, 1))
    white = 200 * np.random.default_rng(2).standard_normal(clean.shape)
    noise = known(lags(), float(np.hypot(100, 200)), row_offset=0.2)
    for guessed, verdict in ((0 * offsets, "fits"), (offsets, "leaks")):
        mean = ndimage.uniform_filter1d(white, 9, axis=1)  # the guess is not free of noise
        result = clean + guessed + (mean if verdict == "leaks" else 0)
        found = check([clean + offsets + white], [result], noise, row(5), rng(), patch=32)
        assert found.verdict == verdict
    assert found.extend is not None
    assert found.extend.shape == (1, 63)
    found = check([clean + offsets + white], [result], noise, found.extend, rng(), patch=32)
    assert found.verdict == "leaks"
    assert found.extend is None, "rows are whole already"
    assert "would not help" in found.sentence


def test_lost_detail_is_never_answered_by_a_wider_mask() -> None:
    drawn, measured = made("filaments", "white", seed=3)
    for result, verdict in ((drawn.clean, "fits"), (blur(3.0)(drawn.clean), "loses detail")):
        found = check([drawn.noisy], [result], measured, SINGLE, rng())
        assert found.verdict == verdict
        assert found.extend is None


def test_check_says_when_it_cannot_tell() -> None:
    noisy, denoised = planted(TENT, row(9))
    doubtful = known(TENT, 250.0, doubt=2.0)
    assert check([noisy], [denoised], doubtful, row(9), rng()).verdict == "can't tell"
    noisy, denoised = planted(TENT, row(3))
    assert check([noisy], [denoised], doubtful, row(3), rng()).verdict == "leaks"
    tiny = [noisy[:6, :6]]
    found = check(tiny, tiny, known(TENT, 250.0), row(3), rng())
    assert found.verdict == "can't tell"
    assert json.loads(json.dumps(found.report()))["sentence"] == found.sentence
