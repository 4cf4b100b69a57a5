import numpy as np
import pytest
from napari.utils import progress as activity
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMainWindow, QToolButton, QWidget

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.events import (
    Failed,
    Finished,
    NoiseMeasured,
    Progress,
    StageDone,
    Started,
    TileDone,
)
from napari_autostructn2v.plugin.panels import progress
from napari_autostructn2v.plugin.panels.progress import (
    ProgressPanel,
    Status,
    clock,
    states_after,
    status_of,
)
from napari_autostructn2v.plugin.runs.worker import Run

MEASURED = NoiseMeasured(0, 0, np.ones((3, 3)), 5.0, "along x", 0.6, "Structured along x.")
TRAINING = [Progress(stage, 1, 4, 0.1, 83.0) for stage in ("stage1", "stage2")]
DONE = [StageDone(stage, 4, 1.0, 0.1) for stage in ("stage1", "stage2")]
TILE = TileDone("stage1", 0, 0, ((0, 8), (0, 8)), 3, 4)


@pytest.fixture
def panel(qtbot):
    panel = ProgressPanel()
    qtbot.addWidget(panel)
    return panel


@pytest.fixture
def clock_at(monkeypatch):
    """Set what time it is, in seconds."""

    def at(seconds):
        monkeypatch.setattr(progress, "monotonic", lambda: seconds)

    return at


@pytest.fixture
def run(qtbot):
    return Run(lambda stop: iter(()))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0:00"), (59.6, "1:00"), (83, "1:23"), (3661, "1:01:01"), (-2, "0:00")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_events_in_words():
    half = Progress("stage2", 30, 120, 0.1, 60.0)
    assert status_of(half, elapsed=60.0) == Status("Training Stage 2", 0.5, 60.0)
    assert status_of(TILE) == Status("Denoising with Stage 1", 0.75)
    assert status_of(events.Warning("hot")) is None
    stopped = StageDone("stage2", 4, 1.0, 0.1, "stopped")
    assert [status_of(event).text for event in (DONE[1], stopped)] == [
        "Stage 2 is trained",
        "Stage 2 was stopped",
    ]


@pytest.mark.parametrize(
    ("happened", "states"),
    [
        ([], None),
        ([TILE, Finished(None, False)], None),
        ([MEASURED], ("waiting", "waiting")),
        ([MEASURED, TRAINING[0]], ("running", "waiting")),
        ([TRAINING[0], DONE[0]], ("done", "waiting")),
        ([TRAINING[0], DONE[0], TRAINING[1]], ("done", "running")),
        ([*TRAINING, DONE[0], DONE[1], TILE, Finished(None, False)], ("done", "done")),
        ([TRAINING[0], DONE[0], Finished(None, False)], ("done", "not trained")),
        ([TRAINING[0], Finished(None, True)], ("stopped", "not trained")),
        (
            [StageDone("stage1", 4, 1.0, 0.1, "stopped"), MEASURED, Finished(None, True)],
            ("stopped", "not trained"),
        ),
        (
            [TRAINING[0], StageDone("stage1", 4, 1.0, 0.1, "the validation loss no longer")],
            ("done", "waiting"),
        ),
        ([TRAINING[0], Failed(ValueError(), "no")], ("failed", "not trained")),
        ([MEASURED, TRAINING[1]], ("not trained", "running")),
        ([TRAINING[0], DONE[0], TRAINING[1], DONE[1], TRAINING[0]], ("running", "done")),
    ],
)
def test_what_becomes_of_each_stage(happened, states):
    found = {}
    for event in happened:
        found = states_after(found, event)
    assert found == ({} if states is None else dict(zip(("stage1", "stage2"), states, strict=True)))


def test_panel_follows_a_run(panel, run, clock_at):
    clock_at(100.0)
    panel.begin(run.finished)
    assert panel.text.text() == "Starting"
    assert 0 == panel.bar.value() < panel.bar.maximum(), "nothing moves, that would cost"
    assert all(label.isHidden() for label in panel.stages.values())
    panel.show_event(Started(("a",), "cuda:0", "float32"))
    clock_at(183.0)
    panel.show_event(TRAINING[0])
    assert panel.text.text() == "Training Stage 1 on CUDA:0"
    assert panel.time.text() == "1:23 left"
    assert panel.bar.value() == panel.bar.maximum() / 2, "83 s of 166 s"
    assert panel.stages["stage1"].toolTip() == "Training of Stage 1: running"
    assert panel.stages["stage2"].toolTip() == "Training of Stage 2: waiting"
    running = panel.stages["stage1"].text()
    panel.show_event(Finished(None, stopped=False))
    run.finished.emit()
    assert panel.text.text() == "Done"
    assert panel.bar.value() == panel.bar.maximum()
    assert panel.stages["stage1"].text() != running
    assert not panel.stages["stage1"].isHidden()


def test_an_aborted_run_leaves_the_panel_ready(panel, run):
    panel.begin(run.finished)
    panel.show_event(TRAINING[0])
    run.finished.emit()
    assert panel.text.text() == "Ready"
    assert panel.bar.value() == 0
    assert all(label.isHidden() for label in panel.stages.values())


def test_training_redraws_a_few_times_a_second(panel, run):
    panel.begin(run.finished)
    for left in (9.0, 8.0, 7.0):
        panel.show_event(Progress("stage1", 1, 4, 0.1, left))
    assert panel.time.text() == "0:09 left", "the later ones came too soon"
    panel.show_event(Progress("stage1", 4, 4, 0.1, 0.0))
    assert panel.time.text() == "0:00 left", "the last is always shown"


def test_without_napari_s_window_there_is_no_entry(panel, run, capfd):
    panel.begin(run.finished)
    panel.show_event(TRAINING[0])
    assert not activity._all_instances
    assert capfd.readouterr().err == "", "nor a bar in the terminal"


@pytest.fixture
def entries(make_napari_viewer):
    """The viewer's moving picture, and what its activity list says."""
    viewer = make_napari_viewer()
    dialog = viewer.window._qt_window._activity_dialog
    spinner = dialog._toggleButton._inProgressIndicator.movie()

    def read():
        return [entry.desc for entry in activity._all_instances], spinner

    return read


def test_an_entry_in_the_activity_list_without_its_spinner(
    entries, panel, run, clock_at, monkeypatch, qtbot
):
    monkeypatch.setattr(progress, "_ACTIVITY_MS", 0)
    clock_at(100.0)
    panel.begin(run.finished, "Denoise cells")
    clock_at(183.0)
    panel.show_event(TRAINING[0])
    qtbot.waitUntil(lambda: bool(entries()[0]))
    qtbot.waitUntil(lambda: entries()[0] == ["Denoise cells: Training Stage 1, 1:23 left: "])
    spinner = entries()[1]
    assert spinner.state() == spinner.MovieState.NotRunning
    entry = next(iter(activity._all_instances))
    assert (entry.n, entry.total) == (500, 1000)
    panel.show_event(Progress("stage2", 1, 10, 0.1, 9.0))
    panel.show_event(Progress("stage2", 10, 10, 0.1, 9.0))
    panel.show_event(TILE)
    qtbot.waitUntil(lambda: entry.n == 750)
    run.finished.emit()
    assert entries()[0] == []


def test_who_tells_of_a_run_is_not_interrupted(entries, panel, run, monkeypatch, qtbot):
    """The list handles Qt's events whenever it changes: the window may be gone after that."""
    monkeypatch.setattr(progress, "_ACTIVITY_MS", 0)
    happened = []
    QTimer.singleShot(0, lambda: happened.append("begin"))
    panel.begin(run.finished)
    assert happened == []
    qtbot.waitUntil(lambda: bool(entries()[0]))
    QTimer.singleShot(0, lambda: happened.append("event"))
    panel.show_event(TRAINING[0])
    assert happened == ["begin"]


def test_a_run_that_ends_while_its_entry_is_made_leaves_none(entries, panel, run, qtbot):
    panel.begin(run.finished)
    QTimer.singleShot(0, run.finished.emit)
    qtbot.wait(50)
    assert entries()[0] == []


def test_the_entry_goes_with_the_panel_and_with_the_next_run(entries, qtbot, run):
    panel = ProgressPanel()
    panel.begin(run.finished)
    qtbot.waitUntil(lambda: len(entries()[0]) == 1)
    panel.begin(run.finished)
    assert entries()[0] == []
    qtbot.waitUntil(lambda: len(entries()[0]) == 1)
    with qtbot.waitSignal(panel.destroyed):
        panel.deleteLater()
    assert entries()[0] == []


def test_the_entry_is_updated_once_a_second(entries, panel, run, qtbot):
    panel.begin(run.finished)
    qtbot.waitUntil(lambda: bool(entries()[0]))
    (before,) = entries()[0]
    panel.show_event(TRAINING[0])
    qtbot.wait(50)
    assert entries()[0] == [before]


def test_only_napari_s_spinner_is_stopped(qtbot):
    window = QMainWindow()
    qtbot.addWidget(window)
    other = QLabel(window)
    assert progress._spinners() == []
    box = QWidget()
    row = QHBoxLayout(box)
    button = QToolButton()
    button.setObjectName("QtActivityButton")
    row.addWidget(button)
    row.addWidget(QLabel("no movie"))
    window.setCentralWidget(box)
    assert progress._spinners() == []
    assert other.movie() is None
