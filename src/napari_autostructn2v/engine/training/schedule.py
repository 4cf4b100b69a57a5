"""How long a training is: its steps, the learning rate on the way, and when patience runs out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from napari_autostructn2v.engine.config import Training

_WARMUP = 30  # steps at most, a quarter of all: the learning rate rises linearly
_WATCHED_SHARE = 0.05  # of a time budget: how often the pace is looked at, and may be off by
FEWEST = 10  # steps a time budget gives, however slow they are


@dataclass(frozen=True)
class Length:
    """How long to train: so many steps, or as many as `seconds` turn out to leave room for."""

    steps: int
    seconds: float | None = None


class Plan:
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


class Plateau:
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

    def end(self, step: int) -> int:
        """The step at which patience runs out, if there is no improvement from here on."""
        every, first = self._options.validate_every, self._best == math.inf
        # The first loss that is validated is better than none.
        return (step // every + first + self._options.patience - self._waited) * every
