"""Assesses a trained network and recommends one of its stages."""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import replace

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.errors import InputError, first_line
from napari_autostructn2v.engine.evaluation.evaluate import Judge
from napari_autostructn2v.engine.evaluation.residual import Check
from napari_autostructn2v.engine.events import Event, Stop
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.training.learned import Learned, TrainingInputs

_log = logging.getLogger(__name__)


def judge_of(inputs: TrainingInputs, found: NoiseAnalysis) -> Judge:
    return Judge(
        inputs.config,
        inputs.sources,
        inputs.channel,
        inputs.normalisation,
        inputs.runtime.device,
        found,
    )


def checked(
    inputs: TrainingInputs,
    stage: StageName,
    check: Check,
    halfway: bool = False,
    repaired: bool = False,
) -> events.Checked:
    mask = None if check.extend is None else events.read_only(check.extend)
    return events.Checked(
        stage, check.verdict, check.sentence, halfway, mask, repaired, inputs.channel
    )


def judged(
    inputs: TrainingInputs, learned: Learned, found: NoiseAnalysis, stop: Stop
) -> Generator[Event, None, Learned]:
    """Recommend a stage; if training was not stopped, also check and assess all stages."""
    try:
        if not learned.stages:
            return learned
        if learned.stopped or stop.is_set():
            return (yield from _unfinished(inputs, learned, found))
        return (yield from _finished(inputs, learned, found, stop))
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - keep the networks even without a quality card
        _log.exception("quality assessment failed")
        yield events.Warning(f"The quality of the result is unknown ({first_line(error)}).")
        return learned


def _finished(
    inputs: TrainingInputs, learned: Learned, found: NoiseAnalysis, stop: Stop
) -> Generator[Event, None, Learned]:
    judge, networks = judge_of(inputs, found), learned.unit.networks
    last = learned.stages[-1]
    check = judge.check(networks[last], learned.unit.mask)
    yield checked(inputs, last, check)
    if check.verdict == "leaks":
        yield events.Warning(check.sentence)
    if stop.is_set():
        return learned
    quality = judge.assess(networks, check)
    unit = replace(learned.unit, recommended=quality["recommended"])
    return replace(learned, unit=unit, quality=quality)


def _unfinished(
    inputs: TrainingInputs, learned: Learned, found: NoiseAnalysis
) -> Generator[Event, None, Learned]:
    """Choose a stage quickly, in about the time of a tile, as the user waits for the stop."""
    unit = learned.unit
    if len(unit.networks) > 1:
        best = judge_of(inputs, found).better(unit.networks) or unit.best
        unit = replace(unit, recommended=best)
    steps = learned.history[unit.best]["steps"]
    yield events.Warning(
        f"Stopped: the result is from {STAGE_TITLES[unit.best]} after {steps} "
        f"step{'s' * (steps != 1)}."
    )
    return replace(learned, unit=unit, quality={"recommended": unit.best})
