"""One network's way: what diverges, how long it takes, and what Stage 2 takes over."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Event
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.engine.training import loop, trainer

TINY = {"network": {"features": 4, "depth": 1}, "patch_size": 16, "batch_size": 4}


def noisy(size: int = 64) -> np.ndarray:
    return sample("nuclei", "horizontal", size=size, psnr=18.0).noisy


def story(
    image: Any,
    one: dict[str, Any] | None = None,
    two: dict[str, Any] | None = None,
    sink: ArraySink | None = None,
    **more: Any,
) -> list[Event]:
    stages = {"stage1": {**TINY, **(one or {})}, "stage2": {**TINY, **(two or {})}}
    mask = {"mask_source": "array", "mask": [[1, 1, 1]]}
    values = {"budget": "8steps", "device": "cpu", "structure": mask, **stages, **more}
    return list(run(image, Config.parse(values), sink=sink))


@pytest.mark.parametrize(
    ("budget", "rate", "depth", "batch_norm"),
    [
        ("1steps", 1.0, 1, False),
        ("4steps", 1.0, 3, False),
        ("24steps", 1.0, 1, True),
        ("24steps", 1.0, 3, False),
        ("24steps", 0.1, 1, False),
        ("24steps", 0.1, 3, True),
        ("24steps", 0.03, 1, False),
    ],
)
def test_any_learning_rate_gives_a_finite_result_or_a_sentence(
    budget: str, rate: float, depth: int, batch_norm: bool
) -> None:
    network = {"features": 4, "depth": depth, "batch_norm": batch_norm}
    fast, sink = {"learning_rate": rate, "network": network}, ArraySink(every_stage=True)
    last = story(noisy(), fast, fast, sink, budget=budget)[-1]
    if isinstance(last, events.Failed):
        assert isinstance(last.error, InputError), last
        assert f"learning_rate below {rate:g}" in last.message
        return
    assert isinstance(last, events.Finished)
    for result in sink.results.values():
        assert np.isfinite(result).all()
    assert all(math.isfinite(stage["loss"]) for stage in last.report["stages"])


def test_a_stage_2_that_learns_nothing_leaves_stage_1_as_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = loop.Task.loss

    def explodes(self: loop.Task, *batch: torch.Tensor) -> torch.Tensor:
        return original(self, *batch) * (math.nan if self.objective.pattern.size > 1 else 1)

    monkeypatch.setattr(loop.Task, "loss", explodes)
    sink = ArraySink()
    told = story(noisy(), sink=sink)
    warnings = [event.message for event in told if isinstance(event, events.Warning)]
    assert any("Stage 2 diverged" in message and "are kept" in message for message in warnings)
    last = told[-1]
    assert isinstance(last, events.Finished)
    assert last.model.stages == ("stage1",)
    assert np.isfinite(sink.final[0]).all()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({}, {"batch_norm": True}),
        ({"batch_norm": True}, {}),
        ({"depth": 3}, {"depth": 1}),
        ({"depth": 1}, {"depth": 3}),
        ({"features": 4}, {"features": 8}),
        ({"top_skip": False, "blur_pool": True}, {}),
        ({"residual": True}, {"gradient_checkpointing": True}),
    ],
)
def test_a_warm_start_takes_what_fits(one: dict[str, Any], two: dict[str, Any]) -> None:
    base = {"features": 4, "depth": 2}
    first, second = ({"network": {**base, **own}} for own in (one, two))
    last = story(noisy(), first, second, budget="4steps", training={"warm_start": True})[-1]
    assert isinstance(last, events.Finished), last
    assert last.model.stages == ("stage1", "stage2")


@pytest.mark.parametrize("shape", [(1, 40), (8, 40), (33, 33)])
@pytest.mark.parametrize("depth", [3, 5])
def test_batch_normalisation_bears_the_smallest_batches(shape: tuple[int, int], depth: int) -> None:
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    stage = {
        "network": {"features": 4, "depth": depth, "batch_norm": True},
        "patch_size": 8,
        "batch_size": 1,
    }
    last = story(image, stage, stage, budget="2steps")[-1]
    assert isinstance(last, events.Finished), last


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_batch_normalisation_bears_patches_that_are_hidden_whole(precision: str) -> None:
    hidden = {"replacement": "zeros", "mask_center_size": 15, "mask_percentage": 60}
    network = {"features": 4, "depth": 5, "batch_norm": True}
    stage = {**hidden, "network": network, "patch_size": 8, "learning_rate": 1e-4}
    told = story(noisy(20), stage, stage, budget="4steps", training={"precision": precision})
    assert isinstance(told[-1], events.Finished), told[-1]
    assert not any("diverged" in e.message for e in told if isinstance(e, events.Warning))


def progress(told: list[Event]) -> list[events.Progress]:
    return [event for event in told if isinstance(event, events.Progress)]


def test_a_training_until_it_stops_improving_knows_its_end_and_its_half() -> None:
    patient = {"patience": 3, "validate_every": 4, "min_improvement": 0.2}
    told = story(noisy(), budget="converged", training=patient)
    for stage in ("stage1", "stage2"):
        steps = [event for event in progress(told) if event.stage == stage]
        assert all(event.step <= event.total <= event.step + 4 * 4 for event in steps)
        assert steps[-1].step == steps[-1].total
    assert any(isinstance(event, events.Checked) and event.halfway for event in told)


@pytest.mark.parametrize(
    ("budget", "work"),
    [("40epochs", (4, 9)), ("40epochs", (4, 4)), ("160steps", (4, 4)), ("converged", (4, 4))],
)
def test_the_time_left_counts_the_stages_as_they_will_be(
    budget: str, work: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step takes a second: then what is left is the steps that are left."""
    now = [0.0]
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now[0])
    original = loop.Task.draw

    def slow(self: loop.Task, pool: Any, *rest: Any) -> Any:
        now[0] += float(pool is self.pool)
        return original(self, pool, *rest)

    monkeypatch.setattr(loop.Task, "draw", slow)
    one, two = ({"patches_per_image": count} for count in work)
    patient = {"patience": 3, "validate_every": 4, "min_improvement": 0.9, "self_check": False}
    seen = progress(story(noisy(), one, two, budget=budget, training=patient))
    total = now[0]
    for event in seen:
        done = event.step + (total - seen[-1].step if event.stage == "stage2" else 0)
        assert event.seconds_left == pytest.approx(total - done, rel=0.15, abs=3), event


def test_each_stage_chooses_from_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = []

    def one(*_: Any) -> float:
        offered.append(torch.get_num_threads())
        torch.set_num_threads(1)
        return 0.05

    monkeypatch.setattr(loop, "choose_threads", one)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        last = story(noisy(), budget="1s")[-1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert isinstance(last, events.Finished)
    assert offered == [2, 2]
    assert [stage["threads"] for stage in last.report["stages"]] == [1, 1]


@pytest.mark.parametrize(("size", "apart"), [(40, False), (64, True)])
def test_the_card_says_whether_it_was_judged_apart(size: int, apart: bool) -> None:
    last = story(noisy(96)[:size, :size], budget="2steps")[-1]
    assert isinstance(last, events.Finished)
    quality = last.report["quality"]
    assert quality["apart"] is apart
    words = "that were not trained on" if apart else "that were trained on too"
    assert words in quality["meaning"]["gain_db"]["meaning"]


def test_a_sample_is_made_for_logs_alone_and_of_the_channel_that_is_trained(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = trainer._sample

    def recorded(inputs: Any, network: Any) -> np.ndarray:
        made.append((inputs.channel, float(np.median(original(inputs, network)))))
        return np.zeros((8, 8))

    monkeypatch.setattr(trainer, "_sample", recorded)
    image = np.stack([noisy(), noisy() + 1e4])
    more = {"axes": "CYX", "network_per_channel": True, "run_stage2": False, "budget": "2steps"}
    assert isinstance(story(image, **more)[-1], events.Finished)
    assert not made
    assert isinstance(story(image, **more, tensorboard=tmp_path)[-1], events.Finished)
    assert [channel for channel, _ in made] == [0, 1]
    assert all(abs(centre) < 20 for _, centre in made)  # normalised as its own channel is
