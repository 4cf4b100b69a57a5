from itertools import product

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.layers._source import Source

from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers import layer_target, writing
from napari_autostructn2v.plugin.layers.reading import snapshot
from napari_autostructn2v.plugin.layers.writing import LayerSink
from napari_autostructn2v.plugin.viewer.compare import add_residual
from napari_autostructn2v.plugin.viewer.noise_layers import place_panel
from napari_autostructn2v.plugin.widgets.lag_grid import centred, highest_off_centre, reach

PIXELS = np.arange(2 * 24 * 16, dtype=np.uint16).reshape(2, 24, 16)


def test_a_run_adds_the_noise_the_mask_and_both_stages(open_dock, denoise):
    viewer, dock = open_dock(
        data=PIXELS,
        axis_labels=("t", "y", "x"),
        scale=(2, 0.1, 0.1),
        translate=(0, 5, 7),
        units=("s", "um", "um"),
        rotate=10,
        colormap="magma",
        contrast_limits=(2, 700),
    )
    source = viewer.layers["cells"]
    denoise(dock)
    assert viewer.layers.selection.active.name == "cells Stage 2", "panels are not selected"
    assert {layer.name: layer.visible for layer in viewer.layers} == {
        "cells": True,
        "cells autocorrelation": True,
        "cells mask": True,
        "cells Stage 1": False,
        "cells Stage 2": True,
    }
    for number in (1, 2):
        result = viewer.layers[f"cells Stage {number}"]
        np.testing.assert_array_equal(result.data, PIXELS + number)
        assert result.data.dtype == np.uint16
        for name in ("scale", "translate", "rotate", "shear", "units", "axis_labels"):
            np.testing.assert_array_equal(getattr(result, name), getattr(source, name))
        np.testing.assert_array_equal(result.affine.affine_matrix, source.affine.affine_matrix)
        assert result.contrast_limits == source.contrast_limits
        assert result.colormap.name == "magma"
    rho, mask = viewer.layers["cells autocorrelation"], viewer.layers["cells mask"]
    assert isinstance(rho, Image)
    assert isinstance(mask, Labels)
    assert mask.data.sum() == 5
    assert set(np.unique(mask.data)) == {0, 1}
    row, column = (side // 2 for side in mask.data.shape)
    assert mask.data[row, column - 2 : column + 3].all(), "centred on the autocorrelation's lags"
    for panel in (rho, mask):
        assert panel.units == source.units[1:]
        assert panel.axis_labels == ("y", "x")
        left, right = panel.extent.world[:, 1].min(), source.extent.world[:, 2].max()
        assert left > right, "beside the image, not over it"


def test_the_result_does_not_follow_the_source_edited_or_removed_meanwhile(
    open_dock, denoise, fake_engine
):
    viewer, dock = open_dock(fake_engine(pause=0.01), PIXELS)
    denoise(dock, act=viewer.layers.clear)
    assert "cells Stage 2" in viewer.layers
    np.testing.assert_array_equal(viewer.layers["cells Stage 2"].data, PIXELS + 2)


def test_earlier_results_are_kept(open_dock, denoise):
    viewer, dock = open_dock(data=PIXELS[0])
    denoise(dock)
    first = viewer.layers["cells Stage 2"]
    chosen = dock.panels.inputs.layer
    assert chosen is viewer.layers["cells"], "the choice does not jump to a result"
    denoise(dock)
    assert first in viewer.layers
    assert "cells Stage 2 [1]" in viewer.layers
    assert len(viewer.layers) == 7, "of the noise there is one picture"


def test_a_result_removed_during_the_run_is_not_missed(open_dock, denoise, fake_engine, qtbot):
    viewer, dock = open_dock(fake_engine(pause=0.02), PIXELS)

    def remove():
        qtbot.waitUntil(lambda: "cells Stage 1" in viewer.layers)
        viewer.layers.remove("cells Stage 1")

    denoise(dock, act=remove)
    assert "cells Stage 1" not in viewer.layers
    assert dock.panels.train.message.text() == ""


def test_tiles_appear_while_they_are_computed(open_dock, denoise, fake_engine, qtbot):
    engine = fake_engine(tile=4, pause=0.12)
    engine.hold = "stage2"
    viewer, dock = open_dock(engine, PIXELS[0], show=True)
    drawn = []

    def watch():
        qtbot.waitUntil(lambda: "cells Stage 2" in viewer.layers)
        layer = viewer.layers["cells Stage 2"]
        layer.events.set_data.connect(lambda: drawn.append(np.count_nonzero(layer.data)))
        engine.release.set()

    denoise(dock, act=watch)
    assert len(set(drawn)) > 1, "more than once, with more of it each time"


def test_a_colour_like_shape_stays_greyscale(open_dock, denoise):
    data = (np.arange(24 * 16 * 3) % 200).astype(np.uint8).reshape(24, 16, 3)
    viewer, dock = open_dock(data=data, rgb=False, axis_labels=("y", "x", "c"))
    denoise(dock)
    result = viewer.layers["cells Stage 2"]
    assert not result.rgb
    np.testing.assert_array_equal(result.data, data + 2)
    # Y and X are not the last axes: the panel lies in their plane all the same.
    assert viewer.layers["cells mask"].data.shape == (9, 9, 3)


@pytest.mark.parametrize(("axes", "tail"), [("TYX", "YX"), ("YXC", "YXC"), ("XY", "XY")])
def test_panels_have_the_trailing_axes_of_the_image(axes, tail):
    lengths = {"T": 2, "C": 3, "Y": 40, "X": 60}
    layer = Image(
        np.zeros([lengths[a] for a in axes]), rgb=False, axis_labels=[a.lower() for a in axes]
    )
    values = np.arange(9.0).reshape(3, 3)
    data, placement = place_panel(values, snapshot(layer), row=1, column=0)
    assert placement["axis_labels"] == tuple(tail.lower())
    assert data.shape == tuple({"Y": 3, "X": 3, "C": 3}[a] for a in tail)
    plane = data[..., 0] if "C" in tail else data
    np.testing.assert_array_equal(plane if axes != "XY" else plane.T, values)


def test_two_panels_are_as_high_as_the_image():
    image = snapshot(Image(np.zeros((100, 150)), scale=(0.5, 0.5)))
    cells = np.zeros((5, 5))
    (_, upper), (_, lower) = (place_panel(cells, image, row, 0) for row in (0, 1))
    assert upper["translate"][0] - upper["scale"][0] / 2 == pytest.approx(-0.25)
    bottom = lower["translate"][0] + 4.5 * lower["scale"][0]
    assert bottom == pytest.approx(49.75)


def test_units_are_used_by_napari_with_all_layers(open_dock, denoise, recwarn):
    viewer, dock = open_dock(data=PIXELS[0], scale=(0.1, 0.1), units=("um", "um"))
    denoise(dock)
    assert [str(unit) for unit in viewer.layers.extent.units] == ["micrometer", "micrometer"]


def test_what_the_engine_keeps_of_a_half_filled_result_says_so(open_viewer, qtbot):
    viewer = open_viewer()
    sink = LayerSink(viewer, [snapshot(viewer.add_image(PIXELS, name="a"))])
    source = as_source(PIXELS)
    kept = sink.open(0, source, "stage1", np.dtype(np.uint16), False)
    dropped = sink.open(0, source, "stage2", np.dtype(np.uint16), True)
    forgotten = sink.open(0, source, "stage2", np.dtype(np.uint16), True)
    qtbot.waitUntil(lambda: len(viewer.layers) == 4)
    kept.write(0, ((0, 1), (0, 16)), np.ones((1, 16), np.float32))
    kept.keep_partial()
    kept.discard()
    dropped.discard()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)
    assert forgotten.layer in viewer.layers
    sink.close()
    assert [layer.name for layer in viewer.layers] == ["a", "a Stage 1 (partial)"]


@pytest.mark.parametrize("axes", ["tyx", "xty"])  # files have the order tyx
def test_a_large_result_is_kept_in_a_file_beside_the_image(qtbot, open_viewer, tmp_path, axes):
    viewer = open_viewer()
    movie = PIXELS if axes == "tyx" else PIXELS.transpose(2, 0, 1)
    layer = viewer.add_image(movie, name="a/b", axis_labels=tuple(axes))
    layer._source = Source(path=str(tmp_path / "a.zarr" / "0"))  # as if opened from there
    (tmp_path / "a_b Stage 2.zarr").touch()
    path = tmp_path / "a_b Stage 2 [1].zarr"
    image = snapshot(layer)
    sink = LayerSink(viewer, [image], in_memory=100)
    target = sink.open(0, image.source(), "stage2", np.dtype(np.uint16), True)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2)
    shown = viewer.layers["a/b Stage 2"]

    def frames():
        assert shown.data.shape == movie.shape
        pixels = np.asarray(shown.data[...])
        return pixels if axes == "tyx" else pixels.transpose(1, 2, 0)

    target.write(1, ((22, 24), (0, 16)), np.full((2, 16), 70000.6, np.float32))
    assert (frames() == 65535).sum() == 32
    assert not path.exists(), "under another name while it fills"
    path.touch()  # by another run, say
    path = tmp_path / "a_b Stage 2 [2].zarr"
    target.commit()
    qtbot.waitUntil(lambda: shown.metadata.get(writing.FILE) == str(path))
    assert (frames()[1, 22:] == 65535).all()
    assert [done.path for done in sink.close()] == [path]
    viewer.layers.clear()
    kept = open_source(path)
    assert (kept.read(1, slice(22, 24), slice(0, 16)) == 65535).all()
    assert kept.read(0, slice(0, 24), slice(0, 16)).max() == 0


@pytest.mark.parametrize("end", ["stop", "window closed", "cancel", "commit and cancel"])
def test_what_a_large_result_leaves_when_it_is_cut_short(
    qtbot, open_viewer, tmp_path, monkeypatch, end
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    viewer = open_viewer()
    sink = LayerSink(viewer, [snapshot(viewer.add_image(PIXELS, name="big"))], in_memory=100)
    target = sink.open(0, as_source(PIXELS), "stage2", np.dtype(np.uint16), True)
    qtbot.waitUntil(lambda: "big Stage 2" in viewer.layers)
    target.write(1, ((8, 10), (0, 16)), np.full((2, 16), 7, np.float32))
    if end == "commit and cancel":
        target.commit()
    if end != "stop":
        sink.remove_all(keep_files=end == "window closed")
        assert "big Stage 2" not in viewer.layers
    target.keep_partial()
    sink.close()
    if end == "stop":
        assert np.asarray(viewer.layers["big Stage 2 (partial)"].data[1, 9]).min() == 7
    kept = ["big Stage 2.partial.zarr"] if end in ("stop", "window closed") else []
    qtbot.waitUntil(lambda: [path.name for path in tmp_path.iterdir()] == kept)


@pytest.mark.parametrize(("axes", "shape"), [("YX", (45, 70)), ("XTY", (70, 2, 45))])
def test_of_wide_planes_napari_gets_smaller_copies(qtbot, open_viewer, monkeypatch, axes, shape):
    monkeypatch.setattr(layer_target, "_WIDE", 64)
    viewer = open_viewer()
    layer = viewer.add_image(np.zeros(shape), name="wide", axis_labels=tuple(axes.lower()))
    image = snapshot(layer)
    sink = LayerSink(viewer, [image], in_memory=0)
    source = image.source()
    target = sink.open(0, source, "stage2", np.dtype(np.float32), True)
    pixels = np.random.default_rng(0).random((source.planes, 45, 70)).astype(np.float32)
    for plane, y, x in product(range(source.planes), range(0, 45, 9), range(0, 70, 13)):
        block = pixels[plane, y : y + 9, x : x + 13]
        target.write(plane, ((y, y + 9), (x, x + block.shape[1])), block)
    target.commit()
    qtbot.waitUntil(lambda: "wide Stage 2" in viewer.layers)
    result = viewer.layers["wide Stage 2"]
    sink.close()
    whole = pixels[0] if axes == "YX" else pixels.transpose(2, 0, 1)
    assert len(result.data) == 3
    for number, level in enumerate(result.data):
        every = tuple(slice(None, None, 4**number if axis in "YX" else 1) for axis in axes)
        np.testing.assert_array_equal(np.asarray(level), whole[every])
    with pytest.raises(InputError, match="press Preview region"):
        add_residual(viewer, image, result)


def test_a_grid_is_padded_or_cut_around_its_centre():
    np.testing.assert_array_equal(
        centred(np.ones((1, 3), int), 2),
        [[0] * 5, [0] * 5, [0, 1, 1, 1, 0], [0] * 5, [0] * 5],
    )
    grid = np.arange(35).reshape(5, 7)
    np.testing.assert_array_equal(centred(grid, 1), grid[1:4, 2:5])


def test_the_panels_show_the_lags_worth_looking_at():
    rho = np.zeros((41, 41))
    rho[20, 20] = 1
    assert reach(rho) == 5
    rho[20, 13] = rho[20, 27] = -0.06
    assert reach(rho) == 9
    rho[0, 20] = 0.5
    assert reach(rho) == 20, "no farther than was measured"


def test_contrast_of_the_autocorrelation_ignores_lag_0():
    rho = np.zeros((3, 3))
    rho[1, 1], rho[1, 0] = 1, -0.4
    assert highest_off_centre(rho) == 0.4
    rho[1, 0] = 0
    assert highest_off_centre(rho) == 0.05


def test_the_view_moves_only_if_the_whole_image_was_seen(open_dock, denoise):
    viewer, dock = open_dock(data=PIXELS[0])
    viewer.reset_view()
    before = viewer.scene.camera.zoom
    denoise(dock)
    assert viewer.scene.camera.zoom < before, "the panels are in view"
    viewer.scene.camera.zoom = 50
    denoise(dock)
    assert viewer.scene.camera.zoom == 50, "who looks closely is left alone"


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [(("stage1", "stage2"), (True, True)), (("stage2",), (True, True)), ((), (True, False))],
)
def test_the_final_result_is_shown_whatever_stage_it_is_of(open_viewer, wanted, shown):
    viewer = open_viewer()
    image = snapshot(viewer.add_image(PIXELS, name="a"))
    sink = LayerSink(viewer, [image], wanted)
    opened = [
        sink.open(0, image.source(), stage, np.float32, final=stage == "stage1")
        for stage in ("stage1", "stage2")
    ]
    assert tuple(target is not None for target in opened) == shown
