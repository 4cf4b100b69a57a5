"""What of an image is trained on: geometry in a real viewer."""

import numpy as np
import pytest
from napari.layers import Image

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.ondemand import Window
from napari_autostructn2v.plugin.layers.reading import is_same, snapshot
from napari_autostructn2v.plugin.layers.region import crop, parts

PIXELS = np.arange(2 * 3 * 40 * 60).reshape(2, 3, 40, 60).astype(np.uint16)


@pytest.mark.parametrize(
    "key", [..., 0, (0, slice(1, None, 2)), (..., -1), (..., slice(None, None, -1)), (1, ..., 0)]
)
def test_a_window_is_indexed_as_an_array(key):
    window = Window(PIXELS, {1: (1, 3), 3: (10, 30)})
    assert window.shape == (2, 2, 40, 20)
    np.testing.assert_array_equal(window[key], PIXELS[:, 1:3, :, 10:30][key])
    np.testing.assert_array_equal(np.asarray(window), PIXELS[:, 1:3, :, 10:30])
    assert np.shares_memory(window[0], PIXELS)


def test_a_part_lies_where_it_lay_in_the_image():
    layer = Image(
        PIXELS,
        scale=(1, 2, 0.1, 0.2),
        translate=(0, 4, 5, 7),
        rotate=20,
        affine=np.diag([1, 1, 2, 1, 1]),
        axis_labels=("t", "z", "y", "x"),
        units=("s", "um", "um", "um"),
    )
    image = snapshot(layer)
    part = crop(image, {"Z": (1, 2), "Y": (10, 20), "X": (30, 60)})
    shown = Image(np.asarray(part.data), **part.placement)
    for pixel in ((0, 0, 0, 0), (1, 0, 9, 29)):
        whole = np.add(pixel, (0, 1, 10, 30))
        np.testing.assert_allclose(shown.data_to_world(pixel), layer.data_to_world(whole))
    np.testing.assert_allclose(part.extent, shown.extent.world)
    np.testing.assert_array_equal(
        part.source().read(0, slice(0, 4), slice(0, 4)), PIXELS[0, 1, 10:14, 30:34]
    )
    assert part.name == f"{image.name} region"
    assert crop(image, {}) is image
    assert is_same(part, crop(image, {"Z": (1, 2), "Y": (10, 20), "X": (30, 60)}))
    assert not is_same(part, crop(image, {"Z": (1, 2), "Y": (10, 20), "X": (29, 59)}))
    assert not is_same(part, image)


@pytest.fixture
def shown(open_viewer):
    viewer = open_viewer()
    layer = viewer.add_image(
        PIXELS, name="cells", axis_labels=("t", "z", "y", "x"), scale=(1, 1, 0.5, 0.5)
    )
    return viewer, snapshot(layer)


def test_the_plane_in_view(shown):
    viewer, image = shown
    viewer.dims.set_point((0, 1), (1, 2))
    (part,) = parts(viewer, [image], "whole", plane_only=True)
    assert part.shape == (1, 1, 40, 60)
    np.testing.assert_array_equal(part.data[0, 0], PIXELS[1, 2])
    assert parts(viewer, [image], "whole") == [image]


def test_the_view_is_cut_out_of_every_image_it_shows(shown):
    viewer, image = shown
    far = snapshot(viewer.add_image(PIXELS[0, 0], name="far", translate=(900, 900)))
    camera = viewer.scene.camera
    camera.zoom = viewer.canvas.size[0] / 10  # ten units are high: twenty pixels
    camera.center = (0, 10, 15)
    (part,) = parts(viewer, [image, far], "view")
    assert part.shape[:3] == (2, 3, 21), "from one half pixel to another"
    assert part.data.first[2] == 10
    camera.center = (0, -500, 0)
    with pytest.raises(InputError, match="the view shows nothing of 'cells', 'far'"):
        parts(viewer, [image, far], "view")
    viewer.dims.ndisplay = 3
    with pytest.raises(InputError, match="only in 2-D"):
        parts(viewer, [image], "view")


@pytest.mark.parametrize(
    ("height", "width", "enough"),
    [(16, 16, True), (15, 16, False), (16, 15, False), (5, 5, False), (1, 60, False)],
)
@pytest.mark.parametrize("kind", ["view", "shapes"])
def test_a_part_that_is_too_small_is_told_of(shown, kind, height, width, enough):
    viewer, image = shown
    bottom, right = (height - 1) / 2, (width - 1) / 2  # the pixels are half a unit wide
    region = "view"
    if kind == "shapes":
        region = viewer.add_shapes([[[0, 0], [0, right], [bottom, right], [bottom, 0]]], name="roi")
    else:
        camera, canvas = viewer.scene.camera, viewer.canvas.size
        camera.zoom = min(np.divide(canvas, (bottom + 0.4, right + 0.4)))
        seen = np.divide(canvas, camera.zoom)
        camera.center = (0, bottom + 0.2 - seen[0] / 2, right + 0.2 - seen[1] / 2)
    assert parts(viewer, [image], region)[0].shape[2:] == (height, width)
    if enough:
        parts(viewer, [image], region, least=16)
        return
    where = "the view" if kind == "view" else "a shape of 'roi'"
    with pytest.raises(
        InputError, match=f"{where} covers only {height} x {width} pixels of 'cells'"
    ):
        parts(viewer, [image], region, least=16)


def test_of_an_image_that_is_smaller_all_is_enough(open_viewer):
    viewer = open_viewer()
    image = snapshot(viewer.add_image(np.zeros((9, 40))))
    shapes = viewer.add_shapes([[[-5, 0], [-5, 20], [20, 20], [20, 0]]])
    assert parts(viewer, [image], shapes, least=16)[0].shape == (9, 21)


def test_each_shape_is_a_part(shown):
    viewer, image = shown
    rectangles = [[[2, 5], [2, 10], [7, 10], [7, 5]], [[0, 20], [0, 29], [9, 29], [9, 20]]]
    shapes = viewer.add_shapes(rectangles)
    one, other = parts(viewer, [image], shapes)
    assert one.data.first == (0, 0, 4, 10)
    assert one.shape == (2, 3, 11, 11)
    assert other.shape == (2, 3, 19, 19)
    shapes.selected_data = {1}
    assert len(parts(viewer, [image], shapes, plane_only=True)) == 1
    shapes.data = [np.add(rectangles[0], 500)]
    with pytest.raises(InputError, match="the shapes cover nothing of 'cells'"):
        parts(viewer, [image], shapes)
    shapes.data = []
    with pytest.raises(InputError, match="has no shapes"):
        parts(viewer, [image], shapes)
