"""Says where a run is and how long it will take, in the dock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import monotonic

from qtpy.QtCore import Qt, SignalInstance
from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QWidget

from napari_autostructn2v.engine.events import (
    Event,
    Failed,
    Finished,
    MaskFound,
    NoiseMeasured,
    Progress,
    StageDone,
    Started,
    TileDone,
)

_STAGE = {"stage1": "Stage 1", "stage2": "Stage 2"}
_STEPS = 1000
_INTERVAL = 0.25  # seconds between two updates while training


@dataclass(frozen=True)
class Status:
    """One line for a microscopist; `done` is None where the end is not in sight."""

    text: str
    done: float | None = None
    seconds_left: float | None = None


def status_of(event: Event) -> Status | None:
    """Put an event into words, if it says anything about the run's progress."""
    match event:
        case Started():
            return Status("Measuring the noise")
        case NoiseMeasured():
            return Status("Preparing the training")
        case Progress():
            return Status(
                f"Training {_STAGE[event.stage]}",
                event.step / max(event.total, 1),
                event.seconds_left,
            )
        case StageDone():
            return Status(f"{_STAGE[event.stage]} is trained")
        case MaskFound():
            return Status("Preparing Stage 2")
        case TileDone():
            return Status(f"Denoising with {_STAGE[event.stage]}", event.done / max(event.total, 1))
        case Finished(stopped=True):
            return Status("Stopped early", 1.0)
        case Finished():
            return Status("Done", 1.0)
        case Failed():
            return Status("Failed", 0.0)
    return None


def clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class ProgressPanel(QWidget):
    """A line, the time left and a bar. Lives on the GUI thread."""

    def __init__(self) -> None:
        super().__init__()
        self.text = QLabel("Ready")
        self.time = QLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self._began = 0.0
        self._shown = -math.inf
        self._device = ""
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text, 0, 0)
        layout.addWidget(self.time, 0, 1, Qt.AlignmentFlag.AlignRight)
        layout.addWidget(self.bar, 1, 0, 1, 2)
        layout.setColumnStretch(0, 1)
        self._show(Status("Ready", 0.0))

    def begin(self, finished: SignalInstance) -> None:
        """Follow a run until its signal `finished`.

        There is no entry in napari's activity list: its spinner redraws the window all the while,
        which without a graphics card takes a good part of a core from the training.
        """
        self._began = monotonic()
        self._device = ""
        self._shown = -math.inf
        finished.connect(self._finish)
        self._show(Status("Starting"))

    def show_event(self, event: Event) -> None:
        if isinstance(event, Started):
            self._device = f" on {event.device}"
        if isinstance(event, Progress):  # each redraws the window
            if monotonic() - self._shown < _INTERVAL and event.step < event.total:
                return
            self._shown = monotonic()
        status = status_of(event)
        if status is not None:
            self._show(status)
        if isinstance(event, Finished):
            self.time.setText(clock(monotonic() - self._began))

    def stopping(self) -> None:
        self._show(Status("Stopping"))

    def _finish(self) -> None:
        if self.bar.maximum() == 0:  # it ended without a word
            self._show(Status("Ready", 0.0))

    def _show(self, status: Status) -> None:
        busy = status.seconds_left is not None or status.done is None
        self.text.setText(status.text + (self._device if busy else ""))
        left = status.seconds_left
        self.time.setText("" if left is None else f"{clock(left)} left")
        if status.done is None:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, _STEPS)
            self.bar.setValue(round(_STEPS * min(status.done, 1.0)))
