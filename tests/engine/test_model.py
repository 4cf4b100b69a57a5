"""A model is what was trained, before it was saved and after."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine.config import Config, StageName
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet

CONFIG = Config.parse(
    {
        "network_per_channel": True,
        "stage1": {"network": {"features": 4}},
        "stage2": {"network": {"features": 4, "depth": 3}},
    }
)


def network(stage: StageName) -> UNet:
    return UNet(CONFIG.stage(stage).network).to(memory_format=torch.channels_last).eval()


def model() -> Model:
    torch.manual_seed(0)
    units = [
        ChannelModel(
            networks={stage: network(stage) for stage in stages},
            mask=np.ones((1, width), np.uint8),
            rho=np.eye(5),
            sigma=3.5,
            verdict="along x",
            channel=channel,
        )
        for channel, (stages, width) in enumerate(((("stage1", "stage2"), 3), (("stage1",), 5)))
    ]
    return Model(CONFIG, Normalisation((100.0, 7.0), (20.0, 0.5)), tuple(units), {"seed": 4})


def test_round_trip(tmp_path: Path) -> None:
    made = model()
    loaded = Model.load(made.save(tmp_path / "deep" / "m.asn2v"))
    assert loaded.config == made.config
    assert loaded.normalisation == made.normalisation
    assert loaded.provenance == {"seed": 4}
    assert loaded.stages == ("stage1", "stage2")
    for old, new in zip(made.units, loaded.units, strict=True):
        assert (new.sigma, new.verdict) == (old.sigma, old.verdict)
        assert np.array_equal(new.mask, old.mask)
        assert np.array_equal(new.rho, old.rho)
        assert set(new.networks) == set(old.networks)
        for stage, network in old.networks.items():
            state = new.networks[stage].state_dict()
            assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    image = np.random.default_rng(0).normal(100, 20, (2, 30, 41)).astype(np.float32)
    assert np.array_equal(loaded.denoise(image, axes="CYX"), made.denoise(image, axes="CYX"))


def test_a_channel_without_stage_2_is_given_its_stage_1() -> None:
    made = model()
    assert made.unit(1).network("stage2") is made.units[1].networks["stage1"]
    assert made.unit(0).network("stage1") is made.units[0].networks["stage1"]


def test_info_is_plain() -> None:
    info = json.loads(json.dumps(model().info()))
    assert info["stages"] == ["stage1", "stage2"]
    assert [unit["mask_shape"] for unit in info["units"]] == [[1, 3], [1, 5]]
    assert info["parameters"]["stage2"] > info["parameters"]["stage1"] > 1000


def test_no_clock_keeps_a_model_from_being_saved(tmp_path: Path, monkeypatch: Any) -> None:
    made = model()
    now = made.save(tmp_path / "now.asn2v")
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(0))
    then = made.save(tmp_path / "then.asn2v")
    assert then.read_bytes() == now.read_bytes()


def test_nothing_is_left_where_saving_fails(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        model().save(blocked / "m.asn2v")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
