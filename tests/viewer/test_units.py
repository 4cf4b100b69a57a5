"""Layers in different units: napari draws those that go together in the smallest of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_autostructn2v.plugin.layers.geometry import world_scale
from napari_autostructn2v.plugin.layers.reading import snapshot
from napari_autostructn2v.plugin.layers.region import parts
from napari_autostructn2v.plugin.viewer.compare import Revealed
from napari_autostructn2v.plugin.viewer.curtain import Curtain
from napari_autostructn2v.plugin.viewer.noise_layers import place_panel
from napari_autostructn2v.plugin.viewer.preview import preview_place

PIXELS = np.arange(3 * 40 * 60, dtype=np.float32).reshape(3, 40, 60)
STEP = 0.5
# An image's units of time and length, another layer's, and how many of the viewer's are one.
PAIRS = [
    ("s um", "s nm", (1, 1000)),
    ("s nm", "s um", (1, 1)),
    ("s mm", "ms um", (1000, 1000)),
    ("min um", "s m", (60, 1)),
    ("s um", "pixel pixel", (1, 1)),
    ("pixel pixel", "s um", (1, 1)),
    ("s um", "s um", (1, 1)),
    ("pixel um", "nm", (1, 1000)),
]


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0]} and {pair[1]}")
def opened(request):
    """A stack, its result, and another layer; with how large one of its units is drawn."""
    viewer = ViewerModel()
    first, second, factors = request.param
    time, length = first.split()
    placed = {"scale": (2, STEP, STEP), "translate": (4, 5, 7), "units": (time, length, length)}
    source = viewer.add_image(PIXELS, name="cells", axis_labels=("t", "y", "x"), **placed)
    result = viewer.add_image(PIXELS, name="result", axis_labels=("t", "y", "x"), **placed)
    *other, length = second.split()
    units = (*other, length, length)
    viewer.add_image(np.zeros((2,) * len(units)), name="other", units=units)
    scale = np.array([factors[0], factors[1], factors[1]])

    def drawn(pixel):
        """Where a pixel is in the viewer."""
        return source.data_to_world(pixel) * scale

    return SimpleNamespace(
        viewer=viewer, source=source, result=result, image=snapshot(source), drawn=drawn
    )


def test_half_of_an_image_in_view_is_half_of_it(opened):
    viewer, image = opened.viewer, opened.image
    viewer.dims.point = opened.drawn((1, 0, 0))
    edges = np.array([opened.drawn((1, -0.5, x)) for x in (-0.5, 29.5)])
    camera = viewer.scene.camera
    camera.zoom = viewer.canvas.size[1] / (edges[1, 2] - edges[0, 2])
    camera.center = opened.drawn((1, 19.5, 14.5))
    (part,) = parts(viewer, [image], "view", plane_only=True)
    assert part.data.first[::2] == (1, 0)
    assert part.shape[0] == 1
    assert part.shape[2] in (30, 31)
    place = preview_place(viewer, image)
    assert place.plane == 1
    assert place.region[1] in ((0, 30), (0, 31))


@pytest.mark.parametrize("of_other", [True, False])
def test_a_shape_drawn_on_an_image_covers_it(opened, of_other):
    viewer, image = opened.viewer, opened.image
    box = [(4, 9), (4, 20), (13, 20), (13, 9)]
    units = viewer.layers["other" if of_other else "cells"].units[-2:]
    corners = np.array([opened.drawn((0, *corner))[1:] for corner in box])
    shapes = viewer.add_shapes([corners / world_scale(viewer, units)], units=units)
    (part,) = parts(viewer, [image], shapes)
    assert part.data.first == (0, 4, 9)
    assert part.shape == (3, 10, 12)
    assert preview_place(viewer, image, shapes).region == ((4, 14), (9, 21))


def test_the_curtain_is_taken_where_it_is_drawn(opened):
    curtain = Curtain(opened.viewer, opened.source, opened.result, 0.5)
    opened.viewer.layers.selection = {opened.source}
    pixel = opened.drawn((0, 0, 1))[2] - opened.drawn((0, 0, 0))[2]
    opened.viewer.scene.camera.zoom = 20 / pixel
    assert curtain._grips(opened.drawn((0, 20, 29.5)))
    assert curtain._grips(opened.drawn((0, 20, 29.3)))
    assert not curtain._grips(opened.drawn((0, 20, 30.5)))
    assert curtain._column(opened.drawn((0, 20, 44.5))) == pytest.approx(45)
    curtain.close()


def test_what_covers_an_image_is_hidden_and_nothing_else(opened):
    viewer = opened.viewer
    *_, length = viewer.layers["other"].units
    unit = world_scale(viewer, (length, length))
    side = (opened.drawn((0, 1, 1)) - opened.drawn((0, 0, 0)))[1:]
    for name, column in (("over", 55), ("beside", 65)):
        place = {"translate": opened.drawn((0, 0, column))[1:] / unit, "scale": side / unit}
        viewer.add_image(np.zeros((2, 2)), name=name, units=(length, length), **place)
    revealed = Revealed(viewer, opened.source)
    assert not viewer.layers["over"].visible
    assert viewer.layers["beside"].visible
    revealed.restore()


def test_the_noise_is_drawn_beside_the_image(opened):
    data, placement = place_panel(np.zeros((9, 9)), opened.image, 0, 0)
    panel = opened.viewer.add_image(data, **placement)
    ends = panel.extent.world * world_scale(opened.viewer, panel.units)
    left = opened.drawn((0, 0, 59.5))[2]
    right = opened.drawn((0, 0, 59.5 + 40))[2]
    assert left < ends[0, 1] < ends[1, 1] < right
