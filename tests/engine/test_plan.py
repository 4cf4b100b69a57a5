"""The plan of a training: how its steps fit the time, and how it goes on from good weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine.config import Config, Stage, Training, UNetConfig
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.denoising import consume
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.engine.training import loop, schedule
from napari_autostructn2v.engine.training.loop import Task
from napari_autostructn2v.engine.training.objectives import BlindSpots
from napari_autostructn2v.engine.training.pool import Pool
from napari_autostructn2v.engine.training.schedule import Length, Plan

CPU = torch.device("cpu")
STAGE = Stage(network=UNetConfig(features=4, depth=1), patch_size=16, batch_size=4)


def walk(
    pace: Callable[[float], float], length: Length, monkeypatch: pytest.MonkeyPatch
) -> tuple[float, list[float]]:
    """Go through a plan whose steps take `pace(seconds so far)`: its duration and its rates."""
    now = 0.0
    monkeypatch.setattr(schedule.time, "monotonic", lambda: now)
    plan, step, rates = Plan(length), 0, []
    while step < plan.steps:
        rates.append(plan.rate(step))
        now += pace(now)
        step += 1
        plan.advance(step)
    return now, rates


@pytest.mark.parametrize("steps", [1, 4, 10, 500])
def test_a_number_of_steps_is_kept_and_falls_along_a_cosine(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pace in (0.01, 1.0):
        _, rates = walk(lambda _, pace=pace: pace, Length(steps), monkeypatch)
        warmup = max(1, min(30, steps // 4))
        falling = np.arange(steps - warmup) / max(1, steps - warmup)
        expected = [*(np.arange(1, warmup + 1) / warmup), *(1 + np.cos(np.pi * falling)) / 2]
        np.testing.assert_allclose(rates, expected, atol=1e-9)


@pytest.mark.parametrize(
    "pace",
    [
        lambda t: 0.05,
        lambda t: 0.05 if t < 20 else 0.1,  # another program starts
        lambda t: 0.05 if t < 36 else 0.1,
        lambda t: 0.05 if t < 10 else 0.4,
        lambda t: 0.1 if t < 20 else 0.05,  # and ends
        lambda t: 0.02,  # faster than timed
        lambda t: 0.05 * (1 + 0.5 * math.sin(t)),
        lambda t: 5.0 if 20 < t < 21 else 0.05,  # asleep for a while
        lambda t: 0.05 * (10 if int(t * 20) % 50 == 0 else 1),  # slow validations
    ],
)
def test_a_time_budget_ends_in_time_with_a_whole_cosine(
    pace: Callable[[float], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    took, rates = walk(pace, Length(800, 40.0), monkeypatch)
    assert 0.9 * 40 < took < 1.12 * 40
    assert max(rates) == 1
    falling = rates[30:]
    assert all(a >= b for a, b in pairwise(falling))
    assert falling[-1] < 0.01


def test_a_steady_pace_leaves_the_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rates = walk(lambda t: 0.05 + 0.001 * math.sin(t), Length(800, 40.0), monkeypatch)
    assert len(rates) == 800


def test_a_run_that_becomes_slower_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    original, now = loop.Task.loss, 0.0

    def slower(self: Task, *batch: torch.Tensor) -> torch.Tensor:
        nonlocal now
        now += 0.02 if now < 2.5 else 0.06
        return original(self, *batch)

    monkeypatch.setattr(loop.Task, "loss", slower)
    for clock in ("monotonic", "perf_counter"):
        monkeypatch.setattr(loop.time, clock, lambda: now)
    image = sample("nuclei", "white", size=64, psnr=18.0).noisy
    config = Config(budget="4s", run_stage2=False, stage1=STAGE, device="cpu")
    (stage,) = consume(run(image, config)).report["stages"]
    assert 3.6 < stage["seconds"] < 4.5  # the steps first planned would take more than 6


def task(**more: Any) -> Task:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    source = as_source(rng.normal(size=(64, 64)).astype(np.float32))
    piece = Piece(source, 0, ((0, 64), (0, 64)))
    pools = [Pool([piece], Normalisation((0.0,), (1.0,)), STAGE, 2**20, 0, CPU) for _ in range(2)]
    mask = torch.ones(1, 1, dtype=torch.bool)
    return Task(
        network=UNet(STAGE.network), pool=pools[0], validation=pools[1],
        objective=BlindSpots(mask, 5.0, "local_mean"), stage=STAGE, training=Training(),
        symmetries=[(False, False, False)], precision="float32", device=CPU, **more,
    )  # fmt: skip


def distance(one: UNet, other: UNet) -> float:
    vectors = [torch.cat([p.detach().ravel() for p in net.parameters()]) for net in (one, other)]
    return float((vectors[0] - vectors[1]).norm())


def walked(made: Task, steps: int) -> list[loop.Step]:
    stop = type("Never", (), {"is_set": lambda self: False})()
    return list(loop.train(made, Length(steps), torch.Generator().manual_seed(0), stop))


def test_the_average_of_good_weights_is_slow_from_the_start() -> None:
    moved = []
    for continued in (False, True):
        made = task(continued=continued)
        begin = task().ema
        walked(made, 4)
        moved.append(distance(made.ema, begin) / distance(made.network, begin))
    assert moved[1] < 0.1 < moved[0]


def test_the_average_can_be_looked_at_while_it_trains() -> None:
    made = task()
    stop = type("Never", (), {"is_set": lambda self: False})()
    seen = [
        next(made.ema.parameters()).detach().clone()
        for _ in loop.train(made, Length(200), torch.Generator().manual_seed(0), stop)
    ]
    assert len(seen) > 2
    assert not torch.equal(seen[0], seen[-1])
    assert torch.equal(seen[-1], next(made.ema.parameters()))
    assert not made.ema.training


def test_timing_leaves_no_trace_and_answers_a_stop() -> None:
    made = task()
    before = [p.detach().clone() for net in (made.network, made.ema) for p in net.parameters()]
    stop = type("Always", (), {"is_set": lambda self: True})()
    begun = time.monotonic()
    assert loop.choose_threads(made, 1e6, stop) > 0
    assert time.monotonic() - begun < 1
    after = [p for net in (made.network, made.ema) for p in net.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
