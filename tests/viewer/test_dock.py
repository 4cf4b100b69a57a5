import time
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.qt.threading import WorkerBase
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest
from qtpy.QtCore import Qt, QThreadPool, QTimer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QSlider,
    QWidget,
)

import napari_autostructn2v
from napari_autostructn2v.engine.config import Structure
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.dock import DenoiseDock

PIXELS = np.arange(24 * 16, dtype=np.float32).reshape(24, 16)


class OutOfMemory(RuntimeError):
    """As torch's is."""


def enabled(dock):
    return dock.panels.denoise.isEnabled(), dock.panels.train.stop.isEnabled()


def test_without_an_image_the_dock_says_what_to_do(open_dock):
    viewer, dock = open_dock()
    assert enabled(dock) == (False, False)
    assert (
        dock.panels.inputs.image_note.text() == "Open an image: File > Open, or File > Open Sample."
    )
    viewer.add_labels(np.zeros((8, 8), np.uint8))
    assert enabled(dock) == (False, False)
    viewer.add_image(PIXELS, name="a")
    assert enabled(dock) == (True, False)
    assert dock.panels.inputs.image_note.text() == "Y X   24 x 16   float32"


def test_the_list_follows_the_layers(open_dock):
    viewer, dock = open_dock(data=PIXELS)
    viewer.add_image(PIXELS, name="hidden", visible=False)
    assert dock.panels.inputs.layer.name == "cells"
    viewer.add_image(np.zeros((8, 8, 3), np.uint8), name="photo", rgb=True)
    assert dock.panels.inputs.layer.name == "photo", "the newest that can be seen"
    viewer.layers.remove("hidden")
    assert "colour (RGB)" in dock.panels.inputs.image_note.text()
    assert enabled(dock) == (False, False)
    viewer.layers["cells"].name = "nuclei"
    assert [
        dock.panels.inputs.image.itemText(i) for i in range(dock.panels.inputs.image.count())
    ] == ["nuclei", "photo"]
    viewer.layers.remove("photo")
    assert dock.panels.inputs.layer is viewer.layers["nuclei"]
    assert enabled(dock) == (True, False)
    dock.panels.inputs.image.activated.emit(0)
    viewer.add_image(PIXELS, name="later")
    assert dock.panels.inputs.layer is viewer.layers["nuclei"], "what the user has chosen stays"
    viewer.layers.clear()
    assert enabled(dock) == (False, False)


@pytest.mark.parametrize("left", [[], ["other"]])
def test_no_layer_of_ours_is_chosen_in_place_of_an_image_that_is_gone(open_dock, denoise, left):
    viewer, dock = open_dock(data=PIXELS)
    for name in left:
        viewer.add_image(PIXELS, name=name, visible=False)
    denoise(dock)
    dock.panels.result.residual.click()
    inputs = dock.panels.inputs
    viewer.layers.remove("cells")
    assert (None if inputs.layer is None else inputs.layer.name) == next(iter(left), None)
    assert [image.name for image in dock.session.images] == left
    assert enabled(dock)[0] is bool(left)
    assert left or "All images are results" in inputs.image_note.text()
    inputs.image.setCurrentText("cells Stage 2")
    assert enabled(dock)[0], "the user may choose it"


def test_through_napari_s_proxy_the_same_layers_are_met(qtbot):
    from napari.utils._proxies import PublicOnlyProxy

    viewer = ViewerModel()
    layer = viewer.add_image(PIXELS)
    dock = DenoiseDock(PublicOnlyProxy(viewer))
    qtbot.addWidget(dock)
    assert dock.panels.inputs.layer is layer


def test_a_run_tells_the_verdict_and_ends_idle(open_dock, denoise):
    _viewer, dock = open_dock(data=PIXELS)
    denoise(dock, act=lambda: enabled(dock) == (False, True))
    assert dock.panels.noise.verdict.text().startswith("Structured along x")
    assert dock.panels.train.progress.text.text() == "Done"
    assert enabled(dock) == (True, False)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("The image is constant; nothing can be learned."), "The image is constant"),
        (ValueError("bad"), "ValueError: bad"),
        (OutOfMemory("no memory"), "OutOfMemory: no memory"),
    ],
)
def test_after_a_failure_the_next_run_works(open_dock, denoise, fake_engine, error, text):
    engine = fake_engine(error=error)
    viewer, dock = open_dock(engine, PIXELS)
    denoise(dock)
    assert dock.panels.train.message.text().startswith(f"Error: {text}")
    assert dock.panels.train.progress.text.text() == "Failed"
    assert enabled(dock) == (True, False)
    assert "cells Stage 1" in viewer.layers, "what was complete stays"
    assert "cells Stage 2 (partial)" in viewer.layers, "half a result says so"
    engine.error = None
    denoise(dock)
    assert dock.panels.train.message.text() == ""
    np.testing.assert_array_equal(viewer.layers["cells Stage 2"].data, PIXELS + 2)


def test_stop_keeps_what_was_learned(open_dock, denoise, fake_engine, qtbot):
    viewer, dock = open_dock(fake_engine(wait=True), PIXELS)

    def stop():
        qtbot.waitUntil(lambda: dock.panels.train.progress.text.text() == "Training Stage 1 on CPU")
        dock.panels.train.stop.click()
        assert enabled(dock) == (False, True)
        assert dock.panels.train.stop.text() == "S&top now"
        dock.panels.train.stop.click()
        assert enabled(dock) == (False, False)

    denoise(dock, act=stop)
    assert dock.panels.train.progress.text.text() == "Stopped early"
    assert "cells Stage 1 (stopped)" in viewer.layers
    assert enabled(dock) == (True, False)
    assert dock.panels.train.stop.text() == "S&top"


def test_a_budget_that_is_not_understood_is_told_beside_it(open_dock, fake_engine, denoise):
    engine = fake_engine()
    _viewer, dock = open_dock(engine, PIXELS)
    dock.panels.inputs.budget.setEditText("soon")
    dock.panels.denoise.click()
    assert not dock.is_running
    assert "Budget 'soon' is not understood" in dock.panels.inputs.budget_note.text()
    dock.panels.inputs.budget.setEditText("30 steps")
    assert dock.panels.inputs.budget_note.isHidden()
    denoise(dock)
    dock.panels.inputs.budget.setCurrentText("until it stops improving")
    denoise(dock)
    assert [str(job.config.budget) for job in engine.jobs] == ["30steps", "converged"]


def test_by_keyboard(open_dock, qtbot, fake_engine):
    _viewer, dock = open_dock(fake_engine(wait=True), PIXELS, show=True)
    dock.panels.inputs.image.setFocus()
    qtbot.wait(50)
    inputs = dock.panels.inputs
    for expected in (inputs.region_box, inputs.budget, dock.panels.denoise):
        qtbot.keyClick(dock.focusWidget(), Qt.Key.Key_Tab)
        assert dock.focusWidget() is expected
    dock.panels.inputs.budget.setFocus()
    qtbot.keyClick(dock.panels.inputs.budget, Qt.Key.Key_Return)
    assert dock.is_running
    assert dock.focusWidget() is dock.panels.train.stop
    qtbot.keyClick(dock.panels.train.stop, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not dock.is_running)
    assert dock.focusWidget() is dock.panels.denoise


def test_closing_the_panel_stops_the_run_and_keeps_what_was_learned(open_dock, fake_engine, qtbot):
    viewer, dock = open_dock(fake_engine(wait=True), PIXELS, show=True)
    panel = dock.parentWidget()
    dock.panels.denoise.click()
    qtbot.waitUntil(lambda: "cells autocorrelation" in viewer.layers)
    notification_manager.records.clear()
    panel.title.close_button.click()
    del dock, panel
    qtbot.waitUntil(lambda: len(notification_manager.records) > 0)
    (notice,) = notification_manager.records
    assert notice.message.startswith("Panel closed: Denoise cells stops.")
    qtbot.waitUntil(lambda: "cells Stage 1 (stopped)" in viewer.layers)
    assert QThreadPool.globalInstance().waitForDone(5000)


def test_behind_a_tab_floating_hidden_or_minimised_the_run_goes_on(open_dock, fake_engine, qtbot):
    viewer, dock = open_dock(fake_engine(wait=True), PIXELS, show=True)
    window = viewer.window._qt_window
    panel = dock.parentWidget()
    other = viewer.window.add_dock_widget(QWidget(), name="Other", area="right")
    window.tabifyDockWidget(panel, other)
    dock.panels.denoise.click()
    for act in (
        other.raise_,
        panel.raise_,
        lambda: panel.setFloating(True),
        lambda: panel.setFloating(False),
        lambda: panel.title.hide_button.click(),
        panel.show,
        panel.toggleViewAction().trigger,
        panel.toggleViewAction().trigger,
        window.showMinimized,
        window.showNormal,
    ):
        act()
        qtbot.wait(300)
        assert dock.is_running
        assert not dock.session.run.is_stopping
    dock.panels.train.stop.click()
    qtbot.waitUntil(lambda: not dock.is_running)


def test_napari_knows_that_a_run_is_on(open_dock, denoise, fake_engine):
    viewer, dock = open_dock(fake_engine(wait=True), PIXELS, window=True)
    tasks = viewer.window._task_status_manager

    def look_and_stop():
        assert tasks.is_busy()
        assert any("Denoise cells" in text for text in tasks.get_status())
        dock.panels.train.stop.click()

    denoise(dock, act=look_and_stop)
    assert not tasks.is_busy()


def test_closing_the_viewer_ends_the_run(open_dock, fake_engine, qtbot):
    viewer, dock = open_dock(fake_engine(wait=True), PIXELS, window=True)
    dock.panels.denoise.click()
    qtbot.waitUntil(lambda: "cells autocorrelation" in viewer.layers)
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(2000)
    qtbot.waitUntil(lambda: not WorkerBase._worker_set)


def test_destroying_the_dock_ends_the_run(open_dock, fake_engine, qtbot):
    viewer, dock = open_dock(fake_engine(wait=True), PIXELS, window=True)
    dock.panels.denoise.click()
    qtbot.waitUntil(lambda: "cells autocorrelation" in viewer.layers)
    viewer.window.remove_dock_widget(dock)
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
    assert QThreadPool.globalInstance().activeThreadCount() == 0


def test_the_window_lives_during_a_run(open_dock, denoise, fake_engine, qtbot):
    """A 10 ms timer on the event loop, while tiles of a larger image arrive and are drawn."""
    engine = fake_engine(tile=16, pause=0.04)
    engine.hold = "stage2"
    viewer, dock = open_dock(engine, np.zeros((512, 512), np.float32), show=True)
    beats = []
    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))

    def count():
        """Once all layers are there: to add one takes napari longer than a beat."""
        qtbot.waitUntil(lambda: "cells Stage 2" in viewer.layers, timeout=60_000)
        timer.start()
        engine.release.set()

    denoise(dock, act=count)
    timer.stop()
    assert np.percentile(np.diff(beats), 90) < 0.1


def test_the_manifest_opens_this_dock(make_napari_viewer, npe2pm):
    path = Path(napari_autostructn2v.__file__).parent / "napari.yaml"
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(path)):
        viewer = make_napari_viewer()
        _panel, dock = viewer.window.add_plugin_dock_widget("napari-autostructn2v", "Denoise")
        assert isinstance(dock, DenoiseDock)
        viewer.open_sample("napari-autostructn2v", "horizontal")
        assert dock.panels.inputs.layer.name == "filaments"
        assert dock.panels.denoise.isEnabled()


def test_every_control_says_what_it_is_for(open_dock):
    _viewer, dock = open_dock(data=PIXELS, show=True)
    panels = dock.panels
    for fold in panels.folds.values():
        fold.expand()
    for section in panels.form.sections.values():
        section.expand()
    kinds = (QAbstractButton, QComboBox, QAbstractSpinBox, QSlider, QLineEdit)
    silent = [
        control
        for kind in kinds
        for control in panels.widget().findChildren(kind)
        # Where a part of a control has no words, Qt shows those of the whole.
        if not (control.toolTip() or control.parent().toolTip())
        and not control.objectName().startswith("qt_")
    ]
    assert not silent


def test_nothing_is_wider_than_the_panel(open_dock, qtbot):
    _viewer, dock = open_dock(data=PIXELS, show=True, name="a layer with a very long name " * 3)
    _viewer.add_image(np.zeros((2, 8, 8)))
    panels = dock.panels
    for fold in panels.folds.values():
        fold.expand()
    panels.train.watch.show()
    for section in panels.form.sections.values():
        section.expand()
    for rule in ("leak", "ring"):
        panels.editor.set_options(Structure(extractor=rule))
        panels.editor.rule.more.setChecked(True)
        qtbot.wait(50)
        room = dock.minimumWidth() - panels.verticalScrollBar().width()
        assert panels.widget().minimumSizeHint().width() <= room
