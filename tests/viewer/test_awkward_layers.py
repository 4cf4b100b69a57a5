"""Layers as people have them, through the real window and the real engine."""

import threading

import numpy as np
import pytest
import torch
import zarr

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.plugin.runs import jobs

STAGE = {"network": {"features": 4, "depth": 1}, "patch_size": 16, "batch_size": 2}
SMALL = Config.parse({"budget": "4steps", "stage1": STAGE, "stage2": STAGE, "device": "cpu"})


@pytest.fixture
def open_small(open_dock):
    def open_(data, **layer):
        viewer, dock = open_dock(jobs.engine, data, window=True, **layer)
        dock.panels.form.set_config(SMALL)
        dock.panels.inputs.set_budget(SMALL.budget)
        return viewer, dock

    return open_


def noisy(*shape):
    return np.random.default_rng(0).normal(1000, 100, shape)


def holey():
    image = noisy(48, 40).astype(np.float32)
    image[10:30, 5:20] = np.nan
    image[0, :2] = np.inf, -np.inf
    return image


def read_only():
    image = noisy(2, 2, 1, 24, 33).astype(">u2")
    image.flags.writeable = False
    return image


PLACED = {
    "scale": (-2, 0.5),
    "translate": (7, -3),
    "rotate": 30,
    "shear": [0.2],
    "affine": [[0, 1, 5], [-1, 0, 6], [0, 0, 1]],
    "units": ("nm", "um"),
    "axis_labels": ("x", "y"),
    "contrast_limits": (500, 1500),
    "colormap": "viridis",
    "gamma": 0.7,
}


@pytest.mark.parametrize(
    ("data", "layer"),
    [
        (holey(), {"contrast_limits": (500, 1500)}),
        (read_only(), {"name": "100%s/new\nline 🔬"}),
        (np.asfortranarray(noisy(64, 80))[::2, ::-2], PLACED),
        (noisy(3, 1, 50).astype(np.float16), {}),
        ([zarr.array(noisy(2, 40, 40)), zarr.array(noisy(2, 20, 20))], {"multiscale": True}),
    ],
    ids=["nan", "5-D, big-endian, read-only", "placed", "1 px high", "multiscale zarr"],
)
def test_a_result_is_like_its_layer(open_small, denoise, data, layer):
    viewer, dock = open_small(data, **layer)
    source = viewer.layers[0]
    denoise(dock)
    assert dock.panels.train.message.text().partition(":")[0] != "Error"
    pixels = np.asarray(source.data[0] if source.multiscale else data)
    results = [x for x in viewer.layers if x.name.startswith(f"{source.name} Stage")]
    assert results
    for result in results:
        assert result.data.shape == pixels.shape
        assert result.data.dtype == (pixels.dtype if pixels.dtype.kind == "u" else np.float32)
        assert np.isfinite(result.data[np.isfinite(pixels)]).all()
        for name in ("scale", "translate", "rotate", "shear", "units", "axis_labels", "gamma"):
            np.testing.assert_array_equal(getattr(result, name), getattr(source, name))
        np.testing.assert_array_equal(result.affine.affine_matrix, source.affine.affine_matrix)
        assert result.contrast_limits == source.contrast_limits
        assert result.colormap.name == source.colormap.name
    dock.panels.result.residual.click()
    dock.panels.result.curtain.click()
    assert dock.canvas.comparison.curtain is not None
    assert dock.panels.result.note.text() == ""


class Failing:
    """An array that cannot be read after so many times; the GUI thread can until it is `gone`."""

    def __init__(self, array, error, times):
        self.array, self.error, self.times, self.gone = array, error, times, False
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, key):
        self.times -= threading.current_thread() is not threading.main_thread()
        if self.gone or self.times < 0:
            raise self.error
        return self.array[key]


@pytest.mark.parametrize("late", [False, True], ids=["at once", "in the tiles"])
def test_a_layer_that_cannot_be_read(open_small, denoise, wait_idle, late):
    viewer, dock = open_small(noisy(2, 32, 32))
    denoise(dock)
    before = [layer.name for layer in viewer.layers]
    data = Failing(noisy(2, 32, 32), ConnectionError("lost\nat 12:00"), 10**9)
    viewer.layers["cells"].data = data
    press = dock.panels.result.apply.click if late else dock.panels.denoise.click
    data.times = 1 if late else 0
    press()
    wait_idle(dock)
    said = dock.panels.train.message.text()
    assert said == (
        f"Error: Image 'cells' cannot be read at plane {int(late)} (lost); check that its data "
        "still exist, or open it again."
    )
    data.times = 10**9
    assert [layer.name for layer in viewer.layers] == before
    denoise(dock)
    assert dock.panels.train.message.text().partition(":")[0] != "Error"
    assert len(viewer.layers) > len(before)


def test_a_comparison_with_a_layer_that_cannot_be_read(open_dock, denoise):
    data = Failing(noisy(24, 16), ConnectionError("lost\nat 12:00"), 10**9)
    viewer, dock = open_dock(None, data, contrast_limits=(500, 1500))
    denoise(dock)
    shown = {layer.name: layer.visible for layer in viewer.layers}
    data.gone = True
    for button in (dock.panels.result.residual, dock.panels.result.curtain):
        button.click()
        assert dock.panels.result.note.text() == (
            "The image cannot be read (lost); check that its data still exist, or open it again."
        )
        assert not button.isChecked()
        assert {layer.name: layer.visible for layer in viewer.layers} == shown


def test_out_of_memory_in_training(open_small, denoise, monkeypatch):
    viewer, dock = open_small(noisy(32, 32))
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory\nTried to")):

        def fail(*args, error=error, **kwargs):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "backward", fail)
            denoise(dock)
        assert dock.panels.train.message.text().startswith("Error: Out of memory; ")
        assert "\n" not in dock.panels.train.message.text()
    denoise(dock)
    assert dock.panels.train.message.text().partition(":")[0] != "Error"
    assert "cells Stage 1" in viewer.layers


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "has no finite value"), (7, "every pixel is 7")]
)
def test_there_must_be_noise(open_small, denoise, value, words):
    viewer, dock = open_small(np.full((32, 32), value), contrast_limits=(0, 9))
    denoise(dock)
    assert words in dock.panels.train.message.text()
    assert [layer.name for layer in viewer.layers] == ["cells"]
