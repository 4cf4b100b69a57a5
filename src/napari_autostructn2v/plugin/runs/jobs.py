"""Jobs, frozen values that each describe one run, and how they run in the worker thread.

torch is imported only there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.events import (
    Failed,
    Finished,
    NoiseMeasured,
    Place,
    StageDone,
    TileDone,
    Warning,  # noqa: A004 - the event's public name
)
from napari_autostructn2v.engine.mask import analysis
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.layers.writing import LayerSink
from napari_autostructn2v.plugin.mask.mask_layer import warm_up
from napari_autostructn2v.plugin.runs.worker import Done, Engine, StopFlag

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model.model import TrainedModel


@dataclass(frozen=True, eq=False)
class Analyse:
    """Measure the noise of images, without training."""

    parts: Sequence[LayerSnapshot]
    config: Config


@dataclass(frozen=True, eq=False)
class Train:
    """Train on parts of images, and denoise the images.

    Attributes
    ----------
    start
        The model to continue from.
    preview
        Returns the place of the images to preview; called in the worker thread.
    """

    images: Sequence[LayerSnapshot]
    parts: Sequence[LayerSnapshot]
    config: Config
    sink: LayerSink
    start: TrainedModel | None = None
    preview: Callable[[], Place | None] | None = None


@dataclass(frozen=True, eq=False)
class Apply:
    """Denoise images with a model, with the device, tile size and result type of the config."""

    images: Sequence[LayerSnapshot]
    model: TrainedModel
    config: Config
    sink: LayerSink


@dataclass(frozen=True, eq=False)
class Save:
    model: TrainedModel
    path: Path


@dataclass(frozen=True, eq=False)
class Load:
    path: Path


Job = Analyse | Train | Apply | Save | Load


@dataclass(frozen=True, eq=False)
class Analysed(Done):
    """The noise of every channel of all parts.

    `common` is their combined noise, which a network for all of them is trained for.
    """

    parts: Sequence[LayerSnapshot]
    config: Config
    findings: tuple[NoiseAnalysis, ...]
    common: NoiseAnalysis


@dataclass(frozen=True, eq=False)
class Saved(Done):
    path: Path


@dataclass(frozen=True, eq=False)
class Loaded(Done):
    path: Path
    model: TrainedModel


def engine(job: Job) -> Engine:
    """Return the function that runs a job with the engine."""
    match job:
        case Analyse():
            return lambda stop: _analyse(job, stop)
        case Train():
            return lambda stop: _train(job, stop)
        case Apply():
            return lambda stop: _apply(job, [image.source() for image in job.images], stop)
        case Save():
            return lambda stop: _save(job)
        case Load():
            return lambda stop: _load(job)


def _analyse(job: Analyse, stop: StopFlag) -> Iterator[object]:
    warm_up()
    findings: list[NoiseAnalysis] = []
    for finding in analysis.analyse([part.source() for part in job.parts], job.config):
        if stop.is_set():
            yield Done()
            return
        findings.append(finding)
    yield _analysed(job, findings)


def _analysed(job: Analyse | Train, findings: Sequence[NoiseAnalysis]) -> Analysed:
    common = analysis.combine(findings, job.config)
    return Analysed(job.parts, job.config, tuple(findings), common)


def _train(job: Train, stop: StopFlag) -> Iterator[object]:
    """Train; if stopped, denoise with the model so far, unless Stop is pressed again."""
    warm_up()
    import_module(
        "napari_autostructn2v.plugin.widgets.loss_plot"
    )  # here rather than in the GUI thread, with the first loss
    from napari_autostructn2v.engine import pipeline

    findings: list[NoiseAnalysis] = []
    onto = [image.source() for image in job.images]
    for event in pipeline.run(
        [part.source() for part in job.parts],
        job.config,
        sink=job.sink,
        stop=stop,
        start=job.start,
        onto=onto,
        preview=job.preview,
    ):
        if isinstance(event, NoiseMeasured) and event.finding is not None:
            findings.append(event.finding)
        elif findings and not isinstance(event, Finished | Failed):
            yield _analysed(job, findings)
            findings.clear()
        if isinstance(event, StageDone) and event.stopped == "stopped":
            job.sink.cut_short(event.stage)
        if isinstance(event, Finished) and event.stopped:
            wanted = event.model.available(job.config.result)
            config = job.config.model_copy(update={"result": wanted})
            failed = yield from _tiles(Apply(job.images, event.model, config, job.sink), onto, stop)
            event = failed or event
        yield event


def _tiles(
    job: Apply, onto: Sequence[Source], stop: StopFlag
) -> Generator[object, None, Failed | None]:
    """Denoise after a stopped training, unless done already or Stop is pressed again.

    If this fails, the run ends with that failure, which includes the model.
    """
    if job.sink.used or not job.model.units or stop.again.is_set():
        return None
    for event in _apply(job, onto, stop, again=True):
        if isinstance(event, Failed):
            return event
        if isinstance(event, TileDone | Warning):
            yield event
    return None


def _apply(
    job: Apply, sources: Sequence[Source], stop: StopFlag, again: bool = False
) -> Iterator[object]:
    """Denoise until stopped, or until Stop is pressed `again`."""
    from napari_autostructn2v.engine import denoising

    config = job.config
    return denoising.apply(
        job.model,
        list(sources),
        sink=job.sink,
        device=config.device,
        tile=config.tile,
        dtype=config.dtype,
        stage=config.result,
        stop=stop.again if again else stop,
    )


def _save(job: Save) -> Iterator[object]:
    job.model.save(job.path)
    yield Saved(job.path)


def _load(job: Load) -> Iterator[object]:
    from napari_autostructn2v.engine.denoising import Model

    yield Loaded(job.path, Model.load(job.path))
