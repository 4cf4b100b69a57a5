"""The whole method, top to bottom: measure, Stage 1, mask, Stage 2, tiles.

`run` is a plain generator of events; the command line, the napari plugin and `denoise` all drive
it and nothing else. What it does is in `_run`; the functions below it are its steps, in order.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from threading import Event as Flag
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_autostructn2v.engine import analysis, events
from napari_autostructn2v.engine.analysis import Finding
from napari_autostructn2v.engine.board import Board
from napari_autostructn2v.engine.config import Budget, Config, Stage, StageName
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Event, Stop
from napari_autostructn2v.engine.masking import Masking
from napari_autostructn2v.engine.model import Model, Unit
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.noise import check_measurable, sample_blocks
from napari_autostructn2v.engine.patches import Normalisation, Piece, Pool, split, symmetries
from napari_autostructn2v.engine.predict import is_out_of_memory, predict, run_network, tile_side
from napari_autostructn2v.engine.sink import ArraySink, Sink, Target
from napari_autostructn2v.engine.source import Source, as_source
from napari_autostructn2v.engine.structure import Correlation, check_mask
from napari_autostructn2v.engine.tiles import Region
from napari_autostructn2v.engine.train import (
    Task,
    choose_device,
    choose_precision,
    choose_threads,
    train,
)

Array = npt.NDArray[Any]

_CONVERGED_STEPS = 100_000  # at most, where the budget is "until it stops improving"
_NEVER = Flag()


def run(
    images: Any, config: Config | None = None, *, sink: Sink | None = None, stop: Stop | None = None
) -> Iterator[Event]:
    """Train on images and write the denoised images to a sink.

    Parameters
    ----------
    images
        A `Source`, an array-like of 2 to 5 axes, or a sequence of them: one model for all.
    config
        Every choice; its defaults need none.
    sink
        Where results go; without one the run ends after training.
    stop
        Looked at after every step and before every tile.

    Yields
    ------
    Events. The last is `Finished`, or `Failed` with whatever was learned (at once, if the run
    can't begin); no exception leaves the generator.
    """
    state = _State()
    try:
        yield from _run(_sources(images, config), config or Config(), sink, stop or _NEVER, state)
    except Exception as error:  # noqa: BLE001 - whoever drives the run gets every error as an event
        yield events.Failed(error, _message(error), state.model)


def _message(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    if is_out_of_memory(error):
        return "out of memory; a smaller batch_size, patch_size or number of features needs less"
    return f"{type(error).__name__}: {error}"


@dataclass
class _State:
    """What a failing run leaves behind."""

    model: Model | None = None


def _run(
    sources: Sequence[Source], config: Config, sink: Sink | None, stop: Stop, state: _State
) -> Iterator[Event]:
    start = time.monotonic()
    threads = torch.get_num_threads()
    device = choose_device(config.device)
    precision = choose_precision(config.training.precision, device)
    yield events.Started(tuple(source.name for source in sources), str(device), precision)

    findings = []
    for finding in analysis.analyse(sources, config):
        findings.append(finding)
        yield finding.event()

    normalisation = _normalise(sources, config)
    channels: list[int | None] = [None]
    if config.network_per_channel:
        channels = list(range(len(normalisation.mean)))
    model = Model(config, normalisation, tuple(Unit() for _ in channels))
    stages: list[dict[str, Any]] = []
    stopped = False
    for index, channel in enumerate(channels):
        course = _Course(config, sources, channel, normalisation, device, precision, len(channels))
        relevant = [f for f in findings if channel is None or f.channel == channel]
        try:
            yield from course.train(analysis.combine(relevant, config), stop)
        finally:  # what was learned outlives an error
            torch.set_num_threads(threads)
            for stage, network in course.networks.items():
                model = state.model = model.with_network(index, stage, network, **course.about)
        stages += course.report
        stopped = course.stopped or stop.is_set()
        if stopped:
            break
    model = replace(
        model,
        units=tuple(unit for unit in model.units if unit.networks),
        provenance=_provenance(sources, config, device, precision, stages, start),
    )
    state.model = model

    if sink is not None and not stopped:
        yield from _write(model, sources, sink, device, config.tile, config.dtype, stop)
        stopped = stop.is_set()
    yield events.Finished(model, stopped, _report(model, findings, stages, device, start))


def apply(
    model: Model,
    images: Any,
    *,
    sink: Sink,
    axes: str | None = None,
    device: str = "auto",
    tile: int | None = None,
    dtype: str = "auto",
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Denoise images with a trained model; events as `run` yields them."""
    stop = stop or _NEVER
    try:
        chosen = choose_device(device)
        sources = _sources(images, Config(axes=axes))
        yield events.Started(tuple(source.name for source in sources), str(chosen), "float32")
        yield from _write(model, sources, sink, chosen, tile, dtype, stop)
        yield events.Finished(model, stop.is_set())
    except Exception as error:  # noqa: BLE001 - whoever drives the run gets every error as an event
        yield events.Failed(error, _message(error), model)


def denoise(
    noisy: Any,
    *,
    budget: str | None = None,
    mask: Any = None,
    axes: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    config: Config | None = None,
) -> Any:
    """Denoise an array: measure, train, predict.

    Parameters
    ----------
    noisy
        Array-like of 2 to 5 axes.
    budget
        Training time: "30s", "200steps", "20epochs" or "converged".
    mask
        Structural mask of 0 and 1, odd sides, centre 1; default: found from the noise.
    axes
        Names of the axes in stored order, such as "TYX".
    config
        All other choices; the arguments above override it.

    Returns
    -------
    Array of the same shape; of the same type for integers, unless rounding would undo the
    denoising, else float32.

    Raises
    ------
    InputError
        If the data or an argument can't be used; the sentence says why.
    """
    given = {"budget": budget, "axes": axes, "seed": seed, "device": device}
    values = (config or Config()).model_dump()
    values |= {key: value for key, value in given.items() if value is not None}
    if mask is not None:
        rows = check_mask(mask).tolist()
        values["structure"] |= {"mask_source": "array", "mask": rows}
    sink = ArraySink()
    consume(run(noisy, Config.parse(values), sink=sink))
    return sink.final[0]


def consume(stream: Iterable[Event]) -> events.Finished:
    """Drive a run to its end; raise the error it failed with."""
    *_, last = stream
    if isinstance(last, events.Failed):
        raise last.error
    assert isinstance(last, events.Finished)
    return last


def _sources(images: Any, config: Config | None) -> list[Source]:
    axes = config.axes if config else None
    several = images if isinstance(images, list | tuple) else [images]
    sources = [as_source(image, axes) for image in several]
    if not sources:
        raise InputError("there is no image to denoise")
    return sources


def _normalise(sources: Sequence[Source], config: Config) -> Normalisation:
    """Mean and standard deviation of each channel, from bounded samples of every image."""
    means, deviations = [], []
    for channel in range(max(source.channels for source in sources)):
        rng = np.random.default_rng((config.seed, channel))
        blocks = [
            block
            for source in sources
            if channel < source.channels
            for block in sample_blocks(source, channel, rng, images=len(sources))
        ]
        check_measurable(blocks)
        values = np.concatenate([block[np.isfinite(block)] for block in blocks]).astype(float)
        means.append(float(values.mean()))
        deviations.append(float(values.std()))
    return Normalisation(tuple(means), tuple(deviations))


class _Course:
    """The training of one network through its stages."""

    def __init__(
        self,
        config: Config,
        sources: Sequence[Source],
        channel: int | None,
        normalisation: Normalisation,
        device: torch.device,
        precision: Any,
        courses: int,
    ) -> None:
        self.config, self.sources, self.channel = config, sources, channel
        self.normalisation, self.device, self.precision = normalisation, device, precision
        self.courses = courses
        self.networks: dict[StageName, UNet] = {}
        self.about: dict[str, Any] = {}
        self.report: list[dict[str, Any]] = []
        self.stopped = False

    def train(self, finding: Finding, stop: Stop) -> Iterator[Event]:
        """Stage 1, then the mask, then Stage 2; either may be left out."""
        config, structure = self.config, self.config.structure
        late = structure.mask_source == "stage1"  # the mask is known only after Stage 1
        mask = None if late else self._mask(finding)
        second = config.run_stage2 and (mask is None or mask.size > 1 or not config.run_stage1)
        self._tell(finding, mask)
        if config.run_stage1:
            yield from self._first(1.0 - second * (1 - config.training.stage1_share), stop)
        if self.stopped or not config.run_stage2:
            return
        if late:
            finding = analysis.find_in(self._background(), config)
            mask = finding.mask
        assert mask is not None
        self._tell(finding, mask)
        leak = Correlation(finding.noise, config.stage2.patch_size).leak(mask)[0]
        yield events.MaskFound(
            events.read_only(mask), events.read_only(finding.noise.rho), finding.verdict.name,
            leak, self.channel,
        )  # fmt: skip
        if mask.size == 1 and config.run_stage1:
            if late:
                yield events.Warning("No structure was found after Stage 1: Stage 2 is left out.")
            return
        trains_first = config.run_stage1 and config.stage1_model is None
        share = 1 - config.training.stage1_share if trains_first else 1.0
        yield from self._stage("stage2", config.stage2, mask, share, stop)

    def _tell(self, finding: Finding, mask: Array | None) -> None:
        self.about = {
            "rho": finding.noise.rho,
            "sigma": finding.noise.sigma,
            "verdict": finding.verdict.name,
            **({} if mask is None else {"mask": mask}),
        }

    def _mask(self, finding: Finding) -> Array:
        structure = self.config.structure
        if structure.mask_source == "file":
            assert structure.mask_file is not None
            return read_mask(structure.mask_file)
        if structure.mask_source == "array":
            return check_mask(np.array(structure.mask))
        return finding.mask

    def _first(self, share: float, stop: Stop) -> Iterator[Event]:
        path = self.config.stage1_model
        if path is None:
            single = np.ones((self.config.stage1.mask_center_size,) * 2, np.uint8)
            yield from self._stage("stage1", self.config.stage1, single, share, stop)
            return
        model = Model.load(path)
        if "stage1" not in model.stages:
            raise InputError(f"model {path} has no Stage 1 to take")
        network = model.unit(self.channel or 0).networks["stage1"]
        if network.options != self.config.stage1.network:
            raise InputError(
                f"the Stage 1 of model {path} has the network {network.options!r}, not the "
                f"config's {self.config.stage1.network!r}; set stage1.network to it"
            )
        self.networks["stage1"] = network.to(self.device)
        yield events.StageDone("stage1", 0, 0.0, math.nan, f"taken from {path}", self.channel)

    def _background(self) -> list[Array]:
        """Stage-1 results of the blocks the noise is measured on."""
        network, blocks = self.networks["stage1"], []
        for source in self.sources:
            for channel in range(source.channels):
                if self.channel in (None, channel):
                    rng = np.random.default_rng((self.config.seed, channel))
                    for block in sample_blocks(source, channel, rng, images=len(self.sources)):
                        image = np.nan_to_num(self.normalisation.apply(block, channel))
                        tensor = torch.from_numpy(image)[None, None].to(self.device)
                        blocks.append(run_network(network, tensor)[0, 0].cpu().numpy())
        return blocks

    def _stage(
        self, name: StageName, stage: Stage, mask: Array, share: float, stop: Stop
    ) -> Iterator[Event]:
        """Train one network; `share` is its part of the budget of a course."""
        config, training = self.config, self.config.training
        if config.budget.unit == "converged":
            training = training.model_copy(update={"schedule": "plateau"})
        seed = config.seed * 2 + (name == "stage2")
        parts = split(
            self.sources, config.split_ratio, stage.patch_size, np.random.default_rng(config.seed),
            self.channel,
        )  # fmt: skip
        capacity = config.pool_size * 2**20
        pool, validation = (
            Pool(pieces, self.normalisation, stage, capacity, seed, self.device)
            for pieces in parts[:2]
        )
        board = Board(config.tensorboard, name)
        with closing(pool), closing(validation), closing(board):
            task = Task(
                network=self._network(name, stage, seed),
                pool=pool,
                validation=validation,
                masking=Masking(
                    torch.from_numpy(mask.astype(bool)).to(self.device),
                    stage.mask_percentage,
                    stage.replacement,
                ),
                stage=stage,
                training=training,
                symmetries=symmetries(
                    mask, stage.augmentation, square=pool.shape[0] == pool.shape[1]
                ),
                precision=self.precision,
                device=self.device,
            )
            start = time.monotonic()
            steps, pace = _steps(config.budget, share / self.courses, task, parts[0])
            later = 0.0 if name == "stage2" else (1 / share - 1) * steps * pace
            generator = torch.Generator(self.device).manual_seed(seed)
            step = None
            converge = config.budget.unit == "converged"
            for step in train(task, steps, generator, stop, patience=converge):
                board.step(step)
                pace = (time.monotonic() - start) / step.step
                left = (step.total - step.step) * pace + later
                yield events.Progress(
                    name, step.step, step.total, step.loss, left, step.validation, self.channel
                )
            assert step is not None
            board.image("sample", self._sample(task.network), step.step)
        seconds = time.monotonic() - start
        self.networks[name] = task.network
        self.stopped = step.stopped == "stopped"
        self.report.append(
            {
                "name": name,
                "steps": step.step,
                "seconds": round(seconds, 3),
                "loss": step.loss,
                "threads": torch.get_num_threads(),
            }
            | ({} if self.channel is None else {"channel": self.channel})
        )
        if step.stopped and "finite" in step.stopped:
            yield events.Warning(f"{name}: {step.stopped}; the last good weights are kept.")
        yield events.StageDone(name, step.step, seconds, step.loss, step.stopped, self.channel)

    def _network(self, name: StageName, stage: Stage, seed: int) -> UNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = UNet(stage.network)
        first = self.networks.get("stage1")
        if name == "stage2" and first is not None and self.config.training.warm_start:
            own = network.state_dict()
            same = {k: v for k, v in first.state_dict().items() if v.shape == own[k].shape}
            network.load_state_dict({**own, **same})
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _sample(self, network: UNet) -> Array:
        source = self.sources[0]
        height, width = (min(n, 256) for n in source.size)
        image = self.normalisation.apply(source.read(0, slice(height), slice(width)), 0)
        tensor = torch.from_numpy(np.nan_to_num(image))[None, None].to(self.device)
        result: Array = run_network(network, tensor)[0, 0].cpu().numpy()
        return result


def read_mask(path: Path) -> Array:
    """Read a structural mask from an image file."""
    from napari_autostructn2v.engine.source import open_source

    with open_source(path) as source:
        if source.planes != 1:
            raise InputError(f"mask {path} has {source.planes} planes; it must be one 2-D image")
        return check_mask(source.read(0, slice(None), slice(None)))


def _steps(budget: Budget, share: float, task: Task, pieces: Sequence[Piece]) -> tuple[int, float]:
    """The number of steps a share of the budget is, and the seconds one takes (0 if not timed)."""
    if budget.unit == "steps":
        return max(1, round(budget.amount * share)), 0.0
    if budget.unit == "epochs":
        patches = task.stage.patches_per_image * len(pieces)
        return round(budget.amount) * max(1, math.ceil(patches / task.stage.batch_size)), 0.0
    if budget.unit == "converged":
        return _CONVERGED_STEPS, 0.0
    seconds = budget.amount * share
    pace = choose_threads(task, seconds)
    return max(10, round(seconds / pace)), pace


def _write(
    model: Model,
    sources: Sequence[Source],
    sink: Sink,
    device: torch.device,
    tile: int | None,
    dtype: str,
    stop: Stop,
) -> Iterator[Event]:
    """Denoise every plane of every image with every stage the sink wants."""
    for index, source in enumerate(sources):
        if source.channels > len(model.normalisation.mean):
            raise InputError(
                f"image {source.name} has {source.channels} channels, the model was trained on "
                f"{len(model.normalisation.mean)}"
            )
        kind = result_dtype(dtype, source, min(unit.sigma for unit in model.units))
        for stage in model.stages:
            target = sink.open(index, source, stage, kind, final=stage == model.stages[-1])
            if target is None:
                continue
            try:
                yield from _fill(model, index, source, stage, target, device, tile, stop)
            except InputError:  # a full disk, a damaged image: nothing half-written stays behind
                target.discard()
                raise
            except BaseException:  # finished tiles outlive a crash
                target.keep_partial()
                raise
            if stop.is_set():
                target.keep_partial()
                return
            target.commit()


def _fill(
    model: Model,
    image: int,
    source: Source,
    stage: StageName,
    target: Target,
    device: torch.device,
    tile: int | None,
    stop: Stop,
) -> Iterator[Event]:
    total = None
    done = 0
    for plane in range(source.planes):
        channel = source.channel(plane)
        network = model.unit(channel).network(stage).to(device)

        def read(region: Region, plane: int = plane, channel: int = channel) -> Array:
            (y0, y1), (x0, x1) = region
            block = source.read(plane, slice(y0, y1), slice(x0, x1))
            return model.normalisation.apply(block, channel)

        side = tile_side(network, device, tile)
        for region, block, left in predict(network, read, source.size, side, device, stop):
            target.write(plane, region, model.normalisation.undo(block, channel))
            done += 1
            total = max(total or 0, done + left + (source.planes - plane - 1) * (left + 1))
            yield events.TileDone(stage, image, plane, region, done, total)


def result_dtype(wanted: str, source: Source, sigma: float) -> np.dtype[Any]:
    """The type of a result.

    Integers stay as they are, unless rounding (variance 1/12) would add more than 1 % of the
    noise variance: then the denoised values lie between the grey values, and float32 is needed.
    """
    if wanted not in ("auto", "same"):
        return np.dtype(wanted)
    integer = source.dtype.kind in "ui"
    if integer and (wanted == "same" or sigma**2 > 100 / 12):
        return source.dtype
    return np.dtype(np.float32)


def _provenance(
    sources: Sequence[Source],
    config: Config,
    device: torch.device,
    precision: str,
    stages: Sequence[dict[str, Any]],
    start: float,
) -> dict[str, Any]:
    return {
        "sources": [source.name for source in sources],
        "seed": config.seed,
        "stages": list(stages),
        "seconds": round(time.monotonic() - start, 3),
        "device": str(device),
        "precision": precision,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    packages = ("napari-autostructn2v", "torch", "numpy", "scipy", "tifffile", "zarr")
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


def _report(
    model: Model,
    findings: Sequence[Finding],
    stages: Sequence[dict[str, Any]],
    device: torch.device,
    start: float,
) -> dict[str, Any]:
    """The report of a run; its keys are a contract (see "The outside face" in the docs)."""
    return {
        **analysis.report(findings),
        "trained_mask": model.units[0].mask.tolist() if model.units else [[1]],
        "stages": list(stages),
        "quality": {},
        "seconds": round(time.monotonic() - start, 3),
        "device": str(device),
        "versions": _versions(),
        "config": model.config.model_dump(mode="json"),
    }
