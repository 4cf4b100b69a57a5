"""Models of older formats open: format 1 is written here as version 0.1.0 did, byte by byte."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_autostructn2v import Model
from napari_autostructn2v.engine.errors import InputError

# Weights of a U-Net of 4 features, halved once: name, shape.
LAYERS = {
    "encoder.0.0": (4, 1, 3, 3), "encoder.0.2": (4, 4, 3, 3),
    "encoder.1.0": (8, 4, 3, 3), "encoder.1.2": (8, 8, 3, 3),
    "decoder.0.0": (4, 12, 3, 3), "decoder.0.2": (4, 4, 3, 3),
    "head": (1, 4, 1, 1),
}  # fmt: skip
NETWORK = {
    "features": 4, "depth": 1, "batch_norm": False, "blur_pool": False, "top_skip": True,
    "residual": False, "gradient_checkpointing": False,
}  # fmt: skip


def safetensors(arrays: dict[str, tuple[str, np.ndarray]]) -> bytes:
    """Lengths, a JSON header, the bytes: see the format's description."""
    header, data = {}, b""
    for name, (kind, array) in arrays.items():
        end = len(data) + array.nbytes
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def format_1(path: Path, stages: list[str], channels: int, **about: Any) -> Path:
    """A model whose networks give 0 but for the bias of the head, which is 0.5."""
    weights: dict[str, tuple[str, np.ndarray]] = {}
    arrays: dict[str, tuple[str, np.ndarray]] = {}
    for unit in range(channels):
        for stage in stages:
            for name, shape in LAYERS.items():
                bias = np.full(shape[0], 0.5 if name == "head" else 0, "<f4")
                weights[f"{unit}.{stage}.{name}.weight"] = ("F32", np.zeros(shape, "<f4"))
                weights[f"{unit}.{stage}.{name}.bias"] = ("F32", bias)
        arrays[f"{unit}.mask"] = ("U8", np.ones((1, 3), "u1"))
        arrays[f"{unit}.autocorrelation"] = ("F32", np.eye(3, dtype="<f4"))
    described = {
        "format": 1,
        "mean": [100.0] * channels,
        "std": [20.0] * channels,
        "units": [{"verdict": "along x", "sigma": 3.5} for _ in range(channels)],
        "provenance": {"stages": [{"name": s, "steps": 7, "seconds": 1.5} for s in stages]},
        **about,
    }
    config = {
        "budget": "60s",
        "stage1": {"network": NETWORK, "patch_size": 16},
        "stage2": {"network": NETWORK, "patch_size": 16, "mask_percentage": 15.0},
        "network_per_channel": channels > 1,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", json.dumps(described))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("weights.safetensors", safetensors(weights))
        archive.writestr("arrays.safetensors", safetensors(arrays))
    return path


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("stages", [["stage1"], ["stage2"], ["stage1", "stage2"]])
def test_a_model_of_format_1_denoises_and_is_saved_anew(
    tmp_path: Path, stages: list[str], channels: int
) -> None:
    old = Model.load(format_1(tmp_path / "old.asn2v", stages, channels))
    assert list(old.stages) == stages
    shape, axes = ((20, 24), "YX") if channels == 1 else ((channels, 20, 24), "CYX")
    image = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    expected = np.full(shape, 100 + 0.5 * 20, np.float32)
    for model in (old, Model.load(old.save(tmp_path / "new.asn2v"))):
        np.testing.assert_allclose(model.denoise(image, axes=axes, device="cpu"), expected)
    with zipfile.ZipFile(tmp_path / "new.asn2v") as archive:
        about = json.loads(archive.read("model.json"))
    assert about["format"] == 2
    assert [list(unit["networks"]) for unit in about["units"]] == [stages] * channels
    assert about["units"][0]["networks"][stages[0]] == {"kind": "unet", **NETWORK}


def test_a_model_of_a_newer_format_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = format_1(tmp_path / "m.asn2v", ["stage1"], 1, format=3)
    with pytest.raises(InputError, match=r"has format 3, newer than this version reads \(2\)"):
        Model.load(path)
