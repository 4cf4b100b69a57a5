import threading
import time

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_autostructn2v.engine.batch import FileDone
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Failed, Finished, Started, TileDone
from napari_autostructn2v.plugin.batch.batch import BatchPanel

REGION = ((0, 8), (0, 8))


class FakeDenoise:
    """Four tiles for each file; `bad` names one that fails. It waits for `go` before each tile."""

    def __init__(self, bad="", error=None):
        self.bad, self.error = bad, error
        self.go = threading.Event()
        self.go.set()
        self.calls = []

    def __call__(self, model, jobs, *, overwrite, stop, **options):
        self.calls.append((model, overwrite, options))
        if self.error is not None:
            raise self.error
        yield Started(tuple(job.image.name for job in jobs), "cpu", "float32")
        for index, job in enumerate(jobs):
            if job.output.exists() and not overwrite:
                yield FileDone(index, "skipped", f"{job.output} exists")
                continue
            if job.image.name == self.bad:
                yield FileDone(index, "failed", f"{job.image} is damaged")
                continue
            for done in (1, 2, 3, 4):
                while not self.go.is_set():
                    time.sleep(0.001)
                    if stop.is_set():
                        break
                if stop.is_set():
                    yield FileDone(index, "stopped", f"{job.output} was stopped")
                    break
                yield TileDone("stage1", index, 0, REGION, done, 4)
            else:
                yield FileDone(index, "done", str(job.output))
            if stop.is_set():
                break
        yield Finished(None, stopped=stop.is_set())


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cells [1]"
    folder.mkdir()
    for name in ("a1.tif", "a2.tif", "a10.tif", "b.tif"):
        tifffile.imwrite(folder / name, np.zeros((8, 8), np.uint8))
    return folder


@pytest.fixture
def open_panel(qtbot):
    def open_(denoise=None, folder=None, model="model"):
        panel = BatchPanel(denoise or FakeDenoise())
        qtbot.addWidget(panel)
        if model is not None:
            panel.set_model(model, "cells.asn2v", Config(device="cpu", tile=64))
        if folder is not None:
            panel.chooser.images.setText(str(folder))
            qtbot.waitUntil(lambda: bool(panel.files.items))
        return panel

    return open_


def rows(panel):
    model = panel.table.model()
    return [
        tuple(model.data(model.index(row, column)) for column in (0, 1))
        for row in range(model.rowCount())
    ]


def start(panel, qtbot):
    with qtbot.waitSignals([panel.running_changed] * 2, timeout=5000):
        panel.start_button.click()


def test_the_images_of_a_folder_are_listed(open_panel, folder):
    panel = open_panel(folder=folder)
    assert rows(panel) == [(n, "waiting") for n in ("a1.tif", "a2.tif", "a10.tif", "b.tif")]
    assert panel.chooser.note.text() == "4 images"
    assert panel.files.items[0].output == folder / "denoised" / "a1.tif"


def test_a_pattern_chooses_among_them(open_panel, folder, qtbot, tmp_path):
    panel = open_panel(folder=folder)
    panel.chooser.results.setText(str(tmp_path / "out"))
    QTest.keyClicks(panel.chooser.pattern, "a1*")
    assert panel.files.items == []
    assert not panel.start_button.isEnabled()
    qtbot.waitUntil(lambda: len(rows(panel)) == 2)
    assert panel.files.items[1].output == tmp_path / "out" / "a10.tif"
    panel.chooser.pattern.setText("c*")
    qtbot.waitUntil(lambda: "nothing matches" in panel.chooser.note.text())
    assert not panel.start_button.isEnabled()


@pytest.mark.parametrize("name", ["a1.tif", "c.zarr"])
def test_one_image_will_do(open_panel, folder, name):
    (folder / "c.zarr").mkdir()
    panel = open_panel(folder=folder / name)
    assert [(job.image, job.output) for job in panel.files.items] == [
        (folder / name, folder / "denoised" / name)
    ]


def test_files_are_chosen_in_a_dialog_until_the_folder_is_typed(
    open_panel, folder, qtbot, monkeypatch
):
    panel = open_panel()
    files = [str(folder / "b.tif"), str(folder / "a1.tif")]
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: (files, ""))
    panel.chooser._choose_files()
    qtbot.waitUntil(lambda: [name for name, _ in rows(panel)] == ["b.tif", "a1.tif"])
    assert not panel.chooser.pattern.isEnabled()
    assert panel.chooser.pattern.placeholderText() == "2 files chosen"
    assert panel.files.items[0].output == folder / "denoised" / "b.tif"
    QTest.keyClicks(panel.chooser.images, "/")
    qtbot.waitUntil(lambda: len(rows(panel)) == 4)
    assert panel.chooser.pattern.isEnabled()


def test_folders_are_chosen_in_a_dialog_and_can_be_remembered(
    open_panel, folder, qtbot, monkeypatch
):
    panel = open_panel()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    panel.chooser._choose_folder()
    panel.chooser._choose_results()
    qtbot.waitUntil(lambda: "is the folder of the images" in panel.chooser.note.text())
    other = open_panel()
    other.chooser.set_folders(panel.chooser.folders)
    assert other.chooser.folders == {"images": str(folder), "results": str(folder)}
    qtbot.waitUntil(lambda: "is the folder of the images" in other.chooser.note.text())


def test_without_a_model_or_images_there_is_nothing_to_do(open_panel, folder, qtbot):
    panel = open_panel(model=None, folder=folder)
    assert panel.model_note.text() == "Train or load a model first."
    assert not panel.start_button.isEnabled()
    panel.set_model("model", "cells.asn2v")
    assert panel.start_button.isEnabled()
    assert panel.model_note.text() == "Model: cells.asn2v"
    panel.chooser.images.setText(str(folder / "nowhere"))
    qtbot.waitUntil(lambda: "nowhere" in panel.chooser.note.text())
    assert not panel.start_button.isEnabled()


def test_each_file_shows_how_it_fares(open_panel, folder, qtbot):
    denoise = FakeDenoise(bad="a2.tif")
    panel = open_panel(denoise, folder)
    (folder / "denoised").mkdir()
    (folder / "denoised" / "b.tif").touch()
    start(panel, qtbot)
    assert [status for _, status in rows(panel)] == ["done", "failed", "done", "skipped"]
    assert panel.summary.text() == "2 done, 1 failed, 1 skipped"
    assert panel.bar.value() == panel.bar.maximum()
    tip = panel.files.data(panel.files.index(1, 1), Qt.ItemDataRole.ToolTipRole)
    assert tip == "This file is damaged"
    panel.table.selectRow(1)
    assert panel.detail.text() == tip
    options = {"device": "cpu", "tile": 64, "dtype": "auto", "stage": "recommended"}
    assert denoise.calls == [("model", False, options)]
    panel.overwrite.setChecked(True)
    start(panel, qtbot)
    assert denoise.calls[-1] == ("model", True, options)
    assert panel.summary.text() == "3 done, 1 failed"


def test_tiles_are_counted_and_a_stop_ends_the_batch(open_panel, folder, qtbot):
    denoise = FakeDenoise()
    panel = open_panel(denoise, folder)
    denoise.go.clear()
    panel.start_button.click()
    assert panel.is_running
    assert not panel.chooser.isEnabled()
    assert not panel.start_button.isEnabled()
    panel.files.show_event(TileDone("stage1", 0, 0, REGION, 1, 4))
    assert rows(panel)[0] == ("a1.tif", "25%")
    panel.stop_button.click()
    assert not panel.stop_button.isEnabled()
    qtbot.waitUntil(lambda: not panel.is_running)
    assert [status for _, status in rows(panel)] == ["stopped", *["waiting"] * 3]
    assert panel.summary.text() == "Stopped. 1 stopped"
    denoise.go.set()
    start(panel, qtbot)
    assert panel.summary.text() == "4 done"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("the model is damaged; load another"), "the model is damaged; load another"),
        (RuntimeError("CUDA"), "RuntimeError: CUDA"),
    ],
)
def test_a_batch_that_cannot_begin_says_why(open_panel, folder, qtbot, error, text):
    panel = open_panel(FakeDenoise(error=error), folder)
    start(panel, qtbot)
    assert panel.summary.text() == f"Error: {text}"
    assert panel.start_button.isEnabled()


def test_closing_it_ends_the_work(folder, qtbot):
    denoise = FakeDenoise()
    panel = BatchPanel(denoise)
    panel.set_model("model", "m")
    panel.chooser.images.setText(str(folder))
    qtbot.waitUntil(lambda: bool(panel.files.items))
    denoise.go.clear()
    panel.start_button.click()
    run = panel._run
    qtbot.waitUntil(lambda: bool(denoise.calls))
    panel.deleteLater()
    qtbot.waitUntil(lambda: not run.is_running)


def test_closing_it_while_it_looks_for_images_is_quiet(folder, qtbot):
    panel = BatchPanel(FakeDenoise())
    panel.chooser.images.setText(str(folder))
    QTest.keyClick(panel.chooser.images, Qt.Key.Key_Return)
    with qtbot.waitSignal(panel.destroyed):
        panel.deleteLater()
    qtbot.wait(100)


def test_return_looks_at_once_and_starts_nothing_further_up(listener, qtbot, folder):
    panel = BatchPanel(FakeDenoise())
    panel.setParent(listener)
    panel.chooser._typing.setInterval(100_000)
    panel.chooser.images.setText(str(folder))
    QTest.keyClick(panel.chooser.images, Qt.Key.Key_Return)
    QTest.keyClick(panel.table, Qt.Key.Key_Enter)
    qtbot.waitUntil(lambda: len(panel.files.items) == 4)
    assert listener.pressed == []


def test_every_control_has_a_tooltip_and_it_fits_a_narrow_panel(open_panel):
    panel = open_panel()
    controls = (panel.chooser.images, panel.chooser.pattern, panel.chooser.results)
    buttons = (panel.overwrite, panel.table, panel.start_button, panel.stop_button)
    assert all(control.toolTip() for control in controls + buttons)
    assert panel.minimumSizeHint().width() <= 280


def test_a_real_model_on_real_files(qtbot, open_panel, tmp_path):
    from napari_autostructn2v.engine.data.normalise import Normalisation
    from napari_autostructn2v.engine.denoising import Model
    from napari_autostructn2v.engine.model.model import ChannelModel
    from napari_autostructn2v.engine.networks.unet import UNet

    noisy = np.random.default_rng(0).normal(100, 20, (64, 64)).astype(np.float32)
    config = Config.parse({"device": "cpu", "stage1": {"network": {"features": 4}}})
    unit = ChannelModel({"stage1": UNet(config.stage1.network).eval()}, sigma=20.0)
    model = Model(config, Normalisation((100.0,), (20.0,)), (unit,))
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", noisy)
    (tmp_path / "in" / "b.tif").write_text("this is no image")
    panel = BatchPanel()
    qtbot.addWidget(panel)
    panel.set_model(model, "trained here", config)
    panel.chooser.set_folders({"images": str(tmp_path / "in"), "results": str(tmp_path / "out")})
    qtbot.waitUntil(lambda: len(panel.files.items) == 2)
    start(panel, qtbot)
    assert panel.summary.text() == "1 done, 1 failed"
    np.testing.assert_allclose(
        tifffile.imread(tmp_path / "out" / "a.tif"), model.denoise(noisy), rtol=1e-4, atol=1e-2
    )
    assert not (tmp_path / "out" / "b.tif").exists()


def test_the_last_event_may_be_a_failure(open_panel, folder, qtbot):
    panel = open_panel(lambda *_, **__: iter([Failed(InputError("no"), "no")]), folder)
    start(panel, qtbot)
    assert panel.summary.text() == "Error: no"


def test_a_file_that_is_done_with_a_warning_says_so(open_panel, folder, qtbot):
    panel = open_panel(folder=folder)
    panel.files.show_event(FileDone(0, "done", "out.tif", ("It is of another camera.",)))
    panel.files.show_event(FileDone(1, "done", "out2.tif"))
    assert panel.files.summary() == "1 done \N{WARNING SIGN}, 1 done"
    panel.table.selectRow(0)
    assert panel.detail.text() == "Out.tif\nIt is of another camera."
    panel.summary.say("2 done")
    panel.chooser.pattern.setText("b*")
    assert panel.summary.isHidden(), "it was of other files"
    assert panel.detail.isHidden()
    qtbot.waitUntil(lambda: len(panel.files.items) == 1)
