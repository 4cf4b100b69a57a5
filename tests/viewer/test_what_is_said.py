"""What the dock says goes when its reason is gone; a card is of the result that is looked at."""

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel

PIXELS = np.arange(24 * 16, dtype=np.float32).reshape(24, 16)
RECTANGLE = [[2, 2], [2, 9], [12, 9], [12, 2]]
QUALITY = {
    "stages": {"stage1": {"noise_left_percent": 9.0}, "stage2": {"noise_left_percent": 4.0}},
    "recommended": "stage2",
    "meaning": {"noise_left_percent": {"title": "Noise left", "meaning": "Share."}},
}


@pytest.fixture
def judged(open_dock, denoise, fake_engine):
    """A dock that has trained on "cells", with a card."""
    engine = fake_engine(quality=QUALITY)
    viewer, dock = open_dock(engine, PIXELS)
    denoise(dock)
    assert card_of(dock) == "Result of cells"
    return viewer, dock, engine


def card_of(dock):
    card = dock.panels.result.card
    return "" if card.isHidden() else card.of.text()


# The card


def test_the_card_goes_with_the_image_and_comes_back_with_it(judged):
    viewer, dock, _engine = judged
    viewer.add_image(PIXELS + 1, name="b")
    assert card_of(dock) == ""
    dock.panels.inputs.image.setCurrentText("cells")
    assert card_of(dock) == "Result of cells"


def apply_to_another(viewer, dock):
    viewer.add_image(PIXELS + 1, name="b")
    dock.panels.result.apply.click()


def apply_and_choose_the_first(viewer, dock):
    apply_to_another(viewer, dock)
    dock.panels.inputs.image.setCurrentText("cells")  # while the result of b is looked at


def apply_to_the_same(viewer, dock):
    dock.panels.result.apply.click()


def remove_the_results(viewer, dock):
    for stage in (1, 2):
        viewer.layers.remove(f"cells Stage {stage}")


def replace_the_pixels(viewer, dock):
    viewer.layers["cells"].data = PIXELS + 1


LEFT = {
    "another image denoised": apply_to_another,
    "another result looked at": apply_and_choose_the_first,
    "a result of no training": apply_to_the_same,
    "other pixels in the image": replace_the_pixels,
    "no result": remove_the_results,
    "no layer": lambda viewer, dock: viewer.layers.clear(),
    "another array": lambda viewer, dock: viewer.layers.remove("cells"),
}


@pytest.mark.parametrize("happens", LEFT.values(), ids=LEFT)
def test_there_is_no_card_of_what_is_not_looked_at(judged, wait_idle, happens):
    viewer, dock, _engine = judged
    happens(viewer, dock)
    wait_idle(dock)
    assert card_of(dock) == ""


def test_a_model_from_a_file_has_no_card(judged, wait_idle, monkeypatch, tmp_path):
    _viewer, dock, _engine = judged
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "m.asn2v"), ""))
    dock.panels.model.load.click()
    wait_idle(dock)
    assert card_of(dock) == ""


def test_each_result_is_judged_by_its_own_training(judged, denoise):
    viewer, dock, engine = judged
    engine.quality = QUALITY | {"recommended": "stage1"}
    denoise(dock)
    assert card_of(dock) == "Result of cells"
    viewer.layers.selection.active = viewer.layers["cells Stage 2"]
    assert card_of(dock) == "", "of the model before"


# What is said of a run


def test_bar_and_curves_go_with_the_image(judged):
    viewer, dock, _engine = judged
    train = dock.panels.train
    assert train.progress.text.text() == "Done"
    viewer.layers.clear()
    assert train.progress.text.text() == "Ready"
    assert train.watch.isHidden()
    assert not train.progress.states


def test_of_a_model_applied_no_noise_is_measured(judged, wait_idle):
    _viewer, dock, _engine = judged
    said = []
    show = dock.panels.train.progress._show
    dock.panels.train.progress._show = lambda status: (said.append(status.text), show(status))
    dock.panels.result.apply.click()
    wait_idle(dock)
    assert "Measuring the noise" not in said
    assert said[-1] == "Done"


def test_each_warning_is_kept_until_another_image_is_chosen(open_dock, denoise, qtbot, wait_idle):
    class Warns:
        def __call__(self, job):
            def walk(stop):
                yield events.Started(("cells",), "cpu", "float32")
                yield events.Warning("First.")
                yield events.Warning("Second.")
                yield events.Finished(None, False)

            return walk

    viewer, dock = open_dock(Warns(), PIXELS)
    denoise(dock)
    assert dock.panels.train.message.text() == "Note: First.\nNote: Second."
    viewer.add_image(PIXELS + 1, name="b")
    qtbot.waitUntil(lambda: dock.panels.train.message.isHidden())


def test_a_run_stopped_before_it_made_anything_is_not_to_be_compared(open_dock, denoise):
    def nothing(job):
        return lambda stop: iter([events.Finished(None, stopped=True)])

    _viewer, dock = open_dock(nothing, PIXELS)
    denoise(dock)
    assert dock.panels.result.note.isHidden()


def test_an_error_is_of_the_image_it_was_met_on(open_dock, denoise, fake_engine, qtbot):
    viewer, dock = open_dock(fake_engine(error=InputError("it is damaged")), PIXELS)
    denoise(dock)
    assert dock.panels.train.message.text() == "Error: It is damaged."
    viewer.layers.remove("cells")
    qtbot.waitUntil(lambda: dock.panels.train.message.isHidden())


# What is wrong with a region


def draw(viewer, dock):
    viewer.layers["roi"].add_rectangles(np.array(RECTANGLE))


REASONS_GONE = {
    "a shape is drawn": draw,
    "another region": lambda viewer, dock: dock.panels.inputs.region_box.setCurrentIndex(0),
    "the shapes are removed": lambda viewer, dock: viewer.layers.remove("roi"),
    "another is the reason": lambda viewer, dock: viewer.layers.remove("cells"),
}


@pytest.mark.parametrize("happens", REASONS_GONE.values(), ids=REASONS_GONE)
def test_a_region_is_empty_for_as_long_as_it_is(open_dock, denoise, qtbot, fake_engine, happens):
    viewer, dock = open_dock(fake_engine(), PIXELS)
    denoise(dock)
    viewer.add_shapes(name="roi")
    panels = dock.panels
    panels.inputs.region_box.setCurrentText("Shapes: roi")
    panels.noise.analyse.click()
    panels.result.preview.click()
    assert panels.inputs.region_note.text() == panels.result.note.text()
    assert "'roi' has no shapes" in panels.result.note.text()
    viewer.layers["cells"].name = "renamed"
    viewer.layers["renamed"].name = "cells"
    QApplication.processEvents()
    assert "'roi' has no shapes" in panels.inputs.region_note.text()
    happens(viewer, dock)
    qtbot.waitUntil(lambda: panels.inputs.region_note.isHidden())
    assert panels.result.note.isHidden()


def test_what_the_view_does_not_show_it_may_show_later(open_dock, qtbot, fake_engine, wait_idle):
    viewer, dock = open_dock(fake_engine(), PIXELS, show=True)
    panels = dock.panels
    panels.inputs.region_box.setCurrentText("current view")
    viewer.scene.camera.center = (1000, 1000)
    panels.noise.analyse.click()
    assert "the view shows nothing" in panels.inputs.region_note.text().lower()
    viewer.reset_view()
    qtbot.waitUntil(lambda: panels.inputs.region_note.isHidden())


def test_what_a_comparison_needs_is_said_until_it_is_there(judged, qtbot):
    viewer, dock, _engine = judged
    viewer.dims.ndisplay = 3
    dock.panels.result.curtain.click()
    assert "2-D view" in dock.panels.result.note.text()
    viewer.dims.ndisplay = 2
    qtbot.waitUntil(lambda: dock.panels.result.note.isHidden())


# Which images


def test_more_layers_may_be_selected_after_the_tick(open_dock):
    viewer, dock = open_dock(data=PIXELS)
    viewer.add_image(PIXELS, name="b")
    inputs = dock.panels.inputs
    inputs.several.click()
    assert "Select more in the layer list" in inputs.image_note.text()
    viewer.layers.selection = set(viewer.layers)
    assert "Select more" not in inputs.image_note.text()
    assert [image.name for image in inputs.images()] == ["b", "cells"]
    viewer.layers.remove("cells")
    assert "Select more" not in inputs.image_note.text(), "there are no more"


def test_of_all_that_is_selected_results_are_not_meant(judged):
    viewer, dock, _engine = judged
    inputs = dock.panels.inputs
    assert inputs.several.isHidden(), "there is one image"
    viewer.add_image(PIXELS, name="b")
    viewer.layers.select_all()
    inputs.several.click()
    assert [image.name for image in inputs.images()] == ["b", "cells"]


def test_a_result_is_not_taken_for_the_image_when_that_is_removed(judged):
    viewer, dock, _engine = judged
    viewer.layers.remove("cells")
    assert dock.panels.inputs.layer is None
    assert not dock.panels.denoise.isEnabled()
    dock.panels.inputs.image.setCurrentText("cells Stage 2")
    assert dock.panels.denoise.isEnabled(), "the user may"


def test_the_device_is_open_again_when_another_is_asked_for(judged):
    _viewer, dock, _engine = judged
    assert "CPU" in dock.panels.device.text()
    form = dock.panels.form
    form.set_config(form.config().model_copy(update={"device": "cpu"}))
    dock._update()
    assert dock.panels.device.text() == "Device: chosen at start"


# A note


def test_a_note_drops_the_lines_that_hold_no_longer(qtbot):
    note = MessageLabel()
    qtbot.addWidget(note)
    true = {"one", "two"}
    for word in sorted(true):
        note.add(word, lambda word=word: word in true)
    assert note.text() == "one\ntwo"
    true.remove("one")
    note.recheck()
    assert note.text() == "two"
    true.clear()
    note.recheck()
    assert note.isHidden()
    note.say("always")
    note.recheck()
    assert note.text() == "always"
