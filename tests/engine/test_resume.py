"""A run that goes on from a model: what is continued, what is kept, what begins anew."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config, StageName
from napari_autostructn2v.engine.denoising import Model, consume
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.engine.training import trainer

LINE = {"mask_source": "array", "mask": [[1, 1, 1, 1, 1]]}
STAGE = {
    "network": {"features": 4, "depth": 1}, "patch_size": 32, "batch_size": 4,
    "learning_rate": 1e-9,  # what is continued stays as good as it was
}  # fmt: skip
IMAGE = sample("nuclei", "horizontal", size=64, psnr=18.0).noisy


def trained(image: Any = IMAGE, start: Model | None = None, **more: Any) -> Model:
    values = {"budget": "8steps", "stage1": STAGE, "stage2": STAGE, "structure": LINE} | more
    stream = run(image, Config.parse({**values, "device": "cpu"}), start=start)
    return consume(stream).model


def weights(model: Model, stage: StageName, unit: int = 0) -> torch.Tensor:
    return torch.cat([p.detach().ravel() for p in model.units[unit].networks[stage].parameters()])


def same(one: Model, other: Model, stage: StageName, unit: int = 0) -> bool:
    return torch.allclose(weights(one, stage, unit), weights(other, stage, unit), atol=1e-6)


@pytest.fixture(scope="module")
def start() -> Model:
    return told_apart(trained(seed=5))


def told_apart(model: Model) -> Model:
    """Give each network weights that no other has."""
    for unit in model.units:
        for network in unit.networks.values():
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
    return model


def steps(model: Model) -> dict[str, int]:
    return {record["name"]: record["steps"] for record in model.provenance["stages"]}


def test_both_stages_continue_and_their_steps_add_up(start: Model) -> None:
    before = {stage: weights(start, stage).clone() for stage in start.stages}
    further = trained(start=start, budget="40steps")
    assert same(start, further, "stage1")
    assert same(start, further, "stage2")
    assert steps(further) == {"stage1": 2 + 10, "stage2": 6 + 30}
    assert further.provenance["seconds"] > start.provenance["seconds"]
    for old, new in zip(start.provenance["stages"], further.provenance["stages"], strict=True):
        assert new["seconds"] > old["seconds"]
    for stage, old in before.items():  # and the start is as it was
        assert torch.equal(weights(start, stage), old)


def test_continuing_learns_and_meets_other_patches(
    start: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, continued = [], []
    original = trainer.train

    def spy(task: Any, length: Any, generator: torch.Generator, *rest: Any) -> Any:
        seeds.append(generator.initial_seed())
        continued.append(task.continued)
        return original(task, length, generator, *rest)

    monkeypatch.setattr(trainer, "train", spy)
    fast = STAGE | {"learning_rate": 1e-3}
    further = trained(start=start, stage1=fast, stage2=fast)
    assert not same(start, further, "stage1")
    assert len(set(seeds)) == 2
    trained()
    assert len(set(seeds)) == 4
    assert continued == [True, True, False, False]


@pytest.mark.parametrize(
    ("more", "continued"),
    [
        ({"structure": LINE | {"mask": [[1, 1, 1]]}}, {"stage1": True, "stage2": False}),
        ({"stage2": STAGE | {"network": {"features": 4}}}, {"stage1": True, "stage2": False}),
        ({"stage1": STAGE | {"network": {"features": 5, "depth": 1}}},
         {"stage1": False, "stage2": True}),
    ],
)  # fmt: skip
def test_another_mask_or_network_begins_anew(
    start: Model, more: dict[str, Any], continued: dict[StageName, bool]
) -> None:
    further = trained(start=start, **more)
    for stage, expected in continued.items():
        shape = weights(start, stage).shape == weights(further, stage).shape
        assert (shape and same(start, further, stage)) == expected
    assert steps(further) == {
        stage: {"stage1": 2, "stage2": 6}[stage] * (1 + expected)
        for stage, expected in continued.items()
    }


@pytest.mark.parametrize(("threshold", "kept"), [(0.05, True), (0.2, False)])
def test_an_automatic_mask_is_kept_unless_it_is_to_be_found_otherwise(
    start: Model, threshold: float, kept: bool
) -> None:
    """It may be wider than the one measured: a leak was found, or other images counted too."""
    automatic = replace(start, config=Config.parse({"structure": {"leak_threshold": 0.05}}))
    further = trained(start=automatic, structure={"leak_threshold": threshold}, run_stage1=False)
    assert (further.units[0].mask.tolist() == LINE["mask"]) == kept
    assert same(start, further, "stage2") == kept
    assert further.config.structure.mask_source == "raw", "so that a leak is repaired again"


def test_a_stage_that_is_not_trained_is_kept(start: Model, tmp_path: Path) -> None:
    other = STAGE | {"network": {"features": 8}}  # of no consequence for what is kept
    mask = {"mask_source": "array", "mask": [[1, 1, 1]]}
    further = trained(start=start, run_stage1=False, stage1=other, structure=mask)
    assert torch.equal(weights(start, "stage1"), weights(further, "stage1"))
    assert steps(further) == {"stage1": 2, "stage2": 8}
    assert further.units[0].mask.shape == (1, 3)
    loaded = Model.load(further.save(tmp_path / "m.asn2v"))
    assert np.array_equal(loaded.denoise(IMAGE), further.denoise(IMAGE))

    first = trained(start=start, run_stage2=False, structure=mask)
    assert torch.equal(weights(start, "stage2"), weights(first, "stage2"))
    assert first.units[0].mask.shape == (1, 5)  # what the Stage 2 that is kept was trained with


def test_a_mask_of_one_pixel_leaves_stage_1_alone(start: Model) -> None:
    further = trained(
        start=start, run_stage1=False, structure={"mask_source": "array", "mask": [[1]]}
    )
    assert further.stages == ("stage1",)
    assert steps(further) == {"stage1": 2}


def test_a_mask_can_come_from_a_stage_1_that_is_kept(start: Model) -> None:
    structure = {"mask_source": "stage1", "extractor": "ring"}
    assert "stage1" in trained(start=start, run_stage1=False, structure=structure).stages
    with pytest.raises(InputError, match="there is no Stage 1"):
        trained(run_stage1=False, structure=structure)


def test_the_grey_values_of_the_start_stay_its_scale(start: Model) -> None:
    assert trained(IMAGE * 1.5 + 7, start).normalisation == start.normalisation
    with pytest.raises(InputError, match="2 channels, the model was trained on 1"):
        trained(np.stack([IMAGE, IMAGE]), start, axes="CYX")


def test_a_stop_while_stage_1_continues_keeps_stage_2(start: Model) -> None:
    stop = threading.Event()
    values = {"budget": "400steps", "stage1": STAGE, "stage2": STAGE, "structure": LINE}
    for event in run(IMAGE, Config.parse(values | {"device": "cpu"}), stop=stop, start=start):
        if isinstance(event, events.Progress):
            stop.set()
    assert isinstance(event, events.Finished)
    assert event.stopped
    assert event.model.stages == ("stage1", "stage2")
    assert same(start, event.model, "stage2")


def test_a_stopped_stage_1_is_continued_and_stage_2_follows() -> None:
    first = trained(run_stage2=False, budget="3steps")
    assert steps(trained(start=first)) == {"stage1": 3 + 2, "stage2": 6}


def test_each_channel_goes_on_from_its_own_network() -> None:
    stack = np.stack([IMAGE, IMAGE.T])
    own = {"axes": "CYX", "network_per_channel": True}
    start = told_apart(trained(stack, **own))
    further = trained(stack, start, **own)
    for unit in (0, 1):
        assert same(start, further, "stage2", unit)
    assert [r["steps"] for r in further.provenance["stages"]] == [2, 6, 2, 6]

    stop = threading.Event()
    config = Config.parse({"budget": "99steps", "stage1": STAGE, "stage2": STAGE,
                           "structure": LINE, "device": "cpu", **own})  # fmt: skip
    for event in run(stack, config, stop=stop, start=start):
        if isinstance(event, events.Progress):
            stop.set()
    assert isinstance(event, events.Finished)
    assert same(start, event.model, "stage2", 1)  # a channel that was not reached is not lost


def test_a_model_of_some_channels_is_not_applied_to_others() -> None:
    stack, stop = np.stack([IMAGE, IMAGE.T]), threading.Event()
    values = {"budget": "99steps", "stage1": STAGE, "stage2": STAGE, "device": "cpu"}
    config = Config.parse(values | {"axes": "CYX", "network_per_channel": True})
    for event in run(stack, config, stop=stop):
        if isinstance(event, events.Progress):
            stop.set()
    assert isinstance(event, events.Finished)
    with pytest.raises(InputError, match="no network for channel 1"):
        event.model.denoise(stack, axes="CYX")


def test_a_channel_keeps_its_network_when_an_earlier_one_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = np.stack([IMAGE, IMAGE.T])
    own = {"axes": "CYX", "network_per_channel": True, "run_stage1": False}
    start = told_apart(trained(stack, **own))
    other = {"stage2": STAGE, "device": "cpu", "structure": LINE | {"mask": [[1, 1, 1]]}}

    def fails(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(trainer, "train", fails)  # the first channel's, for the other mask
    *_, last = run(stack, Config.parse(other | own), start=start)
    assert isinstance(last, events.Failed)
    assert last.model is not None
    for model in (last.model, Model.load(last.model.save(tmp_path / "m.asn2v"))):
        assert model.unit(1) is model.units[0]
        assert torch.allclose(weights(model, "stage2", 0), weights(start, "stage2", 1))
        with pytest.raises(InputError, match="no network for channel 0"):
            model.denoise(stack, axes="CYX")
