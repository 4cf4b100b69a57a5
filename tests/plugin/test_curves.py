import numpy as np
import pytest
from qtpy.QtGui import QColor, QPalette

from napari_autostructn2v.engine.events import Progress
from napari_autostructn2v.plugin.widgets.curves import LossCurves
from napari_autostructn2v.plugin.widgets.loss_plot import LossAxis
from napari_autostructn2v.plugin.widgets.losses import MOST_POINTS, Series


def progress(stage, step, loss, validation=None, channel=None):
    return Progress(stage, step, 100, loss, 9.0, validation, channel)


@pytest.fixture
def curves(qtbot):
    widget = LossCurves()
    qtbot.addWidget(widget)
    widget.resize(280, 150)
    with qtbot.waitExposed(widget):
        widget.show()
    return widget


def picture(widget):
    image = widget.grab().toImage()
    return {
        image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())
    }


def test_memory_is_bounded_and_the_course_is_kept():
    series = Series()
    for step in range(1, 50_001):
        series.add(step, 1 / step)
        assert len(series) < MOST_POINTS
    steps, losses = series.arrays()
    assert (np.diff(steps) > 0).all()
    np.testing.assert_allclose(losses[-100:], 1 / steps[-100:], rtol=0.01)


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
    for step in range(1, 101):
        curves.add(progress("stage1", step, 0.5 + step // 50 / 100, 0.6 if step == 30 else None))
    assert {ground, line} <= picture(curves)


@pytest.mark.parametrize("size", [(1, 1), (40, 120), (2000, 120)])
def test_any_size_and_any_start_can_be_drawn(curves, size):
    curves.setFixedSize(*size)
    for event in (progress("stage1", 0, 1.0), progress("stage2", 1, 1.0), progress("stage2", 2, 9)):
        curves.grab()
        curves.add(event)
    assert not curves.grab().isNull()


def test_it_redraws_twice_a_second_and_only_where_it_is_seen(curves, qtbot):
    def drawn():
        return curves.plot.plotItem.listDataItems()[0].xData[-1]

    curves.add(progress("stage1", 1, 1.0))
    seen = set()
    for step in range(2, 90):
        curves.add(progress("stage1", step, 1.0))
        seen.add(drawn())
        qtbot.wait(10)
    assert 2 <= len(seen) <= 4
    curves.hide()
    curves.add(progress("stage1", 100, 1.0))
    assert drawn() < 90
    curves.show()
    assert drawn() == 100


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.005, 20, [0.01, 0.1, 1, 10]),
        (0.41, 0.89, [0.6, 0.8]),
        (0.5, 6, [0.5, 1, 2, 5]),
        (0.71, 0.79, [0.72, 0.74, 0.76, 0.78]),
    ],
)
def test_there_are_labels_wherever_the_loss_is(qapp, low, high, expected):
    ((_, ticks),) = LossAxis("left").logTickValues(np.log10(low), np.log10(high), 80, [])
    np.testing.assert_allclose(10 ** np.array(ticks), expected)


def test_a_zoom_stays_until_the_next_run(curves):
    curves.add(progress("stage1", 100, 1.0))
    curves.plot.setXRange(20, 30, padding=0)
    curves.add(progress("stage2", 100, 0.5))
    assert curves.plot.viewRange()[0] == [20, 30]
    curves.clear()
    curves.add(progress("stage1", 100, 1.0))
    curves.grab()
    assert curves.plot.viewRange()[0][1] >= 100


def test_the_tooltip_says_what_the_loss_can_t_do(curves):
    assert "Don't compare masks" in curves.toolTip()
