"""The training loop of one network: batches, loss, optimiser, averaged weights, early stopping."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_autostructn2v.engine.config import Budget, Stage, Training
from napari_autostructn2v.engine.devices import Precision
from napari_autostructn2v.engine.events import Stop
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.training.augment import Symmetry, move
from napari_autostructn2v.engine.training.objectives import (
    Batch,
    Loss,
    Objective,
    mean_squared_error,
)
from napari_autostructn2v.engine.training.pool import Pool
from napari_autostructn2v.engine.training.schedule import FEWEST, Length, Plan, Plateau

_REPORT_SECONDS = 0.05  # progress at most 20 times a second
_TIMED_SHARE, _TIMED_SECONDS = 0.03, 2.0  # of a time budget spent on timing steps, at most
_CONVERGED_STEPS = 100_000  # limit if training runs until it stops improving
_VALIDATION_BATCHES = 4
_CLIP = 1.0  # maximum norm of the gradient
_DIVERGED = 100.0  # times the loss of predicting the mean of the data everywhere

# Reasons for ending a training early.
STOPPED = "stopped"
CONVERGED = "the validation loss no longer improves"
DIVERGED = "it diverged; the best weights until then are kept"
NOTHING_LEARNED = "it diverged before anything was learned"


@dataclass
class Task:
    """A network with everything needed to train it, on its device.

    Attributes
    ----------
    network
        The network that the optimiser changes in place.
    ema
        The exponential moving average of its weights: the result of the training, usable at any
        time.
    continued
        Whether the network was trained before; if so, the average starts with its full decay.
    """

    network: Network
    pool: Pool
    validation: Pool
    objective: Objective
    stage: Stage
    training: Training
    symmetries: Sequence[Symmetry]
    precision: Precision
    device: torch.device
    loss_function: Loss = mean_squared_error
    continued: bool = False
    ema: Network = field(init=False)

    def __post_init__(self) -> None:
        self.ema = copy.deepcopy(self.network)
        # Whether it has batch normalisation
        self.normalises = any(isinstance(m, nn.BatchNorm2d) for m in self.network.modules())
        self._choices = torch.tensor(self.symmetries, device=self.device)

    def draw(self, pool: Pool, count: int, generator: torch.Generator) -> Batch:
        batch = self.objective.batch(pool.batch(count, generator), generator)
        pick = torch.randint(
            len(self.symmetries), (count,), generator=generator, device=self.device
        )
        choice = self._choices[pick]
        return Batch(*(move(part, choice) for part in batch))

    def loss(self, inputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        image = inputs[:, None].contiguous(memory_format=torch.channels_last)
        with self._autocast():
            output = self.network(image)
        return self.loss_function(output[:, 0].float(), target, weight)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


@dataclass(frozen=True)
class Step:
    """Progress of a training.

    Attributes
    ----------
    total
        Expected number of steps. If training runs until it stops improving, the number if it does
        not improve any more.
    loss
        Mean training loss since the last report.
    validation
        The validation loss, if it was computed at this step.
    stopped
        The reason if training ends early, one of those above.
    """

    step: int
    total: int
    loss: float
    learning_rate: float
    validation: float | None = None
    stopped: str | None = None


def train(
    task: Task, length: Length, generator: torch.Generator, stop: Stop, patience: bool = False
) -> Iterator[Step]:
    """Train `task.network` in place; the result is `task.ema`.

    Yields at most 20 times a second, and also after each validation, halfway and after the last
    step. Training ends early if `stop` is set, if the validation loss stops improving (with
    `patience` or the config's early stopping), or if it diverges: the loss is not finite, or the
    validation loss far above that of predicting the mean everywhere. After divergence the weights
    with the best validation loss are restored, or else the initial ones; `stopped` is then
    `NOTHING_LEARNED` unless the network was trained before.
    """
    network, average, options = task.network, task.ema, task.training
    optimizer = _optimizer(network, task.stage, options)
    good = copy.deepcopy(average.state_dict())
    best = validate(task, average) if task.continued else math.inf
    worst = _DIVERGED * max(1.0, _loss_of_the_mean(task))
    plan, schedule = Plan(length), Plateau(options)
    total_loss, counted, reported = torch.zeros((), device=task.device), 0, time.monotonic()
    stopped, step, half = None, 0, False
    network.train()
    while step < plan.steps and stopped is None:
        rate = task.stage.learning_rate * (
            schedule.factor if options.schedule == "plateau" else plan.rate(step)
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        step += 1
        loss = _learn(task, optimizer, generator, step)
        task.pool.advance()
        plan.advance(step)
        total_loss, counted = total_loss + loss, counted + 1

        validation = None
        if step % options.validate_every == 0:
            validation = validate(task, average)
            if schedule.update(validation) and (patience or options.early_stopping):
                stopped = CONVERGED
        if stop.is_set():
            stopped = STOPPED
        total = min(plan.steps, schedule.end(step)) if patience else plan.steps
        # Always report halfway, so that decisions made there don't depend on the clock.
        reaches_half = not half and 2 * step >= total
        half = half or reaches_half
        if validation is None and (reaches_half or step == plan.steps) and not stopped:
            validation = validate(task, average)
        due = time.monotonic() - reported > _REPORT_SECONDS
        if due or validation is not None or stopped:
            last_loss = float(total_loss) / counted
            if validation is not None and validation < min(best, worst):
                good, best = copy.deepcopy(average.state_dict()), validation
            if not math.isfinite(last_loss) or (validation is not None and not validation <= worst):
                stopped = NOTHING_LEARNED if best == math.inf else DIVERGED
                average.load_state_dict(good)
                last_loss = validation = validate(task, average)
            total_loss, counted, reported = total_loss.zero_(), 0, time.monotonic()
            yield Step(step, total, last_loss, rate, validation, stopped)
    average.eval()


def _learn(
    task: Task, optimizer: torch.optim.Optimizer, generator: torch.Generator, step: int
) -> Tensor:
    """Take an optimiser step, update the averaged weights and return the loss."""
    loss = task.loss(*task.draw(task.pool, task.stage.batch_size, generator))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if task.normalises:  # constant patches: gradients grow 300-fold with each layer
        for parameter in task.network.parameters():
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
    nn.utils.clip_grad_norm_(task.network.parameters(), _CLIP)
    optimizer.step()
    decay = task.training.ema
    _follow(task.ema, task.network, decay if task.continued else min(decay, step / (step + 10)))
    return loss.detach()


def validate(task: Task, network: Network) -> float:
    """Return the masked loss on validation patches, with the same patches and masks each time."""
    judged = copy.copy(task)
    judged.network = network
    network.eval()
    with torch.no_grad():
        losses = [judged.loss(*batch) for batch in _held_batches(task)]
    network.train()
    return float(torch.stack(losses).mean())


def _loss_of_the_mean(task: Task) -> float:
    """Return the validation loss of predicting the mean of the data everywhere."""
    losses = [
        task.loss_function(0 * target, target, weight) for _, target, weight in _held_batches(task)
    ]
    return float(torch.stack(losses).mean())


def _held_batches(task: Task) -> Iterator[Batch]:
    generator = torch.Generator(task.device).manual_seed(0)
    for _ in range(_VALIDATION_BATCHES):
        yield task.draw(task.validation, task.stage.batch_size, generator)


def choose_length(budget: Budget, share: float, task: Task, planes: int, stop: Stop) -> Length:
    """Return the length of a share of the budget; timing a step counts towards a time budget."""
    if budget.unit == "steps":
        return Length(max(1, round(budget.amount * share)))
    if budget.unit == "epochs":
        patches = task.stage.patches_per_image * planes
        return Length(round(budget.amount) * max(1, math.ceil(patches / task.stage.batch_size)))
    if budget.unit == "converged":
        return Length(_CONVERGED_STEPS)
    start = time.monotonic()
    pace = choose_threads(task, budget.amount * share, stop)
    seconds = max(budget.amount * share - (time.monotonic() - start), FEWEST * pace)
    return Length(max(FEWEST, round(seconds / pace)), seconds)


def choose_threads(task: Task, seconds: float, stop: Stop) -> float:
    """Choose all threads or one, whichever is faster; return the seconds per step.

    Threads wait for each other at every layer, so if another program keeps a core busy, several
    threads can be ten times slower than one.
    """
    pace = _seconds_per_step(task, seconds, stop)
    threads = torch.get_num_threads()
    if task.device.type != "cpu" or threads == 1:
        return pace
    torch.set_num_threads(1)
    alone = _seconds_per_step(task, seconds, stop)
    if alone < 0.8 * pace:
        return alone
    torch.set_num_threads(threads)
    return pace


def _seconds_per_step(task: Task, seconds: float, stop: Stop) -> float:
    """Time a step on copies of the networks, so that the timing doesn't change the training."""
    trial = copy.copy(task)
    trial.network = copy.deepcopy(task.network).train()
    trial.ema = copy.deepcopy(task.ema)
    optimizer = _optimizer(trial.network, task.stage, task.training)
    generator = torch.Generator(task.device).manual_seed(0)
    durations: list[float] = []
    end = time.perf_counter() + min(seconds * _TIMED_SHARE, _TIMED_SECONDS)
    while len(durations) < 2 or (time.perf_counter() < end and not stop.is_set()):
        start = time.perf_counter()
        _learn(trial, optimizer, generator, len(durations) + 1)
        if task.device.type != "cpu":
            torch.accelerator.synchronize()
        durations.append(time.perf_counter() - start)
    return float(np.mean(durations[min(2, len(durations) - 1) :]))  # skip warm-up steps


def _optimizer(network: Network, stage: Stage, options: Training) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(network.parameters(), stage.learning_rate, weight_decay=options.weight_decay)


@torch.no_grad()
def _follow(average: Network, network: Network, decay: float) -> None:
    """Update the moving average of the weights; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)
