"""Losses by step, in bounded memory."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.events import Progress
from napari_autostructn2v.engine.labels import STAGE_TITLES

Floats = npt.NDArray[np.float64]

MOST_POINTS = 2000


class Series:
    """Steps and losses in order; neighbours are merged once there are `MOST_POINTS` points."""

    def __init__(self) -> None:
        self._steps, self._losses = array("d"), array("d")

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: float, loss: float) -> None:
        """Add a point; losses without a logarithm are skipped."""
        if not (math.isfinite(loss) and loss > 0):
            return
        self._steps.append(step)
        self._losses.append(loss)
        if len(self) >= MOST_POINTS:
            self._steps, self._losses = _halved(self._steps), _halved(self._losses)

    def arrays(self) -> tuple[Floats, Floats]:
        """Return the steps and the losses."""
        return np.array(self._steps), np.array(self._losses)


def _halved(values: array[float]) -> array[float]:
    pairs = np.asarray(values[: len(values) // 2 * 2]).reshape(-1, 2)
    return array("d", pairs.mean(1).tobytes())


@dataclass
class Stretch:
    """The training of one network in one stage, with steps `first` to `last` of the run."""

    stage: StageName
    channel: int | None
    first: int
    last: int
    training: Series = field(default_factory=Series)
    validation: Series = field(default_factory=Series)

    @property
    def title(self) -> str:
        return STAGE_TITLES[self.stage] + ("" if self.channel is None else f" C{self.channel}")

    def add(self, event: Progress) -> None:
        step = self.first + event.step
        self.last = max(self.last, step)
        self.training.add(step, event.loss)
        if event.validation_loss is not None:
            self.validation.add(step, event.validation_loss)
