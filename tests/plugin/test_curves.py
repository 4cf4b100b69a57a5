import time

import numpy as np
import pytest
from qtpy.QtGui import QColor, QPalette

from napari_autostructn2v.engine.events import Progress
from napari_autostructn2v.plugin.widgets.curves import (
    MOST_POINTS,
    LossCurves,
    Series,
    thinned,
    ticks,
)


def progress(stage, step, loss, validation=None, channel=None):
    return Progress(stage, step, 100, loss, 9.0, validation, channel)


@pytest.fixture
def curves(qtbot):
    widget = LossCurves()
    qtbot.addWidget(widget)
    widget.resize(280, 120)
    return widget


def picture(widget):
    image = widget.grab().toImage()
    return {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(120)}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 20, [0.01, 0.1, 1, 10]),
        (1e-6, 20, [1e-6, 1e-4, 1e-2, 1]),
        (0.41, 0.89, [0.5, 0.6, 0.7, 0.8]),
        (0.9, 2.2, [1, 1.5, 2]),
        (0.5, 6, [0.5, 1, 2, 5]),
        (0.71, 0.79, [0.72, 0.74, 0.76, 0.78]),
        (0.5001, 0.5009, [0.5002, 0.5004, 0.5006, 0.5008]),
    ],
)
def test_ticks(low, high, expected):
    np.testing.assert_allclose(ticks(low, high), expected)


@pytest.mark.parametrize("ratio", [1.02, 1.3, 2, 3, 4.9, 5.1, 30, 1e3, 1e7])
def test_there_are_two_ticks_and_room_for_their_labels_wherever_the_loss_is(ratio):
    for low in np.geomspace(1e-4, 50, 137):
        found = ticks(low, low * ratio)
        assert len(found) >= 2
        assert low <= min(found) <= max(found) <= low * ratio
        assert np.diff(np.log(found)).min() >= 0.15 * np.log(ratio)


def test_points_in_the_same_column_of_pixels_are_averaged():
    x, y = thinned(np.array([10.1, 10.9, 12.5]), np.array([1.0, 3.0, 7.0]))
    np.testing.assert_allclose(x, [10.5, 12.5])
    np.testing.assert_allclose(y, [2, 7])


def test_memory_is_bounded_and_the_course_is_kept():
    series = Series()
    for step in range(1, 50_001):
        series.add(step, 1 / step)
        assert len(series) < MOST_POINTS
    steps, log = series.log()
    assert (np.diff(steps) > 0).all()
    np.testing.assert_allclose(log[-100:], -np.log10(steps[-100:]), atol=0.01)


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan"), float("inf")])
def test_a_loss_without_logarithm_is_left_out(loss):
    series = Series()
    series.add(1, loss)
    assert len(series) == 0


def test_stages_follow_each_other(curves):
    for event in (
        progress("stage1", 1, 1.0),
        progress("stage1", 40, 0.5, validation=0.6),
        progress("stage2", 1, 1.0),
        progress("stage2", 60, 0.4, validation=0.5),
        progress("stage1", 5, 0.4, channel=1),
    ):
        curves.add(event)
    assert [(s.title, s.first, s.last) for s in curves.stretches] == [
        ("Stage 1", 0, 40),
        ("Stage 2", 40, 100),
        ("Stage 1 C1", 100, 105),
    ]
    assert [len(s.validation) for s in curves.stretches] == [1, 1, 0]
    curves.clear()
    assert not curves.stretches


@pytest.mark.parametrize(("ground", "line"), [("#262930", "#5aa9ff"), ("#efebe9", "#1f6fd0")])
def test_it_is_drawn_in_the_theme_s_colours(curves, ground, line):
    palette = QPalette(QColor(ground))
    palette.setColor(QPalette.ColorRole.Window, QColor(ground))
    curves.setPalette(palette)
    assert line not in picture(curves), "nothing to draw yet"
    for step in range(1, 60):
        curves.add(progress("stage1", step, 0.5 + step % 2 / 100, 0.6 if step == 30 else None))
    assert line in picture(curves)


@pytest.mark.parametrize("size", [(1, 1), (40, 120), (2000, 120)])
def test_any_size_and_any_start_can_be_drawn(curves, size):
    curves.setFixedSize(*size)
    for event in (progress("stage1", 0, 1.0), progress("stage2", 1, 1.0), progress("stage2", 2, 9)):
        curves.grab()
        curves.add(event)
    assert not curves.grab().isNull()


def test_it_redraws_twice_a_second_and_only_where_it_is_seen(curves, qtbot, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, "paintEvent", lambda event: drawn.append(time.monotonic()))
    curves.add(progress("stage1", 1, 1.0))
    qtbot.wait(20)
    assert not drawn
    with qtbot.waitExposed(curves):
        curves.show()
    qtbot.waitUntil(lambda: bool(drawn))
    drawn.clear()
    for step in range(2, 90):
        curves.add(progress("stage1", step, 1.0))
        qtbot.wait(10)
    assert 1 <= len(drawn) <= 3
    drawn.clear()
    curves.add(progress("stage1", 100, 1.0))
    qtbot.waitUntil(lambda: bool(drawn), timeout=300)


def test_the_tooltip_says_what_the_loss_can_t_do(curves):
    assert "can't choose between masks" in curves.toolTip()
