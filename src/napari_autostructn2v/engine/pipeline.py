"""The whole method, top to bottom: measure, Stage 1, mask, Stage 2, tiles.

`run` is a plain generator of events; the command line, the napari plugin and `denoise` all drive
it and nothing else. What it does is in `_run`; one network's way through Stage 1, mask and
Stage 2 is `course`.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from threading import Event as Flag
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_autostructn2v.engine import analysis, events
from napari_autostructn2v.engine.analysis import Finding
from napari_autostructn2v.engine.config import Config, StageName
from napari_autostructn2v.engine.course import Course
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Event, Stop
from napari_autostructn2v.engine.model import Model, Unit
from napari_autostructn2v.engine.noise import check_measurable, sample_blocks
from napari_autostructn2v.engine.patches import Normalisation
from napari_autostructn2v.engine.predict import is_out_of_memory, predict, tile_side
from napari_autostructn2v.engine.sink import ArraySink, Sink, Target
from napari_autostructn2v.engine.source import Source, as_source
from napari_autostructn2v.engine.structure import check_mask
from napari_autostructn2v.engine.tiles import Region
from napari_autostructn2v.engine.train import choose_device, choose_precision

Array = npt.NDArray[Any]

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
        course = Course(config, sources, channel, normalisation, device, precision, len(channels))
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
