"""The mask and a Labels layer in a real viewer, edited by napari's own methods."""

import gc
import weakref

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import QTimer

from napari_autostructn2v.plugin.layers.reading import snapshot
from napari_autostructn2v.plugin.mask.mask_layer import MaskLayerLink
from napari_autostructn2v.plugin.mask.mask_model import MaskModel
from napari_autostructn2v.plugin.viewer.noise_layers import NoiseLayers, NoisePanels

LINE = np.ones((1, 5), np.uint8)
MIDDLE = 4


def cells(*rows):
    return np.array([[c == "#" for c in row] for row in rows], np.uint8)


def noise(half=8):
    rho = np.zeros((2 * half + 1,) * 2)
    rho[half, half - 2 : half + 3] = 0.1, 0.5, 1, 0.5, 0.1
    return rho


@pytest.fixture
def model(qapp):
    model = MaskModel()
    model.set_noise(noise(), None, LINE, 63)
    return model


@pytest.fixture
def linked(open_viewer, model, qtbot):
    """A viewer, a Labels layer of 9 x 9 (x more) that follows the mask, and the link."""

    def make(shape=(9, 9), plane=(-2, -1), show=False, dtype=np.uint8):
        viewer = open_viewer(show=show)
        layer = viewer.add_labels(np.zeros(shape, dtype), name="mask")
        layer.brush_size = 1
        return viewer, layer, MaskLayerLink(model, layer, viewer, plane)

    return make


def same(layer, model):
    """Whether the layer shows the mask; told by the layer, so that the mask cannot be to blame."""
    half = np.array(layer.data.shape) // 2
    np.testing.assert_array_equal(layer.data != 0, model.picture(half) != 0)
    return True


def test_the_layer_shows_the_mask_and_follows_it(linked, model):
    _viewer, layer, _link = linked()
    np.testing.assert_array_equal(np.argwhere(layer.data), [(4, x) for x in range(2, 7)])
    model.toggle((1, 2))
    assert layer.data[5, 6] == layer.data[3, 2] == 1
    assert same(layer, model)
    layer.undo()
    np.testing.assert_array_equal(model.mask, LINE)


def test_painting_hides_the_mirror_image_too_and_is_one_entry(linked, model):
    _viewer, layer, _link = linked()
    layer.paint((5, 6), 1)
    assert layer.data[3, 2] == 1
    np.testing.assert_array_equal(model.mask, cells("#....", "#####", "....#"))
    layer.undo()
    np.testing.assert_array_equal(model.mask, LINE)
    assert same(layer, model)
    layer.undo()
    np.testing.assert_array_equal(model.mask, LINE, "the mask of the beginning stays")


def test_redo_comes_back_in_both(linked, model):
    _viewer, layer, _link = linked()
    layer.paint((5, 6), 1)
    wanted = model.mask
    layer.undo()
    layer.redo()
    np.testing.assert_array_equal(model.mask, wanted)
    assert same(layer, model)
    model.undo()
    np.testing.assert_array_equal(model.mask, LINE)
    assert same(layer, model)
    model.redo()
    np.testing.assert_array_equal(model.mask, wanted)
    assert same(layer, model)


def test_undo_in_napari_is_undo_in_the_dock(linked, model):
    _viewer, layer, _link = linked()
    for at in ((5, 6), (6, 6), (7, 6)):
        layer.paint(at, 1)
    for _ in range(3):
        layer.undo()
    assert not model.can_undo
    assert model.can_redo
    for _ in range(3):
        layer.redo()
    assert not model.can_redo
    assert model.mask.sum() == 11


def test_erasing_shows_the_mirror_image_but_never_the_centre(linked, model):
    _viewer, layer, _link = linked()
    layer.paint((MIDDLE, 6), 0)
    np.testing.assert_array_equal(model.mask, cells("###"))
    layer.paint((MIDDLE, MIDDLE), 0)
    assert layer.data[MIDDLE, MIDDLE] == 1
    assert same(layer, model)
    layer.undo()
    np.testing.assert_array_equal(model.mask, LINE)


def test_a_new_measurement_ends_the_history_of_the_layer(linked, model):
    _viewer, layer, _link = linked()
    layer.mode = "paint"
    layer.paint((5, 5), 1)
    model.set_noise(noise(), None, np.ones((3, 3)), 63)
    assert same(layer, model)
    layer.undo()
    assert model.mask.sum() == 9
    assert layer.mode == "paint"


def test_filling_and_any_label_count(linked, model):
    _viewer, layer, _link = linked()
    layer.fill((0, 0), 3)
    assert model.mask.all()
    assert model.mask.shape == (9, 9)
    assert set(np.unique(layer.data)) == {1, 3}, "napari's labels stay"
    layer.undo()
    np.testing.assert_array_equal(model.mask, LINE)
    layer.paint_polygon(np.array([(1, 1), (1, 3), (3, 3)]), 1)
    assert np.array_equal(model.mask, model.mask[::-1, ::-1])
    assert same(layer, model)


def test_a_stroke_shows_its_mirror_image_at_once_and_is_one_entry(linked, model):
    _viewer, layer, _link = linked()
    for _ in range(2):
        with layer.block_history():
            for x in range(4, 9):
                layer.paint((2, x), 1)
                assert layer.data[6, 8 - x], "while the stroke goes on"
                assert same(layer, model)
        assert len(model.mask) == 5
        layer.undo()
        np.testing.assert_array_equal(model.mask, LINE)
        assert not model.can_undo, "one step in the dock too"
    layer.redo()
    assert model.mask.sum() == 15


def test_a_stroke_in_the_dock_is_one_entry_in_napari(linked, model):
    _viewer, layer, _link = linked()
    stroke = object()
    for x in (1, 2, 3):
        model.paint([(2, x)], stroke=stroke)
    assert same(layer, model)
    layer.undo()
    np.testing.assert_array_equal(model.mask, LINE)
    assert same(layer, model)
    assert not model.can_undo


def test_a_stroke_that_comes_back_to_where_it_began_takes_no_older_entry_away(linked, model):
    _viewer, layer, _link = linked()
    model.toggle((3, 0))
    stroke = object()
    model.paint([(2, 1)], True, stroke)
    model.paint([(2, 1)], False, stroke)
    model.paint([(1, 1)], True, stroke)
    assert same(layer, model)
    layer.undo()
    assert same(layer, model)
    assert model.hides((3, 0))
    assert not model.hides((1, 1))


def test_without_symmetry_each_lag_stands_for_itself(linked, model):
    _viewer, layer, _link = linked()
    model.symmetric = False
    layer.paint((5, 6), 1)
    assert model.mask.sum() == 6
    assert same(layer, model)
    entries = []
    layer.events.paint.connect(lambda: entries.append(1))
    layer.paint((1, 1), 1)
    assert entries == [1], "what needs no mending stays as napari wrote it"


def test_new_data_are_taken_over_and_made_symmetric_in_a_copy(linked, model):
    _viewer, layer, _link = linked()
    given = np.zeros((9, 9), np.uint8)
    given[1, 4] = 1
    layer.data = given
    np.testing.assert_array_equal(np.argwhere(layer.data), [(1, 4), (4, 4), (7, 4)])
    assert same(layer, model)
    assert given.sum() == 1
    layer.data = np.ones((6, 8), np.uint8)  # an even grid: lag 0 is after its middle
    assert model.hides((-3, -4))
    assert model.hides((3, 4)), "by symmetry, beyond the edge"


def test_the_layer_grows_from_its_corner_and_keeps_its_cells(linked, model):
    _viewer, layer, _link = linked()
    layer.scale, layer.translate = (0.5, 0.5), (3, 30)
    layer.mode = "paint"
    layer.paint((8, 3), 1)
    model.set_mask(np.ones((1, 15)))
    assert layer.data.shape == (17, 17)
    assert same(layer, model)
    np.testing.assert_array_equal(layer.scale, (0.5, 0.5))
    np.testing.assert_array_equal(layer.translate, (3, 30))
    assert layer.mode == "paint"
    layer.paint((8, 0), 1)
    assert model.mask.shape == (1, 17)
    for _ in range(3):  # what was done on the smaller grid is forgotten
        layer.undo()
    assert model.mask.shape == (1, 15)
    assert same(layer, model)
    model.undo()
    assert model.hides((4, -1))
    assert same(layer, model)


def test_a_whole_row_runs_from_edge_to_edge_and_can_be_edited_around(linked, model):
    _viewer, layer, _link = linked()
    model.whole_row = True
    assert layer.data.shape == (9, 9)
    assert layer.data[MIDDLE].all()
    layer.paint((5, 4), 1)
    assert model.whole_row
    assert model.mask.shape == (3, 127)
    layer.paint((MIDDLE, MIDDLE), 0)
    assert model.whole_row, "the centre is no gap"
    layer.paint((MIDDLE, 7), 0)
    assert not model.whole_row
    np.testing.assert_array_equal(model.mask[1], cells("#.#####.#")[0])
    assert same(layer, model)
    layer.undo()
    assert model.whole_row


@pytest.mark.parametrize(("shape", "plane"), [((9, 9, 3), (0, 1)), ((9, 2, 9), (2, 0))])
def test_the_mask_is_the_same_along_all_other_axes(linked, model, shape, plane):
    _viewer, layer, _link = linked(shape, plane)

    def planes():
        return np.moveaxis(layer.data, plane, (-2, -1)).reshape(-1, 9, 9) != 0

    model.paint([(1, 2)])
    model.symmetric = False
    at = [0, 0, 0]
    at[plane[0]], at[plane[1]] = 7, 5  # lag (3, 1) in one plane
    layer.data_setitem(tuple(np.array([n]) for n in at), 1)
    assert model.hides((3, 1))
    assert not model.hides((1, 3))
    for cells_ in planes():
        np.testing.assert_array_equal(cells_, model.picture((4, 4)) != 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_what_is_drawn_is_what_the_layer_holds(linked, model, dtype):
    """Napari uploads its own piece of an edit; it must not be drawn over what is mended."""
    viewer, layer, _link = linked(show=True, dtype=dtype)
    layer.opacity = 1
    viewer.reset_view()

    def drawn():
        picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].max(-1)
        camera = getattr(viewer, "scene", viewer).camera
        zoom, (y, x) = camera.zoom, camera.center[-2:]
        rows, columns = (
            np.rint((np.arange(9) - middle) * zoom + side / 2).astype(int)
            for middle, side in zip((y, x), picture.shape, strict=True)
        )
        return picture[np.ix_(rows, columns)] > 40

    for edit in (
        lambda: layer.paint((5, 6), 1),
        lambda: layer.paint((MIDDLE, MIDDLE), 0),
        layer.undo,
        layer.redo,
        lambda: model.paint([(3, 3), (3, 2)]),
        lambda: layer.fill((MIDDLE, 2), 0),
    ):
        edit()
        np.testing.assert_array_equal(drawn(), layer.data != 0)
        assert same(layer, model)


def test_a_hidden_layer_and_one_seen_in_3d_follow(linked, model):
    viewer, layer, _link = linked()
    layer.visible = False
    model.toggle((2, 2))
    assert same(layer, model)
    viewer.dims.ndisplay = 3
    model.toggle((3, 2))
    assert same(layer, model)


def test_a_removed_layer_ends_the_link_quietly(linked, model):
    viewer, layer, link = linked()
    ended = []
    link.ended.connect(lambda: ended.append(True))
    layer.name = "another name"
    model.toggle((1, 1))
    assert same(layer, model)
    viewer.layers.remove(layer)
    viewer.add_labels(np.zeros((5, 5), np.uint8))
    assert ended == [True]
    model.toggle((2, 2))
    layer.paint((0, 0), 1)
    assert not model.hides((-4, -4))
    link.end()
    assert ended == [True]


@pytest.mark.parametrize("gone", ["link", "model"])
def test_what_is_destroyed_leaves_no_callback(linked, model, qtbot, gone):
    _viewer, layer, link = linked()
    before = {name: len(layer.events[name].callbacks) for name in ("paint", "set_data")}
    with qtbot.waitSignal((link if gone == "link" else model).destroyed):
        (link if gone == "link" else model).deleteLater()
    for name, count in before.items():
        assert len(layer.events[name].callbacks) == count - 1
    layer.paint((5, 6), 1)
    assert layer.data[3, 2] == 0


def test_a_link_that_has_ended_can_be_collected(linked):
    _viewer, _layer, link = linked()
    link.end()
    gone = weakref.ref(link)
    del link
    gc.collect()
    assert gone() is None


def test_panels_take_the_place_of_what_was_shown(open_viewer):
    viewer = open_viewer()
    image = viewer.add_image(np.zeros((40, 60)), name="cells", scale=(0.1, 0.1))
    panels = NoisePanels(viewer, snapshot(image))
    mask = panels.show_mask(LINE, noise())
    assert panels.show_mask(np.ones((7, 7), np.uint8), noise()) is mask
    assert len(viewer.layers) == 3
    viewer.layers.remove(mask)
    assert panels.show_mask(LINE, noise()) in viewer.layers
    assert len(viewer.layers) == 3


def test_panels_come_one_in_each_turn_of_the_event_loop(open_viewer, model, qtbot):
    viewer = open_viewer()
    image = viewer.add_image(np.zeros((3, 40, 60)), axis_labels=("c", "y", "x"), name="cells")
    layers = NoiseLayers(viewer, model)
    counts = [len(viewer.layers)]
    timer = QTimer()
    timer.timeout.connect(lambda: counts.append(len(viewer.layers)))
    layers.show(snapshot(image), dict.fromkeys(range(3), noise()))
    timer.start(0)
    assert layers.are_shown, "on their way"
    qtbot.waitUntil(lambda: "cells mask" in viewer.layers)
    qtbot.wait(10)
    assert len(viewer.layers) == 5
    assert max(np.diff(counts)) == 1
    layers.show(snapshot(image), {0: noise()})
    layers.hide()
    assert not layers.are_shown
    qtbot.wait(10)
    assert list(viewer.layers) == [image], "none comes afterwards"


def test_the_panel_of_a_whole_row_is_as_large_as_the_rest_needs(open_viewer):
    viewer = open_viewer()
    panels = NoisePanels(viewer, snapshot(viewer.add_image(np.zeros((40, 60)))))
    row = np.zeros((3, 127), np.uint8)
    row[1] = 1
    row[:, 63] = 1
    data = panels.show_mask(row, noise()).data
    assert data.shape == (11, 11)
    np.testing.assert_array_equal(data[5], np.ones(11))
    assert panels.show_mask(np.ones((25, 25)), noise()).data.shape == (27, 27)


@pytest.mark.parametrize(
    ("labels", "plane"), [("yx", (0, 1)), ("xy", (1, 0)), ("tyx", (0, 1)), ("yxc", (0, 1))]
)
def test_panels_know_their_plane(labels, plane):
    layer = Image(np.zeros([6, 7, 8][: len(labels)]), axis_labels=list(labels))
    assert NoisePanels(None, snapshot(layer)).plane == plane
