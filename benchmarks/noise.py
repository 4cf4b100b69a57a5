"""The noise measurement: verdicts and correlations on planted and real noise, and its speed.

A case is right if its verdict is that of the planted noise, ignoring additions ("along x with row
offsets" counts as along x). An image has flat areas if, under the chosen tiles, the variance of
the clean image is at most a tenth of the noise variance. With --train, the mask and the gain that
the quality card estimates are compared with the truth instead.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from time import perf_counter, process_time
from typing import Any, get_args

import numpy as np
import tifffile

from common import DATA, have_data, head, keep, parser, row, say, train
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.defects import measurable
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.analysis import analyse
from napari_autostructn2v.engine.mask.verdict import judge
from napari_autostructn2v.engine.noise.flat_tiles import TILE, remove_plane
from napari_autostructn2v.engine.noise.measure import measure, measure_repeats
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.synthetic import (
    NoiseKind,
    Scene,
    noise_autocorrelation,
    plant,
    psnr,
    sample,
)

CONFIG = Config()
KINDS, SCENES = get_args(NoiseKind), get_args(Scene)
EXPECTED = {
    "white": "unstructured",
    "poisson": "unstructured",
    "horizontal": "along x",
    "negative": "along x",
    "poisson_horizontal": "along x",
    "signal_horizontal": "along x",
    "vertical": "along y",
    "diagonal": "diagonal",
    "isotropic": "isotropic",
    "row_offsets": "row offsets",
    "periodic": "periodic",
}
SIZES, LEVELS = (256, 512), (16.0, 20.0, 24.0)  # px; PSNR in dB
CLEAN = {name: f"clean/{name}.tif" for name in ("BPAE_actin", "maize_clsm", "neuron")}
REAL = {
    "flim2p_bpae2/noisy_I.tif": "along x with row offsets",
    "fmd_widefield_BPAE_G/noisy.tif": "isotropic",
    "emccd_stuck_beads/noisy.tif": "row offsets",
    "fmd_confocal_MICE/noisy.tif": "unstructured",
    "flim_hazelnut_counts/noisy.tif": "unstructured",
}
FLAT = 0.1  # of the noise variance
NEAR = 10  # px: correlations are compared over 21 x 21 lags
FAR = CONFIG.structure.max_lag
FRAMES = 4
SUPPORT = 0.01  # correlation that a true mask hides
TRAINED: tuple[NoiseKind, ...] = ("horizontal", "vertical", "diagonal", "isotropic", "row_offsets")
ALIKE = 0.3  # dB


@dataclass(frozen=True)
class Case:
    """One image with planted noise, measured."""

    scene: str
    size: int
    kind: str
    level: float
    verdict: str
    kind_of_verdict: str
    flat: bool
    error: float  # RMSE of rho, from tiles
    repeated: float | None  # and from frame differences, at one strength

    @property
    def mark(self) -> str:
        if self.kind_of_verdict == EXPECTED[self.kind]:
            return "right"
        return "can't tell" if self.kind_of_verdict == "can't tell" else "wrong"


def clean_image(scene: str, size: int, seed: int) -> np.ndarray:
    """Return a synthetic scene, or a part of a real image."""
    if scene in SCENES:
        return sample(scene, "white", size=size, seed=seed).clean
    whole = tifffile.imread(DATA / CLEAN[scene]).astype(np.float32)
    y, x = np.random.default_rng(seed).integers(0, np.subtract(whole.shape, size) + 1)
    return whole[y : y + size, x : x + size]


def cases(scene: str, size: int, seed: int) -> list[Case]:
    """Measure every kind and strength of noise on one scene."""
    clean, made = clean_image(scene, size, seed), []
    for i, kind in enumerate(KINDS):
        for level in LEVELS:
            count = FRAMES if level == LEVELS[1] else 1
            rngs = np.random.default_rng([seed, i, int(level)]).spawn(count)
            frames = [plant(clean, kind, level, rng).astype(np.float32) for rng in rngs]
            noise = measure(measurable(frames[:1])[0], FAR)
            verdict = judge(noise, CONFIG.structure.leak_threshold, CONFIG.stage2.patch_size)
            repeated = None
            if pairs := list(zip(frames[::2], frames[1::2], strict=False)):
                repeated = rho_error(measure_repeats(pairs, FAR), kind)
            made.append(
                Case(
                    scene, size, kind, level, verdict.name, verdict.kind,
                    is_flat(clean, frames[0], noise), rho_error(noise, kind),
                    repeated,
                )
            )  # fmt: skip
    return made


def is_flat(clean: np.ndarray, noisy: np.ndarray, noise: Noise) -> bool:
    def variances(image: np.ndarray) -> np.ndarray:
        tiles = [image[y : y + TILE, x : x + TILE] for _, y, x in noise.places]
        return remove_plane(np.stack(tiles).astype(float)).var((1, 2))

    return bool(np.median(variances(clean) / variances(noisy - clean)) <= FLAT)


def rho_error(noise: Noise, kind: str) -> float:
    """Return the RMS difference over the near lags; lag 0 is 1 in both."""
    near = slice(FAR - NEAR, FAR + NEAR + 1)
    difference = noise.rho - noise_autocorrelation(kind, FAR)
    return float(np.sqrt(np.mean(difference[near, near] ** 2)))


def planted(seeds: Sequence[int], workers: int) -> list[Case]:
    """Measure all cases, the largest first, and print the results."""
    scenes = [*SCENES, *(CLEAN if have_data(*CLEAN.values()) else ())]
    jobs = [(scene, size, seed) for size in SIZES[::-1] for scene in scenes for seed in seeds]
    start = perf_counter()
    # New processes with one thread each, as threads of imported libraries do not survive a fork.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        made = [case for group in pool.map(cases, *zip(*jobs, strict=True)) for case in group]
    say(f"\n{len(made)} cases in {perf_counter() - start:.0f} s; right/all, ? can't tell, ! wrong")
    head("noise", *(f"{scene} {size}" for size in SIZES for scene in scenes))
    for kind in KINDS:
        groups = [
            [c for c in made if (c.kind, c.scene, c.size) == (kind, scene, size)]
            for size in SIZES
            for scene in scenes
        ]
        row(kind, *map(tally, groups))
    return made


def tally(group: Sequence[Case]) -> str:
    marks = Counter(case.mark for case in group)
    text = f"{marks['right']}/{len(group)}"
    return text + "?" * marks["can't tell"] + "!" * marks["wrong"]


def summary(made: Sequence[Case]) -> None:
    say("\nWhat the verdicts are worth, in %")
    head("scenes", "cases", "right", "can't tell", "wrong")
    groups: dict[str, Sequence[Case]] = {
        "with flat places": [case for case in made if case.flat],
        "without": [case for case in made if not case.flat],
        "all": made,
    }
    groups |= {
        f"with flat places, {size} px": [case for case in made if case.flat and case.size == size]
        for size in SIZES
    }
    for name, group in groups.items():
        marks = Counter(case.mark for case in group)
        row(name, len(group), *(percent(marks[m], len(group)) for m in ("right", "can't tell",
            "wrong")))  # fmt: skip
    for kinds in (("white",), ("white", "poisson")):
        group = [case for case in made if case.kind in kinds]
        called = sum(case.mark == "wrong" for case in group)
        say(f"{' and '.join(kinds)} noise called structured: {percent(called, len(group))} %")
    say("\nWrong where there are flat places, and where there are none")
    head("flat places", "image", "px", "noise", "PSNR (dB)", "verdict")
    for case in sorted((c for c in made if c.mark == "wrong"), key=lambda c: not c.flat):
        flat = "yes" if case.flat else "no"
        row(flat, case.scene, case.size, case.kind, f"{case.level:.0f}", case.verdict)
    say("\nRMSE of the correlation over 21 x 21 lags")
    head("from", "cases", "median", "90th percentile", "worst")
    repeated = [case for case in made if case.repeated is not None]
    for name, errors in (
        ("tiles, scenes with flat places", [case.error for case in made if case.flat]),
        ("tiles, all scenes", [case.error for case in made]),
        (f"differences of {FRAMES} frames", [case.repeated for case in repeated]),
        *(
            (f"the same, {size} px", [case.repeated for case in repeated if case.size == size])
            for size in SIZES
        ),
    ):
        row(name, len(errors), *(f"{np.quantile(errors, q):.4f}" for q in (0.5, 0.9, 1)))


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def real() -> None:
    say("\nReal images: one frame, all frames, and their differences")
    head("set", "expected", "measured on", "verdict", "leak", "sigma", "row offsets", "mask px",
         "2x2 phases, max/min", "gain")  # fmt: skip
    for name, expected in REAL.items():
        if not have_data(name):
            continue
        stack = np.atleast_3d(tifffile.imread(DATA / name).T).T
        for what, data, source in (
            ("one frame", stack[:1], "raw"),
            ("all frames", stack, "raw"),
            ("differences", stack, "frames"),
        ):
            if len(data) == 1 and what != "one frame":
                continue
            config = Config.parse({"structure": {"mask_source": source}})
            try:
                (found,) = analyse([as_source(data, "TYX")], config)
            except InputError as error:
                row(name, expected, what, str(error), *["-"] * 6)
                continue
            noise = found.noise
            row(name, expected, what, found.verdict.name, f"{found.verdict.leak:.3f}",
                f"{noise.sigma:.3g}", f"{noise.row_offset:.3f}", int(found.mask.sum()),
                float(noise.phases.max() / noise.phases.min()), f"{noise.variance.gain:.3g}",
                )  # fmt: skip


class Repeated:
    """A virtual image made of one repeated block, which counts the bytes that are read."""

    def __init__(self, block: np.ndarray, shape: tuple[int, ...]) -> None:
        self.block, self.shape, self.dtype, self.ndim = block, shape, block.dtype, len(shape)
        self.bytes = 0

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        y, x = (
            np.arange(*part.indices(length))
            for part, length in zip(index[-2:], self.shape[-2:], strict=True)
            if isinstance(part, slice)
        )
        part = self.block[np.ix_(y % self.block.shape[0], x % self.block.shape[1])]
        self.bytes += part.nbytes
        return part


def seconds(seed: int) -> None:
    say("\nSeconds of `analyse`, best of 3; a busy machine shows in the first of them only")
    head("image", "size (MB)", "on the clock", "of all processors", "read (MB)")
    block = sample("nuclei", "horizontal", size=2048, seed=seed, dtype=np.uint16).noisy
    for name, shape, axes in (
        ("one plane", (2048, 2048), "YX"),
        ("frames", (25, 44_800, 44_800), "TYX"),
    ):
        taken = []
        for _ in range(3):
            data = Repeated(block, shape)
            start = perf_counter(), process_time()
            list(analyse([as_source(data, axes)], CONFIG))
            taken.append((perf_counter() - start[0], process_time() - start[1]))
        size = np.prod(shape, dtype=float) * block.itemsize / 1e6
        row(f"{name} {shape}", f"{size:.0f}", *min(taken), data.bytes / 1e6)


def true_mask(kind: str, patch: int) -> np.ndarray:
    """Return the true mask: the correlated lags, or whole lines if all lags of one are."""
    hidden = np.abs(noise_autocorrelation(kind, patch - 1)) > SUPPORT
    half = np.abs(np.argwhere(hidden) - (patch - 1)).max(0)
    y, x = (slice(patch - 1 - n, patch + n) for n in half)
    return hidden[y, x].astype(int)


def training(steps: int, size: int, seed: int) -> None:
    """Train with the automatic and the true mask, and compare the quality card with the truth."""
    scenes = [*SCENES, *(CLEAN if have_data(*CLEAN.values()) else ())]
    budget = f"{steps}steps"
    head("image", "noise", "verdict", "mask px", "true px", "noisy", "Stage 1", "Stage 2",
         "true mask", "auto - true", "gain 1, estimated", "gain 2, estimated", "recommended",
         )  # fmt: skip
    differences, misses, lost = [], [], []
    for kind in TRAINED:
        mask = true_mask(kind, CONFIG.stage2.patch_size)
        for scene in scenes:
            clean = clean_image(scene, size, seed)
            noisy = plant(clean, kind, 18.0, np.random.default_rng(seed)).astype(np.float32)
            results, last = train(noisy, budget=budget)
            given, _ = train(
                noisy, budget=budget, structure={"mask_source": "array", "mask": mask.tolist()}
            )
            found = {stage: psnr(clean, result) for stage, result in results.items()}
            before, true = psnr(clean, noisy), psnr(clean, given["stage2"])
            auto = found.get("stage2", found["stage1"])
            differences.append(auto - true)
            quality = last.report["quality"]
            guesses = {stage: estimated_gain(quality, stage) for stage in found}
            misses += [
                abs(guess - (found[stage] - before))
                for stage, guess in guesses.items()
                if guess is not None
            ]
            best = quality.get("recommended")
            if best is not None:
                lost.append(max(found.values()) - found[best])
            texts = [
                "-" if guesses.get(stage) is None
                else f"{found[stage] - before:.2f}, {guesses[stage]:.2f}"
                for stage in ("stage1", "stage2")
            ]  # fmt: skip
            row(scene, kind, last.report["verdict"], int(last.model.units[0].mask.sum()),
                int(mask.sum()), before, found["stage1"], found.get("stage2", "-"), true,
                auto - true, *texts, best or "-")  # fmt: skip
    say(f"auto - true: median {median(differences):.2f} dB, worst {min(differences):.2f} dB")
    if misses:
        near = sum(miss <= 1 for miss in misses)
        say(f"estimated gain within 1 dB of the true one: {percent(near, len(misses))} %")
    if lost:
        right = sum(loss <= ALIKE for loss in lost)
        say(f"best stage recommended, or one within {ALIKE} dB: {percent(right, len(lost))} %")


def estimated_gain(quality: Mapping[str, Any], stage: str) -> float | None:
    """Return the gain in dB estimated by the quality card, if there is one."""
    return quality.get("stages", {}).get(stage, {}).get("gain_db")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--seed", type=int, nargs="+", default=[11], help="0 to 3 were tuned on")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--train", type=int, metavar="STEPS", help="train instead")
    arguments.add_argument("--size", type=int, default=256, help="of the images trained on, px")
    options = arguments.parse_args()
    if options.train:
        training(options.train, options.size, options.seed[0])
    else:
        summary(planted(options.seed, options.workers))
        real()
        seconds(options.seed[0])
    keep(options)


if __name__ == "__main__":
    main()
