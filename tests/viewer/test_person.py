"""The real window and the real engine, by nothing but mouse and keyboard."""

import threading

import numpy as np
import pytest
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtGui import QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QFileDialog, QLabel

from napari_autostructn2v.engine import synthetic
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.plugin import sample_data

PLUGIN = "napari-autostructn2v"
LEFT, CONTROL = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier


class Person:
    """Sees what the dock shows, and reaches only what can be seen and is enabled."""

    def __init__(self, qtbot, dock):
        self.qtbot, self.panels = qtbot, dock.panels

    def click(self, widget, *where):
        self.panels.ensureWidgetVisible(widget)
        QApplication.processEvents()
        assert widget.isVisible()
        assert widget.isEnabled()
        QTest.mouseClick(widget, LEFT, Qt.KeyboardModifier.NoModifier, *where)

    def click_cell(self, lag):
        grid = self.panels.editor.grid
        self.click(grid, grid.cell(lag).center().toPoint())

    def give(self, budget):
        line = self.panels.inputs.budget.lineEdit()
        self.click(line)
        QTest.keyClick(line, Qt.Key.Key_A, CONTROL)
        QTest.keyClicks(line, budget)

    def wait_until_it_says(self, text):
        label = self.panels.train.progress.text
        self.qtbot.waitUntil(lambda: label.text().startswith(text), timeout=60_000)

    def wait_for(self, button):
        self.qtbot.waitUntil(button.isEnabled, timeout=60_000)


@pytest.fixture
def threads():
    """Names of the threads that a test has started and that still run (Qt's own are not known)."""

    def running():
        return {
            thread.name
            for thread in threading.enumerate()
            if not isinstance(thread, threading._DummyThread)
        }

    before = running()
    return lambda: running() - before


def test_a_person_denoises_corrects_the_mask_and_saves(
    make_napari_viewer, qtbot, tmp_path, monkeypatch, threads
):
    monkeypatch.setattr(sample_data, "sample", lambda *kind: synthetic.sample(*kind[:2], 192))
    file = tmp_path / "filaments.asn2v"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    viewer = make_napari_viewer(show=True)
    viewer.open_sample(PLUGIN, "horizontal")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN)
    person, panels = Person(qtbot, dock), dock.panels

    person.give("8 steps")
    person.click(panels.denoise)
    person.wait_until_it_says("Done")
    person.wait_for(panels.denoise)
    assert panels.noise.verdict.text().startswith("Neighbours along x share noise")
    results = [viewer.layers[f"filaments {stage}"] for stage in ("Stage 1", "Stage 2")]
    assert sum(layer.visible for layer in results) == 1, "the better one"

    person.click(panels.folds["mask"].header)
    by_rule = dock.session.mask.mask
    assert by_rule.shape[0] == 1
    person.click_cell((1, 0))
    QTest.keyClick(panels.editor.grid, Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(dock.session.mask.mask, by_rule)
    person.click_cell((1, 0))
    mask = dock.session.mask.mask
    assert mask.shape == (3, by_rule.shape[1])
    assert mask.sum() == by_rule.sum() + 2, "the opposite cell too"
    qtbot.waitUntil(lambda: viewer.layers["filaments mask"].data.sum() == mask.sum())

    person.give("100000 steps")
    person.click(panels.denoise)
    person.wait_until_it_says("Training Stage 2")
    person.click(panels.train.stop)
    person.wait_until_it_says("Stopped early")
    person.wait_for(panels.denoise)
    assert "filaments Stage 2 (stopped)" in viewer.layers

    person.click(panels.folds["model"].header)
    person.click(panels.model.save)
    person.wait_for(panels.model.save)
    model = Model.load(file)
    assert model.stages == ("stage1", "stage2")
    np.testing.assert_array_equal(model.units[0].mask, mask)

    person.click(panels.denoise)
    person.wait_until_it_says("Training")
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(10_000)
    assert threads() == set()


def test_what_is_opened_comes_into_view(open_dock, qtbot):
    viewer, dock = open_dock(data=np.zeros((32, 32)), show=True)
    viewer.window._qt_window.resize(1024, 600)
    qtbot.wait(50)
    panels = dock.panels
    last = panels.model.folder.header
    Person(qtbot, dock).click(panels.folds["model"].header)
    qtbot.wait(100)  # it has its place only then
    qtbot.waitUntil(lambda: not last.visibleRegion().isEmpty())


def mnemonic(text):
    return QKeySequence.mnemonic(text).toString()


def test_napari_s_keys_are_left_alone(open_dock):
    viewer, dock = open_dock(data=np.zeros((32, 32)), show=True)
    dock.panels.folds["model"].expand()
    menus = viewer.window._qt_window.menuBar().actions()
    napari = {mnemonic(menu.text()) for menu in menus} | {"Alt+C", "Alt+S"}  # screenshots
    assert "Alt+F" in napari
    widgets = [*dock.findChildren(QAbstractButton), *dock.findChildren(QLabel)]
    ours = [
        key for widget in widgets if widget.isVisibleTo(dock) and (key := mnemonic(widget.text()))
    ]
    assert "Alt+D" in ours
    assert len(set(ours)) == len(ours)
    assert not napari & set(ours)
