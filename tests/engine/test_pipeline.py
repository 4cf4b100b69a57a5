"""Runs from end to end: events, results, seeds, stopping, failing, awkward data."""

from __future__ import annotations

import math
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import torch
import zarr

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.denoising import Model, apply, consume
from napari_autostructn2v.engine.errors import DenoisingWarning, InputError
from napari_autostructn2v.engine.inference.results import result_dtype
from napari_autostructn2v.engine.pipeline import denoise, run
from napari_autostructn2v.engine.synthetic import psnr, sample
from napari_autostructn2v.engine.training import loop

TINY = {
    "budget": "8steps",
    "stage1": {"network": {"features": 4, "depth": 1}, "patch_size": 32, "batch_size": 4},
    "stage2": {"network": {"features": 4, "depth": 1}, "patch_size": 32, "batch_size": 4},
    "device": "cpu",
}


def config(**more: Any) -> Config:
    return Config.parse({**TINY, **more})


def noisy(noise: str = "horizontal", size: int = 128, seed: int = 0) -> np.ndarray:
    return sample("nuclei", noise, size=size, seed=seed, psnr=18.0).noisy


def trained(image: Any, sink: ArraySink | None = None, **more: Any) -> events.Finished:
    return consume(run(image, config(**more), sink=sink))


def names(stream: list[events.Event]) -> list[str]:
    return [type(event).__name__ for event in stream]


def test_a_run_tells_its_story_in_order() -> None:
    sink = ArraySink(every_stage=True)
    story = list(run(noisy(), config(), sink=sink))
    order = list(dict.fromkeys(names(story)))
    assert order == [
        "Started", "NoiseMeasured", "Progress", "StageDone", "MaskFound", "Checked", "TileDone",
        "Finished",
    ]  # fmt: skip
    measured = next(e for e in story if isinstance(e, events.NoiseMeasured))
    assert measured.verdict == "along x"
    assert not measured.rho.flags.writeable
    done = [e for e in story if isinstance(e, events.StageDone)]
    assert [(e.stage, e.steps) for e in done] == [("stage1", 2), ("stage2", 6)]
    tiles = [e for e in story if isinstance(e, events.TileDone)]
    assert tiles[-1].done == tiles[-1].total
    assert set(sink.results) == {(0, "stage1"), (0, "stage2")}
    assert sink.final[0] is sink.results[0, story[-1].model.best]
    assert sink.final[0].shape == (128, 128)
    for event in story[:-1]:
        assert type(pickle.loads(pickle.dumps(event))) is type(event)


def test_report_has_what_the_outside_face_promises() -> None:
    report = trained(noisy()).report
    keys = ("verdict", "leak", "noise_sigma", "autocorrelation", "mask")
    assert set(report) >= {*keys, "images", "stages", "quality", "seconds", "device", "versions",
                           "config"}  # fmt: skip
    channel = report["images"][0]["channels"][0]
    assert {key: channel[key] for key in keys} == {key: report[key] for key in keys}
    rho, mask = np.array(report["autocorrelation"]), np.array(report["mask"])
    assert rho[rho.shape[0] // 2, rho.shape[1] // 2] == 1
    assert mask[mask.shape[0] // 2, mask.shape[1] // 2] == 1
    assert Config.parse(report["config"]) == config()
    assert [stage["name"] for stage in report["stages"]] == ["stage1", "stage2"]


def test_unstructured_noise_needs_no_second_stage() -> None:
    story = list(run(noisy("white"), config()))
    done = [e for e in story if isinstance(e, events.StageDone)]
    assert [(e.stage, e.steps) for e in done] == [("stage1", 8)]
    assert isinstance(story[-1], events.Finished)
    assert story[-1].model.stages == ("stage1",)


def test_much_is_gained_on_structured_noise_where_noise2void_gains_little() -> None:
    made = sample("nuclei", "horizontal", size=128, seed=3, psnr=18.0)
    stage = {"network": {"features": 8, "depth": 2}, "patch_size": 32, "batch_size": 8}
    options = config(budget="200steps", stage1=stage, stage2=stage)
    both = denoise(made.noisy, config=options)
    noise2void = denoise(made.noisy, config=options.model_copy(update={"run_stage2": False}))
    assert psnr(made.clean, both) > 18 + 8
    assert psnr(made.clean, both) > psnr(made.clean, noise2void) + 4  # trained for as many steps


@pytest.mark.slow
def test_structured_noise_is_removed() -> None:
    made = sample("nuclei", "horizontal", size=256, seed=3, psnr=18.0)
    sink = ArraySink(every_stage=True)
    consume(run(made.noisy, Config.parse({"budget": "400steps", "device": "cpu"}), sink=sink))
    first, second = (psnr(made.clean, sink.results[0, s]) for s in ("stage1", "stage2"))
    assert second > 18 + 7
    assert second > first + 4


def test_same_seed_same_result() -> None:
    image = noisy()
    one, same, other = (denoise(image, seed=s, config=config()) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_stopping_keeps_the_model() -> None:
    class AfterSteps:
        """Asks to stop once it was looked at often enough."""

        def __init__(self, looks: int) -> None:
            self.looks = looks

        def is_set(self) -> bool:
            self.looks -= 1
            return self.looks < 0

    sink = ArraySink()
    story = list(run(noisy(), config(budget="400steps"), sink=sink, stop=AfterSteps(6)))
    last = story[-1]
    assert isinstance(last, events.Finished)
    assert last.stopped
    assert last.model.stages == ("stage1",)
    assert not sink.final
    assert names(story).count("TileDone") == 0
    done = next(e for e in story if isinstance(e, events.StageDone))
    assert done.steps == 6  # the first look was after measuring
    assert done.stopped == "stopped"
    # What was learned can be used.
    assert last.model.denoise(noisy()).shape == (128, 128)


def test_results_are_written_for_other_images_than_were_trained_on() -> None:
    image, sink = noisy(), ArraySink()
    part = as_source(image).crop(Y=slice(0, 64), X=slice(32, 128))
    whole = np.stack([image, image[::-1]])
    told = list(run(part, config(), sink=sink, onto=[whole, noisy(size=64)]))
    last = told[-1]
    assert isinstance(last, events.Finished)
    assert [sink.final[i].shape for i in (0, 1)] == [(2, 128, 128), (64, 64)]
    assert {e.image for e in told if isinstance(e, events.TileDone)} == {0, 1}
    assert np.array_equal(last.model.denoise(whole), sink.final[0])
    alone = trained(image[:64, 32:])  # nothing but the part was measured or trained on
    assert np.array_equal(alone.model.denoise(whole), sink.final[0])


@pytest.mark.parametrize("own", [False, True])
def test_results_for_too_many_channels_are_refused_before_training(own: bool) -> None:
    stack = np.stack([noisy()] * 2)
    values = config(axes="CYX", network_per_channel=own)
    told = list(run(as_source(noisy()), values, sink=ArraySink(), onto=stack))
    assert isinstance(told[-1], events.Failed)
    assert "2 channels, the model was trained on 1" in told[-1].message
    assert names(told) == ["Started", "Failed"]


def test_a_stop_while_measuring_ends_the_run() -> None:
    stop, told = threading.Event(), []
    for event in run([noisy()] * 3, config(), stop=stop):
        told.append(event)
        if isinstance(event, events.NoiseMeasured):
            stop.set()
    assert names(told) == ["Started", "NoiseMeasured", "Finished"]
    assert told[-1].stopped
    with pytest.raises(InputError, match="no network"):
        told[-1].model.denoise(noisy())


def test_time_left_counts_every_stage_and_network() -> None:
    stack = np.stack([noisy()] * 2)
    told = list(run(stack, config(budget="80steps", axes="CYX", network_per_channel=True)))
    ends = [e for e in told if isinstance(e, events.Progress) and e.step == e.total]
    assert [(e.channel, e.stage, e.seconds_left > 0) for e in ends] == [
        (0, "stage1", True), (0, "stage2", True), (1, "stage1", True), (1, "stage2", False),
    ]  # fmt: skip


def test_every_error_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = list(run(np.full((64, 64), 3.0), config()))[-1]
    assert isinstance(failed, events.Failed)
    assert isinstance(failed.error, InputError)
    assert "constant" in failed.message

    original = loop.Task.loss
    calls = iter(range(1000))

    def fails_late(self: loop.Task, *batch: torch.Tensor) -> torch.Tensor:
        if next(calls) > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, *batch)

    monkeypatch.setattr(loop.Task, "loss", fails_late)
    last = list(run(noisy(), config(budget="60steps")))[-1]
    assert isinstance(last, events.Failed)
    assert "batch_size" in last.message
    assert last.model is not None  # Stage 1 was learned before Stage 2 failed
    assert last.model.best == "stage1"


def test_a_loss_that_is_not_finite_keeps_the_last_good_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = loop.Task.loss
    calls = iter(range(1000))

    def explodes(self: loop.Task, *batch: torch.Tensor) -> torch.Tensor:
        loss = original(self, *batch)
        return loss * math.nan if self.network.training and next(calls) > 5 else loss

    monkeypatch.setattr(loop.Task, "loss", explodes)
    story = list(run(noisy("white"), config(budget="50steps", training={"validate_every": 2})))
    assert any("diverged" in e.message for e in story if isinstance(e, events.Warning))
    last = story[-1]
    assert isinstance(last, events.Finished)
    state = last.model.units[0].network("stage1").state_dict()
    assert all(value.isfinite().all() for value in state.values())
    done = next(e for e in story if isinstance(e, events.StageDone))
    assert done.steps < 50


@pytest.mark.parametrize(
    ("shape", "axes", "dtype"),
    [
        ((48, 48), "YX", "uint8"),
        ((2, 48, 40), "TYX", "uint16"),
        ((48, 40, 2), "YXC", "float32"),
        ((2, 2, 35, 48), "TCYX", "float64"),
        ((2, 1, 2, 32, 32), "TZCYX", "uint16"),
        ((40, 48), "XY", "bool"),
    ],
)
def test_any_shape_and_type(shape: tuple[int, ...], axes: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(120, 30, shape)
    image = image > 120 if dtype == "bool" else image.astype(dtype)
    result = denoise(image, axes=axes, budget="2steps", config=config())
    assert result.shape == shape
    assert result.dtype == (dtype if dtype in ("uint8", "uint16") else np.float32)
    assert np.isfinite(result).all()


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (7, 9), (2, 2), (3, 1, 40)])
def test_tiny_images(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    assert denoise(image, budget="2steps", config=config()).shape == shape


def test_missing_values_stay_missing() -> None:
    image = noisy().astype(np.float32)
    image[5:9, 7] = np.nan
    image[50, 50] = np.inf
    result = denoise(image, config=config())
    assert np.array_equal(np.isfinite(result), np.isfinite(image))


def test_lazy_arrays_are_read_by_region(tmp_path: Path) -> None:
    image = np.stack([noisy(size=64, seed=s) for s in range(3)]).astype(np.float32)
    expected = denoise(image, axes="TYX", config=config())
    store = zarr.create_array(tmp_path / "a.zarr", shape=image.shape, chunks=(1, 40, 40),
                              dtype=image.dtype)  # fmt: skip
    store[:] = image
    np.save(tmp_path / "a.npy", image)
    for lazy in (
        store, da.from_array(image, chunks=(1, 50, 30)), np.load(tmp_path / "a.npy", mmap_mode="r"),
    ):  # fmt: skip
        assert np.array_equal(denoise(lazy, axes="TYX", config=config()), expected)


def test_images_of_different_size_train_one_model() -> None:
    sink = ArraySink()
    images = [noisy(size=96), noisy(size=64, seed=1)[:, :50]]
    finished = trained(images, sink)
    assert [sink.final[i].shape for i in (0, 1)] == [(96, 96), (64, 50)]
    assert len(finished.report["images"]) == 2


def test_a_network_for_each_channel() -> None:
    stack = np.stack([noisy("horizontal"), noisy("white", seed=1)])
    finished = trained(stack, axes="CYX", network_per_channel=True)
    assert [set(unit.networks) for unit in finished.model.units] == [
        {"stage1", "stage2"}, {"stage1"},
    ]  # fmt: skip
    together = trained(stack, axes="CYX")
    assert len(together.model.units) == 1
    assert finished.model.denoise(stack, axes="CYX").shape == stack.shape


def mask_file(folder: Path) -> dict[str, Any]:
    tifffile.imwrite(folder / "mask.tif", np.ones((1, 5), np.uint8) * 255)
    return {"mask_source": "file", "mask_file": str(folder / "mask.tif")}


@pytest.mark.parametrize(
    "structure",
    [
        lambda _: {"mask_source": "array", "mask": [[1, 1, 1, 1, 1]]},
        mask_file,
        lambda _: {"mask_source": "stage1"},
        lambda _: {"mask_source": "stage1", "extractor": "ring"},
        lambda _: {"extractor": "ring"},
    ],
)
def test_every_source_of_masks(structure: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    story = list(run(noisy(), config(structure=structure(tmp_path))))
    found = [e for e in story if isinstance(e, events.MaskFound)]
    last = story[-1]
    assert isinstance(last, events.Finished), last
    assert len(found) == 1
    if structure(tmp_path).get("mask_source") in ("array", "file"):
        assert found[0].mask.tolist() == [[1, 1, 1, 1, 1]]
        assert last.model.units[0].mask.tolist() == [[1, 1, 1, 1, 1]]


def test_a_mask_from_stage_1_leaves_the_strength_of_the_noise_alone() -> None:
    image = noisy().astype(np.uint16)
    structure = {"mask_source": "stage1", "extractor": "ring"}
    sink = ArraySink()
    finished = trained(image, sink, structure=structure)
    assert finished.model.units[0].sigma == pytest.approx(finished.report["noise_sigma"])
    assert sink.final[0].dtype == np.uint16


def test_stages_can_be_left_out() -> None:
    assert trained(noisy(), run_stage2=False).model.stages == ("stage1",)
    finished = trained(noisy(), run_stage1=False)
    assert finished.model.stages == ("stage2",)
    assert finished.report["stages"][0]["steps"] == 8


def test_stage1_is_reused_from_a_model(tmp_path: Path) -> None:
    first = trained(noisy(), run_stage2=False)
    path = first.model.save(tmp_path / "first.asn2v")
    second = trained(noisy(seed=1), stage1_model=str(path))
    old, new = (m.units[0].network("stage1").state_dict() for m in (first.model, second.model))
    assert all(torch.equal(old[key], new[key]) for key in old)
    assert [stage["steps"] for stage in second.report["stages"]] == [8]  # all for Stage 2
    path = second.model.save(tmp_path / "second.asn2v")
    alone = trained(noisy(), stage1_model=str(path), run_stage2=False)
    assert alone.model.stages == ("stage1",)
    trained(noisy(), run_stage1=False).model.save(path)
    with pytest.raises(InputError, match="has no Stage 1"):
        trained(noisy(), stage1_model=str(path))


def test_budgets_become_steps() -> None:
    epochs = config(
        budget="2epochs", stage1={**TINY["stage1"], "patches_per_image": 10}, run_stage2=False
    )
    finished = consume(run(noisy(), epochs))
    assert finished.report["stages"][0]["steps"] == 2 * 3  # ceil(10 / 4) an epoch
    seconds = trained(noisy(), budget="1s")
    assert all(stage["steps"] >= 10 for stage in seconds.report["stages"])
    converged = trained(
        noisy("white"), budget="converged", training={"validate_every": 2, "patience": 2}
    )
    assert 4 <= converged.report["stages"][0]["steps"] < 2000


def test_presets_and_the_originals_dictionary_run() -> None:
    original = Config.from_autostructn2v(
        {"num_epochs": 1, "device": "cpu", "stage1": {"patches_per_image": 4, "features": 4},
         "stage2": {"patches_per_image": 2, "features": 4}}
    )  # fmt: skip
    sink = ArraySink()
    finished = consume(run(noisy(), original, sink=sink))
    assert finished.report["stages"][0]["steps"] == 1
    assert sink.final[0].shape == (128, 128)


def test_tensorboard_logs(tmp_path: Path) -> None:
    trained(noisy(), tensorboard=str(tmp_path))
    logs = [path.parent.parent.name for path in tmp_path.rglob("events.*")]
    assert sorted(logs) == ["stage1", "stage2"]


def test_apply_refuses_more_channels_than_were_trained() -> None:
    model = trained(noisy()).model
    with pytest.raises(InputError, match="2 channels, the model was trained on 1"):
        model.denoise(np.stack([noisy(), noisy()]), axes="CYX")


def test_apply_can_be_stopped_between_tiles() -> None:
    model, stop, sink = trained(noisy()).model, threading.Event(), ArraySink()
    story: list[events.Event] = []
    for event in apply(model, noisy(size=200), sink=sink, device="cpu", tile=32, stop=stop):
        story.append(event)
        if isinstance(event, events.TileDone):
            stop.set()
    assert names(story).count("TileDone") == 1
    assert isinstance(story[-1], events.Finished)
    assert story[-1].stopped


def test_result_types() -> None:
    counts = as_source(np.zeros((4, 4), np.uint16))
    assert result_dtype("auto", counts, 10.0) == np.uint16
    assert result_dtype("auto", counts, 1.5) == np.float32  # rounding would undo the denoising
    assert result_dtype("same", counts, 1.5) == np.uint16
    assert result_dtype("float32", counts, 99.0) == np.float32
    assert result_dtype("auto", as_source(np.zeros((4, 4))), 9.0) == np.float32


def test_an_unavailable_device_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    failed = list(run(noisy(), config(device="cuda")))[-1]
    assert isinstance(failed, events.Failed)
    assert "not available" in failed.message


def test_progress_is_throttled(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 1e6, 0.004))  # a step every 4 ms
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    story = list(run(noisy("white"), config(budget="200steps", training={"validate_every": 1000})))
    assert 5 < names(story).count("Progress") < 60


@pytest.fixture(autouse=True)
def _threads_are_put_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


def test_model_of_a_stopped_run_is_complete(tmp_path: Path) -> None:
    stop = threading.Event()
    story: list[events.Event] = []
    for event in run(noisy(), config(budget="400steps"), stop=stop):
        story.append(event)
        if isinstance(event, events.Progress) and event.stage == "stage2":
            stop.set()
    last = story[-1]
    assert isinstance(last, events.Finished)
    assert last.model.stages == ("stage1", "stage2")
    loaded = Model.load(last.model.save(tmp_path / "m.asn2v"))
    assert np.array_equal(loaded.denoise(noisy()), last.model.denoise(noisy()))
    assert consume(iter(story)).stopped


def test_a_stage_that_was_not_trained_cannot_be_the_result() -> None:
    sink = ArraySink()
    white = np.random.default_rng(0).normal(100, 5, (64, 64)).astype("f4")
    told = list(run(white, config(budget="4steps", result="stage2"), sink=sink))
    last = told[-1]
    assert isinstance(last, events.Finished)
    assert last.report["result"] == "stage1"
    said = [event.message for event in told if isinstance(event, events.Warning)]
    assert any("Stage 2 was not trained" in message for message in said)
    assert np.isfinite(sink.final[0]).all()


def test_what_a_run_warns_of_is_warned_of_in_python() -> None:
    def stream() -> Iterator[events.Event]:
        yield events.Warning("The mask is too narrow.")
        yield events.Finished(Model(Config(), Normalisation((0.0,), (1.0,)), ()), False)

    with pytest.warns(DenoisingWarning, match="too narrow"):
        consume(stream())


@pytest.mark.parametrize("name", ["x" * 10_000, "caf\udce9"], ids=["long", "not UTF-8"])
def test_whatever_an_image_is_called_its_model_can_be_kept(tmp_path: Path, name: str) -> None:
    model = trained(as_source(noisy(size=64), name=name), budget="2steps").model
    kept = Model.load(model.save(tmp_path / "m.asn2v"))
    assert kept.provenance["sources"] == [name[:255]]
