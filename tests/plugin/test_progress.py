import pytest

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.events import Finished, Progress, Started, TileDone
from napari_autostructn2v.plugin.progress import ProgressPanel, Status, clock, status_of
from napari_autostructn2v.plugin.worker import Run


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0:00"), (59.6, "1:00"), (83, "1:23"), (3661, "1:01:01"), (-2, "0:00")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_events_in_words():
    assert status_of(Progress("stage2", 30, 120, 0.1, 83.0)) == Status(
        "Training Stage 2", 0.25, 83.0
    )
    tile = TileDone("stage1", 0, 0, ((0, 8), (0, 8)), 3, 4)
    assert status_of(tile) == Status("Denoising with Stage 1", 0.75)
    assert status_of(events.Warning("hot")) is None


def test_panel_follows_a_run(qtbot):
    panel = ProgressPanel()
    qtbot.addWidget(panel)
    run = Run(lambda stop: iter(()))
    panel.begin(run.finished)
    assert panel.bar.maximum() == 0, "a busy bar while the end is not in sight"
    panel.show_event(Started(("a",), "cuda:0", "float32"))
    panel.show_event(Progress("stage1", 1, 4, 0.1, 83.0))
    assert panel.text.text() == "Training Stage 1 on cuda:0"
    assert panel.time.text() == "1:23 left"
    assert panel.bar.value() == panel.bar.maximum() / 4
    panel.show_event(Finished(None, stopped=False))
    run.finished.emit()
    assert panel.text.text() == "Done"
    assert panel.bar.value() == panel.bar.maximum()


def test_an_aborted_run_leaves_no_busy_bar(qtbot):
    panel = ProgressPanel()
    qtbot.addWidget(panel)
    run = Run(lambda stop: iter(()))
    panel.begin(run.finished)
    run.finished.emit()
    assert panel.bar.maximum() > 0


def test_training_redraws_a_few_times_a_second(qtbot):
    panel = ProgressPanel()
    qtbot.addWidget(panel)
    run = Run(lambda stop: iter(()))
    panel.begin(run.finished)
    for step in (1, 2, 3):
        panel.show_event(Progress("stage1", step, 4, 0.1, 9.0))
    assert panel.bar.value() == panel.bar.maximum() / 4, "the later ones came too soon"
    panel.show_event(Progress("stage1", 4, 4, 0.1, 0.0))
    assert panel.bar.value() == panel.bar.maximum(), "the last is always shown"
