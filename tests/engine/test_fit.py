"""A model and an image that do not suit each other: what is told, and what is no reason to."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.batch import BatchItem, FileDone, denoise_files
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.files import write_tiff
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.denoising import Model, apply
from napari_autostructn2v.engine.inference.fit import misfit
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.synthetic import sample

CONFIG = Config.parse(
    {"budget": "2steps", "run_stage2": False, "device": "cpu",
     "stage1": {"network": {"features": 4, "depth": 1}, "patch_size": 32}}
)  # fmt: skip
OFFSET = 100.0
SCENES = "nuclei", "filaments", "vesicles"


def camera(scene: str = "nuclei", exposure: float = 1.0, seed: int = 0) -> np.ndarray:
    """What one camera sees: an offset, and photons with their noise."""
    clean = sample(scene, "white", size=128).clean
    photons = exposure * 400 * (clean - clean.min()) / np.ptp(clean)
    rng = np.random.default_rng(seed)
    return OFFSET + rng.poisson(photons) + rng.normal(0, 3, photons.shape)


def model_of(image: np.ndarray) -> Model:
    """As a training on the image would leave it; its network has learned nothing."""
    torch.manual_seed(0)  # of some random weights the result lies below 0
    units = ChannelModel(
        {"stage1": UNet(CONFIG.stage1.network).eval()}, sigma=measure([image], 10).sigma
    )
    known = Normalisation((float(image.mean()),), (float(image.std()),))
    return Model(CONFIG, known, (units,))


def test_no_alarm_for_the_images_trained_on() -> None:
    for scene in SCENES:
        image = camera(scene)
        assert misfit(model_of(image), as_source(image)) is None


@pytest.mark.parametrize("exposure", [1 / 3, 1 / 2, 2, 3])
@pytest.mark.parametrize(("trained", "applied"), list(itertools.product(SCENES, SCENES)))
def test_other_exposures_and_scenes_of_one_camera_raise_no_alarm(
    trained: str, applied: str, exposure: float
) -> None:
    model = model_of(camera(trained))
    assert misfit(model, as_source(camera(applied, exposure, seed=1))) is None


@pytest.mark.parametrize(
    ("gain", "offset", "dtype"),
    [
        (1 / 65535, 0.0, np.float32),
        (1 / 255, 0.0, np.float32),
        (1 / 255, -0.4, np.float64),
        (0.05, 0.0, np.uint8),
        (16, 0.0, np.uint16),
        (257, 0.0, np.uint32),
        (1.0, 1e4, np.uint16),
        (1.0, -1e4, np.int32),
        (10.0, 3e4, np.float32),
    ],
)
def test_another_scale_or_offset_is_told(gain: float, offset: float, dtype: Any) -> None:
    image = camera()
    other = (camera(seed=1) * gain + offset).astype(dtype)
    said = misfit(model_of(image), as_source(other, name="b"))
    assert said is not None
    assert " of b (" in said
    assert misfit(model_of(other.astype(float)), as_source(image)) is not None


@pytest.mark.parametrize("value", [np.nan, 0.0, 700.0])
def test_an_image_without_noise_is_no_misfit_by_its_noise(value: float) -> None:
    image = camera()
    assert misfit(model_of(image), as_source(np.full((64, 64), value, np.float32))) is None


def test_the_channel_that_does_not_fit_is_named() -> None:
    one = camera()
    known = Normalisation((float(one.mean()),) * 2, (float(one.std()),) * 2)
    model = Model(CONFIG, known, model_of(one).units)
    said = misfit(model, as_source(np.stack([one, one / 1000]), "CYX"))
    assert said is not None
    assert ", channel 1 (" in said


def warnings(stream: Any) -> list[str]:
    return [event.message for event in stream if isinstance(event, events.Warning)]


FOREIGN = np.random.default_rng(0).poisson(5, (64, 64)).astype(np.uint8)


def test_applying_and_going_on_both_tell_before_anything_is_computed() -> None:
    model = model_of(np.random.default_rng(1).normal(1000, 10, (64, 64)))
    for stream in (
        apply(model, FOREIGN, sink=ArraySink(), device="cpu"),
        run(FOREIGN, CONFIG, start=model, sink=ArraySink()),
    ):
        story = list(stream)
        assert isinstance(story[1], events.Warning)
        assert "(median 5) are far from those the model was trained on (989.9 to 1010)" in (
            story[1].message
        )
    fitting = model_of(np.random.default_rng(1).poisson(5, (64, 64)).astype(float))
    assert not warnings(apply(fitting, FOREIGN, sink=ArraySink(), device="cpu"))


@pytest.mark.parametrize(
    ("image", "dtype", "lost"),
    [
        (FOREIGN, "same", "100% of the result of image is above 255"),
        (FOREIGN, "uint16", None),
        (FOREIGN, "float32", None),
        (np.full((64, 64), 255, np.uint8), "same", None),  # it was so before
        (FOREIGN.astype(np.int16) + 900, "uint8", None),  # it was above 255 before
    ],
)
def test_what_the_type_of_a_result_cuts_off_is_told(
    image: np.ndarray, dtype: str, lost: str | None
) -> None:
    model = model_of(np.random.default_rng(1).normal(1000, 10, (64, 64)))
    said = [
        w for w in warnings(apply(model, image, sink=ArraySink(), dtype=dtype)) if "clipped" in w
    ]
    assert len(said) == (lost is not None)
    assert all(sentence.startswith(str(lost)) for sentence in said)


def test_a_batch_tells_it_of_each_file(tmp_path: Any) -> None:
    own = np.random.default_rng(1).normal(1000, 10, (64, 64)).astype(np.float32)
    items = [BatchItem(tmp_path / f"{name}.tif", tmp_path / "out" / f"{name}.tif") for name in "ab"]
    for item, image in zip(items, (own, FOREIGN), strict=True):
        write_tiff(item.image, image)
    told = [
        event
        for event in denoise_files(model_of(own), items, device="cpu")
        if isinstance(event, FileDone)
    ]
    assert [bool(event.warnings) for event in told] == [False, True]
