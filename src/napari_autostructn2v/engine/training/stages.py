"""Trains one network through its planned stages."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.events import Event, Stop
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.training.judging import checked, judge_of, judged
from napari_autostructn2v.engine.training.learned import Learned, TrainingInputs
from napari_autostructn2v.engine.training.plan import StagePlan, plan
from napari_autostructn2v.engine.training.structural_mask import (
    find_in_result,
    is_needless,
    mask_before_training,
    mask_found,
    with_noise,
)
from napari_autostructn2v.engine.training.trainer import LookHalfway, train_stage
from napari_autostructn2v.engine.types import Array


def train_network(
    inputs: TrainingInputs, start: Learned, measured: NoiseAnalysis, stop: Stop
) -> Generator[Event, None, Learned]:
    """Train the stages of a network and assess them.

    Returns
    -------
    The trained stages. Errors are not raised but returned in `learned.error`, so that the stages
    trained before are kept.
    """
    learned, found = start, measured
    try:
        mask = mask_before_training(inputs, found, learned)
        learned = with_noise(inputs, learned, found, mask)
        needless = mask is not None and is_needless(mask, inputs.config, learned)
        stages = plan(inputs.config, second=not needless)
        for stage in stages:
            if stage.structural:
                late = mask is None
                if mask is None:
                    found = find_in_result(inputs, learned.unit.networks["stage1"], found)
                    mask = found.mask
                    learned = with_noise(inputs, learned, found, mask)
                yield mask_found(inputs, found, mask)
                if is_needless(mask, inputs.config, learned):
                    if late:
                        yield events.Warning(
                            "No structured noise was found after Stage 1, so Stage 2 is skipped."
                        )
                    continue
            halfway = None
            if stage.structural and mask is not None and inputs.config.training.self_check:
                halfway = _look_for_leaks(inputs, stage, found, mask)
            learned, wider = yield from train_stage(
                inputs, stages, stage, learned, found, stop, halfway
            )
            if wider is not None:
                learned = yield from _start_again(
                    inputs, stages, stage, learned, found, wider, stop
                )
            if learned.stopped or learned.error is not None:
                break
        if learned.error is None:
            learned = yield from judged(inputs, learned, measured, stop)
    except Exception as error:  # noqa: BLE001 - raised again once the stages are saved
        return replace(learned, error=error)
    return learned


def _look_for_leaks(
    inputs: TrainingInputs, stage: StagePlan, found: NoiseAnalysis, mask: Array
) -> LookHalfway:
    """Return a check of the residual that asks to restart with a wider mask if noise leaks.

    A network doesn't unlearn what it learned from pixels that are hidden only later, so training
    must restart. Masks given by the user are not changed.
    """
    given = inputs.config.structure.mask_source in ("file", "array")

    def look(network: Network) -> tuple[events.Checked, Array | None]:
        check = judge_of(inputs, found).check(network, mask)
        wider = check.extend if check.verdict == "leaks" and not given else None
        event = checked(inputs, stage.name, check, halfway=True, repaired=wider is not None)
        return event, wider

    return look


def _start_again(
    inputs: TrainingInputs,
    stages: tuple[StagePlan, ...],
    stage: StagePlan,
    before: Learned,
    found: NoiseAnalysis,
    mask: Array,
    stop: Stop,
) -> Generator[Event, None, Learned]:
    """Train a stage again with a wider mask; if stopped, return the better of the two networks."""
    if stop.is_set():
        return replace(before, stopped=True)
    fresh = replace(before, report=before.report[:-1])
    yield mask_found(inputs, found, mask)
    rest = replace(stage, share=stage.share / 2)
    learned, _ = yield from train_stage(
        inputs, stages, rest, with_noise(inputs, fresh, found, mask), found, stop
    )
    kept = replace(before, stopped=learned.stopped, error=learned.error)
    if stage.name not in learned.unit.networks:  # an error came first, or it diverged
        return kept
    if learned.stopped:
        name = stage.name
        both = {"again": learned.unit.networks[name], "before": before.unit.networks[name]}
        if judge_of(inputs, found).better(both) != "again":
            yield mask_found(inputs, found, before.unit.mask)
            return kept
    return learned
