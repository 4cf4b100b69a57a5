"""Derives the thresholds of three tests again, from synthetic scenes with a known truth.

- structure_test: do tiles hold structure? Skewness and spread of tiles with and without it.
- residual: did noise leak back, was detail lost? The results are constructed, so the truth is
  known: the clean image, sharp or blurred, plus the noise that the best linear predictor lets past
  a mask; and the prediction itself, which a linear network would have learned.
- sure_estimate: the estimated gain of simple denoisers against the true one, with each constant
  of the fit scaled.

Seeds 0 to 3 were used for tuning; values are derived from --seed and also tested on --held-out.
No networks are trained here (`noise.py --train` does that), so a value that differs from the one
in the code is a reason to investigate, not yet to change it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from time import perf_counter
from typing import Any, get_args
from unittest import mock

import numpy as np
from scipy import ndimage, signal, stats

from common import have_data, head, keep, parser, row, say
from napari_autostructn2v.engine.evaluation import residual, sure_estimate
from napari_autostructn2v.engine.noise import correlation, structure_test
from napari_autostructn2v.engine.noise.flat_tiles import TILE, remove_plane
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.synthetic import (
    NoiseKind,
    Scene,
    noise_autocorrelation,
    plant,
    sample,
)
from noise import CLEAN, FAR, clean_image

SIZE = 256  # px
TUNED_ON: tuple[Scene, ...] = ("filaments", "nuclei", "vesicles")
Array = np.ndarray


# Do tiles hold structure?


@dataclass(frozen=True)
class Tiles:
    """Return the two statistics of an image's tiles, and the share of structure in them."""

    skewness: float
    spread: float
    structure: float  # mean variance of the clean image in the tiles, over that of the noise


WITHOUT, WITH = 0.02, 0.1  # of the noise variance
ASKED: tuple[NoiseKind, ...] = ("white", "horizontal", "vertical", "isotropic", "poisson")
LEVELS = (16.0, 22.0)  # dB


def tiles(scene: str, seed: int) -> list[Tiles]:
    clean, found = clean_image(scene, SIZE, seed), []

    def doubt(levelled: Array, ratios: Array, pixels: float) -> float:
        seen.append((structure_test._skewness(levelled), structure_test._spread(ratios, pixels)))
        return 0.0

    for index, (kind, level) in enumerate(product(ASKED, LEVELS)):
        seen: list[tuple[float, float]] = []
        noisy = plant(clean, kind, level, np.random.default_rng([seed, index])).astype(np.float32)
        with mock.patch.object(structure_test, "doubt", doubt):
            noise = measure([noisy], FAR)
        if seen:  # not tested if hardly anything is correlated
            cut = [
                np.stack([image[y : y + TILE, x : x + TILE] for _, y, x in noise.places])
                for image in (clean, noisy - clean)
            ]
            structure, own = (remove_plane(part.astype(float)).var((1, 2)) for part in cut)
            found.append(Tiles(*seen[0], float(structure.mean() / own.mean())))
    return found


def structure_thresholds(jobs: Jobs) -> None:
    scenes = [*get_args(Scene), *(CLEAN if have_data(*CLEAN.values()) else ())]
    tuned, held = jobs(tiles, scenes)
    say("\nstructure_test: tiles with structure have larger statistics")
    groups = {
        f"structure under {WITHOUT:.0%} of the noise": lambda tile: tile.structure < WITHOUT,
        "between": lambda tile: WITHOUT <= tile.structure < WITH,
        f"over {WITH:.0%}": lambda tile: tile.structure >= WITH,
    }
    head("tiles", "seeds", "images", "skewness: median", "95 %", "highest", "spread: median",
         "95 %", "highest", "one over its limit (%)")  # fmt: skip
    for name, inside in groups.items():
        for which, found in (("tuned on", tuned), ("held out", held)):
            group = [tile for tile in found if inside(tile)]
            if not group:
                continue
            columns = [[getattr(tile, key) for tile in group] for key in ("skewness", "spread")]
            limits = structure_test._SKEWED, structure_test._SPREAD
            over = [any(np.greater((tile.skewness, tile.spread), limits)) for tile in group]
            quantiles = [
                float(np.quantile(column, q)) for column in columns for q in (0.5, 0.95, 1)
            ]
            row(name, which, len(group), *quantiles, 100 * float(np.mean(over)))
    begin()
    for constant, key in (("_SKEWED", "skewness"), ("_SPREAD", "spread")):
        low, high = (
            [
                [getattr(tile, key) for tile in found if inside(tile)]
                for inside in (lambda tile: tile.structure < WITHOUT,
                               lambda tile: tile.structure >= WITH)
            ]
            for found in (tuned, held)
        )  # fmt: skip
        # The highest values without structure, so that no such image is doubted.
        compare(constant, getattr(structure_test, constant), float(np.max(low[0])), low, high)


# Did noise leak back, was detail lost?

KINDS: tuple[NoiseKind, ...] = (
    "white", "horizontal", "vertical", "diagonal", "isotropic", "negative",
)  # fmt: skip
SHOWN = (0.02, 0.3, 1.0)  # masks hide lags that are correlated more than this
BLURS = (0.0, 1.0, 2.0, 3.0)  # px
TIGHT, LEAKING = 0.02, 0.1  # leak of a mask
KEPT, LOST = 0.05, 0.25  # energy of lost structure, of the noise variance


@dataclass(frozen=True)
class Residual:
    """The figures that the check uses for one result, and the true ones."""

    leak: float
    loss: float
    faithful: bool  # no structure was blurred away on purpose
    verdict: str
    lost: float
    sureness: float
    lobes: float
    alone: float  # with unknown noise
    shown: float | None  # how much of the correlation went at the lags that leak
    excess: float | None
    doubted: bool  # the tiles hold structure, so that nothing is known of the noise
    negative: bool  # neighbours' noise is opposite, as it is after a leak


def residuals(scene: str, seed: int) -> list[Residual]:
    clean = sample(scene, "white", size=SIZE, seed=seed).clean
    found = []
    for index, kind in enumerate(KINDS):
        noisy = plant(clean, kind, 18.0, np.random.default_rng([seed, index])).astype(np.float32)
        noise, rho = measure([noisy], FAR), noise_autocorrelation(kind, FAR)
        true = replace(
            noise, short=rho, short_error=np.full_like(rho, 1e-3), row_offset=0.0,
            column_offset=0.0, sigma=float((noisy - clean).std()), doubt=0.0, wave=None,
        )  # fmt: skip
        known = correlation.Correlation(true, 64)
        for mask in masks(rho):
            leak = known.leak(mask)[0]
            passed = predictor(known, mask, noise_alone=True)(noisy - clean)
            linear = predictor(known, mask)
            made = [(linear(noisy), linear(clean))]
            for blur in BLURS if leak < TIGHT else BLURS[:1]:
                sharp = ndimage.gaussian_filter(clean, blur)
                made.append((sharp + passed, sharp))
            for result, sharp in made:
                found.append(look(noisy, result, clean - sharp, noise, rho, mask, leak))
    return found


def masks(rho: Array) -> list[Array]:
    """Return the true mask, and narrower ones down to a single pixel."""
    made: list[Array] = []
    for least in SHOWN:
        lags = np.argwhere(np.abs(rho) >= least) - FAR
        lags = lags[np.abs(lags).max(1) <= correlation.WINDOW]
        mask = correlation.mask_of(lags)
        if not made or mask.shape != made[-1].shape or (mask != made[-1]).any():
            made.append(mask)
    return made


def predictor(
    known: correlation.Correlation, mask: Array, noise_alone: bool = False
) -> Callable[[Array], Array]:
    """Return the best linear predictor of a pixel from the pixels that a mask leaves visible."""
    visible = known.lags[~correlation._covers(mask, known.lags)]
    covariance = known.short if noise_alone else known.signal + known.noise
    weights = correlation._solve(
        correlation._matrix(covariance, visible), correlation.at(covariance, visible)
    )
    kernel = np.zeros((2 * FAR + 1,) * 2)
    kernel[tuple((visible + FAR).T)] = weights

    def predict(image: Array) -> Array:
        level = float(np.median(image))
        padded = np.pad(image.astype(float) - level, FAR, mode="reflect")
        result: Array = level + signal.fftconvolve(padded, kernel[::-1, ::-1], mode="valid")
        return result

    return predict


def look(
    noisy: Array, result: Array, gone: Array, noise: Noise, rho: Array, mask: Array, leak: float
) -> Residual:
    """Check a result; `gone` is the structure that it has lost."""
    compared: list[residual._Comparison] = []
    excesses: list[float] = []

    class Seen(Comparison):
        @classmethod
        def of(cls, *given: Any) -> residual._Comparison:
            compared.append(Comparison.of(*given))
            return compared[-1]

    def excess(*given: Any) -> float:
        excesses.append(true_excess(*given))
        return excesses[-1]

    doubtful = replace(noise, doubt=2.0)
    with mock.patch.multiple(residual, _Comparison=Seen, _excess=excess):
        verdict, _ = (
            residual.check([noisy], [result], known, mask, np.random.default_rng(0)).verdict
            for known in (noise, doubtful)
        )
    seen, blind = compared
    reach = seen.lost.shape[0] // 2
    inner = slice(FAR - reach, FAR + reach + 1)
    correlated = np.abs(rho[inner, inner]) > 0.15
    correlated[reach, reach] = False
    lags = np.argwhere(correlated) - reach
    open_ = correlated.copy()
    open_[tuple((lags + reach).T)] = ~correlation._covers(mask, lags)
    ratio = np.where(seen.shared, seen.lost / seen.sure, 0)
    places = residual._places([noisy], [result], residual._TILE)
    structured = places[-int(np.ceil(residual._SHARE * len(places))) :]
    loss = (residual._cut([gone], structured, residual._TILE) ** 2).mean() / noise.sigma**2
    return Residual(
        leak=leak,
        loss=float(loss),
        faithful=bool(loss < KEPT),
        verdict=verdict,
        lost=float(np.where(seen.shared & (ratio > 1), seen.lost, 0).max()),
        sureness=float(residual._SURE * ratio.max()),
        lobes=float(seen.lobes.max()),
        alone=float(np.where(blind.lobes > blind.sure, blind.lobes, 0).max()),
        shown=float(np.median(seen.lost[open_])) if open_.any() else None,
        excess=excesses[0] if excesses else None,
        doubted=noise.doubt > 1,
        negative=bool(rho.min() < -0.1),
    )


Comparison, true_excess = residual._Comparison, residual._excess  # not what stands in for them


def residual_thresholds(jobs: Jobs) -> None:
    tuned, held = jobs(residuals, TUNED_ON)

    def tight(case: Residual) -> bool:
        return case.leak < TIGHT and case.faithful

    def leaking(case: Residual) -> bool:
        return case.leak > LEAKING and case.faithful

    say("\nresidual: verdicts on results whose truth is known, with the thresholds in the code")
    head("result", "seeds", "results", "fits", "leaks", "loses detail", "can't tell")
    groups = {
        f"tight mask (leak under {TIGHT:.0%}), structure kept": tight,
        f"leak over {LEAKING:.0%}, structure kept": leaking,
        f"tight mask, structure of over {LOST:.0%} of the noise lost": lambda case: (
            case.leak < TIGHT and case.loss > LOST
        ),
    }
    for name, inside in groups.items():
        for which, found in (("tuned on", tuned), ("held out", held)):
            verdicts = [case.verdict for case in found if inside(case)]
            row(name, which, len(verdicts), *map(verdicts.count, get_args(residual.Judgement)))
    begin()

    def numbers(key: str, inside: Callable[[Residual], bool]) -> list[list[float]]:
        return [
            [
                value
                for case in found
                if inside(case) and not (case.negative if key == "alone" else case.doubted)
                if (value := getattr(case, key)) is not None
            ]
            for found in (tuned, held)
        ]

    for constant, key in (("_LOST", "lost"), ("_LOBE", "lobes"), ("_LOBE_ALONE", "alone")):
        low, high = numbers(key, tight), numbers(key, leaking)
        compare(constant, getattr(residual, constant), between(low[0], high[0]), *pairs(low, high))
    low, high = numbers("lost", tight), numbers("shown", leaking)
    compare("_WIDEN", residual._WIDEN, between(low[0], high[0]), *pairs(low, high))
    low, high = numbers("sureness", tight), numbers("sureness", leaking)
    compare("_SURE", residual._SURE, float(np.max(low[0])), *pairs(low, high))
    low = numbers("excess", tight)
    high = numbers("excess", lambda case: case.leak < TIGHT and case.loss > LOST)
    compare("_LOSS", residual._LOSS, between(low[0], high[0]), *pairs(low, high))
    # Of noise of which a share of the amplitude stays, 1 - (1 - share)^2 is missing.
    compare("_MISSING (half the noise's amplitude stays)", residual._MISSING, 1 - 0.5**2)


# How good is the estimated gain?

JUDGED: tuple[NoiseKind, ...] = ("white", "horizontal", "isotropic", "poisson")
SCALES = (0.5, 1.0, 2.0)
FITTED = ("_LEVEL", "_GROWTH", "_LOSS", "_FLOOR", "_MISFIT", "_OUTLYING", "_UNEXPLAINED", "_SEEN")


@dataclass(frozen=True)
class Gain:
    """Errors of the estimated gain in dB, by constant and scale; how far the fit's priors hold."""

    errors: dict[tuple[str, int, float], float]
    level: float  # of the noise, true over measured
    growing: bool  # photon noise: where only the dark is flat, its growth is not measured
    loss: float  # of signal, true over that which denoising inflicts on its own result


def gains(scene: str, seed: int) -> list[Gain]:
    clean = sample(scene, "white", size=SIZE, seed=seed).clean
    found = []
    for index, kind in enumerate(JUDGED):
        noisy = plant(clean, kind, 18.0, np.random.default_rng([seed, index])).astype(np.float32)
        noise = measure([noisy], FAR)
        if noise.doubt > 1:
            continue  # no gain is estimated then
        known = correlation.Correlation(noise, 64)
        wide = predictor(known, np.ones((1, 9) if kind == "horizontal" else (5, 5), np.uint8))
        ways = {
            "blur": partial(ndimage.gaussian_filter, sigma=1.0),
            "blur more": partial(ndimage.gaussian_filter, sigma=2.0),
            "local Wiener": partial(local_wiener, variance=noise.sigma**2),
            "linear network": wide,
        }
        found += [
            estimated(denoise, noisy, clean, noise, kind == "poisson") for denoise in ways.values()
        ]
    return found


def local_wiener(image: Array, variance: float) -> Array:
    """Average where the image is flat and preserve edges, as networks do."""
    mean = ndimage.uniform_filter(image.astype(float), 15)
    contrast = np.maximum(ndimage.uniform_filter(image.astype(float) ** 2, 15) - mean**2, 1e-9)
    result: Array = mean + np.maximum(1 - variance / contrast, 0) * (image - mean)
    return result


def estimated(
    denoise: Callable[[Array], Array], noisy: Array, clean: Array, noise: Noise, growing: bool
) -> Gain:
    seen = sure_estimate.probe(denoise, [noisy], [noise], np.random.default_rng(0))
    assert seen is not None
    result = denoise(noisy)
    before, after = (float(((image - clean) ** 2).mean()) for image in (noisy, result))
    true = 10 * np.log10(before / after)
    errors, own = {}, sure_estimate.estimate(seen).gain - true
    for name in FITTED:
        value = getattr(sure_estimate, name)
        for part, scale in product(range(len(value) if isinstance(value, tuple) else 1), SCALES):
            scaled = value * scale if isinstance(value, float) else tuple(
                number * (scale if at == part else 1) for at, number in enumerate(value)
            )  # fmt: skip
            with mock.patch.object(sure_estimate, name, scaled):
                gain = own if scale == 1 else sure_estimate.estimate(seen).gain - true
            errors[name, part, scale] = gain
    distortion = np.maximum(seen.distortion, 0)
    inflicted = np.maximum(distortion - np.quantile(distortion, 0.2), 0).mean()
    inflicted = max(float(inflicted), 1e-9 * noise.sigma**2)
    gone = ((clean - denoise(clean)) ** 2).mean()
    return Gain(
        errors,
        float((noisy - clean).var() / seen.variance.mean()),
        growing,
        float(gone / inflicted),
    )


def gain_thresholds(jobs: Jobs) -> None:
    tuned, held = jobs(gains, TUNED_ON)
    say("\nsure_estimate: the estimated gain less the true one, with the constants in the code")
    head("seeds", "results", "rms (dB)", "median", "within 1 dB (%)",
         "noise level, photon noise left out: rms error",
         "true loss / inflicted: median", "its spread")  # fmt: skip
    for which, found in (("tuned on", tuned), ("held out", held)):
        errors = np.array([gain.errors["_FLOOR", 0, 1.0] for gain in found])
        losses = [gain.loss for gain in found]
        spread = float(np.subtract(*np.quantile(losses, [0.84, 0.16])) / 2)
        row(which, len(found), rms(errors), float(np.median(errors)),
            100 * float((np.abs(errors) <= 1).mean()),
            rms([gain.level - 1 for gain in found if not gain.growing]),
            float(np.median(losses)), spread)  # fmt: skip
    say("\nrms error of the gain (dB) with one constant scaled; derived is the best of them")
    head("constant", "in the code", "derived", *(f"x {scale:g}" for scale in SCALES),
         "held out: code", "held out: derived")  # fmt: skip
    for name, part, _ in (key for key in tuned[0].errors if key[2] == 1.0):
        value = getattr(sure_estimate, name)
        own = value[part] if isinstance(value, tuple) else value
        errors = {
            scale: rms([gain.errors[name, part, scale] for gain in tuned]) for scale in SCALES
        }
        # Of equivalent values, the one closest to that in the code.
        best = min(SCALES, key=lambda scale: (round(errors[scale], 2), abs(np.log(scale))))
        label = f"{name}[{part}]" if isinstance(value, tuple) else name
        row(label, f"{own:g}", f"{own * best:g}", *errors.values(),
            *(rms([gain.errors[name, part, scale] for gain in held]) for scale in (1.0, best))
            )  # fmt: skip
    begin()
    over = float(stats.norm.pdf(1.5) - 1.5 * stats.norm.sf(1.5))
    compare("_BY_CHANCE (normal, beyond 1.5)", sure_estimate._BY_CHANCE, over)


def rms(errors: Any) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


# What the three have in common.


class Jobs:
    """Calls a function for scenes and seeds, in other processes."""

    def __init__(self, pool: ProcessPoolExecutor, seeds: Sequence[Sequence[int]]) -> None:
        self.pool, self.seeds = pool, seeds

    def __call__(self, function: Callable[[str, int], list[Any]], scenes: Sequence[str]) -> Any:
        """Return the results for each set of seeds."""
        start = perf_counter()
        jobs = [list(product(scenes, seeds)) for seeds in self.seeds]
        ready = [self.pool.map(function, *zip(*group, strict=True)) for group in jobs]
        found = [[case for cases in group for case in cases] for group in ready]
        print(f"\n{function.__name__}: {perf_counter() - start:.0f} s")
        return found


def begin() -> None:
    head("constant", "in the code", "derived", "wrong with the code's (%)", "with the derived",
         "held out: with the code's", "with the derived", "cases below / above")  # fmt: skip


def compare(
    constant: str,
    value: float,
    derived: float,
    tuned: Sequence[Sequence[float]] | None = None,
    held: Sequence[Sequence[float]] | None = None,
) -> None:
    """Print a threshold and its error rates for low and high cases, tuned on and held out."""
    if tuned is None or held is None:
        row(constant, f"{value:g}", f"{derived:.4g}", *["-"] * 5)
        return
    shares = [
        "{:.1f} / {:.1f}".format(*(100 * part for part in wrong(limit, *cases)))
        for cases in (tuned, held)
        for limit in (value, derived)
    ]
    row(constant, f"{value:g}", f"{derived:.3g}", *shares, f"{len(tuned[0])} / {len(tuned[1])}")


def pairs(low: Sequence[list[float]], high: Sequence[list[float]]) -> Any:
    return [(low[0], high[0]), (low[1], high[1])]


def wrong(limit: float, low: Sequence[float], high: Sequence[float]) -> tuple[float, float]:
    """Return the shares of the low cases above a limit, and of the high ones not above it."""
    above = float(np.mean(np.greater(low, limit))) if len(low) else 0.0
    return above, float(np.mean(np.less_equal(high, limit))) if len(high) else 0.0


def between(low: Sequence[float], high: Sequence[float]) -> float:
    """Return the limit with the fewest errors, the middle one of several."""
    values = np.unique(np.concatenate([low, high]))
    limits = (values[1:] + values[:-1]) / 2
    errors = np.array([sum(wrong(limit, low, high)) for limit in limits])
    least = np.flatnonzero(errors <= errors.min() + 1e-9)
    first, last = least[0], least[0]
    while last + 1 in least:
        last += 1
    return float((values[first] + values[last + 1]) / 2)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2, 3], help="derive from")
    arguments.add_argument("--held-out", type=int, nargs="+", default=[11, 12])
    arguments.add_argument("--workers", type=int, default=2)
    options = arguments.parse_args()
    start = perf_counter()
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        jobs = Jobs(pool, (options.seed, options.held_out))
        structure_thresholds(jobs)
        residual_thresholds(jobs)
        gain_thresholds(jobs)
    print(f"\n{perf_counter() - start:.0f} s")
    keep(options)


if __name__ == "__main__":
    main()
