"""The stages of a training as data: objective, share of the budget, initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from napari_autostructn2v.engine.config import Budget, Config, Stage, StageName
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.networks.registry import footprint
from napari_autostructn2v.engine.training.objectives import BlindSpots, Objective
from napari_autostructn2v.engine.types import Array

# Makes a stage's objective from the noise, the structural mask and the device.
MakeObjective = Callable[[NoiseAnalysis, Array, torch.device], Objective]


@dataclass(frozen=True)
class StagePlan:
    """One stage of one network.

    Attributes
    ----------
    settings
        Its network, patches and optimiser.
    structural
        Whether it uses the structural mask; if so, it is checked for leaks halfway.
    loss
        A key of `LOSSES`.
    share
        Its share of the network's budget.
    init
        The earlier stage to take initial weights from, as far as shapes match; None for random
        weights.
    """

    name: StageName
    settings: Stage
    objective: MakeObjective
    structural: bool = False
    loss: str = "mse"
    share: float = 1.0
    init: StageName | None = None


def plan(config: Config, second: bool = True) -> tuple[StagePlan, ...]:
    """Plan the stages of a config; if not `second`, Stage 1 gets the whole budget."""
    share = config.training.stage1_share if config.run_stage2 and second else 1.0
    stages = []
    if trains_stage1(config):
        stages.append(StagePlan("stage1", config.stage1, _hides_square(config.stage1), share=share))
    if config.run_stage2:
        stages.append(
            StagePlan(
                "stage2",
                config.stage2,
                _hides_mask(config.stage2),
                structural=True,
                share=1 - share if stages else 1.0,
                init="stage1" if config.training.warm_start else None,
            )
        )
    return tuple(stages)


def trains_stage1(config: Config) -> bool:
    """Return whether a run trains Stage 1, rather than take it from a model or skip it."""
    return config.run_stage1 and config.stage1_model is None


def _hides_square(settings: Stage) -> MakeObjective:
    square = np.ones((settings.mask_center_size,) * 2, np.uint8)
    return lambda _analysis, _mask, device: BlindSpots.of(square, settings, device)


def _hides_mask(settings: Stage) -> MakeObjective:
    return lambda _analysis, mask, device: BlindSpots.of(mask, settings, device)


def shares_of_time(stages: Sequence[StagePlan], budget: Budget) -> dict[StageName, float]:
    """Estimate each stage's share of the time."""
    if budget.unit == "seconds":
        return {stage.name: stage.share for stage in stages}
    work = {stage.name: _work(stage, budget) if stage.share else 0.0 for stage in stages}
    return {name: one / sum(work.values()) for name, one in work.items()}


def _work(stage: StagePlan, budget: Budget) -> float:
    """Return the relative work of a stage: pixels trained on times network width."""
    settings = stage.settings
    width = footprint(settings.network).bytes_per_pixel
    steps = {
        "steps": stage.share,
        "epochs": math.ceil(settings.patches_per_image / settings.batch_size),
    }.get(budget.unit, 1.0)
    return steps * settings.batch_size * settings.patch_size**2 * width
