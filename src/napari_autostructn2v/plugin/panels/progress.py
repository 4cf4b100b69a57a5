"""Progress and remaining time of a run, in the dock and in napari's activity list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from napari.utils import progress as activity
from qtpy.QtCore import QObject, QTimer, SignalInstance
from qtpy.QtWidgets import (
    QApplication,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QToolButton,
    QWidget,
)

from napari_autostructn2v.engine.config import StageName
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
from napari_autostructn2v.engine.labels import STAGE_TITLES

State = Literal["waiting", "running", "done", "stopped", "failed", "not trained"]
States = dict[StageName, State]

_SIGN: dict[State, str] = {
    "waiting": "\N{WHITE CIRCLE}",
    "running": "\N{BLACK RIGHT-POINTING TRIANGLE}",
    "done": "\N{CHECK MARK}",
    "stopped": "\N{BLACK SQUARE}",
    "failed": "\N{MULTIPLICATION SIGN}",
    "not trained": "\N{EN DASH}",
}
_STEPS = 1000
_INTERVAL = 0.5  # seconds between updates in training, as each redraws the window
_ACTIVITY_MS = 1000


@dataclass(frozen=True)
class Status:
    """A status line; `done` is the fraction done, or None if unknown."""

    text: str
    done: float | None = None
    seconds_left: float | None = None


def status_of(event: Event, elapsed: float = 0.0) -> Status | None:
    """Return the status after an event, or None if it doesn't change.

    `elapsed` are the seconds since the run began; progress counts all stages together.
    """
    match event:
        case Started():
            return Status("Measuring the noise")
        case NoiseMeasured():
            return Status("Preparing the training")
        case Progress():
            return Status(
                f"Training {STAGE_TITLES[event.stage]}",
                elapsed / max(elapsed + event.seconds_left, 1e-9),
                event.seconds_left,
            )
        case StageDone(stopped="stopped"):
            return Status(f"{STAGE_TITLES[event.stage]} was stopped")
        case StageDone():
            return Status(f"{STAGE_TITLES[event.stage]} is trained")
        case MaskFound():
            return Status("Preparing Stage 2")
        case TileDone():
            return Status(
                f"Denoising with {STAGE_TITLES[event.stage]}", event.done / max(event.total, 1)
            )
        case Finished(stopped=True):
            return Status("Stopped early", 1.0)
        case Finished():
            return Status("Done", 1.0)
        case Failed():
            return Status("Failed", 0.0)
    return None


def states_after(states: States, event: Event) -> States:
    """Return the state of each stage after an event; empty in a run without training."""
    match event:
        case NoiseMeasured():
            return _waiting() | states
        case Progress():
            states = _waiting() | states | {event.stage: "running"}
            if event.stage == "stage2" and states["stage1"] == "waiting":  # it is kept as it was
                states["stage1"] = "not trained"
            return states
        case StageDone():
            return states | {event.stage: "stopped" if event.stopped == "stopped" else "done"}
        case Finished():
            return _end(states, running="stopped")
        case Failed():
            return _end(states, running="failed")
    return states


def _waiting() -> States:
    return dict.fromkeys(STAGE_TITLES, "waiting")


def _end(states: States, running: State) -> States:
    ends: dict[State, State] = {"running": running, "waiting": "not trained"}
    return {stage: ends.get(state, state) for stage, state in states.items()}


def clock(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class ProgressPanel(QWidget):
    """The stages, the remaining time, a bar and a status line. For the GUI thread."""

    def __init__(self) -> None:
        super().__init__()
        self.states: States = {}
        self.stages = {stage: QLabel() for stage in STAGE_TITLES}
        self.text = QLabel("Ready")
        self.time = QLabel()
        self.time.setToolTip("Time left for training all stages; at the end, the total time")
        self.bar = QProgressBar()
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        self.bar.setToolTip("Progress of the training, then of denoising")
        self._began = 0.0
        self._shown = -math.inf
        self._device = ""
        self._trains = True
        self._ended = False
        self._activity = Activity(self)
        self.destroyed.connect(self._activity.close)
        row = QHBoxLayout()
        for label in self.stages.values():
            row.addWidget(label)
        row.addStretch()
        row.addWidget(self.time)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row, 0, 0)
        layout.addWidget(self.bar, 1, 0)
        layout.addWidget(self.text, 2, 0)
        self._show_states()
        self._show(Status("Ready", 0.0))

    def begin(self, finished: SignalInstance, title: str = "Denoise", trains: bool = True) -> None:
        """Follow a run until its signal `finished`; `title` names it in the activity list."""
        self._trains = trains
        self._began = monotonic()
        self._device = ""
        self._ended = False
        self._shown = -math.inf
        self.states = {}
        finished.connect(self._finish)
        self._activity.begin(title)
        self._show_states()
        self._show(Status("Starting"))

    def show_event(self, event: Event) -> None:
        if isinstance(event, Started):
            self._device = f" on {event.device.upper()}"
        if isinstance(event, Progress):
            if monotonic() - self._shown < _INTERVAL and event.step < event.total:
                return
            self._shown = monotonic()
        states = states_after(self.states, event)
        if states != self.states:
            self.states = states
            self._show_states()
        status = status_of(event, monotonic() - self._began)
        measures = self._trains or not isinstance(event, Started)
        if status is not None and measures:
            self._show(status)
        self._ended = isinstance(event, Finished | Failed)
        if isinstance(event, Finished):
            self.time.setText(clock(monotonic() - self._began))

    def stopping(self) -> None:
        self._show(Status("Stopping"))

    def _finish(self) -> None:
        self._activity.close()
        if not self._ended:  # it was aborted
            self.reset()

    def reset(self) -> None:
        """Show that there is no run."""
        self.states = {}
        self._show_states()
        self._show(Status("Ready", 0.0))

    def _show_states(self) -> None:
        for stage, label in self.stages.items():
            label.setVisible(stage in self.states)
            state = self.states.get(stage, "waiting")
            label.setText(f"{_SIGN[state]} {STAGE_TITLES[stage]}")
            label.setToolTip(f"Training of {STAGE_TITLES[stage]}: {state}")
            label.setAccessibleName(label.toolTip())

    def _show(self, status: Status) -> None:
        trains = status.seconds_left is not None
        self.text.setText(status.text + (self._device if trains else ""))
        left = "" if status.seconds_left is None else f"{clock(status.seconds_left)} left"
        self.time.setText(left)
        # Empty if progress is unknown, since a busy indicator would keep redrawing the window.
        self.bar.setValue(round(_STEPS * min(status.done or 0.0, 1.0)))
        self._activity.show(", ".join(filter(None, (status.text, left))), status.done)


class Activity:
    """The run's entry in napari's activity list, if there is a napari window.

    The bar is updated once a second, which costs little. napari's spinner beside it is stopped: it
    redraws the window, which without a graphics card takes a quarter of a core from the training.

    napari processes events, such as closing the window, whenever an entry changes. Therefore only
    a timer changes it, never code that has more to do afterwards.
    """

    def __init__(self, parent: QObject) -> None:
        self._entry: Any = None
        self._title = ""
        self._text, self._done = "", 0.0
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._update)

    def begin(self, title: str) -> None:
        self.close()
        if _spinners():
            self._title = title
            self._timer.start(0)

    def show(self, text: str, done: float | None) -> None:
        self._text = text
        if done is not None:
            self._done = min(done, 1.0)
        if self._title and not self._timer.isActive():
            self._timer.start(_ACTIVITY_MS)

    def close(self) -> None:
        self._timer.stop()
        self._title, self._text, self._done = "", "", 0.0
        entry, self._entry = self._entry, None
        if entry is not None:
            entry.close()

    def _update(self) -> None:
        if self._entry is None:
            self._add()
        if self._entry is not None:
            self._entry.set_description(f"{self._title}: {self._text}")
        if self._entry is not None:  # the run may have ended meanwhile
            self._entry.update(round(_STEPS * self._done) - self._entry.n)

    def _add(self) -> None:
        title = self._title
        # Without a format that ends in "|", steps per second would be shown beside the bar.
        entry = activity(total=_STEPS, desc=title, bar_format="{desc}|")
        if self._title != title:  # the run has ended meanwhile
            entry.close()
            return
        self._entry = entry
        for spinner in _spinners():
            spinner.movie().stop()


def _spinners() -> list[QLabel]:
    """Return the spinner beside the activity button of each napari window."""
    windows = QApplication.topLevelWidgets()
    buttons = [window.findChild(QToolButton, "QtActivityButton") for window in windows]
    labels = [
        label for button in buttons if button for label in button.parent().findChildren(QLabel)
    ]
    return [label for label in labels if label.movie() is not None]
