import numpy as np
import pytest
from napari.layers import Image

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Place, Preview
from napari_autostructn2v.plugin.layers.geometry import cut, moved, world_to_data
from napari_autostructn2v.plugin.layers.reading import snapshot
from napari_autostructn2v.plugin.viewer.preview import (
    LivePreview,
    first_pixel,
    halves,
    plane_at,
    preview_place,
    spread,
)

PIXELS = np.random.default_rng(0).integers(100, 200, (3, 40, 60)).astype(np.uint16)
WHERE = {
    "scale": (2, 0.1, 0.2),
    "translate": (4, 5, 7),
    "rotate": 20,
    "shear": (0, 0, 0.1),
    "units": ("s", "um", "um"),
    "axis_labels": ("t", "y", "x"),
    "contrast_limits": (90, 210),
    "colormap": "magma",
}
PLACE = Place(0, 1, ((10, 30), (20, 28)))


def preview(value=1.0, place=PLACE, step=1):
    (top, bottom), (left, right) = place.region
    return Preview("stage1", step, np.full((bottom - top, right - left), value, np.float32), place)


# Geometry


@pytest.mark.parametrize(
    ("ends", "length", "expected"),
    [
        ((-0.5, 9.5), 10, (0, 10)),
        ((2, 5), 10, (2, 6)),
        ((2.4, 4.6), 10, (2, 6)),
        ((2.6, 4.4), 10, (3, 5)),
        ((-90, 3), 10, (0, 4)),
        ((7, 900), 10, (7, 10)),
        ((-np.inf, np.inf), 10, (0, 10)),
        ((10, 20), 10, (10, 10)),
        ((-9, -1), 10, (0, 0)),
        ((0, 99), 100, (44, 56)),
        ((-np.inf, np.inf), 13, (0, 12)),
        ((80, 400), 100, (84, 96)),
    ],
)
def test_ends_cut_to_the_image_and_to_twelve_pixels(ends, length, expected):
    assert cut(ends, length, most=12) == expected


@pytest.mark.parametrize(
    ("point", "axes", "shape", "plane"),
    [
        ((4, 5), "YX", (9, 9), 0),
        ((1.4, 5, 5), "TYX", (3, 9, 9), 1),
        ((9, 5, 5), "TYX", (3, 9, 9), 2),
        ((-9, 5, 5), "TYX", (3, 9, 9), 0),
        ((2, 1, 5, 5), "TCYX", (3, 4, 9, 9), 9),
        ((2, 5, 5, 1), "TYXC", (3, 9, 9, 4), 9),
    ],
)
def test_planes_are_numbered_as_in_the_engine(point, axes, shape, plane):
    assert plane_at(np.array(point, float), axes, shape) == plane
    first = first_pixel(Place(0, plane, ((3, 5), (2, 8))), axes, shape)
    assert first[axes.index("Y")], first[axes.index("X")] == (3, 2)
    assert plane_at(np.array(first, float), axes, shape) == plane


@pytest.mark.parametrize(
    ("axes", "shape"), [("YX", (2, 3)), ("XY", (3, 2)), ("TYX", (1, 2, 3)), ("YZXC", (2, 1, 3, 1))]
)
def test_a_block_gets_the_axes_of_its_image(axes, shape):
    block = np.arange(6).reshape(2, 3)
    given = spread(block, axes)
    assert given.shape == shape
    np.testing.assert_array_equal(given.squeeze(), block.T if axes == "XY" else block)


def test_the_diagonal_split():
    split = halves(np.zeros((4, 8)), np.ones((4, 8)))
    np.testing.assert_array_equal(split.sum(1), [1, 3, 5, 7])
    assert (np.diff(split, axis=0) >= 0).all()
    assert (np.diff(split, axis=1) >= 0).all()


@pytest.mark.parametrize(
    "affine", [None, [[2, 0, 0, 3], [0, 0, 1, 4], [0, -1, 0, 5], [0, 0, 0, 1]]]
)
def test_places_agree_with_napari_s_own_transforms(affine):
    layer = Image(PIXELS, **WHERE, affine=affine)
    placement = snapshot(layer).placement
    points = np.array([(0, 0, 0), (1, 12.5, 3), (2, -7, 80)], float)
    world = np.array([layer.data_to_world(point) for point in points])
    np.testing.assert_allclose(world_to_data(placement, world), points, atol=1e-9)
    part = Image(PIXELS[1:, 10:, 20:], **moved(placement, (1, 10, 20)))
    np.testing.assert_allclose(part.data_to_world((0, 0, 0)), layer.data_to_world((1, 10, 20)))
    np.testing.assert_allclose(part.data_to_world((1, 3, 4)), layer.data_to_world((2, 13, 24)))


# Which region


@pytest.fixture
def opened(open_viewer):
    def open_(data=PIXELS, show=False, **where):
        viewer = open_viewer(show=show)
        layer = viewer.add_image(data, name="cells", **(where or WHERE))
        return viewer, layer, snapshot(layer)

    return open_


def test_the_current_view_is_the_region_that_napari_draws(opened, qtbot):
    viewer, layer, image = opened(np.zeros((3, 900, 700), np.uint8), show=True)
    camera = viewer.scene.camera
    viewer.dims.set_point(0, 8)
    for pixel, zoom in (((2, 450, 350), 30), ((2, 20, 690), 60), ((2, 800, 100), 45)):
        camera.center = (0, *layer.data_to_world(pixel)[1:])
        camera.zoom = zoom
        viewer.screenshot(flash=False)
        place = preview_place(viewer, image, number=3)
        low, high = layer.corner_pixels[:, 1:]
        for (start, stop), first, last, length in zip(
            place.region, low, high, (900, 700), strict=True
        ):
            assert (start, stop) == cut((first, last), length) or (
                abs(start - first) <= 1 and abs(stop - 1 - last) <= 1
            )
        assert (place.image, place.plane) == (3, 2)


def test_a_view_that_is_not_of_the_image(opened):
    viewer, _, image = opened()
    viewer.scene.camera.center = (0, 900, 900)
    with pytest.raises(InputError, match="the view shows nothing of 'cells'"):
        preview_place(viewer, image)
    viewer.dims.ndisplay = 3
    with pytest.raises(InputError, match="only in 2-D"):
        preview_place(viewer, image)


def test_an_axis_that_is_not_in_view_counts_whole(opened):
    viewer, _, image = opened(scale=(1, 1, 1), axis_labels=("t", "y", "x"))
    viewer.dims.order = (1, 0, 2)
    viewer.scene.camera.center = (0, 1, 30)
    viewer.scene.camera.zoom = viewer.canvas.size[1] / 20
    place = preview_place(viewer, image)
    assert place.region[0] == (0, 40)
    assert 19 <= np.diff(place.region[1])[0] <= 23


def test_shapes_enclose_the_region(opened):
    viewer, layer, image = opened(rotate=30, scale=(1, 0.5, 0.5), axis_labels=("t", "y", "x"))
    corners = [[(10, 12), (10, 20), (18, 20), (18, 12)], [(30, 50), (30, 90), (35, 90), (35, 50)]]
    drawn = [[layer.data_to_world((0, *corner))[1:] for corner in shape] for shape in corners]
    shapes = viewer.add_shapes(drawn, shape_type="polygon", name="ROI")
    viewer.dims.set_point(0, 2)
    assert preview_place(viewer, image, shapes) == Place(0, 2, ((10, 36), (12, 60)))
    shapes.selected_data = {0}
    assert preview_place(viewer, image, shapes).region == ((10, 19), (12, 21))
    shapes.data = [np.array([(-90, -90), (-90, -80), (-80, -80), (-80, -90)])]
    shapes.selected_data = set()
    with pytest.raises(InputError, match="the shapes of 'ROI' are outside 'cells'"):
        preview_place(viewer, image, shapes)
    shapes.data = []
    with pytest.raises(InputError, match="'ROI' has no shapes; draw a rectangle"):
        preview_place(viewer, image, shapes)


def test_shapes_drawn_on_a_stack(opened):
    viewer, _, image = opened(scale=(1, 1, 1), axis_labels=("t", "y", "x"))
    box = np.array([(1, 3, 4), (1, 3, 9), (1, 8, 9), (1, 8, 4)])
    shapes = viewer.add_shapes([box], shape_type="rectangle", ndim=3, name="ROI")
    viewer.dims.set_point(0, 0)
    assert preview_place(viewer, image, shapes) == Place(0, 0, ((3, 9), (4, 10)))


# The layer


def test_the_preview_lies_over_its_region_and_in_its_plane(opened):
    viewer, source, image = opened()
    live = LivePreview(viewer, image)
    live.show_event(preview(150))
    layer = viewer.layers["cells preview"]
    assert layer.data.shape == (1, 20, 8)
    assert (layer.data == 150).all()
    np.testing.assert_allclose(
        layer.data_to_world((0, 19, 7)), source.data_to_world((1, 29, 27)), atol=1e-9
    )
    for name in ("scale", "rotate", "shear", "units", "axis_labels", "contrast_limits"):
        np.testing.assert_array_equal(getattr(layer, name), getattr(source, name))
    assert layer.colormap.name == "magma"
    assert viewer.layers.selection.active is source
    for point, shown in ((6, True), (4, False), (8, False)):
        viewer.dims.set_point(0, point)
        assert layer._slice.empty != shown
    array = layer.data
    live.show_event(preview(160, step=2))
    assert layer.data is array
    assert (array == 160).all()
    assert len(viewer.layers) == 2
    live.show_event(preview(170, Place(0, 2, ((0, 5), (0, 7)))))
    assert viewer.layers["cells preview"].data.shape == (1, 5, 7)
    assert len(viewer.layers) == 2
    live.close()
    assert list(viewer.layers) == [source]


def test_half_of_it_can_be_noisy(opened, qtbot):
    viewer, _, image = opened(scale=(1, 1, 1), axis_labels=("t", "y", "x"))
    live = LivePreview(viewer, image, split=True)
    live.show_event(preview(0))
    layer = viewer.layers["cells preview"]
    noisy = PIXELS[1, 10:30, 20:28]
    expected = halves(noisy, np.zeros((20, 8)))
    qtbot.waitUntil(lambda: np.array_equal(layer.data[0], expected), timeout=3000)
    live.show_event(preview(1))
    np.testing.assert_array_equal(layer.data[0], halves(noisy, np.ones((20, 8))))
    live.split = False
    assert (layer.data == 1).all()
    live.split = True
    np.testing.assert_array_equal(layer.data[0], halves(noisy, np.ones((20, 8))))
    elsewhere = Place(0, 2, ((0, 20), (0, 8)))
    live.show_event(preview(0, elsewhere))
    layer = viewer.layers["cells preview"]
    expected = halves(PIXELS[2, :20, :8], np.zeros((20, 8)))
    qtbot.waitUntil(lambda: np.array_equal(layer.data[0], expected), timeout=3000)


def test_a_layer_that_the_user_deletes_stays_away(opened):
    viewer, _, image = opened(scale=(1, 1, 1), axis_labels=("t", "y", "x"))
    live = LivePreview(viewer, image)
    live.close()
    live.show_event(preview())
    viewer.layers.remove("cells preview")
    live.show_event(preview(6))
    assert len(viewer.layers) == 1, "the user did not want it"
    live.split = True
    live.close()
    assert [layer.name for layer in viewer.layers] == ["cells"]
