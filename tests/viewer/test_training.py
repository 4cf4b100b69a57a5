"""The real engine through the real window, with trainings of a few steps."""

import errno

import numpy as np
import pytest
import zarr
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QFileDialog

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.plugin.dock import engine
from napari_autostructn2v.plugin.layers import layer_target


@pytest.fixture
def planted():
    return sample("nuclei", "horizontal", 96, dtype=np.uint16)


STAGE = {"network": {"features": 8, "depth": 1}, "patch_size": 32, "batch_size": 4}
SMALL = Config.parse({"stage1": STAGE, "stage2": STAGE})


@pytest.fixture
def open_real(open_dock):
    def open_(data, budget="8 steps", **layer):
        viewer, dock = open_dock(engine, data, window=True, **layer)
        dock.panels.form.set_config(SMALL)
        dock.panels.inputs.budget.setEditText(budget)
        return viewer, dock

    return open_


def message(dock):
    return dock.panels.train.message.text()


def error(image, clean):
    return np.mean((image.astype(float) - clean) ** 2)


def test_one_press_does_it_all(open_real, denoise, planted):
    viewer, dock = open_real(planted.noisy, "80 steps", scale=(0.1, 0.1), units=("um", "um"))
    told = len(notification_manager.records)
    denoise(dock)
    assert not message(dock).startswith("Error")
    assert dock.panels.noise.verdict.text() != ""
    assert dock.panels.train.progress.text.text() == "Done"
    assert "CPU" in dock.panels.device.text() or "CUDA" in dock.panels.device.text()
    assert {layer.name for layer in viewer.layers} == {
        "cells",
        "cells autocorrelation",
        "cells mask",
        "cells Stage 1",
        "cells Stage 2",
    }
    mask = viewer.layers["cells mask"].data
    row, column = (side // 2 for side in mask.shape)
    assert mask[row, column - 1 : column + 2].all(), "the planted noise is horizontal"
    result = viewer.layers["cells Stage 2"]
    assert result.data.dtype == np.uint16
    assert result.units == viewer.layers["cells"].units
    assert error(result.data, planted.clean) < error(planted.noisy, planted.clean)
    assert not dock.panels.result.card.isHidden()
    assert len(notification_manager.records) == told, "nothing pops up"


def test_analyse_edit_train_and_edit_again(open_real, denoise, wait_idle, planted):
    viewer, dock = open_real(planted.noisy)
    dock.panels.noise.analyse.click()
    wait_idle(dock)
    assert [layer.name for layer in viewer.layers] == [
        "cells", "cells autocorrelation", "cells mask",
    ]  # fmt: skip
    mask = dock.session.mask
    mask.grow()
    wanted = mask.mask
    denoise(dock)
    trained = dock.session.trained
    np.testing.assert_array_equal(trained.model.units[0].mask, wanted)
    mask.grow()
    denoise(dock)
    again = dock.session.trained
    np.testing.assert_array_equal(again.model.units[0].mask, mask.mask)
    first, second = (t.model.units[0].networks["stage1"].state_dict() for t in (trained, again))
    assert all((first[key] == second[key]).all() for key in first), "Stage 1 is the same"


def test_stop_and_continue(open_real, denoise, wait_idle, qtbot, planted):
    viewer, dock = open_real(planted.noisy, "100000 steps")
    progress = dock.panels.train.progress

    def stop():
        qtbot.waitUntil(lambda: progress.text.text().startswith("Training"), timeout=60_000)
        dock.panels.train.stop.click()

    denoise(dock, act=stop)
    assert "the result is from Stage 1" in message(dock)
    assert progress.text.text().startswith("Stopped")
    assert np.all(viewer.layers["cells Stage 1 (stopped)"].data > 0)
    steps = dock.session.trained.model.provenance["stages"][0]["steps"]
    dock.panels.inputs.budget.setEditText("8 steps")
    dock.panels.train.go_on.click()
    wait_idle(dock)
    assert not message(dock).startswith("Error")
    stages = dock.session.trained.model.provenance["stages"]
    assert [stage["name"] for stage in stages] == ["stage1", "stage2"]
    assert stages[0]["steps"] > steps, "those of both runs"
    assert "cells Stage 2" in viewer.layers


def test_cancel(open_real, denoise, qtbot, planted):
    viewer, dock = open_real(planted.noisy, "100000 steps")

    def cancel():
        qtbot.waitUntil(lambda: "cells preview" in viewer.layers, timeout=60_000)
        dock.panels.train.cancel.click()

    denoise(dock, act=cancel)
    assert [layer.name for layer in viewer.layers] == ["cells"]
    assert dock.session.trained is None


def test_several_layers_a_region_another_layer_and_a_file(
    open_real, denoise, wait_idle, planted, tmp_path, monkeypatch
):
    viewer, dock = open_real(planted.noisy)
    viewer.add_image(planted.noisy[:64, :80], name="small")
    viewer.layers.selection = set(viewer.layers)
    dock.panels.inputs.several.click()
    viewer.add_shapes([[[0, 0], [0, 70], [60, 70], [60, 0]]], name="here")
    dock.panels.inputs.region_box.setCurrentText("Shapes: here")
    denoise(dock)
    assert not message(dock).startswith("Error")
    assert viewer.layers["small Stage 2"].data.shape == (64, 80)
    assert viewer.layers["cells Stage 2"].data.shape == (96, 96)
    path = tmp_path / "model.asn2v"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    dock.panels.model.save.click()
    wait_idle(dock)
    dock.panels.model.load.click()
    wait_idle(dock)
    assert dock.session.trained.path == path
    dock.panels.inputs.several.click()
    noisy = viewer.add_image(np.stack([planted.noisy] * 2), name="movie")
    inputs = dock.panels.inputs
    inputs.image.setCurrentText("movie")
    dock.panels.result.apply.click()
    wait_idle(dock)
    assert viewer.layers["movie Stage 2"].data.shape == noisy.data.shape
    viewer.dims.set_point(0, 1)
    dock.panels.result.preview.click()
    wait_idle(dock)
    assert viewer.layers["movie region Stage 2"].data.shape == (1, 61, 71)


NAN = np.full((64, 64), np.nan, np.float32)
HOLES = sample("nuclei", "horizontal", 96).noisy.astype(np.float32)
HOLES[10:20, 10:20] = np.nan


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (NAN, "no finite value"),
        (np.full((64, 64), 7, np.uint8), "constant (every pixel is 7)"),
        (HOLES, ""),
    ],
    ids=["all NaN", "constant", "some NaN"],
)
def test_images_that_are_not_as_they_should_be(open_real, denoise, data, text):
    viewer, dock = open_real(data, contrast_limits=(0, 9))
    denoise(dock)
    assert text in message(dock)
    assert message(dock).startswith("Error") is bool(text)
    assert ("cells Stage 1" in viewer.layers) is not bool(text)
    assert dock.panels.denoise.isEnabled()


def test_a_tiny_image(open_real, denoise):
    viewer, dock = open_real(np.random.default_rng(0).normal(100, 5, (5, 6)).astype(np.float32))
    denoise(dock)
    done = "cells Stage 1" in viewer.layers
    assert done is not message(dock).startswith("Error")


class FullDisk:
    """What a zarr array does when there is no room."""

    def __init__(self, array):
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, key):
        return self.array[key]

    def __setitem__(self, key, value):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(open_real, denoise, planted, monkeypatch):
    viewer, dock = open_real(planted.noisy)
    with monkeypatch.context() as patch:
        patch.setattr(
            layer_target,
            "_allocate",
            lambda source, dtype, _: FullDisk(np.zeros(source.shape, dtype)),
        )
        denoise(dock)
    assert "No space left on device" in message(dock)
    assert "free some space there" in message(dock)
    assert "cells Stage 1" not in viewer.layers
    assert dock.session.trained is not None, "what was learned is not lost"
    denoise(dock)
    assert not message(dock).startswith("Error")
    assert "cells Stage 2" in viewer.layers


@pytest.mark.parametrize("kind", ["zarr", "multiscale", "bool"])
def test_layers_of_other_kinds(open_real, denoise, planted, kind):
    data = planted.noisy
    if kind == "zarr":
        data = zarr.array(data, chunks=(32, 32))
    elif kind == "multiscale":
        data = [data, data[::2, ::2]]
    else:
        data = data > np.median(data)
    viewer, dock = open_real(data)
    denoise(dock)
    assert not message(dock).startswith("Error")
    assert viewer.layers["cells Stage 1"].data.shape == (96, 96)


def test_closing_the_window_while_it_trains_leaves_no_thread(open_real, qtbot, planted):
    viewer, dock = open_real(planted.noisy, "100000 steps")
    dock.panels.denoise.click()
    progress = dock.panels.train.progress
    qtbot.waitUntil(lambda: progress.text.text().startswith("Training"), timeout=60_000)
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(5000)
