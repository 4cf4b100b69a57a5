"""Schedule of a training: number of steps, learning rate, patience."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from napari_autostructn2v.engine.config import Training

_WARMUP = 30  # steps of linear warm-up, at most a quarter of all steps
_WATCHED_SHARE = 0.05  # of a time budget: interval between checks of the pace, and its tolerance
FEWEST = 10  # minimum number of steps of a time budget


@dataclass(frozen=True)
class Length:
    """The number of steps to train; an estimate that gets updated if `seconds` is given."""

    steps: int
    seconds: float | None = None


class Plan:
    """The number of steps and the learning rate: linear warm-up, then half a cosine down.

    With a time budget the number of steps follows the pace, and the rest of the cosine is spread
    over the remaining steps. Without one, nothing here depends on the clock.
    """

    def __init__(self, length: Length) -> None:
        self.steps = length.steps
        self._warmup = max(1, min(_WARMUP, length.steps // 4))
        self._fallen = 0.0  # progress along the cosine, 0 to 1
        self._seconds = length.seconds
        if length.seconds is not None:
            self._seen, self._seen_step = time.monotonic(), 0
            self._end = self._seen + length.seconds
            self._pace = length.seconds / length.steps

    def rate(self, step: int) -> float:
        """Return the learning rate after `step` steps, relative to its peak."""
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
        """Adapt the number of steps to the remaining time, if off by more than an interval."""
        if now - self._seen < interval:
            return
        # Average with the old pace, so that one slow validation or preview has less effect.
        self._pace = (self._pace + (now - self._seen) / (step - self._seen_step)) / 2
        self._seen, self._seen_step = now, step
        left = self._end - now
        if abs((self.steps - step) * self._pace - left) > interval:
            self.steps = max(FEWEST, step + round(max(left, interval) / self._pace))


class Plateau:
    """Early stopping: halves the learning rate at half the patience, and stops at the whole."""

    def __init__(self, options: Training) -> None:
        self._options = options
        self._best = math.inf
        self._waited = 0
        self.factor = 1.0

    def update(self, loss: float) -> bool:
        """Add a validation loss; return whether patience has run out."""
        if loss < self._best * (1 - self._options.min_improvement):
            self._best, self._waited = loss, 0
            return False
        self._waited += 1
        if self._waited % max(1, self._options.patience // 2) == 0:
            self.factor /= 2
        return self._waited >= self._options.patience

    def end(self, step: int) -> int:
        """Return the step at which patience runs out if there is no further improvement."""
        every, first = self._options.validate_every, self._best == math.inf
        # The first validation always counts as an improvement.
        return (step // every + first + self._options.patience - self._waited) * every
