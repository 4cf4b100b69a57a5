"""The whole method, top to bottom: measure, Stage 1, mask, Stage 2, tiles.

`run` is a plain generator of events; the command line, the napari plugin and `denoise` all drive
it and nothing else. What it does is in `_run`; how a network is trained is in `training.stages`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.normalise import normalise as _normalise
from napari_autostructn2v.engine.data.sampling import sampled
from napari_autostructn2v.engine.data.sink import ArraySink, Sink
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.denoising import (
    Model,
    check_channels,
    consume,
    misfits,
    sources_of,
)
from napari_autostructn2v.engine.devices import Runtime
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import NEVER, Event, Place, Stop
from napari_autostructn2v.engine.inference.mended import mended, with_noise
from napari_autostructn2v.engine.inference.results import write
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.engine.lifecycle import State, guarded
from napari_autostructn2v.engine.mask import analysis
from napari_autostructn2v.engine.mask.shapes import check_mask
from napari_autostructn2v.engine.model.model import TrainedModel
from napari_autostructn2v.engine.noise.periodic import Wave
from napari_autostructn2v.engine.noise.wave_subtraction import without_waves
from napari_autostructn2v.engine.reporting.report import provenance, report
from napari_autostructn2v.engine.training.learned import TrainingInputs
from napari_autostructn2v.engine.training.preview import Previewer
from napari_autostructn2v.engine.training.resume import InitFrom, kept_config, take_over
from napari_autostructn2v.engine.training.stages import train_network


def run(
    images: Any,
    config: Config | None = None,
    *,
    sink: Sink | None = None,
    stop: Stop | None = None,
    start: TrainedModel | InitFrom | None = None,
    onto: Any = None,
    preview: Callable[[], Place | None] | None = None,
) -> Iterator[Event]:
    """Train on images and write the denoised images to a sink.

    Parameters
    ----------
    images
        A `Source`, an array-like of 2 to 5 axes, or a sequence of them: one model for all.
    config
        All settings; default: `Config()`.
    sink
        Where results are written; without one the run ends after training.
    stop
        Checked after every image and channel measured, every step, and before every tile.
    start
        A model to continue, whose normalisation is kept (`InitFrom` has other choices). A stage
        that `config` trains continues from its weights, if it has that stage with the same network
        and, for Stage 2, the same mask, which is its own if `config.structure` is; a stage that
        `config` does not train is kept as it is. Overrides `stage1_model`.
    onto
        The images that results are written for; default: `images`.
    preview
        Called in the thread of the run about every two seconds during training; returns the place
        of `onto` to preview, or None. At most its middle 512 x 512 pixels are shown.

    Yields
    ------
    Events. The last is `Finished`, or `Failed` with the model so far; if the run can't begin,
    `Failed` is the only one. The generator raises nothing and leaves no thread or device memory.
    """
    state = State()
    return guarded(
        _run(images, onto, config or Config(), sink, stop or NEVER, start, preview, state), state
    )


def _run(
    images: Any,
    onto: Any,
    config: Config,
    sink: Sink | None,
    stop: Stop,
    begin: TrainedModel | InitFrom | None,
    preview: Callable[[], Place | None] | None,
    state: State,
) -> Generator[Event, None, events.Finished]:
    began = time.monotonic()
    sources = sources_of(images, config.axes)
    shown = sources if onto is None else sources_of(onto, config.axes)
    if begin is None and config.stage1_model is not None:
        begin = _stage1_of(config.stage1_model)
    init = InitFrom(begin) if isinstance(begin, TrainedModel) else begin
    start = init.taken if init else None
    runtime = Runtime.of(config.device, config.training.precision)
    device = runtime.device
    yield events.Started(tuple(source.name for source in sources), str(device), runtime.precision)

    sources = sampled(sources, config.seed)
    if onto is None:
        shown = sources
    wholes = mended(sources)
    used, said = with_noise(wholes, config)
    yield from map(events.Warning, said)
    places = {wholes.index(whole): place for place, whole in enumerate(used)}
    waves = start.waves if start else _waves(used[0].level, config)
    measured = [without_waves(whole.level, waves) for whole in wholes]
    sources = [whole.seen(waves) for whole in used]
    if init and init.normalisation == "model":
        normalisation = init.model.normalisation
    else:
        normalisation = _normalise(sources, config)
    normalisation = replace(normalisation, offset=sources[0].offset)
    check_channels(sources, len(normalisation.mean))
    channels: list[int | None] = [None]
    if config.network_per_channel:
        channels = list(range(max(source.channels for source in sources)))
    check_channels(shown, len(channels if config.network_per_channel else normalisation.mean))
    if start and start.units:
        yield from misfits(start, sources)
    previewer = preview and Previewer(
        preview, [whole.seen(waves) for image in shown for whole in mended([image])],
        normalisation, device, stop,
    )  # fmt: skip
    same_structure = start is not None and start.config.structure == config.structure
    networks = {channel: take_over(init, config, channel) for channel in channels}

    def so_far() -> Model:
        history = [record for learned in networks.values() for record in learned.history.values()]
        origin = provenance(sources, config, device, runtime.precision, history, start, began)
        known = tuple(learned.unit for learned in networks.values() if learned.unit.networks)
        return Model(kept_config(config, start), normalisation, known, origin, waves)

    model = so_far()
    findings = []
    for finding in analysis.analyse(measured, config):
        findings.append(finding)
        yield events.NoiseMeasured.of(finding)
        if stop.is_set():
            return events.Finished(model, True)

    for index, channel in enumerate(channels):
        relevant = [
            replace(finding, image=places[finding.image])
            for finding in findings
            if finding.image in places and channel in (None, finding.channel)
        ]
        inputs = TrainingInputs(
            config, sources, channel, normalisation, runtime, len(channels),
            len(channels) - 1 - index, same_structure, previewer,
        )  # fmt: skip
        finding = analysis.combine(relevant, config)
        learned = yield from train_network(inputs, networks[channel], finding, stop)
        networks[channel] = learned
        model = so_far()
        state.model = model if model.units else None
        if learned.error is not None:
            raise learned.error
        stopped = learned.stopped or stop.is_set()
        if stopped:
            break
    wanted = model.available(config.result)
    if config.result != "recommended" == wanted and model.units:
        yield events.Warning(
            f"{STAGE_TITLES[config.result]} was not trained; the result is from "
            f"{STAGE_TITLES[model.best]}."
        )
    if sink is not None and not stopped:
        yield from write(model, shown, sink, device, config.tile, config.dtype, stop, wanted)
        stopped = stop.is_set()
    result = model.result(wanted) if model.units else None
    trained = [record for learned in networks.values() for record in learned.report]
    judged = [learned.quality for learned in networks.values()]
    told = report(config, model, findings, trained, judged, result, device, began)
    return events.Finished(model, stopped, told)


def _stage1_of(path: Path) -> InitFrom:
    model = Model.load(path)
    if "stage1" not in model.stages:
        raise InputError(f"model {path} has no Stage 1; choose another stage1_model")
    return InitFrom(model, ("stage1",))


def _waves(source: Source, config: Config) -> tuple[Wave | None, ...]:
    """Return the wave to subtract from each channel, if the config asks for it."""
    if not config.structure.subtract_wave:
        return ()
    return tuple(finding.noise.wave for finding in analysis.analyse([source], config))


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
