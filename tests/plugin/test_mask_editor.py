import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QThreadPool
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_autostructn2v.engine.config import Structure
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.mask.mask_editor import MaskEditor, read_mask, write_mask
from napari_autostructn2v.plugin.mask.mask_grid import MaskGrid
from napari_autostructn2v.plugin.mask.mask_model import MaskModel
from napari_autostructn2v.plugin.widgets.debounced import Debounced

LINE = np.ones((1, 5), np.uint8)
LEFT = Qt.MouseButton.LeftButton


def cells(*rows):
    return np.array([[c == "#" for c in row] for row in rows], np.uint8)


def measured(model, mask=LINE, full_half=9):
    rho = np.zeros((17, 17))
    rho[8, 6:11] = 0.1, 0.5, 1, 0.5, 0.1
    model.set_noise(rho, np.full((17, 17), 0.02), mask, full_half)
    return model


@pytest.fixture
def model(qapp):
    return measured(MaskModel())


@pytest.fixture
def heard(model):
    """A list that grows by one for each `changed`."""
    heard = []
    model.changed.connect(lambda: heard.append(1))
    return heard


# -- the model


def test_a_lag_is_toggled_with_its_mirror_image(model, heard):
    model.toggle((1, 2))
    np.testing.assert_array_equal(model.mask, cells("#....", "#####", "....#"))
    model.toggle((-1, -2))
    np.testing.assert_array_equal(model.mask, LINE)
    model.symmetric = False
    model.toggle((0, 2))
    np.testing.assert_array_equal(model.mask, cells("####."))
    assert len(heard) == 4


def test_the_centre_stays_hidden(model, heard):
    model.toggle((0, 0))
    model.paint([(0, 0)], hidden=False)
    assert model.mask[0, 2] == 1
    assert not heard
    assert not model.can_undo


def test_what_lies_beyond_the_largest_lag_is_left_out(model, heard):
    assert model.max_lag == 8
    model.paint([(0, 9), (-9, 0)])
    assert not heard
    model.paint([(0, 8)])
    assert model.mask.shape == (1, 17)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (cells("#"), cells(".#.", "###", ".#.")),
        (cells("###"), cells("#####")),
        (cells("###").T, cells("#####").T),
        (cells(".#.", "###", ".#."), cells("..#..", ".###.", "#####", ".###.", "..#..")),
    ],
)
def test_growing_and_shrinking_undo_each_other(model, before, after):
    model.set_mask(before)
    model.grow()
    np.testing.assert_array_equal(model.mask, after)
    model.shrink()
    np.testing.assert_array_equal(model.mask, before)


def test_a_thin_mask_shrinks_from_its_ends(model):
    model.set_mask(np.eye(5)[::-1])
    model.shrink()
    np.testing.assert_array_equal(model.mask, np.eye(3)[::-1])
    for _ in range(3):
        model.shrink()
    assert model.mask.shape == (1, 1)


def test_a_mask_does_not_grow_beyond_the_largest_lag(model):
    for _ in range(10):
        model.grow()
    assert model.mask.shape == (1, 17)


def test_undo_and_redo_go_through_every_change(model):
    states = [model.mask]
    for change in (model.grow, model.clear, model.reset, lambda: model.toggle((3, 3))):
        change()
        states.append(model.mask)
    for state in states[-2::-1]:
        model.undo()
        np.testing.assert_array_equal(model.mask, state)
    assert not model.can_undo
    for state in states[1:]:
        model.redo()
        np.testing.assert_array_equal(model.mask, state)
    assert not model.can_redo


def test_a_new_change_ends_what_could_be_redone(model):
    model.grow()
    model.undo()
    model.clear()
    assert not model.can_redo


def test_a_stroke_is_one_step_back(model):
    for stroke in (object(), object()):
        model.paint([(1, 0)], stroke=stroke)
        model.paint([(2, 0)], stroke=stroke)
        model.paint([(1, 0), (2, 0)], hidden=False, stroke=stroke)
    model.undo()
    model.undo()
    np.testing.assert_array_equal(model.mask, LINE)
    assert not model.can_undo


def test_a_whole_row_is_a_flag_beside_the_pixels(model):
    model.set_mask(np.ones((1, 127)))
    assert model.whole_row
    assert model.core_half == 0
    assert model.mask.shape == (1, 19), "as wide as a whole row is here"
    model.paint([(2, 1)])
    assert model.whole_row
    assert model.mask.shape == (5, 19)
    model.whole_row = False
    np.testing.assert_array_equal(model.mask, cells("#..", "...", ".#.", "...", "..#"))
    model.whole_column = True
    assert model.mask.shape == (19, 3)


def test_a_line_below_a_whole_row_comes_back(model):
    model.whole_row = True
    model.paint([(1, 0)])
    model.whole_row = False
    np.testing.assert_array_equal(model.mask, cells("..#..", "#####", "..#.."))


def test_a_gap_makes_pixels_of_a_whole_row(model):
    model.whole_row = True
    model.toggle((0, 3))
    assert not model.whole_row
    np.testing.assert_array_equal(model.mask, cells("#####.#####.#####"))


def test_reset_goes_back_to_the_automatic_mask(model):
    assert model.is_automatic
    model.clear()
    assert not model.is_automatic
    model.reset()
    assert model.is_automatic
    np.testing.assert_array_equal(model.mask, LINE)


def test_a_measurement_begins_a_new_history(model):
    model.clear()
    measured(model, np.ones((3, 3)))
    assert not model.can_undo
    assert model.mask.sum() == 9


@pytest.mark.parametrize("mask", [np.ones((2, 3)), np.zeros((3, 3)), np.ones((3, 3, 3))])
def test_what_is_no_mask_is_refused(model, mask, heard):
    with pytest.raises(InputError, match="mask"):
        model.set_mask(mask)
    assert not heard


# -- the grid


@pytest.fixture
def grid(model, qtbot):
    grid = MaskGrid(model)
    qtbot.addWidget(grid)
    grid.resize(220, 220)
    grid.show()
    return grid


def at(grid, lag):
    return grid.cell(lag).center().toPoint()


def move(widget, point, pressed=Qt.MouseButton.NoButton):
    local = QPointF(point)
    event = QMouseEvent(
        QEvent.Type.MouseMove, local, widget.mapToGlobal(local), Qt.MouseButton.NoButton, pressed,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)


def drag(qtbot, grid, *lags):
    qtbot.mousePress(grid, LEFT, pos=at(grid, lags[0]))
    for lag in lags[1:]:
        move(grid, at(grid, lag), LEFT)
    qtbot.mouseRelease(grid, LEFT, pos=at(grid, lags[-1]))


def test_a_click_toggles_the_cell_and_its_mirror_image(grid, model, qtbot):
    qtbot.mouseClick(grid, LEFT, pos=at(grid, (2, 0)))
    assert model.mask.shape == (5, 5)
    qtbot.mouseClick(grid, LEFT, pos=at(grid, (-2, 0)))
    np.testing.assert_array_equal(model.mask, LINE)


def test_a_drag_paints_without_gaps_and_is_one_step_back(grid, model, qtbot):
    drag(qtbot, grid, (1, -3), (1, 3))
    np.testing.assert_array_equal(model.picture((1, 3))[2], np.ones(7))
    drag(qtbot, grid, (2, -3), (2, 3))
    model.undo()
    assert model.mask.shape == (3, 7), "and the next drag another"
    model.undo()
    np.testing.assert_array_equal(model.mask, LINE)


def test_a_drag_from_a_hidden_cell_shows(grid, model, qtbot):
    drag(qtbot, grid, (0, 1), (0, 2))
    assert model.mask.shape == (1, 1)


def test_a_drag_from_the_centre_hides(grid, model, qtbot):
    drag(qtbot, grid, (0, 0), (0, 4))
    assert model.mask.shape == (1, 9)


def test_the_pointer_tells_lag_correlation_and_error(grid):
    said = []
    grid.described.connect(said.append)
    move(grid, at(grid, (0, 1)))
    assert said[-1] == "dy 0, dx +1: +0.50 ± 0.02, hidden"
    move(grid, at(grid, (-3, 2)))
    assert said[-1] == "dy -3, dx +2: +0.00 ± 0.02, visible"
    assert grid.accessibleDescription() == said[-1]
    move(grid, QPoint(1, 1))
    assert said[-1] == ""


def test_the_keyboard_moves_toggles_and_undoes(grid, model, qtbot):
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Left, Qt.Key.Key_Space):
        qtbot.keyClick(grid, key)
    assert model.hides((1, -1))
    assert model.hides((-1, 1))
    qtbot.keyClick(grid, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(model.mask, LINE)


def test_the_wheel_and_the_keys_zoom_within_what_was_measured(grid, model, qtbot):
    first = grid.reach
    qtbot.keyClick(grid, Qt.Key.Key_Minus)
    assert grid.reach == first + 1
    for delta, wanted in ((60, first + 1), (60, first), (-9600, model.max_lag), (9600, 2)):
        turn_wheel(grid, delta)
        assert grid.reach == wanted

    turn_wheel(grid, -120, Qt.KeyboardModifier.NoModifier)
    assert grid.reach == 2, "the panel around it is scrolled"


def turn_wheel(widget, delta, key=Qt.KeyboardModifier.ControlModifier):
    centre = QPointF(widget.rect().center())
    event = QWheelEvent(
        centre, widget.mapToGlobal(centre), QPoint(), QPoint(0, delta), Qt.MouseButton.NoButton,
        key, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)


def test_a_mask_that_does_not_fit_widens_the_view(grid, model):
    model.set_mask(np.ones((1, 15)))
    assert grid.reach == 8
    model.set_mask(np.ones((1, 301)), "whole rows are flags")
    assert grid.reach == 8


def colour(grid, lag, dx=0.5, dy=0.5):
    cell = grid.cell(lag)
    at = QPointF(cell.left() + dx * cell.width(), cell.top() + dy * cell.height()).toPoint()
    return grid.grab().toImage().pixelColor(at)


def test_correlation_is_told_by_colour_and_the_mask_by_its_outline(grid, model):
    model.rho[8 - 3, 8] = -0.5
    measured = model.rho.copy()
    model.set_noise(measured, None, LINE, 9)
    assert colour(grid, (0, 1)).red() > colour(grid, (0, 1)).blue() + 80, "orange above zero"
    assert colour(grid, (-3, 0)).blue() > colour(grid, (-3, 0)).red() + 80, "blue below"
    edge = colour(grid, (0, 2), dx=1)
    assert edge.lightness() > 240, "an outline at the end of the mask"
    assert colour(grid, (3, 3), dx=1).lightness() < 60
    assert colour(grid, (0, 0)).lightness() > 240, "the centre is marked"


def test_a_whole_row_has_arrows(grid, model):
    def arrow():
        tip = grid.cell((0, grid.reach)).center().toPoint() + QPoint(
            int(grid.cell((0, 0)).width() / 2) + 4, 0
        )
        return grid.grab().toImage().pixelColor(tip)

    without = arrow()
    model.whole_row = True
    assert arrow() == grid.palette().text().color() != without


# -- calls in a thread


def test_only_the_latest_request_waits_and_no_call_runs_beside_another(qtbot):
    go, begun, asked = threading.Event(), threading.Event(), []

    def slow(argument):
        asked.append(argument)
        begun.set()
        go.wait(5)
        return argument * 10

    latest, done = Debounced(slow), []
    latest.done.connect(done.append)
    for number in range(5):
        latest.request(number)
        if number == 0:
            qtbot.waitUntil(begun.is_set)
    go.set()
    qtbot.waitUntil(lambda: done == [0, 40])
    assert asked == [0, 4]
    assert not latest.is_busy


def test_it_is_answered_while_a_training_holds_the_only_thread_of_qt_s_pool(qtbot):
    pool, over = QThreadPool.globalInstance(), threading.Event()
    most = pool.maxThreadCount()
    pool.setMaxThreadCount(1)
    pool.start(lambda: over.wait(5))
    try:
        latest, done = Debounced(str), []
        latest.done.connect(done.append)
        latest.request(1)
        qtbot.waitUntil(lambda: done == ["1"])
    finally:
        over.set()
        pool.setMaxThreadCount(most)


def test_an_error_is_told_and_the_next_request_answered(qtbot):
    latest, failed, done = Debounced(lambda x: 1 / x), [], []
    latest.failed.connect(failed.append)
    latest.done.connect(done.append)
    latest.request(0)
    qtbot.waitUntil(lambda: failed != [])
    assert isinstance(failed[0], ZeroDivisionError)
    latest.request(2)
    qtbot.waitUntil(lambda: done == [0.5])


def test_what_was_cancelled_is_not_delivered(qtbot):
    go, begun, done = threading.Event(), threading.Event(), []

    def slow(argument):
        begun.set()
        go.wait(5)
        return argument

    latest = Debounced(slow)
    latest.done.connect(done.append)
    latest.request("old")
    qtbot.waitUntil(begun.is_set)
    latest.cancel()
    latest.request("new")
    go.set()
    qtbot.waitUntil(lambda: done != [])
    qtbot.wait(50)
    assert done == ["new"]


def test_a_slider_that_moves_is_not_answered_at_every_step(qtbot):
    asked = []
    latest = Debounced(asked.append)
    for number in range(10):
        latest.request(number)
        qtbot.wait(5)
    qtbot.waitUntil(lambda: not latest.is_busy)
    assert asked == [9]


# -- the editor


@dataclass(frozen=True)
class Worth:
    leak: float = 0.012
    leak_bound: float = 0.018
    error_db: float = 0.3
    pixels: int = 5
    advice: str = "Two more pixels to the right and left would help."


@dataclass
class Fakes:
    """What a measurement answers: a line as long as `max_lag`, one score for all."""

    threads: set
    scored: list
    go: threading.Event
    worth: object = Worth()
    error: Exception | None = None
    extracting: bool = False

    def extract(self, options):
        self.threads.add(threading.current_thread())
        self.extracting = True
        self.go.wait(5)
        if self.error is not None:
            raise self.error
        half = options.ring.center_size // 2 if options.extractor == "ring" else options.max_lag
        return np.ones((1, 2 * half + 1), np.uint8)

    def score(self, mask):
        self.threads.add(threading.current_thread())
        self.scored.append(mask)
        return self.worth


@pytest.fixture
def fakes():
    fakes = Fakes(set(), [], threading.Event())
    fakes.go.set()
    return fakes


@pytest.fixture
def editor(model, fakes, qtbot):
    editor = MaskEditor(model, fakes.extract, fakes.score, Structure(max_lag=8))
    measured(model)
    qtbot.addWidget(editor)
    editor.resize(290, 600)
    editor.show()
    return editor


def test_every_control_has_a_tooltip_and_fits_a_narrow_panel(editor):
    editor.rule.editor("extractor").widget.setCurrentIndex(1)
    editor.rule.more.click()
    editor.rule.set_options(Structure(extractor="ring"))
    assert editor.minimumSizeHint().width() <= 290
    names = ("QPushButton", "QCheckBox", "QComboBox", "QAbstractSpinBox", "QSlider", "MaskGrid")
    for widget in editor.findChildren(type(editor).__mro__[1]):
        if any(widget.inherits(name) for name in names):
            assert widget.toolTip(), (widget, widget.accessibleName())


def test_the_score_follows_the_mask_and_is_made_in_a_thread(editor, model, fakes, qtbot):
    qtbot.waitUntil(lambda: editor.score.text() != "")
    assert editor.score.text() == (
        "5 pixels hidden · leak 1.2% (at most 1.8%) · error +0.3 dB. "
        "Two more pixels to the right and left would help."
    )
    model.grow()
    qtbot.waitUntil(lambda: fakes.scored[-1].shape == (1, 7))
    fakes.worth = None
    model.grow()
    qtbot.waitUntil(lambda: editor.score.text() == "")
    assert threading.main_thread() not in fakes.threads


def test_a_slider_makes_the_mask_anew_as_one_step_of_the_history(editor, model, fakes, qtbot):
    model.grow()
    chosen = []
    editor.options_changed.connect(lambda: chosen.append(editor.options.max_lag))
    slider = editor.rule.slider("max_lag")
    assert (slider.value(), slider.maximum()) == (6, 6), "from 2 to what was measured"
    for value in (5, 3, 1):
        slider.setValue(value)
        qtbot.waitUntil(lambda value=value: model.mask.shape == (1, 2 * value + 5))
    assert chosen == [7, 5, 3]
    assert editor.rule.editor("max_lag").value() == 3
    assert threading.main_thread() not in fakes.threads
    model.undo()
    assert model.mask.shape == (1, 7)


def test_a_slider_over_a_wide_range_is_fine_at_its_low_end(editor):
    slider = editor.rule.slider("leak_threshold")
    default = slider.value()
    assert slider.maximum() / 5 < default < slider.maximum() / 2
    slider.setValue(default + 1)
    assert editor.options.leak_threshold == 0.022
    slider.setValue(0)
    assert editor.options.leak_threshold == 0.001
    slider.setValue(slider.maximum())
    assert editor.options.leak_threshold == 1


def test_the_ring_rule_has_its_parameters(editor, model, qtbot):
    rule = editor.rule
    chooser = rule.editor("extractor").widget
    assert not rule.editor("ring", "center_size").widget.isVisible()
    chooser.setCurrentIndex(chooser.findData("ring"))
    assert rule.editor("ring", "center_size").widget.isVisible()
    assert not rule.editor("leak_threshold").widget.isVisible()
    assert not rule.editor("ring", "percentile_decay").widget.isVisible()
    rule.more.click()
    assert rule.editor("ring", "percentile_decay").widget.isVisible()
    rule.slider("ring", "center_size").setValue(0)
    qtbot.waitUntil(lambda: model.mask.shape == (1, 3))
    assert editor.options.ring.center_size == 3
    assert editor.options.extractor == "ring"


def test_reset_goes_back_to_the_measured_mask_and_its_settings(editor, model):
    assert not editor.reset.isEnabled()
    editor.rule.slider("max_lag").setValue(0)
    assert editor.reset.isEnabled(), "even if the mask is the same"
    model.clear()
    chosen = []
    editor.options_changed.connect(lambda: chosen.append(editor.options))
    editor.reset.click()
    np.testing.assert_array_equal(model.mask, LINE)
    assert chosen == [Structure(max_lag=8)]
    assert not editor.reset.isEnabled()


def test_an_answer_about_the_noise_of_before_is_dropped(editor, model, fakes, qtbot):
    fakes.go.clear()
    editor.rule.slider("max_lag").setValue(0)
    qtbot.waitUntil(lambda: fakes.extracting)
    measured(model, np.ones((3, 3)))
    fakes.go.set()
    qtbot.wait(80)
    assert model.mask.shape == (3, 3)


def test_a_rule_that_fails_says_so_and_keeps_the_mask(editor, model, fakes, qtbot):
    fakes.error = InputError("max_lag 2 is too small; choose 3 or more")
    editor.rule.slider("max_lag").setValue(0)
    qtbot.waitUntil(editor.note.isVisible)
    assert editor.note.text() == "Max_lag 2 is too small; choose 3 or more."
    np.testing.assert_array_equal(model.mask, LINE)
    fakes.error = None
    editor.rule.slider("max_lag").setValue(1)
    qtbot.waitUntil(lambda: model.mask.shape == (1, 7))
    assert not editor.note.isVisible()


def test_buttons_and_boxes_show_what_can_be_done(editor, model):
    assert not editor.undo.isEnabled()
    editor.grow.click()
    assert model.mask.shape == (1, 7)
    assert editor.undo.isEnabled()
    editor.undo.click()
    assert editor.redo.isEnabled()
    editor.redo.click()
    editor.clear.click()
    assert model.mask.shape == (1, 1)
    editor.whole_column.click()
    assert model.mask.shape == (19, 1)
    model.undo()
    assert not editor.whole_column.isChecked()
    editor.symmetric.click()
    assert not model.symmetric


def test_the_line_below_the_grid_follows_the_pointer(editor):
    move(editor.grid, at(editor.grid, (0, 1)))
    assert editor.hover.text().startswith("dy 0, dx +1: +0.50")


def test_a_mask_is_saved_and_loaded(editor, model, tmp_path, monkeypatch):
    path = tmp_path / "mask"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    model.set_mask(cells("#..", "##.", "..#"))
    wanted = model.mask
    editor.save.click()
    np.testing.assert_array_equal(tifffile.imread(f"{path}.tif"), wanted)
    model.clear()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (f"{path}.tif", ""))
    editor.load.click()
    np.testing.assert_array_equal(model.mask, wanted)


def test_a_file_that_is_no_mask_is_refused_in_a_sentence(editor, model, tmp_path, monkeypatch):
    path = tmp_path / "even.tif"
    tifffile.imwrite(path, np.ones((2, 4), np.uint8))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    editor.load.click()
    assert editor.note.isVisible()
    assert "odd" in editor.note.text()
    np.testing.assert_array_equal(model.mask, LINE)


def test_a_picture_or_a_stack_is_not_read_as_a_mask(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((601, 601), np.uint8))
    with pytest.raises(InputError, match="601 x 601"):
        read_mask(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.ones((4, 5, 5), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="4 planes"):
        read_mask(tmp_path / "b.tif")


def test_a_mask_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_mask(tmp_path / "file" / "mask.tif", LINE)


def test_an_editor_that_is_closed_while_it_waits_leaves_nothing_behind(model, qtbot):
    begun = threading.Event()

    def slow(mask):
        begun.set()
        time.sleep(0.1)

    editor = MaskEditor(model, lambda _: LINE, slow)
    qtbot.waitUntil(begun.is_set)
    editor.deleteLater()
    qtbot.wait(150)
    model.grow()
    assert model.mask.shape == (1, 7)
