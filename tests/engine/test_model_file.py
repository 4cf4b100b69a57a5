"""What is no model file, or one that could do harm, is refused in one sentence, unread."""

from __future__ import annotations

import json
import math
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.noise.periodic import Wave

Json = dict[str, Any]
Change = Callable[[Json], object]
SMALL = {"network": {"features": 4, "depth": 1, "batch_norm": True}}
PROVENANCE = {
    "sources": ["a \udcff"],  # of a file whose name is not UTF-8
    "stages": [{"name": "stage1", "steps": 2, "seconds": 0.5, "loss": math.nan}],
    "seconds": 0.5,
}


def model(**changes: Any) -> Model:
    torch.manual_seed(0)
    config = Config.parse({"stage1": SMALL, "stage2": SMALL})
    networks = {stage: UNet(settings.network) for stage, settings in config.stages.items()}
    unit = ChannelModel(networks, np.ones((1, 3), np.uint8), np.eye(5), 3.5, "along x", "stage1")
    values = {"provenance": PROVENANCE, "waves": (Wave(math.inf, 8.0, "rows", -1),)} | changes
    return Model(config, Normalisation((100.0,), (20.0,)), (unit,), **values)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = model().save(tmp_path_factory.mktemp("model") / "m.asn2v")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refuse(path: Path, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        Model.load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_what_a_run_goes_on_from_comes_back(tmp_path: Path) -> None:
    loaded = Model.load(model().save(tmp_path / "m.asn2v"))
    assert loaded.waves == model().waves
    assert loaded.provenance["sources"] == PROVENANCE["sources"]
    assert loaded.best == "stage1"


def test_a_file_of_the_first_version_is_read(tmp_path: Path, members: dict[str, bytes]) -> None:
    about = json.loads(members["model.json"])
    for key in ("recommended", "channel"):
        del about["units"][0][key]
    del about["waves"]
    loaded = Model.load(
        packed(tmp_path / "m", members | {"model.json": json.dumps(about).encode()})
    )
    assert loaded.units[0].channel is None
    assert loaded.best == "stage2"


def test_what_is_no_archive_is_refused(tmp_path: Path, members: dict[str, bytes]) -> None:
    content = packed(tmp_path / "whole", members).read_bytes()
    path = tmp_path / "m.asn2v"
    flipped = bytes(byte ^ 0x5A if 100 < i < 300 else byte for i, byte in enumerate(content))
    for bad in (b"", b"hello", content[: len(content) // 2], content[50:], flipped):
        path.write_bytes(bad)
        refuse(path, "is not a model file or is damaged")
    refuse(tmp_path / "none", "does not exist")
    refuse(tmp_path, "is a folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refuse(tmp_path / "pipe", "is a pipe")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_no_model_is(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = tmp_path / "m.asn2v"
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refuse(packed(path, members, how), "packed in a way that models are not")
    refuse(packed(path, members | {"more": b""}), "and nothing else")
    refuse(packed(path, {n: c for n, c in members.items() if n != "config.json"}), "nothing else")
    with zipfile.ZipFile(packed(path, members), "a") as archive:
        archive.writestr("config.json", members["config.json"])
    refuse(path, "and nothing else")
    refuse(packed(path, dict.fromkeys(map(str, range(30_000)), b"")), "it has too many parts")
    content = bytearray(packed(path, members).read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refuse(path, "packed in a way that models are not")


def forged(size: int, header: Json) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", b" " * 2**24 + b"{}", "config.json has 16 MiB, of 16 at most"),
        ("model.json", b"[" * 100_000, "recursion"),
        ("model.json", b"[]", "valid dictionary"),
        ("model.json", b'{"format": 99}', "format 99, newer"),
        ("model.json", b'{"format": 1' + b"0" * 5000 + b"}", "integer"),
        ("config.json", b'{"seed": -1}', "seed"),
        ("config.json", b"\xff", "utf-8"),
        ("config.json", json.dumps(dict.fromkeys(map(str, range(9000)), 0)).encode(), "too many"),
        ("weights.safetensors", b"", "damaged"),
        ("weights.safetensors", b"\xff" * 100, "header of"),
        ("weights.safetensors", bytes(65 * 2**20), "unpacks to 68157440 bytes"),
        ("weights.safetensors", forged(0, {}), "not those of 1 units"),
        ("weights.safetensors", forged(0, {"a": 1}), "damaged"),
        ("weights.safetensors", forged(0, {"a": {"dtype": "F32", "shape": [-1]}}), "size"),
        ("weights.safetensors", forged(0, {"a": {"dtype": "F8", "shape": [1]}}), "F8"),
        ("arrays.safetensors", forged(4, {"0.mask": {"dtype": "F32", "shape": [1]}}), "arrays"),
    ],
)
def test_members_that_no_model_has(
    tmp_path: Path, members: dict[str, bytes], name: str, content: bytes, reason: str
) -> None:
    refuse(packed(tmp_path / "m.asn2v", members | {name: content}), reason)


def within(*keys: str | int, **values: Any) -> Change:
    """Change values of the object that lies under `keys`."""

    def change(root: Any) -> None:
        for key in keys:
            root = root[key]
        root.update(values)

    return change


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


@pytest.mark.parametrize(
    "change",
    [
        *(within(std=[value]) for value in (math.nan, math.inf, 0.0, -1.0, 1e-300, 1e300, "1")),
        *(within(mean=[value]) for value in (math.nan, -math.inf, 1e300, "a", None, True, [1.0])),
        *(within(mean=value) for value in ([], [1.0, 2.0], 5, None)),
        *(within(std=value) for value in ([], [1.0, 2.0], {"0": 1.0})),
        *(within("units", 0, sigma=value) for value in (-1.0, math.nan, "3", None)),
        *(within("units", 0, verdict=value) for value in (5, None, "x" * 5000)),
        *(within("units", 0, recommended=value) for value in ("stage3", 1, [])),
        *(within("units", 0, channel=value) for value in (-1, 1, "0", 1.5)),
        *(within(units=value) for value in ([], {}, [1], None)),
        within(units=[{"verdict": "", "sigma": 0.0}] * 2),
        *(
            within(waves=[value])
            for value in ([0.1, 0.2, None, None], [], [-1.0, 8.0, "", 1], [1.0, 8.0, "", 2], 5)
        ),
        within(waves=[None, None]),
        within(waves=[[math.nan, 8.0, "", 1]]),
        *(within(provenance=value) for value in (5, [], None, {"deep": nested(9)})),
        *(within(provenance={"stages": value}) for value in (5, [5], [{"name": "stage1"}])),
        within("provenance", "stages", 0, steps=-1),
        within("provenance", "stages", 0, steps=10**30),
        within("provenance", "stages", 0, seconds=math.inf),
        within("provenance", "stages", 0, name="x"),
        *(within(provenance={"sources": value}) for value in ("a", [1], ["x" * 5000])),
        *(within(provenance={"seconds": value}) for value in ("a", -1, math.nan)),
        within(provenance={"note": {"x" * 5000: 1}}),
        *(within(format=value) for value in (0, -1, 1.5, "1", None, True)),
    ],
)
def test_values_that_no_model_has(
    tmp_path: Path, members: dict[str, bytes], change: Change
) -> None:
    about = json.loads(members["model.json"])
    change(about)
    changed = members | {"model.json": json.dumps(about).encode()}
    refuse(packed(tmp_path / "m.asn2v", changed), "is not a model file or is damaged")


@pytest.mark.parametrize(
    "network", [{"features": 8}, {"depth": 2}, {"batch_norm": False}, {"top_skip": False}]
)
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_another_network_than_the_weights_are_of(
    tmp_path: Path, members: dict[str, bytes], stage: str, network: Json
) -> None:
    about = json.loads(members["model.json"])
    about["units"][0]["networks"][stage] |= network
    changed = members | {"model.json": json.dumps(about).encode()}
    refuse(packed(tmp_path / "m.asn2v", changed), "not of the network that the file describes")


@pytest.mark.parametrize(
    ("member", "name", "value"),
    [
        ("weights", "0.stage1.head.bias", [math.nan]),
        ("weights", "0.stage2.head.bias", [math.inf]),
        ("weights", "0.stage1.encoder.0.1.running_var", [1, 1, 1, -1]),
        ("weights", "0.stage1.head.bias", np.zeros(1, np.float16)),
        ("weights", "0.stage1.more", [1]),
        ("weights", "1.stage1.head.bias", [1]),
        ("weights", "0.stage3.head.bias", [1]),
        ("weights", "head", [1]),
        ("arrays", "0.mask", np.ones((2, 3), np.uint8)),
        ("arrays", "0.mask", np.zeros((1, 3), np.uint8)),
        ("arrays", "0.mask", np.ones((1, 2049), np.uint8)),
        ("arrays", "0.mask", np.ones(3, np.uint8)),
        ("arrays", "0.mask", np.ones((1, 3), np.float32)),
        ("arrays", "1.mask", np.ones((1, 3), np.uint8)),
        ("arrays", "0.autocorrelation", np.ones((3, 4), np.float32)),
        ("arrays", "0.autocorrelation", np.full((3, 3), math.nan, np.float32)),
        ("arrays", "0.autocorrelation", np.ones((1, 2049), np.float32)),
        ("arrays", "0.autocorrelation", np.ones((1, 1, 1), np.float32)),
    ],
)
def test_arrays_that_no_model_has(
    tmp_path: Path, members: dict[str, bytes], member: str, name: str, value: Any
) -> None:
    values = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
    file = f"{member}.safetensors"
    arrays = safetensors.numpy.load(members[file]) | {name: values}
    refuse(packed(tmp_path / "m", members | {file: safetensors.numpy.save(arrays)}), "damaged")


def test_a_network_is_not_built_before_its_weights_are_there(
    tmp_path: Path, members: dict[str, bytes]
) -> None:
    about = json.loads(members["model.json"])
    for stage in ("stage1", "stage2"):
        about["units"][0]["networks"][stage] |= {"features": 256, "depth": 5}  # 2 G weights
    header = {"0.stage1.head.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}
    path = tmp_path / "m.asn2v"
    changed = members | {"model.json": json.dumps(about).encode()}
    for weights in (members["weights.safetensors"], forged(4, header)):
        packed(path, changed | {"weights.safetensors": weights})
        refuse(path, "not of the network|not the size")


def test_no_more_is_unpacked_than_is_declared(tmp_path: Path, members: dict[str, bytes]) -> None:
    others = {name: content for name, content in members.items() if name != "config.json"}
    path = packed(tmp_path / "m.asn2v", {"config.json": b" " * 2**26} | others)
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # the directory; the member
        where = content.index(mark) + offset
        content[where : where + 4] = struct.pack("<L", 3000)
    path.write_bytes(content)
    tracemalloc.start()
    refuse(path, "damaged")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": {"note": "x" * 5000}},
        {"provenance": {"seconds": math.nan}},
        {"waves": (None, None)},
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, changes: Any) -> None:
    with pytest.raises(InputError, match="cannot be saved"):
        model(**changes).save(tmp_path / "m.asn2v")
    assert not list(tmp_path.iterdir())
