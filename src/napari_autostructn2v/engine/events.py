"""The events that a run yields: immutable, picklable and without tensors.

A run that can begin yields `Started` first; every run ends with one `Finished` or `Failed`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.types import Array, Box
from napari_autostructn2v.engine.types import Place as Place  # part of the public API of events

if TYPE_CHECKING:
    from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
    from napari_autostructn2v.engine.model.model import TrainedModel


class Stop(Protocol):
    """A flag that asks a run to stop, such as threading.Event or multiprocessing.Event."""

    def is_set(self) -> bool: ...


NEVER: Stop = threading.Event()


def read_only(array: Array) -> Array:
    """Return a read-only copy, so that an event never changes after it was sent."""
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


@dataclass(frozen=True)
class Started:
    """The inputs are readable and the run begins."""

    images: tuple[str, ...]
    device: str
    precision: str


@dataclass(frozen=True, eq=False)
class NoiseMeasured:
    """The noise of one channel of one image.

    `rho` is the (2L+1, 2L+1) autocorrelation with lag 0 in the centre, `sigma` the standard
    deviation in grey values, `leak` the share of a pixel's noise that its neighbours predict.
    `finding` is the complete analysis.
    """

    image: int
    channel: int
    rho: Array
    sigma: float
    verdict: str
    leak: float
    sentence: str
    finding: NoiseAnalysis | None = field(default=None, repr=False)

    @classmethod
    def of(cls, finding: NoiseAnalysis) -> Self:
        return cls(
            image=finding.image,
            channel=finding.channel,
            rho=read_only(finding.noise.rho),
            sigma=finding.noise.sigma,
            verdict=finding.verdict.name,
            leak=finding.verdict.leak,
            sentence=finding.verdict.sentence,
            finding=finding,
        )


@dataclass(frozen=True)
class Progress:
    """Training progress, at most 20 times a second.

    `seconds_left` is the estimate for all stages. With a time budget, `total` changes with the
    speed of the training.
    """

    stage: StageName
    step: int
    total: int
    loss: float
    seconds_left: float
    validation_loss: float | None = None
    channel: int | None = None


@dataclass(frozen=True, eq=False)
class Preview:
    """The current network's result for a small region: (h, w) float32, in grey values.

    The image number in `place` counts the images that results are written for.
    """

    stage: StageName
    step: int
    image: Array
    place: Place


@dataclass(frozen=True, eq=False)
class MaskFound:
    """The structural mask (odd sides, centre hidden) that Stage 2 trains with."""

    mask: Array
    rho: Array
    verdict: str
    leak: float
    channel: int | None = None


@dataclass(frozen=True, eq=False)
class Checked:
    """What a network removes was compared with the measured noise.

    `verdict` is "fits", "leaks", "loses detail" or "can't tell". `halfway` is true in the middle
    of the training, false at its end. `mask` is a wider mask if noise leaks; `repaired` says
    whether Stage 2 starts again with it.
    """

    stage: StageName
    verdict: str
    sentence: str
    halfway: bool
    mask: Array | None = None
    repaired: bool = False
    channel: int | None = None


@dataclass(frozen=True)
class StageDone:
    """The training of a stage has ended; `stopped` says why it ended early, if it did."""

    stage: StageName
    steps: int
    seconds: float
    loss: float
    stopped: str | None = None
    channel: int | None = None


@dataclass(frozen=True)
class TileDone:
    """A block of the result is written: `region` ((y0, y1), (x0, x1)) of plane `plane`."""

    stage: StageName
    image: int
    plane: int
    region: Box
    done: int
    total: int


@dataclass(frozen=True)
class Warning:  # noqa: A001 - the event's public name; imported as events.Warning
    """Something the user should know; the run continues."""

    message: str


@dataclass(frozen=True)
class Finished:
    """The run is complete, or was stopped on request if `stopped` is true."""

    model: TrainedModel
    stopped: bool
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """The run ended with an error; `model` is what was trained so far, if anything."""

    error: BaseException
    message: str
    model: TrainedModel | None = None


Event = (
    Started | NoiseMeasured | Progress | Preview | MaskFound | Checked | StageDone | TileDone
    | Warning | Finished | Failed
)  # fmt: skip
