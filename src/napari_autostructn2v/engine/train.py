"""Trains one network on hidden pixels: data, mask, network, loss, optimiser, from top to bottom."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from napari_autostructn2v.engine.config import Stage, Training
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Stop
from napari_autostructn2v.engine.masking import Masking
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.patches import Pool, Symmetry, move

Precision = Literal["float32", "bfloat16"]

_WARMUP = 30  # steps at most, a quarter of all: the learning rate rises linearly
_REPORT_SECONDS = 0.05  # progress at most 20 times a second
_TIMED_SHARE, _TIMED_SECONDS = 0.03, 2.0  # of a time budget goes to timing, at most
_WATCHED_SHARE = 0.05  # of a time budget: how often the pace is looked at, and may be off by
FEWEST = 10  # steps a time budget gives, however slow they are
_VALIDATION_BATCHES = 4
_CLIP = 1.0  # norm of the gradient

# Why a training ended early.
STOPPED = "stopped"
NOT_FINITE = "the loss is not finite; a lower learning rate may help"
STALLED = "the validation loss no longer improves"


def choose_device(name: str) -> torch.device:
    """Resolve "auto" to the fastest device there is.

    Raises
    ------
    InputError
        If the device asked for is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= there[device.type]:
        raise InputError(f"device {name!r} is not available on this machine; use auto or cpu")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """bfloat16 where the device computes with it, so that the choice never depends on timing."""
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        fast = device.type == "cpu" and probe()
    return "bfloat16" if fast else "float32"


@dataclass
class Task:
    """Everything a step needs, on its device.

    Attributes
    ----------
    network
        What the optimiser works on, in place.
    average
        Its exponential average, which is what a stage learns; it can be looked at meanwhile.
    continued
        Whether the network was trained before, so that the average is slow from the start.
    """

    network: UNet
    pool: Pool
    validation: Pool
    masking: Masking
    stage: Stage
    training: Training
    symmetries: Sequence[Symmetry]
    precision: Precision
    device: torch.device
    continued: bool = False
    average: UNet = field(init=False)

    def __post_init__(self) -> None:
        self.average = copy.deepcopy(self.network)

    def draw(self, pool: Pool, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """A batch: network input, target and weight, each (count, h, w)."""
        patches = pool.batch(count, generator)
        valid = ~patches.isnan()
        target = patches.nan_to_num(0.0)
        hidden = self.masking.draw(count, pool.shape, generator)
        weight = (self.masking.counted(hidden) & valid).to(target.dtype)
        inputs = self.masking.replace(target, hidden, generator)
        pick = torch.randint(
            len(self.symmetries), (count,), generator=generator, device=self.device
        )
        choice = torch.tensor(self.symmetries, device=self.device)[pick]
        return tuple(move(part, choice) for part in (inputs, target, weight))

    def loss(self, inputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Mean squared error over the pixels that count."""
        image = inputs[:, None].contiguous(memory_format=torch.channels_last)
        with self._autocast():
            output = self.network(image)
        squared = (output[:, 0].float() - target) ** 2
        mean: Tensor = (squared * weight).sum() / weight.sum().clamp_min(1)
        return mean

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


@dataclass(frozen=True)
class Length:
    """How long to train: so many steps, or as many as `seconds` turn out to leave room for."""

    steps: int
    seconds: float | None = None


@dataclass(frozen=True)
class Step:
    """How far training is; `validation` only where it was just measured."""

    step: int
    total: int
    loss: float
    learning_rate: float
    validation: float | None = None
    stopped: str | None = None


def train(
    task: Task, length: Length, generator: torch.Generator, stop: Stop, patience: bool = False
) -> Iterator[Step]:
    """Train `task.network` in place; what is learned is `task.average`.

    Yields at most 20 times a second, halfway, and after the last step. Training ends early when
    `stop` is set, when `patience` (or the config's early stopping) runs out, or when the loss is no
    longer finite; then the last good weights are kept and `stopped` says which it was.
    """
    network, average, options = task.network, task.average, task.training
    optimizer = _optimizer(network, task.stage, options)
    good = copy.deepcopy(average.state_dict())
    plan, schedule = _Plan(length), _Plateau(options)
    total_loss, counted, reported = torch.zeros((), device=task.device), 0, time.monotonic()
    last_loss, stopped, step = math.nan, None, 0
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
        if step % options.validate_every == 0 or step == plan.steps:
            validation = validate(task, average)
            if math.isfinite(validation):
                good = copy.deepcopy(average.state_dict())
            if schedule.update(validation) and (patience or options.early_stopping):
                stopped = STALLED
        if stop.is_set():
            stopped = STOPPED
        # Halfway is always reported: what is decided there must not depend on the clock.
        due = time.monotonic() - reported > _REPORT_SECONDS or step == (plan.steps + 1) // 2
        if due or validation is not None or stopped or step == plan.steps:
            last_loss = float(total_loss) / counted
            if not math.isfinite(last_loss):
                stopped = NOT_FINITE
            total_loss, counted, reported = total_loss.zero_(), 0, time.monotonic()
            yield Step(step, plan.steps, last_loss, rate, validation, stopped)
    finite = math.isfinite(last_loss) and all(
        bool(value.isfinite().all()) for value in average.state_dict().values()
    )
    if not finite:
        average.load_state_dict(good)
    average.eval()


def _learn(
    task: Task, optimizer: torch.optim.Optimizer, generator: torch.Generator, step: int
) -> Tensor:
    """Take a step, and move the average towards it; gives the loss."""
    loss = task.loss(*task.draw(task.pool, task.stage.batch_size, generator))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(task.network.parameters(), _CLIP)
    optimizer.step()
    decay = task.training.ema
    _follow(task.average, task.network, decay if task.continued else min(decay, step / (step + 10)))
    return loss.detach()


def validate(task: Task, network: UNet) -> float:
    """Masked loss on fixed patches with fixed masks of the same shape."""
    generator = torch.Generator(task.device).manual_seed(0)
    judged = copy.copy(task)
    judged.network = network
    network.eval()
    with torch.no_grad():
        losses = [
            judged.loss(*task.draw(task.validation, task.stage.batch_size, generator))
            for _ in range(_VALIDATION_BATCHES)
        ]
    network.train()
    return float(torch.stack(losses).mean())


def choose_threads(task: Task, seconds: float, stop: Stop) -> float:
    """Time a step with all threads and with one, keep the faster; gives its seconds.

    Threads wait for each other at every layer: where another program keeps a core busy, all of
    them together can be ten times slower than one alone.
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
    """Time a step on copies, so that what is trained later does not depend on the timing."""
    trial = copy.copy(task)
    trial.network = copy.deepcopy(task.network).train()
    trial.average = copy.deepcopy(task.average)
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
    return float(np.mean(durations[min(2, len(durations) - 1) :]))  # the first set things up


def _optimizer(network: UNet, stage: Stage, options: Training) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    return kind(network.parameters(), stage.learning_rate, weight_decay=options.weight_decay)


class _Plan:
    """How many steps there will be, and the learning rate on the way: up, then half a cosine down.

    With a time budget the number changes where the pace does: what is left of the cosine is
    spread over the steps that still fit. Without one nothing here depends on the clock.
    """

    def __init__(self, length: Length) -> None:
        self.steps = length.steps
        self._warmup = max(1, min(_WARMUP, length.steps // 4))
        self._fallen = 0.0  # how much of the cosine is behind, 0 to 1
        self._seconds = length.seconds
        if length.seconds is not None:
            self._seen, self._seen_step = time.monotonic(), 0
            self._end = self._seen + length.seconds
            self._pace = length.seconds / length.steps

    def rate(self, step: int) -> float:
        """The learning rate after so many steps, as a share of its peak."""
        if step < self._warmup:
            return (step + 1) / self._warmup
        return 0.5 * (1 + math.cos(math.pi * self._fallen))

    def advance(self, step: int) -> None:
        """Count the step just taken."""
        if step > self._warmup:
            self._fallen += (1 - self._fallen) / max(1, self.steps - step + 1)
        if self._seconds is not None:
            self._watch(step, time.monotonic(), self._seconds * _WATCHED_SHARE)

    def _watch(self, step: int, now: float, interval: float) -> None:
        """Fit the steps to the time that is left, if they would miss its end by an interval."""
        if now - self._seen < interval:
            return
        # Half the old pace, so that one slow validation or preview does not change the plan.
        self._pace = (self._pace + (now - self._seen) / (step - self._seen_step)) / 2
        self._seen, self._seen_step = now, step
        left = self._end - now
        if abs((self.steps - step) * self._pace - left) > interval:
            self.steps = max(FEWEST, step + round(max(left, interval) / self._pace))


class _Plateau:
    """Watches the validation loss: halves the rate at half the patience, gives up at the whole."""

    def __init__(self, options: Training) -> None:
        self._options = options
        self._best = math.inf
        self._waited = 0
        self.factor = 1.0

    def update(self, loss: float) -> bool:
        if loss < self._best * (1 - self._options.min_improvement):
            self._best, self._waited = loss, 0
            return False
        self._waited += 1
        if self._waited % max(1, self._options.patience // 2) == 0:
            self.factor /= 2
        return self._waited >= self._options.patience


@torch.no_grad()
def _follow(average: UNet, network: UNet, decay: float) -> None:
    """Move the averaged weights towards the network's; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)
