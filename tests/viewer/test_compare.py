import dask.array as da
import numpy as np
import pytest
import zarr
from napari.layers.utils import _link_layers
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.ondemand import Difference, Part, within
from napari_autostructn2v.plugin.layers.reading import snapshot
from napari_autostructn2v.plugin.layers.region import crop
from napari_autostructn2v.plugin.viewer.compare import KEY, Peek, add_residual, link_contrast
from napari_autostructn2v.plugin.viewer.comparison import Comparison
from napari_autostructn2v.plugin.viewer.curtain import Curtain

NOISY = np.random.default_rng(0).integers(100, 200, (3, 40, 60)).astype(np.uint16)
CLEAN = np.full((3, 40, 60), 150, np.uint16)
WHERE = {
    "scale": (2, 0.1, 0.1),
    "translate": (0, 5, 7),
    "rotate": 20,
    "units": ("s", "um", "um"),
    "axis_labels": ("t", "y", "x"),
    "contrast_limits": (90, 210),
}
FLAT = {
    "contrast_limits": (90, 210),
    "scale": (0.1, 0.1),
    "units": ("um", "um"),
    "axis_labels": ("y", "x"),
}


@pytest.fixture
def pair(open_viewer):
    """Open a viewer with a noisy image and its result; flat or (t, y, x)."""

    def open_(show=False, noisy=NOISY[0], clean=CLEAN[0], **where):
        viewer = open_viewer(show=show)
        where = where or FLAT
        source = viewer.add_image(noisy, name="cells", colormap="magma", **where)
        result = viewer.add_image(clean, name="cells Stage 2", **where)
        return viewer, source, result

    return open_


def state(viewer):
    """What a comparison must leave as it was."""
    return (
        [
            (layer.name, layer.visible, layer.opacity, str(layer.blending))
            for layer in viewer.layers
        ],
        [layer.name for layer in viewer.layers.selection],
        [len(getattr(viewer, f"mouse_{kind}_callbacks")) for kind in ("drag", "move", "wheel")],
        sorted(map(str, viewer.keymap)),
        [
            len(layer.events[name].callbacks)
            for layer in viewer.layers
            for name in ("data", "contrast_limits", "colormap")
            if name in layer.events
        ],
        len(viewer.layers.events.removed.callbacks),
        [len(getattr(viewer.dims.events, name).callbacks) for name in ("order", "ndisplay")],
        len(_link_layers._UNLINKERS),
        str(viewer.cursor.style),
    )


def visible(viewer):
    return [layer.name for layer in viewer.layers if layer.visible]


# Arrays read on demand


@pytest.mark.parametrize(
    "key",
    [
        ...,
        0,
        (0, slice(None), 3),
        (slice(1, 9), ..., -1),
        (..., slice(2, 900)),
        slice(None, None, 2),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, da.from_array, zarr.array])
def test_arrays_on_demand_index_as_numpy_does(key, kind):
    part = Part(kind(NOISY), 2, 10)
    assert part.shape == (3, 40, 10)
    np.testing.assert_array_equal(part[key], NOISY[:, :, :10][key])
    difference = Difference(kind(NOISY), kind(CLEAN))
    np.testing.assert_array_equal(difference[key], (NOISY.astype(np.float32) - 150)[key])
    assert difference[key].dtype == np.float32
    np.testing.assert_array_equal(np.asarray(part), NOISY[:, :, :10])


def test_an_index_out_of_bounds_is_refused():
    assert within((slice(None, None, -1), -1), (2, 3)) == (slice(1, None, -1), 2)
    with pytest.raises(IndexError, match="index 10 is out of bounds for an axis of 10"):
        Part(NOISY, 2, 10)[0, 0, 10]


def test_a_part_copies_nothing():
    assert np.shares_memory(Part(NOISY, 2, 10)[0], NOISY)


# Hold a key


def test_holding_the_key_shows_the_noisy_image(pair, qtbot):
    viewer, source, result = pair(show=True)
    viewer.add_labels(np.zeros((40, 60), np.uint8), name="mine", **placed(FLAT))
    beside = placed(FLAT) | {"translate": (0, 100)}
    viewer.add_image(CLEAN[0], name="autocorrelation", **beside)
    source.visible = False
    viewer.layers.selection = {result}
    before = state(viewer)
    peek = Peek(viewer, source)
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    QTest.keyPress(canvas, Qt.Key(ord(KEY)))
    assert visible(viewer) == ["cells", "mine", "autocorrelation"]
    QTest.keyRelease(canvas, Qt.Key(ord(KEY)))
    assert visible(viewer) == ["cells Stage 2", "mine", "autocorrelation"]
    QTest.keyPress(canvas, Qt.Key(ord(KEY)))
    QApplication.instance().focusChanged.emit(canvas, None)
    assert visible(viewer)[0] == "cells Stage 2", "the key is let go elsewhere"
    with qtbot.waitSignal(peek.closed):
        peek.close()
    assert state(viewer) == before


def placed(keywords):
    return {name: keywords[name] for name in ("scale", "units", "axis_labels")}


def test_a_key_that_was_in_use_comes_back(pair):
    viewer, source, _ = pair()
    viewer.bind_key(KEY, print)
    peek = Peek(viewer, source)
    assert list(viewer.keymap.values()) != [print]
    peek.close()
    assert list(viewer.keymap.values()) == [print]


def test_layers_removed_or_changed_while_the_key_is_held(pair):
    viewer, source, result = pair()
    third = viewer.add_image(CLEAN[0], name="third", **FLAT)
    peek = Peek(viewer, source)
    peek.show(True)
    peek.show(True)
    viewer.layers.remove(third)
    peek.show(False)
    assert result.visible
    peek.show(True)
    viewer.layers.remove(source)
    assert result.visible
    assert not viewer.keymap
    peek.show(True)
    assert result.visible, "it has ended"


# The curtain


def test_the_curtain_shows_the_noisy_image_left_of_its_line(pair, qtbot):
    viewer, source, result = pair()
    before = state(viewer)
    curtain = Curtain(viewer, source, result)
    layer = viewer.layers["cells curtain"]
    np.testing.assert_array_equal(layer.data, NOISY[0, :, :30])
    assert layer.colormap.name == "magma"
    assert viewer.layers.index(layer) == 2
    assert viewer.layers.selection.active is result
    assert viewer.layers.extent.units == source.units, "units are still in use"
    curtain.position = 0.1
    np.testing.assert_array_equal(layer.data, NOISY[0, :, :6])
    source.contrast_limits = (100, 160)
    assert layer.contrast_limits == [100, 160]
    source.contrast_limits = FLAT["contrast_limits"]
    for position, columns in ((-1, 1), (2, 60)):
        curtain.position = position
        assert layer.data.shape == (40, columns)
    with qtbot.waitSignal(curtain.closed):
        curtain.close()
    curtain.close()
    assert state(viewer) == before


def colour_at(viewer, row, column, layer):
    """Take a pixel of the canvas where a pixel of the layer's data is shown."""
    picture = viewer.screenshot(canvas_only=True, flash=False)
    x, y = on_canvas(viewer, layer, row, column)
    return tuple(picture[y, x, :3])


def on_canvas(viewer, layer, row, column):
    camera = viewer.scene.camera
    y, x = layer.data_to_world((0,) * (layer.ndim - 2) + (row, column))[-2:]
    height, width = viewer.canvas.size
    return (
        round((x - camera.center[-1]) * camera.zoom + width / 2),
        round((y - camera.center[-2]) * camera.zoom + height / 2),
    )


def drag(viewer, qtbot, start, end):
    canvas = viewer.window._qt_viewer.canvas.native
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=QPoint(*start))
    for part in (0.5, 1):
        spot = [round(a + part * (b - a)) for a, b in zip(start, end, strict=True)]
        QTest.mouseMove(canvas, QPoint(*spot))
        qtbot.wait(10)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=QPoint(*end))


@pytest.mark.parametrize("where", [{}, WHERE])
def test_the_line_is_dragged_and_the_picture_follows(pair, qtbot, where):
    black, white = np.full((3, 40, 60), 100, np.uint16), np.full((3, 40, 60), 200, np.uint16)
    flat = slice(None) if where else 0
    viewer, source, result = pair(True, black[flat], white[flat], **where)
    source.colormap = "gray"
    source.contrast_limits = result.contrast_limits = (100, 200)
    curtain = Curtain(viewer, source, result)
    assert colour_at(viewer, 20, 25, source) == (0, 0, 0)
    assert colour_at(viewer, 20, 35, source) == (255, 255, 255)
    camera = viewer.scene.camera
    seen = camera.center
    with qtbot.waitExposed(viewer.window._qt_window):
        pass
    drag(viewer, qtbot, on_canvas(viewer, source, 20, 29.5), on_canvas(viewer, source, 10, 44.5))
    assert curtain.position == pytest.approx(45 / 60, abs=0.01)
    assert camera.center == seen, "the view is not moved along"
    assert colour_at(viewer, 20, 35, source) == (0, 0, 0)
    assert colour_at(viewer, 20, 55, source) == (255, 255, 255)
    drag(viewer, qtbot, on_canvas(viewer, source, 20, 10), on_canvas(viewer, source, 20, 20))
    assert curtain.position == pytest.approx(45 / 60, abs=0.01), "away from the line"
    assert camera.center != seen, "the view moves as ever"
    curtain.close()
    assert colour_at(viewer, 20, 35, source) == (255, 255, 255)


def test_the_pointer_shows_where_the_line_can_be_taken(pair, qtbot):
    viewer, source, result = pair(show=True)
    curtain = Curtain(viewer, source, result)
    canvas = viewer.window._qt_viewer.canvas.native

    def pointer(column):
        """Move there anew each time: a canvas that is still being laid out moves beneath it."""
        QTest.mouseMove(canvas, QPoint(*on_canvas(viewer, source, 19, column)))
        QTest.mouseMove(canvas, QPoint(*on_canvas(viewer, source, 20, column)))
        return str(viewer.cursor.style)

    for column, style in ((10, "standard"), (29.5, "pointing"), (50, "standard")):
        qtbot.waitUntil(lambda c=column, s=style: pointer(c) == s, timeout=2000)
    result.mode = "transform"
    QTest.mouseMove(canvas, QPoint(*on_canvas(viewer, source, 20, 29.5)))
    qtbot.wait(30)
    assert not curtain._near, "another tool comes first"


def test_a_hidden_or_covered_result_is_shown_meanwhile(pair):
    viewer, source, result = pair()
    viewer.add_image(CLEAN[0], name="later", **FLAT)
    result.visible = False
    before = state(viewer)
    curtain = Curtain(viewer, source, result)
    assert visible(viewer) == ["cells", "cells Stage 2", "cells curtain"]
    peek = Peek(viewer, source)
    peek.show(True)
    assert visible(viewer) == ["cells"]
    peek.close()
    assert "cells curtain" in visible(viewer)
    curtain.close()
    assert state(viewer) == before


@pytest.mark.parametrize("kind", [da.from_array, zarr.array])
def test_lazy_images_and_stacks(pair, kind):
    viewer, source, result = pair(noisy=kind(NOISY), clean=CLEAN, **WHERE)
    Curtain(viewer, source, result, 0.25)
    layer = viewer.layers["cells curtain"]
    assert layer.data.shape == (3, 40, 15)
    for name in ("scale", "translate", "rotate", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(layer, name), getattr(source, name))
    viewer.dims.set_point(0, 4)
    np.testing.assert_array_equal(layer._slice.image.view, NOISY[2, :, :15])
    assert viewer.dims.range[0].stop == 4


def test_axes_that_change_places(pair, qtbot):
    viewer, source, result = pair(noisy=NOISY, clean=CLEAN, **WHERE)
    curtain = Curtain(viewer, source, result)
    layer = viewer.layers["cells curtain"]
    viewer.dims.transpose()
    assert layer.data.shape == (3, 20, 60)
    curtain.position = 0.75
    assert layer.data.shape == (3, 30, 60)
    with qtbot.waitSignal(curtain.closed):
        viewer.dims.ndisplay = 3
    assert layer not in viewer.layers


def test_a_multiscale_image_is_cut_at_each_level(pair):
    levels = [NOISY[0].repeat(8, 0).repeat(8, 1)[:: 2**i, :: 2**i] for i in range(3)]
    viewer, source, result = pair(noisy=levels, clean=levels[0], **FLAT)
    assert source.multiscale
    curtain = Curtain(viewer, source, result)
    layer = viewer.layers["cells curtain"]
    assert [level.shape for level in layer.data] == [(320, 240), (160, 120), (80, 60)]
    curtain.position = 0
    assert [level.shape for level in layer.data] == [(320, 1), (160, 1), (80, 1)]


@pytest.mark.parametrize("multiscale", [False, True])
def test_the_curtain_of_a_region_lies_over_the_region(pair, multiscale):
    levels = [NOISY, NOISY[:, ::2, ::2]] if multiscale else NOISY
    viewer, source, whole = pair(noisy=levels, clean=CLEAN, **WHERE)
    image = crop(snapshot(source), {"T": (1, 2), "Y": (4, 30), "X": (10, 50)})
    result = viewer.add_image(np.zeros(image.shape), name="region", **image.placement)
    comparison = Comparison(viewer)
    comparison.add(whole, snapshot(source))
    comparison.add(result, image)
    comparison.show_curtain(True)
    layer = viewer.layers["cells curtain"]
    np.testing.assert_array_equal(layer.data, NOISY[1:2, 4:30, 10:30])
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), source.data_to_world((1, 4, 10)))
    line = source.data_to_world((1, 9, 13.5))
    comparison.curtain.position = comparison.curtain._column(line) / 40
    assert layer.data.shape == (1, 26, 4)
    assert comparison.curtain._grips(line)
    comparison.close()
    assert layer not in viewer.layers


def test_data_replaced_meanwhile(pair, qtbot):
    viewer, source, result = pair()
    curtain = Curtain(viewer, source, result)
    source.data = NOISY[1]
    np.testing.assert_array_equal(viewer.layers["cells curtain"].data, NOISY[1, :, :30])
    with qtbot.waitSignal(curtain.closed):
        source.data = NOISY[1, :9]
    assert "cells curtain" not in viewer.layers


def test_the_curtain_ends_when_layers_are_removed(pair, qtbot):
    viewer, source, result = pair()
    later = viewer.add_image(CLEAN[0], name="later", **FLAT)
    for name in ("cells curtain", "cells Stage 2", "cells"):
        for layer in (source, result):
            if layer not in viewer.layers:
                viewer.layers.insert(0, layer)
        curtain = Curtain(viewer, source, result)
        assert not later.visible
        with qtbot.waitSignal(curtain.closed):
            viewer.layers.remove(name)
        assert "cells curtain" not in viewer.layers
        assert later.visible
        assert not _link_layers._UNLINKERS
    viewer.layers.insert(0, source)
    curtain = Curtain(viewer, source, result)
    with qtbot.waitSignal(curtain.closed):
        viewer.layers.clear()
    assert len(viewer.layers) == 0


@pytest.mark.parametrize("way", ["3-D", "grid"])
def test_the_curtain_ends_with_the_view_it_is_drawn_in(pair, qtbot, way):
    viewer, source, result = pair()
    curtain = Curtain(viewer, source, result)
    with qtbot.waitSignal(curtain.closed):
        if way == "grid":
            viewer.canvas.grid.enabled = True
        else:
            viewer.dims.ndisplay = 3
    assert list(viewer.layers) == [source, result]


def test_where_there_can_be_no_curtain_a_sentence_says_why(pair):
    viewer, source, result = pair()
    other = viewer.add_image(NOISY[0, :9], name="other", **FLAT)
    before = state(viewer)
    with pytest.raises(InputError, match="'cells' is 40 x 60 and 'other' is 9 x 60"):
        Curtain(viewer, source, other)
    assert state(viewer) == before
    viewer.canvas.grid.enabled = True
    with pytest.raises(InputError, match="work in the grid view"):
        Curtain(viewer, source, result)
    viewer.canvas.grid.enabled = False
    viewer.dims.ndisplay = 3
    with pytest.raises(InputError, match="works only in 2-D"):
        Curtain(viewer, source, result)


# The residual


def test_the_residual_is_what_was_taken_away(pair):
    viewer, source, result = pair(noisy=NOISY, clean=CLEAN.copy(), **WHERE)
    layer = add_residual(viewer, snapshot(source), result)
    assert layer.name == "cells residual"
    np.testing.assert_array_equal(np.asarray(layer.data), NOISY.astype(np.float32) - 150)
    for name in ("scale", "translate", "rotate", "shear", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(layer, name), getattr(source, name))
    low, high = layer.contrast_limits
    assert low == -high
    assert high == pytest.approx(3 * 1.4826 * 25, rel=0.05), "uniform noise from 100 to 200"
    result.data[0] = 100
    layer.refresh()
    viewer.dims.set_point(0, 0)
    np.testing.assert_array_equal(layer._slice.image.view, NOISY[0].astype(np.float32) - 100)


def test_a_residual_of_lazy_equal_or_empty_images(pair):
    viewer, source, result = pair(noisy=da.from_array(NOISY), clean=zarr.array(CLEAN), **WHERE)
    layer = add_residual(viewer, snapshot(source), result)
    assert layer.data[1, 2, 3] == float(NOISY[1, 2, 3]) - 150
    same = add_residual(viewer, snapshot(source), source)
    assert same.contrast_limits == [-1, 1]
    blank = viewer.add_image(np.full((8, 8), np.nan), name="blank", contrast_limits=(0, 1))
    assert add_residual(viewer, snapshot(blank), blank).contrast_limits == [-1, 1]
    with pytest.raises(InputError, match="'blank' is 8 x 8 and 'cells' is 3 x 40 x 60"):
        add_residual(viewer, snapshot(source), blank)


# Contrast


def test_contrast_is_changed_together_until_a_layer_goes(pair):
    viewer, source, result = pair()
    third = viewer.add_image(CLEAN[0].astype(np.float32), name="third", **FLAT)
    link_contrast([source, result])
    link_contrast([source, result, third])
    for layer in (source, result, third):
        low = layer.contrast_limits[0] + 1
        layer.contrast_limits = (low, 180)
        assert [other.contrast_limits for other in (source, result, third)] == [[low, 180]] * 3
    viewer.layers.remove(result)
    viewer.layers.remove(third)
    assert not _link_layers._UNLINKERS, "napari would keep the layer and its data"
