"""Step by step through the dock, with fake runs: what each button does, and what it leaves."""

import gc
import json
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers.utils import _link_layers
from qtpy.QtCore import QPointF, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.dock import DenoiseDock
from napari_autostructn2v.plugin.layers import layer_target
from napari_autostructn2v.plugin.runs.jobs import Analyse, Apply, Train

PIXELS = np.arange(24 * 16, dtype=np.float32).reshape(24, 16)
STACK = np.arange(3 * 24 * 16, dtype=np.uint16).reshape(3, 24, 16)


@pytest.fixture
def analyse(wait_idle):
    def press(dock):
        dock.panels.noise.analyse.click()
        assert dock.is_running
        wait_idle(dock)

    return press


def names(viewer):
    return [layer.name for layer in viewer.layers]


def click_cell(dock, lag):
    grid = dock.panels.editor.grid
    QTest.mouseClick(
        grid, Qt.MouseButton.LeftButton, pos=QPointF(grid.cell(lag).center()).toPoint()
    )


# Analyse, edit, train


def test_analyse_shows_verdict_mask_and_layers_and_trains_nothing(
    open_dock, analyse, fake_engine, qtbot
):
    engine = fake_engine()
    viewer, dock = open_dock(engine, PIXELS, show=True)
    analyse(dock)
    assert [type(job) for job in engine.jobs] == [Analyse]
    assert dock.panels.noise.verdict.text().startswith("Structured along x")
    assert dock.panels.folds["mask"].is_expanded
    assert names(viewer) == ["cells", "cells autocorrelation", "cells mask"]
    assert dock.panels.editor.grid.isVisible()
    assert dock.session.mask.mask.sum() == 5
    dock.panels.noise.as_layers.click()
    assert names(viewer) == ["cells"]
    dock.panels.noise.as_layers.click()
    qtbot.waitUntil(lambda: names(viewer) == ["cells", "cells autocorrelation", "cells mask"])


def test_the_noise_beside_the_image_comes_into_view_unless_the_user_has_moved_it(
    open_dock, analyse, qtbot
):
    viewer, dock = open_dock(data=PIXELS.T, show=True)
    camera = viewer.scene.camera
    for width in (1500, 1200):  # as when the dock has taken its part of the window
        viewer.window.resize(width, 700)
        qtbot.waitUntil(lambda w=width: viewer.window.geometry()[2] == w)
        qtbot.wait(50)
        if width == 1500:
            viewer.reset_view()
            wide = viewer.canvas.size[1]
    assert viewer.canvas.size[1] < 0.8 * wide
    analyse(dock)
    right = viewer.layers.extent.world[1, -1]
    assert (right - camera.center[-1]) * camera.zoom <= viewer.canvas.size[1] / 2
    left = viewer.layers.extent.world[0, -1]
    assert (camera.center[-1] - left) * camera.zoom <= viewer.canvas.size[1] / 2
    dock.panels.noise.as_layers.click()
    camera.center = (4, 4)
    camera.zoom = zoom = 2 * camera.zoom
    dock.panels.noise.as_layers.click()
    qtbot.waitUntil(lambda: "cells mask" in viewer.layers)
    assert camera.center[-2:] == (4, 4)
    assert camera.zoom == pytest.approx(zoom)


def test_a_mask_edited_in_grid_or_layer_is_trained_with(
    open_dock, analyse, denoise, fake_engine, qtbot
):
    engine = fake_engine()
    viewer, dock = open_dock(engine, PIXELS, show=True)
    analyse(dock)
    click_cell(dock, (0, 3))
    assert dock.session.mask.mask.tolist() == [[1] * 7]
    layer = viewer.layers["cells mask"]
    assert layer.data.sum() == 7
    assert dock.panels.plan.text() == "With your mask."
    row, column = (side // 2 for side in layer.data.shape)
    layer.data_setitem((np.array([row]), np.array([column + 4])), 1)
    denoise(dock)
    assert engine.jobs[-1].config.structure.mask == ((1,) * 9,)
    assert engine.jobs[-1].start is None
    # Now the mask alone has changed.
    click_cell(dock, (1, 0))
    assert "Stage 2 only" in dock.panels.plan.text()
    denoise(dock)
    again = engine.jobs[-1]
    assert not again.config.run_stage1
    assert again.start is not None
    assert "cells Stage 2 [1]" in viewer.layers
    denoise(dock)
    assert engine.jobs[-1].start is None, "nothing has changed: all of it again"


def test_another_image_needs_its_own_analysis(open_dock, analyse):
    viewer, dock = open_dock(data=PIXELS)
    analyse(dock)
    mask = viewer.layers["cells mask"].data.copy()
    viewer.add_image(PIXELS, name="other")
    assert dock.panels.inputs.layer.name == "other"
    assert dock.panels.noise.verdict.isHidden()
    assert dock.session.mask.rho is None
    np.testing.assert_array_equal(viewer.layers["cells mask"].data, mask)
    viewer.layers.remove("other")
    viewer.layers["cells"].data = PIXELS + 1
    assert dock.session.measured is None, "edited since"


def test_what_is_chosen_in_the_mask_editor_is_part_of_the_run(open_dock, denoise, fake_engine):
    engine = fake_engine()
    _viewer, dock = open_dock(engine, PIXELS)
    dock.panels.editor.rule.editor("leak_threshold").widget.setValue(0.1)
    denoise(dock)
    assert engine.jobs[-1].config.structure.leak_threshold == 0.1
    dock.panels.form.apply_preset("autostructn2v")
    assert dock.panels.editor.options.extractor == "ring"
    assert dock.panels.inputs.budget.currentText() == "100epochs"
    assert dock.session.measured is None, "by other options it would be another one"
    denoise(dock)
    config = engine.jobs[-1].config
    assert (config.structure.mask_source, config.stage2.patch_size) == ("stage1", 64)


# Stop, continue, cancel


def test_stop_names_the_layers_so_and_continue_goes_on(open_dock, denoise, fake_engine, qtbot):
    engine = fake_engine(wait=True)
    viewer, dock = open_dock(engine, PIXELS)
    train = dock.panels.train
    assert not train.go_on.isEnabled()

    def stop():
        qtbot.waitUntil(lambda: len(train.curves.stretches) > 0)
        train.stop.click()

    denoise(dock, act=stop)
    assert "Quality not assessed" in dock.panels.result.note.text()
    assert "cells Stage 1 (stopped)" in viewer.layers
    assert "cells Stage 2" not in viewer.layers
    learned = dock.session.trained.model
    engine.wait = False
    dock.panels.inputs.budget.setEditText("2 min")
    train.go_on.click()
    qtbot.waitUntil(lambda: not dock.is_running)
    job = engine.jobs[-1]
    assert job.start is learned
    assert (str(job.config.budget), job.config.run_stage1) == ("120s", True)
    assert {"cells Stage 1 (stopped)", "cells Stage 1", "cells Stage 2"} < set(names(viewer))
    train.go_on.click()
    qtbot.waitUntil(lambda: not dock.is_running)
    assert not engine.jobs[-1].config.run_stage1, "Stage 2 is what goes on"
    assert "cells Stage 2 [1]" in viewer.layers
    assert "cells Stage 1 [1]" not in viewer.layers, "it is what it was"


def test_cancel_leaves_everything_as_it_was(open_dock, denoise, fake_engine, qtbot):
    engine = fake_engine(wait=True)
    viewer, dock = open_dock(engine, PIXELS)

    def cancel():
        qtbot.waitUntil(lambda: "cells preview" in viewer.layers)
        dock.panels.train.cancel.click()
        assert names(viewer) == ["cells"], "at once"

    denoise(dock, act=cancel)
    assert names(viewer) == ["cells"]
    assert dock.session.trained is None
    assert dock.session.measured is None
    assert dock.panels.noise.verdict.isHidden()
    assert dock.panels.train.progress.text.text() == "Ready"
    engine.wait = False
    denoise(dock)
    kept = names(viewer)
    trained = dock.session.trained
    engine.hold = "stage2"

    def cancel_late():
        qtbot.waitUntil(lambda: "cells Stage 2 [1]" in viewer.layers)
        dock.panels.train.cancel.click()
        engine.release.set()

    denoise(dock, act=cancel_late)
    assert names(viewer) == kept, "an earlier run's layers stay"
    assert dock.session.trained is trained


def test_the_preview_is_shown_while_training_only(open_dock, denoise, fake_engine, qtbot):
    viewer, dock = open_dock(fake_engine(wait=True), PIXELS)
    train = dock.panels.train

    def watch():
        qtbot.waitUntil(lambda: "cells preview" in viewer.layers)
        train.live.click()
        assert "cells preview" not in viewer.layers
        train.live.click()
        qtbot.waitUntil(lambda: "cells preview" in viewer.layers)
        train.split.click()
        assert dock.panels.inputs.layer.name == "cells"
        train.stop.click()

    denoise(dock, act=watch)
    assert "cells preview" not in viewer.layers
    assert not train.split.isHidden()


# Which images, which part


def test_several_layers_are_one_dataset(open_dock, denoise, fake_engine):
    engine = fake_engine()
    viewer, dock = open_dock(engine, PIXELS)
    assert dock.panels.inputs.several.isHidden()
    viewer.add_image(PIXELS[:8], name="small")
    viewer.add_image(PIXELS, name="third")
    inputs = dock.panels.inputs
    inputs.image.setCurrentText("cells")
    inputs.image.activated.emit(0)
    viewer.layers.selection = {viewer.layers["cells"]}
    inputs.several.click()
    assert "Select more in the layer list" in inputs.image_note.text()
    inputs.several.click()
    viewer.layers.selection = {viewer.layers["cells"], viewer.layers["small"]}
    inputs.several.click()
    assert "and small   Y X   8 x 16   float32" in inputs.image_note.text()
    denoise(dock)
    assert [image.name for image in engine.jobs[-1].parts] == ["cells", "small"]
    np.testing.assert_array_equal(viewer.layers["small Stage 2"].data, PIXELS[:8] + 2)
    np.testing.assert_array_equal(viewer.layers["cells Stage 2"].data, PIXELS + 2)
    assert dock.session.measured is not None, "whatever is selected now"
    viewer.add_image(np.zeros((8, 8, 3), np.uint8), rgb=True, name="photo")
    inputs.several.click()
    assert dock.session.measured is None, "other images are chosen"
    inputs.several.click()
    assert "'photo' is a colour (RGB) image" in inputs.image_note.text()
    assert not dock.panels.denoise.isEnabled()


def test_a_region_is_trained_on_and_the_whole_is_denoised(open_dock, denoise, fake_engine):
    engine = fake_engine()
    viewer, dock = open_dock(engine, STACK, axis_labels=("t", "y", "x"))
    inputs = dock.panels.inputs
    shapes = viewer.add_shapes([[[2, 0], [2, 15], [20, 15], [20, 0]]], name="here")
    inputs.region_box.setCurrentText("Shapes: here")
    inputs.planes.setCurrentText("this plane only")
    viewer.dims.set_point(0, 1)
    denoise(dock)
    (part,) = engine.jobs[-1].parts
    assert part.shape == (1, 19, 16)
    np.testing.assert_array_equal(part.data[0], STACK[1, 2:21])
    assert viewer.layers["cells Stage 2"].data.shape == STACK.shape
    shapes.name = "there"
    assert inputs.region_box.currentText() == "Shapes: there"
    shapes.data = [[[2, 2], [2, 6], [6, 6], [6, 2]]]
    dock.panels.denoise.click()
    assert not dock.is_running
    assert "covers only 5 x 5 pixels of 'cells'" in inputs.region_note.text()
    shapes.data = []
    dock.panels.denoise.click()
    assert not dock.is_running
    assert "'there' has no shapes" in inputs.region_note.text()
    viewer.layers.remove("there")
    assert inputs.region == "whole"


def test_preview_region_denoises_just_that(open_dock, denoise, fake_engine, wait_idle):
    engine = fake_engine(quality={"recommended": "stage1"})
    viewer, dock = open_dock(engine, STACK, axis_labels=("t", "y", "x"), scale=(1, 2, 2))
    assert not dock.panels.result.preview.isEnabled()
    denoise(dock)
    viewer.add_shapes([[[4, 4], [4, 18], [24, 18], [24, 4]]], name="here")
    dock.panels.inputs.region_box.setCurrentText("Shapes: here")
    viewer.dims.set_point(0, 2)
    dock.panels.result.preview.click()
    wait_idle(dock)
    assert isinstance(engine.jobs[-1], Apply)
    result = viewer.layers["cells region Stage 1"]
    np.testing.assert_array_equal(result.data[0], STACK[2, 2:13, 2:10] + 1)
    np.testing.assert_allclose(result.translate, (2, 4, 4))
    assert "cells region Stage 2" not in viewer.layers, "only what is recommended"
    viewer.dims.ndisplay = 3
    dock.panels.inputs.region_box.setCurrentText("current view")
    dock.panels.result.preview.click()
    assert not dock.is_running
    assert "only in 2-D" in dock.panels.result.note.text()


def test_a_model_is_applied_to_another_layer(open_dock, denoise, fake_engine, wait_idle):
    engine = fake_engine()
    viewer, dock = open_dock(engine, PIXELS)
    denoise(dock)
    viewer.add_image(PIXELS[:8] + 9, name="next", scale=(2, 2))
    dock.panels.result.apply.click()
    wait_idle(dock)
    assert engine.jobs[-1].model is dock.session.trained.model
    np.testing.assert_array_equal(viewer.layers["next Stage 2"].data, PIXELS[:8] + 11)
    assert tuple(viewer.layers["next Stage 2"].scale) == (2, 2)
    engine.pause = 0.05
    dock.panels.result.apply.click()
    dock.panels.train.stop.click()
    wait_idle(dock)
    assert dock.panels.train.progress.text.text() == "Stopped early"
    assert not dock.panels.result.note.text(), "no training that could be judged"


def test_a_model_outlives_its_panel(open_dock, denoise, fake_engine, qtbot):
    viewer, dock = open_dock(data=PIXELS, window=True)
    denoise(dock)
    learned = dock.session.trained.model
    with qtbot.waitSignal(dock.destroyed):
        viewer.window.remove_dock_widget(dock)
        dock.deleteLater()
    again = DenoiseDock(viewer, fake_engine())
    assert again.session.trained.model is learned
    assert again.panels.result.apply.isEnabled()
    assert again.panels.model.name.text().startswith("cells (not saved)")
    again.close()


def test_where_a_large_result_is_kept_is_told(open_dock, denoise, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(layer_target, "_is_large", lambda size, *_: size.shape == PIXELS.shape)
    viewer, dock = open_dock(data=PIXELS)
    denoise(dock)
    paths = [tmp_path / f"cells Stage {number}.zarr" for number in (1, 2)]
    assert all(path.exists() for path in paths)
    assert dock.panels.result.note.text().endswith(f"kept in {paths[0]}, {paths[1]}.")
    np.testing.assert_array_equal(viewer.layers["cells Stage 2"].data[...], PIXELS + 2)


# Judge


def test_the_quality_card_and_the_recommended_result_are_shown(open_dock, denoise, fake_engine):
    quality = {
        "stages": {"stage1": {"noise_left_percent": 9.0}, "stage2": {"noise_left_percent": 4.0}},
        "recommended": "stage1",
        "meaning": {"noise_left_percent": {"title": "Noise left", "meaning": "Share."}},
    }
    viewer, dock = open_dock(fake_engine(quality=quality), PIXELS)
    assert dock.panels.result.card.isHidden()
    denoise(dock)
    assert not dock.panels.result.card.isHidden()
    assert viewer.layers["cells Stage 1"].visible
    assert not viewer.layers["cells Stage 2"].visible
    assert viewer.layers.selection.active is viewer.layers["cells Stage 1"], "it is compared"


def test_contrast_is_linked_and_results_are_compared(open_dock, denoise):
    viewer, dock = open_dock(data=PIXELS, show=True)
    result = dock.panels.result
    assert not result.hold.isEnabled()
    denoise(dock)
    source, stage1, stage2 = (
        viewer.layers[f"cells{name}"] for name in ("", " Stage 1", " Stage 2")
    )
    source.contrast_limits = (5, 50)
    assert tuple(stage1.contrast_limits) == tuple(stage2.contrast_limits) == (5, 50)
    QTest.mousePress(result.hold, Qt.MouseButton.LeftButton)
    assert not stage2.visible
    QTest.mouseRelease(result.hold, Qt.MouseButton.LeftButton)
    assert stage2.visible
    result.curtain.click()
    assert result.curtain.isChecked()
    assert "cells curtain" in viewer.layers
    viewer.layers.remove("cells curtain")
    QApplication.processEvents()
    assert not result.curtain.isChecked(), "it was ended elsewhere"
    result.residual.click()
    np.testing.assert_array_equal(viewer.layers["cells residual"].data[...], -2)
    assert dock.panels.inputs.image.findText("cells residual") < 0
    viewer.dims.ndisplay = 3
    result.curtain.click()
    assert "2-D view" in result.note.text()
    assert not result.curtain.isChecked()
    viewer.layers.remove("cells")
    assert not result.hold.isEnabled()


# Keep


def test_a_model_is_saved_and_loaded(
    open_dock, denoise, fake_engine, wait_idle, tmp_path, monkeypatch
):
    engine = fake_engine()
    _viewer, dock = open_dock(engine, PIXELS)
    model = dock.panels.model
    assert not model.save.isEnabled()
    denoise(dock)
    path = tmp_path / "a.asn2v"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "a"), ""))
    model.save.click()
    wait_idle(dock)
    assert path.exists()
    assert model.note.text() == f"Saved as {path}."
    assert "a.asn2v" in model.name.text()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    model.load.click()
    wait_idle(dock)
    assert dock.session.trained.config is None
    assert model.batch.model_note.text() == "Model: a.asn2v"
    assert model.folders["model"] == str(tmp_path)
    engine.error = InputError("there is no room")
    model.save.click()
    wait_idle(dock)
    assert model.note.text() == "Error: There is no room."
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    model.save.click()
    assert not dock.is_running, "thought better of"


def test_the_run_is_copied_as_a_script_and_as_a_command(open_dock, denoise):
    _viewer, dock = open_dock(data=PIXELS)
    dock.panels.inputs.budget.setEditText("30 steps")
    dock.panels.model.command.click()
    command = QApplication.clipboard().text()
    assert command == "autostructn2v run PATH/TO/IMAGE.tif -o denoised.tif --budget 30steps"
    denoise(dock)
    dock.panels.inputs.budget.setEditText("5 min")
    dock.panels.model.script.click()
    script = QApplication.clipboard().text()
    compile(script, "script.py", "exec")
    assert "30steps" in script, "what was done, not what comes next"
    assert dock.panels.model.note.text() == (
        "Copied the script. Replace PATH/TO/IMAGE.tif by the path of the image."
    )


def test_what_was_chosen_is_remembered(open_dock, denoise, remembered):
    _viewer, dock = open_dock(data=PIXELS)
    panels = dock.panels
    panels.inputs.budget.setEditText("10 min")
    panels.form.apply_preset("best")
    panels.folds["result"].expand(False)
    panels.train.live.setChecked(False)
    denoise(dock)
    assert json.loads(remembered.read_text())["config"]["budget"] == "600s"
    again = DenoiseDock(ViewerModel())
    assert again.panels.form.config().stage1.network.features == 32
    assert again.panels.inputs.budget.currentText() == "10 min"
    assert not again.panels.folds["result"].is_expanded
    assert not again.panels.train.live.isChecked()
    assert again.panels.noise.as_layers.isChecked()
    again.close()


def test_an_invalid_setting_is_explained_and_nothing_can_be_run(open_dock, fake_engine):
    _viewer, dock = open_dock(data=PIXELS)
    section = dock.panels.form.sections[()]
    for name in ("run_stage1", "run_stage2"):
        section.editor((name,)).widget.setChecked(False)
    assert not dock.panels.denoise.isEnabled()
    assert "Advanced:" in dock.panels.plan.text()
    assert section.note_of(("run_stage2",)) or section.note_of(("run_stage1",))
    section.editor(("run_stage1",)).widget.setChecked(True)
    assert dock.panels.denoise.isEnabled()
    section.editor(("axes",)).widget.setText("ZYX")
    assert "3 letters do not name 2 axes" in dock.panels.inputs.image_note.text()
    assert not dock.panels.denoise.isEnabled()


# Two of them


def test_two_docks_of_one_viewer_keep_out_of_each_others_way(
    open_dock, denoise, wait_idle, fake_engine
):
    viewer, one = open_dock(data=PIXELS, window=True)
    other = DenoiseDock(viewer, fake_engine())
    viewer.window.add_dock_widget(other, name="Other")
    denoise(one, act=lambda: denoise(other))
    assert sorted(name for name in names(viewer) if "Stage" in name) == [
        "cells Stage 1", "cells Stage 1 [1]", "cells Stage 2", "cells Stage 2 [1]",
    ]  # fmt: skip
    viewer.layers.clear()
    assert not one.session.images
    assert not other.session.images


def test_two_viewers_have_a_dock_each(open_dock, denoise):
    first, one = open_dock(data=PIXELS, window=True)
    second, other = open_dock(data=PIXELS[:8], window=True)
    denoise(one, act=lambda: denoise(other))
    assert first.layers["cells Stage 2"].data.shape == (24, 16)
    assert second.layers["cells Stage 2"].data.shape == (8, 16)


def test_a_closed_dock_leaves_nothing_behind(make_napari_viewer, qtbot, fake_engine):
    viewer = make_napari_viewer()
    layer = viewer.add_image(PIXELS, name="cells")

    def ties():
        emitters = [viewer.layers.events.removed, viewer.layers.selection.events.active]
        emitters += [layer.events.name, layer.events.data, viewer.dims.events.ndisplay]
        return [len(emitter.callbacks) for emitter in emitters], sorted(map(str, viewer.keymap))

    before = ties()
    dock = DenoiseDock(viewer, fake_engine())
    gone = weakref.ref(dock.panels.inputs)
    panel = viewer.window.add_dock_widget(dock, name="Denoise")
    dock.panels.denoise.click()
    qtbot.waitUntil(dock.panels.denoise.isEnabled)
    qtbot.waitUntil(lambda: "cells mask" in viewer.layers)
    dock.panels.result.curtain.click()
    assert ties() != before
    with qtbot.waitSignal(dock.destroyed):
        panel.destroyOnClose()
        dock.deleteLater()
    assert "cells curtain" not in viewer.layers
    for name in ("cells Stage 1", "cells Stage 2", "cells autocorrelation", "cells mask"):
        viewer.layers.remove(name)
    del dock, panel
    qtbot.wait(100)
    gc.collect()
    assert gone() is None
    layer.name = "nuclei"  # napari forgets callbacks that are gone when it would call them
    layer.data = PIXELS + 1
    assert ties() == before
    assert not _link_layers._UNLINKERS


def test_an_image_that_is_closed_is_not_kept_in_memory(open_dock, denoise, fake_engine, qtbot):
    pixels = PIXELS.copy()
    gone = weakref.ref(pixels)
    engine = fake_engine()
    viewer, dock = open_dock(engine, pixels, window=True)
    del pixels
    denoise(dock)
    engine.jobs.clear()
    dock.panels.result.residual.click()
    viewer.layers.clear()
    viewer.add_image(PIXELS)  # for napari keeps the last one it has drawn

    def freed():
        gc.collect()
        return gone() is None

    qtbot.waitUntil(freed)


def test_a_hidden_dock_lets_go_of_the_key(open_dock, denoise, qtbot):
    viewer, dock = open_dock(data=PIXELS, show=True)
    free = sorted(map(str, viewer.keymap))
    denoise(dock)
    assert sorted(map(str, viewer.keymap)) != free
    dock.panels.result.curtain.click()
    dock.parentWidget().close()
    qtbot.waitUntil(lambda: "cells curtain" not in viewer.layers)
    assert sorted(map(str, viewer.keymap)) == free
    dock.parentWidget().show()
    assert sorted(map(str, viewer.keymap)) != free
    assert isinstance(dock.session.job, type(None) | Train)
