"""What the dock knows, and what follows from it; no viewer, no training."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image

from napari_autostructn2v.engine.config import Budget, Config, Structure
from napari_autostructn2v.engine.events import Checked, Failed, Finished, MaskFound, StageDone
from napari_autostructn2v.engine.mask.analysis import analyse
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.plugin.layers.reading import snapshot
from napari_autostructn2v.plugin.runs.jobs import Analysed, Apply, Loaded, Saved, Train
from napari_autostructn2v.plugin.runs.known import Trained
from napari_autostructn2v.plugin.runs.session import Session
from napari_autostructn2v.plugin.runs.worker import Done

NOISY = sample("nuclei", "horizontal", 128).noisy
LINE = np.ones((1, 3), np.uint8)


def model(stages=("stage1", "stage2"), mask=LINE, config=None, units=1):
    unit = SimpleNamespace(mask=mask)
    return SimpleNamespace(
        stages=tuple(stages), units=(unit,) * units, config=config or Config(), name="m"
    )


@pytest.fixture
def layer():
    return Image(NOISY, name="cells")


class Script:
    """A session whose runs tell what a test writes down."""

    def __init__(self, qtbot):
        self.qtbot, self.events = qtbot, []
        self.session = Session(lambda job: lambda stop: iter(self.events))
        self.finished = []
        self.session.finished.connect(self.finished.append)

    def do(self, run, *events):
        self.events = events
        with self.qtbot.waitSignal(run.finished):
            run.start()

    def measure(self, config=None):
        parts = self.session.images
        config = config or Config()
        found = tuple(analyse([part.source() for part in parts], config))
        self.do(self.session.analyse(parts, config), Analysed(parts, config, found, found[0]))

    def train(self, trained, *events, config=None, cancel=False):
        plan = self.session.plan(config or Config())
        run = self.session.train(plan, self.session.images, sink=None)
        if cancel:
            run.cancel()
        self.do(run, *events, Finished(trained, stopped=False))
        return plan


@pytest.fixture
def script(qtbot, layer):
    made = Script(qtbot)
    made.session.set_images([snapshot(layer)])
    return made


def test_a_measurement_gives_the_mask_and_judges_others(script):
    session = script.session
    assert session.score(LINE) is None
    script.measure()
    assert session.mask.mask.shape[0] == 1 < session.mask.mask.shape[1]
    assert session.mask.is_automatic
    assert session.score(session.mask.mask).leak < 0.02
    assert session.score(np.ones((1, 1), np.uint8)).leak > 0.5
    assert "along x" in session.measured.sentence
    assert "strength" in session.measured.remarks


def test_of_each_image_is_told_what_else_is_known(script):
    hot = NOISY.copy()
    hot[::16, ::16] = 30 * NOISY.max()
    images = {"blank": np.ones_like(NOISY), "cells": NOISY, "hot": hot}
    layers = [Image(pixels, name=name) for name, pixels in images.items()]
    script.session.set_images([snapshot(layer) for layer in layers])
    script.measure()
    cells, hot = script.session.measured.remarks.splitlines()
    assert cells.startswith("cells C0: Its strength is")
    assert hot.startswith("hot C0: Its strength is")
    assert "hot or dead" in hot


@pytest.mark.parametrize(
    "options",
    [Structure(leak_threshold=0.5), Structure(max_lag=3), Structure(extractor="ring")],
    ids=["threshold", "lag", "ring"],
)
def test_other_options_give_the_mask_that_a_run_would_find(script, options):
    script.measure()
    config = Config(structure=options)
    source = script.session.images[0].source()
    expected = next(iter(analyse([source], config))).mask
    np.testing.assert_array_equal(script.session.extract(options), expected)


def test_another_image_makes_the_noise_unknown_and_keeps_the_model(script, layer):
    session = script.session
    script.measure()
    script.train(model(), StageDone("stage1", 1, 1.0, 0.5))
    layer.contrast_limits = (0, 9)
    session.set_images([snapshot(layer)])
    assert session.measured is not None, "the pixels are the same"
    layer.data = NOISY + 1
    session.set_images([snapshot(layer)])
    assert session.measured is None
    assert session.mask.rho is None
    assert session.trained is not None
    assert session.trained.stage1 is None


def test_an_edited_mask_is_trained_with(script):
    session = script.session
    script.measure()
    plan = session.plan(Config())
    assert (plan.config, plan.start, plan.note) == (Config(), None, "")
    session.mask.set_mask(LINE)
    plan = session.plan(Config())
    assert plan.config.structure.mask == ((1, 1, 1),)
    assert plan.config.structure.mask_source == "array"
    assert plan.start is None
    assert plan.note == "With your mask."


def test_whole_rows_of_an_edited_mask_are_as_long_as_the_patches_need(script):
    script.measure()
    script.session.mask.whole_row = True
    plan = script.session.plan(Config(stage2={"patch_size": 128}))
    assert np.shape(plan.config.structure.mask)[1] == 255


def test_after_stage_1_a_changed_mask_trains_only_stage_2(script):
    session = script.session
    script.measure()
    found = model(mask=session.mask.mask)
    script.train(found, StageDone("stage1", 1, 1.0, 0.5))
    assert session.plan(Config()).start is None, "the same again"
    session.mask.set_mask(LINE)
    plan = session.plan(Config())
    assert plan.start is found
    assert not plan.config.run_stage1
    assert "Stage 2 only" in plan.note
    other = Config(budget="5min", stage2={"patch_size": 32})
    assert session.plan(other).start is found
    assert session.plan(Config(seed=1)).start is None, "that Stage 1 would be another one"
    assert session.plan(Config(run_stage2=False)).start is None
    # Once more, with a third mask: Stage 1 is still that of the first run.
    script.train(model(mask=LINE))
    session.mask.grow()
    assert session.plan(Config()).start is session.trained.model


@pytest.mark.parametrize("why", ["stopped", "channels", "loaded"])
def test_stage_1_is_not_kept_if_it_is_not_whole(script, why, tmp_path):
    session = script.session
    script.measure()
    stopped = "stopped" if why == "stopped" else None
    units = 2 if why == "channels" else 1
    script.train(model(units=units), StageDone("stage1", 1, 1.0, 0.5, stopped))
    if why == "loaded":
        path = tmp_path / "a.asn2v"
        script.do(session.load(path), Loaded(path, model()))
        assert session.trained.name == "a.asn2v"
    session.mask.set_mask(np.ones((3, 1), np.uint8))
    assert session.plan(Config()).start is None


@pytest.mark.parametrize(("stages", "stage1"), [(("stage1",), True), (("stage1", "stage2"), False)])
def test_going_on_trains_the_last_stage_further(script, stages, stage1):
    session = script.session
    trained = model(stages, config=Config(seed=7, device="cpu"))
    script.train(trained)
    plan = session.further(Config(budget="2min", dtype="float32"))
    assert plan.start is trained
    assert plan.config.run_stage1 is stage1
    assert plan.config.budget == Budget.parse("2min")
    assert plan.config.dtype == "float32"
    assert plan.config.seed == 7
    assert plan.config.structure == trained.config.structure, "the mask stays an automatic one"


def test_a_cancelled_run_was_never_there(script):
    session = script.session
    script.measure()
    script.train(model())
    before = session.measured, session.trained
    session.mask.set_mask(LINE)
    script.train(model(), cancel=True)
    assert script.finished == [False, False, True]
    assert (session.measured, session.trained) == before
    np.testing.assert_array_equal(session.mask.mask, LINE)


def test_a_model_taken_over_in_a_run_outlives_its_cancelling(script):
    session = script.session
    left = Trained(model(), "left", stage1=Config())
    run = session.train(session.plan(Config()), session.images, sink=None)
    session.take_over(left)
    run.cancel()
    script.do(run)
    assert session.trained.model is left.model
    assert session.trained.stage1 is None, "of other images, perhaps"


def test_a_run_that_is_cancelled_late_is_undone(script, qtbot):
    session = script.session
    run = session.train(session.plan(Config()), session.images, sink=None)
    parts, config = session.images, Config()
    found = tuple(analyse([part.source() for part in parts], config))

    def events(stop):
        yield Analysed(parts, config, found, found[0])
        while not stop.is_set():
            yield StageDone("stage1", 1, 1.0, 0.5)
        yield Finished(model(), stopped=True)

    run._engine = events
    run.start()
    qtbot.waitUntil(lambda: session.measured is not None)
    run.cancel()
    qtbot.waitUntil(lambda: not session.is_running)
    assert session.measured is None
    assert session.trained is None
    assert session.mask.rho is None


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_repaired_mask_stays_with_the_model_and_goes_with_a_cancelled_run(script, cancelled):
    session = script.session
    script.measure()
    first, wide = session.mask.mask, np.ones((1, 31), np.uint8)
    found = [MaskFound(mask, session.mask.rho, "along x", 0.1) for mask in (first, wide)]
    checked = Checked("stage2", "leaks", "Noise is left.", halfway=True, mask=wide, repaired=True)
    if cancelled:
        session.told.connect(lambda event: event is found[1] and session.run.cancel())
    script.train(model(mask=wide), found[0], checked, found[1])
    assert script.finished[-1] is cancelled
    np.testing.assert_array_equal(session.mask.mask, first if cancelled else wide)
    if not cancelled:
        np.testing.assert_array_equal(session.further(Config()).start.units[0].mask, wide)


def test_to_cancel_does_not_bring_back_the_noise_of_other_images(script, layer):
    session = script.session
    script.measure()
    script.train(model(), StageDone("stage1", 1, 1.0, 0.5))
    run = session.train(session.plan(Config()), session.images, sink=None)
    session.set_images([])
    run.cancel()
    script.do(run)
    assert session.measured is None
    assert session.trained.stage1 is None


def test_training_keeps_the_mask_that_was_edited(script):
    session = script.session
    script.measure()
    session.mask.set_mask(LINE)
    known = session.measured
    analysed = Analysed(session.images, session.plan(Config()).config, known.findings, known.common)
    script.train(model(), analysed, MaskFound(LINE, known.common.noise.rho, "along x", 0.1))
    assert session.measured is known
    assert session.mask.can_undo, "nor is its history lost"
    session.forget_noise()
    session.mask.set_mask(LINE)
    script.train(model(), analysed)
    assert session.measured is not None
    np.testing.assert_array_equal(session.mask.mask, LINE)
    session.mask.reset()
    assert session.mask.mask.shape[1] > 3


def test_the_mask_of_stage_1_is_shown_when_it_is_found(script):
    session = script.session
    script.measure()
    wide = np.ones((1, 15), np.uint8)
    rho = session.mask.rho
    script.train(
        model(), MaskFound(wide, rho, "along x", 0.1), MaskFound(wide[:, 1:], rho, "", 0, 1)
    )
    np.testing.assert_array_equal(session.mask.mask, wide)
    assert session.mask.is_automatic


def test_a_run_that_learns_nothing_takes_no_model_away(script):
    session = script.session
    script.train(model())
    script.train(None)
    assert session.trained is not None, "a run that has learned nothing takes nothing away"


def test_a_model_is_what_a_failing_run_has_learned(script, tmp_path):
    session = script.session
    run = session.train(session.plan(Config()), session.images, sink=None)
    learned = model(("stage1",))
    script.do(run, Failed(ValueError("x"), "x", learned))
    assert session.trained.model is learned
    assert session.trained.name == "cells (not saved)"
    path = tmp_path / "b.asn2v"
    script.do(session.save(path), Saved(path))
    assert (session.trained.name, session.trained.path) == ("b.asn2v", path)
    script.do(session.apply(session.images, Config(), None), Finished(None, False))
    assert session.trained.model is learned


def test_jobs_carry_what_was_asked(qtbot, layer):
    jobs = []

    def make(job):
        jobs.append(job)
        return lambda stop: iter([Done()])

    session = Session(make)
    session.set_images([snapshot(layer)])
    place = object()
    run = session.train(session.plan(Config()), session.images, None, lambda: place)
    with qtbot.waitSignal(run.finished):
        run.start()
    assert isinstance(jobs[0], Train)
    assert jobs[0].preview() is place
    assert run.title == "Denoise cells"
    session.take_over(Trained(model(), "m"))
    session.apply(session.images, Config(), None)
    assert isinstance(jobs[1], Apply)


def test_a_mask_of_one_pixel_trains_nothing_more(script):
    session = script.session
    script.measure()
    script.train(model(), StageDone("stage1", 1, 0.1, 0.5))
    session.mask.clear()
    assert session.plan(Config()).note.startswith("Trains nothing: with your mask of one pixel")
