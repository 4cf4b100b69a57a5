"""New kinds of training are a matter of a plan: an objective, a loss, a stage more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.denoising import consume
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.labels import STAGE_TITLES, quality_rows
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.engine.training import stages as training_stages
from napari_autostructn2v.engine.training.objectives import LOSSES, Batch
from napari_autostructn2v.engine.training.plan import StagePlan, plan
from napari_autostructn2v.engine.training.resume import InitFrom

TINY = {"network": {"features": 4, "depth": 1}, "patch_size": 16, "batch_size": 4}
MASK = {"mask_source": "array", "mask": [[1, 1, 1]]}
VALUES = {"budget": "12steps", "device": "cpu", "structure": MASK, "stage1": TINY, "stage2": TINY}


def noisy(size: int = 64) -> np.ndarray:
    return sample("nuclei", "horizontal", size=size, psnr=18.0).noisy


class Halves:
    """Learns to halve what it sees: a target that no blind spot would give."""

    pattern = np.ones((1, 1), np.uint8)

    def batch(self, patches: Tensor, generator: torch.Generator) -> Batch:
        patches = patches.nan_to_num(0.0)
        return Batch(patches, patches / 2, torch.ones_like(patches))


def test_an_objective_and_a_loss_of_another_kind_are_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, ...]] = []

    def absolute(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        seen.append(tuple(prediction.shape))
        return ((prediction - target).abs() * weight).mean()

    def halving(config: Config, **more: Any) -> tuple[StagePlan, ...]:
        first = plan(config, **more)[0]
        return (replace(first, objective=lambda *_: Halves(), loss="absolute", share=1.0),)

    monkeypatch.setitem(LOSSES, "absolute", absolute)
    monkeypatch.setattr(training_stages, "plan", halving)
    sink, image = ArraySink(), noisy()
    fast = {**TINY, "learning_rate": 0.01}
    config = Config.parse({**VALUES, "budget": "300steps", "stage1": fast})
    model = consume(run(image, config, sink=sink)).model
    assert model.stages == ("stage1",)
    assert set(seen) == {(4, 16, 16)}
    mean = image.mean()
    slope = np.polyfit((image - mean).ravel(), (sink.final[0] - mean).ravel(), 1)[0]
    assert slope == pytest.approx(0.5, abs=0.1)


@pytest.fixture
def refining(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_third(config: Config, **more: Any) -> tuple[StagePlan, ...]:
        stages = plan(config, **more)
        third: Any = replace(stages[-1], name="refine", structural=False, share=0.25, init="stage2")
        return (*stages, third)

    monkeypatch.setitem(STAGE_TITLES, "refine", "Refine")  # type: ignore[arg-type,misc]
    monkeypatch.setattr(training_stages, "plan", with_third)


@pytest.mark.usefixtures("refining")
def test_a_third_stage_is_trained_reported_judged_and_written() -> None:
    sink = ArraySink(every_stage=True)
    told = list(run(noisy(96), Config.parse(VALUES), sink=sink))
    last = told[-1]
    assert isinstance(last, events.Finished), last
    names = ["stage1", "stage2", "refine"]
    assert [e.stage for e in told if isinstance(e, events.StageDone)] == names
    assert [stage["name"] for stage in last.report["stages"]] == names
    assert list(last.model.stages) == names
    assert list(last.report["quality"]["stages"]) == names
    assert any("refine" in row.figures for row in quality_rows(last.report["quality"]))
    assert {stage for _, stage in sink.results} == set(names)
    left = {e.stage: e.seconds_left for e in told if isinstance(e, events.Progress)}
    assert left["stage2"] > 0 == left["refine"]


@pytest.mark.usefixtures("refining")
def test_a_mask_that_changed_drops_what_was_trained_after_it() -> None:
    model = consume(run(noisy(), Config.parse(VALUES))).model
    other = {"mask_source": "array", "mask": [[1], [1], [1]]}
    told = list(run(noisy(), Config.parse({**VALUES, "structure": other}), start=model))
    steps = {stage["name"]: stage["steps"] for stage in told[-1].model.provenance["stages"]}
    assert steps == {"stage1": 6, "stage2": 9, "refine": 3}  # only Stage 1 was continued


def test_a_start_says_what_is_taken_of_it() -> None:
    image = noisy()
    model = consume(run(image, Config.parse(VALUES))).model

    def begun(config: dict[str, Any], *args: Any, **more: Any) -> events.Finished:
        start = InitFrom(model, *args, **more)
        return consume(run(image * 2, Config.parse({**VALUES, **config}), start=start))

    first = {stage["name"]: stage["steps"] for stage in model.provenance["stages"]}
    done = begun({}, ("stage1",)).model
    steps = {stage["name"]: stage["steps"] for stage in done.provenance["stages"]}
    assert steps == {"stage1": 2 * first["stage1"], "stage2": first["stage2"]}
    assert done.normalisation.mean == model.normalisation.mean
    own = begun({}, normalisation="own").model.normalisation
    assert own.mean[0] == pytest.approx(2 * model.normalisation.mean[0], rel=0.01)
    wider = {"stage2": {**TINY, "network": {"features": 8, "depth": 1}}}
    assert begun(wider).model.provenance["stages"][-1]["steps"] == first["stage2"]
    with pytest.raises(InputError, match="another network in Stage 2"):
        begun(wider, strict=True)
