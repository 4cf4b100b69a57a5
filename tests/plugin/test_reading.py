import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels, Points

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.reading import axes_of, describe, snapshot


@pytest.mark.parametrize(
    ("labels", "axes"),
    [
        (("-2", "-1"), "YX"),
        (("t", "y", "x"), "TYX"),
        (("Time", "Y", "X"), "TYX"),
        (("z", "y", "x"), "ZYX"),
        (("y", "x", "channel"), "YXC"),
        (("x", "y"), "XY"),
        (("c", "-2", "-1"), "CYX"),
        (("a", "b"), "YX"),
        (("y", "y"), "YX"),
        (("z", "-3", "-2", "-1"), "ZTYX"),
        (("-3", "-2", "-1"), "TYX"),
        (("time", "channel", "depth", "row", "column"), "TCZYX"),
    ],
)
def test_axes_from_labels(labels, axes):
    assert axes_of(labels, (8,) * len(labels)) == axes


@pytest.mark.parametrize("ndim", [2, 3, 4, 5])
def test_unnamed_axes_are_named_as_the_engine_names_them(ndim):
    from napari_autostructn2v.engine.data.source import as_source

    layer = Image(np.zeros((3, 4, 5, 6, 7)[:ndim], np.uint8), rgb=False)
    assert snapshot(layer).axes == as_source(layer.data).axes


def test_axes_without_y_and_x_are_refused():
    with pytest.raises(InputError, match="named t, z, c; set the axes"):
        axes_of(("t", "z", "c"), (8, 8, 8))


def test_one_axis_and_six_axes_are_refused():
    for ndim in (1, 6):
        with pytest.raises(InputError, match=f"this one has {ndim}"):
            axes_of([str(i) for i in range(-ndim, 0)], (8,) * ndim)


def test_place_and_look_are_carried():
    layer = Image(
        np.zeros((2, 8, 9), np.uint16),
        name="cells",
        scale=(2, 0.1, 0.2),
        translate=(0, 5, 6),
        rotate=20,
        units=("s", "um", "um"),
        axis_labels=("t", "y", "x"),
        colormap="magma",
        contrast_limits=(3, 99),
        gamma=0.7,
    )
    taken = snapshot(layer)
    copy = Image(layer.data, **taken.placement, **taken.look)
    for name in ("scale", "translate", "rotate", "shear", "units", "axis_labels", "gamma"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(layer, name))
    assert copy.colormap.name == "magma"
    assert copy.contrast_limits == [3, 99]
    np.testing.assert_allclose(copy.extent.world, layer.extent.world)
    assert describe(taken) == "T Y X   2 x 8 x 9   uint16"


def test_source_reads_the_layer_with_its_pixel_size():
    data = np.arange(2 * 8 * 9, dtype=np.uint16).reshape(2, 8, 9)
    layer = Image(
        data, scale=(2, 0.1, 0.2), units=("s", "um", "um"), axis_labels=("t", "y", "x"), name="a"
    )
    source = snapshot(layer).source()
    assert (source.name, source.axes, source.shape) == ("a", "TYX", (2, 8, 9))
    assert source.metadata.pixel_size == {"T": 2.0, "Y": 0.1, "X": 0.2}
    assert source.metadata.units == {"T": "second", "Y": "micrometer", "X": "micrometer"}
    np.testing.assert_array_equal(source.read(1, slice(2, 4), slice(0, 9)), data[1, 2:4])


def test_a_layer_without_units_has_no_pixel_size():
    assert snapshot(Image(np.zeros((8, 9)))).source().metadata.pixel_size == {}


def test_level_0_of_a_multiscale_layer():
    levels = [np.zeros((64, 64)), np.zeros((32, 32)), np.zeros((16, 16))]
    assert snapshot(Image(levels, multiscale=True)).shape == (64, 64)


def test_lazy_data_is_not_computed():
    def refuse(block):
        raise AssertionError("computed")

    lazy = da.zeros((4, 16, 16), chunks=(1, 16, 16)).map_blocks(
        refuse, dtype=float, meta=np.empty(0)
    )
    # Given limits, and no thumbnail of the plane: the layer itself reads nothing either.
    layer = Image(np.zeros((4, 16, 16)), contrast_limits=(0, 1))
    layer._data = lazy
    taken = snapshot(layer)
    assert taken.data is lazy
    assert describe(taken).startswith("T Y X   4 x 16 x 16")
    assert taken.source().shape == (4, 16, 16)


def test_rgb_and_other_layers_are_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"'Image' is a colour \(RGB\) image; split its channels"):
        snapshot(Image(np.zeros((8, 8, 3), np.uint8), rgb=True))
    with pytest.raises(InputError, match="is a Labels layer; choose an Image layer"):
        snapshot(Labels(np.zeros((8, 8), np.uint8)))
    with pytest.raises(InputError, match="is a Points layer"):
        snapshot(Points(np.zeros((3, 2))))
