"""A run judges itself: leaks are found and mended, waves subtracted, figures told."""

from __future__ import annotations

from threading import Event as Flag
from typing import Any

import numpy as np
import pytest
import torch

from napari_autostructn2v import Config, Model, events, run
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.evaluation.evaluate import Judge
from napari_autostructn2v.engine.events import Event
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.noise.wave_subtraction import without_waves
from napari_autostructn2v.engine.synthetic import psnr, sample

SMALL = {"network": {"features": 8, "depth": 1}, "patch_size": 32, "batch_size": 8}
QUICK = {"dtype": "float32", "stage1": SMALL, "stage2": SMALL}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def story(image: Any, sink: ArraySink | None = None, **options: Any) -> list[Event]:
    return list(run(image, Config.parse({**QUICK, **options}), sink=sink))


def checks(events_: list[Event]) -> list[events.Checked]:
    return [event for event in events_ if isinstance(event, events.Checked)]


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    return sample("nuclei", "vertical", size=192, seed=5, psnr=18.0).noisy


def narrow(noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Event]:
    """Run with an automatic mask that is much too narrow."""
    from napari_autostructn2v.engine.mask import analysis

    thin = np.ones((3, 1), np.uint8)
    monkeypatch.setattr(analysis, "leak_mask", lambda *_: thin)
    return story(noisy, budget="160steps", **options)


def test_a_leaking_mask_is_widened_halfway(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = narrow(noisy, monkeypatch)
    halfway, end = checks(told)
    assert (halfway.halfway, halfway.verdict, halfway.repaired) == (True, "leaks", True)
    assert halfway.mask is not None
    assert halfway.mask.shape[0] > 3
    masks = [event.mask for event in told if isinstance(event, events.MaskFound)]
    assert [mask.shape for mask in masks] == [(3, 1), halfway.mask.shape]
    assert not end.halfway
    last = told[-1]
    assert isinstance(last, events.Finished)
    np.testing.assert_array_equal(last.model.units[0].mask, halfway.mask)
    # 40 steps for Stage 1; half of the 120 for Stage 2 went into the narrow mask.
    assert [stage["steps"] for stage in last.report["stages"]] == [40, 60]
    assert last.report["trained_mask"] == halfway.mask.tolist()


def test_a_mask_that_was_given_is_only_reported(noisy: np.ndarray) -> None:
    told = story(
        noisy, budget="160steps", structure={"mask_source": "array", "mask": [[1], [1], [1]]}
    )
    halfway, end = checks(told)
    assert halfway.verdict == end.verdict == "leaks"
    assert not halfway.repaired
    warnings = [event.message for event in told if isinstance(event, events.Warning)]
    assert end.sentence in warnings
    last = told[-1]
    assert isinstance(last, events.Finished)
    assert last.model.units[0].mask.shape == (3, 1)
    assert last.report["quality"]["check"]["verdict"] == "leaks"


def test_without_self_check_nothing_is_looked_at_halfway(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = narrow(noisy, monkeypatch, training={"self_check": False})
    assert [check.halfway for check in checks(told)] == [False]


def test_a_repaired_run_repeats_itself(noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (narrow(noisy, monkeypatch)[-1] for _ in range(2))
    assert isinstance(one, events.Finished)
    assert isinstance(other, events.Finished)
    weights = [last.model.units[0].networks["stage2"].state_dict() for last in (one, other)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_quality_ranks_the_stages(noisy: np.ndarray) -> None:
    truth = sample("nuclei", "vertical", size=192, seed=5, psnr=18.0).clean
    sink = ArraySink(every_stage=True)
    last = story(noisy, sink, budget="200steps")[-1]
    assert isinstance(last, events.Finished)
    quality = last.report["quality"]
    gains = {stage: card["gain_db"] for stage, card in quality["stages"].items()}
    true = {stage: psnr(truth, result) - 18.0 for (_, stage), result in sink.results.items()}
    assert max(true, key=true.__getitem__) == quality["recommended"] == "stage2"
    for stage, gain in gains.items():
        assert gain == pytest.approx(true[stage], abs=2.0), stage
    assert set(quality["meaning"]) >= set(quality["stages"]["stage2"]) - {"gain_range_db"}


def test_a_wave_is_subtracted_and_remembered(tmp_path: Any) -> None:
    made = sample("nuclei", "white", size=256, seed=4, psnr=22.0)
    sigma = float(np.std(made.noisy - made.clean))
    y, x = np.indices(made.clean.shape)
    wave = 1.2 * sigma * np.cos(2 * np.pi * (y / 20 + x / 14) + 0.7)
    hummed = (made.noisy + wave).astype(np.float32)
    found = measure([hummed], 20).wave
    assert found is not None
    assert found.length == pytest.approx(1 / np.hypot(1 / 20, 1 / 14), rel=0.03)

    calm = without_waves(as_source(hummed), [found])
    whole = calm.read(0, slice(None), slice(None))
    assert np.std(whole - made.noisy) < 0.2 * np.std(wave)
    part = calm.read(0, slice(60, 130), slice(30, 200))
    np.testing.assert_allclose(part, whole[60:130, 30:200], atol=0.01 * sigma)

    told = story(hummed, budget="20steps", structure={"subtract_wave": True})
    measured = next(event for event in told if isinstance(event, events.NoiseMeasured))
    assert measured.verdict == "unstructured"
    last = told[-1]
    assert isinstance(last, events.Finished)
    again = Model.load(last.model.save(tmp_path / "m.asn2v"))
    assert again.waves == last.model.waves != ()
    np.testing.assert_allclose(
        again.denoise(hummed, dtype="float32"), last.model.denoise(hummed, dtype="float32")
    )


def test_no_wave_leaves_the_image_alone() -> None:
    source = as_source(np.zeros((32, 32), np.float32))
    assert without_waves(source, ()) is source
    assert without_waves(source, (None,)) is source


def test_a_mask_that_hides_everything_is_refused(noisy: np.ndarray) -> None:
    everything = np.ones((61, 61), int).tolist()
    last = story(noisy, budget="4steps", structure={"mask_source": "array", "mask": everything})[-1]
    assert isinstance(last, events.Failed)
    assert "61 x 61 px hides all" in last.message


@pytest.mark.parametrize("shape", [(9, 200), (40, 40), (64, 20), (3, 1, 50)])
def test_small_images_are_judged_as_far_as_they_can_be(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    last = story(image, budget="2steps")[-1]
    assert isinstance(last, events.Finished)
    assert last.report["quality"]["check"]["verdict"]
    assert last.report["quality"]["recommended"] in last.model.stages


def test_infinities_do_not_reach_the_judgement(noisy: np.ndarray) -> None:
    holed = noisy.copy()
    holed[40:60, 50:90] = np.inf
    holed[100, 100] = np.nan
    last = story(holed, budget="8steps")[-1]
    assert isinstance(last, events.Finished), last
    assert last.report["quality"]["stages"]


def stopped_in(noisy: np.ndarray, stage: str, step: int, **options: Any) -> list[Event]:
    """A run that is stopped at a step of a stage."""
    flag, told = Flag(), []
    for event in run(noisy, Config.parse({**QUICK, **options}), stop=flag):
        told.append(event)
        if isinstance(event, events.Progress) and (event.stage, event.step) >= (stage, step):
            flag.set()
    return told


@pytest.mark.parametrize(
    ("stage", "step", "best"),
    [("stage1", 2, "stage1"), ("stage2", 1, "stage1"), ("stage2", 60, "stage2")],
)
def test_the_best_that_was_learned_is_kept_after_a_stop(
    noisy: np.ndarray, stage: str, step: int, best: str
) -> None:
    told = stopped_in(noisy, stage, step, budget="200steps")
    last = told[-1]
    assert isinstance(last, events.Finished)
    assert last.stopped
    assert last.model.best == last.report["quality"]["recommended"] == best
    (said,) = [e.message for e in told if isinstance(e, events.Warning)]
    assert {"stage1": "Stage 1", "stage2": "Stage 2"}[best] in said


def test_without_a_judgement_half_of_the_steps_decide(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "better", lambda *_: None)
    for step, best in ((10, "stage1"), (45, "stage2")):
        (*_, last) = stopped_in(noisy, "stage2", step, budget="100steps")
        assert isinstance(last, events.Finished)
        assert last.model.best == best


def test_a_stop_while_it_is_checked_keeps_what_stage_2_has_learned(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin = np.ones((3, 1), np.uint8)
    monkeypatch.setattr("napari_autostructn2v.engine.mask.analysis.leak_mask", lambda *_: thin)
    flag = Flag()
    for event in run(noisy, Config.parse({**QUICK, "budget": "160steps"}), stop=flag):
        if isinstance(event, events.Checked):
            assert event.repaired
            flag.set()
    assert isinstance(event, events.Finished)
    np.testing.assert_array_equal(event.model.units[0].mask, thin)
    assert [record["steps"] for record in event.report["stages"]] == [40, 60]


def test_a_stop_just_after_a_repair_keeps_the_better_stage_2(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin = np.ones((3, 1), np.uint8)
    monkeypatch.setattr("napari_autostructn2v.engine.mask.analysis.leak_mask", lambda *_: thin)
    flag, masks = Flag(), []
    for event in run(noisy, Config.parse({**QUICK, "budget": "160steps"}), stop=flag):
        if isinstance(event, events.MaskFound):
            masks.append(event.mask)
        if isinstance(event, events.Progress) and len(masks) == 2:
            flag.set()
    assert isinstance(event, events.Finished)
    np.testing.assert_array_equal(event.model.units[0].mask, thin)
    np.testing.assert_array_equal(masks[-1], thin)


def test_an_error_in_training_keeps_what_was_learned_until_then(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError("the disk is gone")

    told: list[Event] = []
    for event in run(noisy, Config.parse({**QUICK, "budget": "100steps"})):
        told.append(event)
        if isinstance(event, events.Progress) and (event.stage, event.step) >= ("stage2", 30):
            monkeypatch.setattr("napari_autostructn2v.engine.training.loop.validate", fails)
    assert isinstance(event, events.Failed)
    assert event.model is not None
    assert event.model.stages == ("stage1", "stage2")


def test_a_second_stage_that_diverged_leaves_the_first(noisy: np.ndarray) -> None:
    told = story(
        noisy[:96, :96], **{**QUICK, "stage2": {**SMALL, "learning_rate": 1.0}}, budget="60steps"
    )
    last = told[-1]
    assert isinstance(last, events.Finished)
    assert last.model.best == "stage1"
    assert any(isinstance(e, events.Warning) and "learning_rate" in e.message for e in told)


def test_what_cannot_be_judged_is_written_all_the_same(
    noisy: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ArithmeticError("no figures")

    monkeypatch.setattr(Judge, "assess", fails)
    sink = ArraySink()
    told = story(noisy, sink, budget="4steps")
    assert isinstance(told[-1], events.Finished)
    assert np.isfinite(sink.final[0]).all()
    assert any("no figures" in e.message for e in told if isinstance(e, events.Warning))


def test_a_channel_without_noise_is_not_the_one_that_is_judged(noisy: np.ndarray) -> None:
    channels = np.stack([np.full_like(noisy, 7), noisy])
    source = as_source(channels, "CYX")
    last = list(run(source, Config.parse({**QUICK, "budget": "40steps"})))[-1]
    assert isinstance(last, events.Finished)
    assert "noise_left_percent" in last.report["quality"]["stages"]["stage1"]
