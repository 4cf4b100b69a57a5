"""The file of a model: all that it declares is checked before any of it is unpacked or built.

It may come from a stranger. What it declares is held against bounds and against each other, and
never is more read than was declared.
"""

from __future__ import annotations

import io
import json
import math
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from pydantic import ValidationError

from napari_autostructn2v.engine.config import LONGEST_SIDE, Config, NetworkOptions
from napari_autostructn2v.engine.data.files import beside
from napari_autostructn2v.engine.devices import is_out_of_memory
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.shapes import check_mask
from napari_autostructn2v.engine.model.schema import FORMAT, About
from napari_autostructn2v.engine.networks.registry import sketch
from napari_autostructn2v.engine.paths import regular_file
from napari_autostructn2v.engine.types import Array

_Layout = dict[str, tuple[str, tuple[Any, ...]]]
"""Type and shape of tensors by name, in safetensors' words."""

_MIB = 2**20
_LARGEST = {  # bytes of each member, unpacked
    "model.json": 16 * _MIB,
    "config.json": 16 * _MIB,  # 4 KiB, but a mask of LONGEST_SIDE x LONGEST_SIDE takes 12 MiB
    "weights.safetensors": 4096 * _MIB,
    "arrays.safetensors": 512 * _MIB,
}
_SMALL = 64 * _MIB  # bytes that may be packed as tightly as they like
_TIGHT = 8  # weights are noise to a packer: what packs more tightly holds none
_HEADER = 16 * _MIB  # bytes of a safetensors' header
_PIECE = _MIB  # bytes that are read from the disk at once; a table of contents is shorter
_QUOTES = 10_000  # in a config, which names some hundred things
_TYPES = {torch.float32: "F32", torch.int64: "I64"}
_BYTES = {"F32": 4, "I64": 8, "U8": 1}


@dataclass(frozen=True, eq=False)
class Contents:
    """What a model's file holds.

    Attributes
    ----------
    weights
        State of each network, by "UNIT.STAGE.NAME".
    arrays
        "UNIT.mask" (uint8) and "UNIT.autocorrelation" (float32), both of odd sides.
    """

    about: About
    config: Config
    weights: Mapping[str, torch.Tensor]
    arrays: Mapping[str, Array]


def write(
    path: Path,
    about: Mapping[str, Any],
    config: Config,
    weights: dict[str, torch.Tensor],
    arrays: dict[str, Array],
) -> None:
    """Write what `read` gives as `Contents`.

    Raises
    ------
    InputError
        If the path cannot be written, or `read` would refuse what is written.
    """
    try:
        described = About.model_validate({"format": FORMAT, **about})
        _check_values(Contents(described, config, weights, arrays))
        members = {
            # The standard library's JSON keeps names of files that are not UTF-8.
            "model.json": json.dumps(described.model_dump(), indent=1).encode(),
            "config.json": config.model_dump_json().encode(),
            "weights.safetensors": safetensors.torch.save(weights),
            "arrays.safetensors": safetensors.numpy.save(arrays),
        }
        for name, content in members.items():
            _check_size(name, len(content))
    except ValueError as error:
        raise InputError(f"the model cannot be saved: {_reason(error)}") from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)  # of 1980: zip knows no year before that
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    with beside(path) as part:
        part.write_bytes(buffer.getbuffer())


def read(path: str | Path) -> Contents:
    """Read a model's file.

    Raises
    ------
    InputError
        If it is missing, damaged, not a model, or written by a newer version.
    """
    path = regular_file(path, "model")
    try:
        with _Pieces(path) as file, zipfile.ZipFile(file) as archive:
            _check_members(archive, path.stat().st_size)
            values = json.loads(_unpack(archive, "model.json"))
            if isinstance(values, dict) and values.get("format") in range(FORMAT + 1, 1000):
                raise _Newer(
                    f"model {path} has format {values['format']}, newer than this version "
                    f"reads ({FORMAT}); update napari-autostructn2v"
                )
            about = About.model_validate(values)
            config = _config(_unpack(archive, "config.json"))
            about = _with_networks(archive, about, config)
            _check_layout(archive, about)
            weights = safetensors.torch.load(_unpack(archive, "weights.safetensors"))
            arrays = safetensors.numpy.load(_unpack(archive, "arrays.safetensors"))
        contents = Contents(about, config, weights, arrays)
        _check_values(contents)
        return contents
    except _Newer:
        raise
    except Exception as error:  # decoders raise what they please on damaged data
        if is_out_of_memory(error):
            raise InputError(f"model {path} does not fit into the memory that is free") from error
        raise InputError(f"{path} is not a model file or is damaged ({_reason(error)})") from error


class _Newer(InputError):
    """A file that this version can't know."""


class _Pieces(io.FileIO):
    """A file of which never much is read at once, whatever lengths it declares of its parts."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(_PIECE + 1 if size is None or size < 0 else min(size, _PIECE + 1))
        if len(data) > _PIECE:
            raise ValueError("it has too many parts")
        return data


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Look at the table of contents alone."""
    members = archive.infolist()
    if sorted(member.filename for member in members) != sorted(_LARGEST):
        raise ValueError(f"it does not hold {', '.join(_LARGEST)} and nothing else")
    if sum(member.compress_size for member in members) > size:
        raise ValueError("its parts are larger than the file")
    for member in members:
        if member.flag_bits & 1 or member.compress_type not in (
            zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
        ):  # fmt: skip
            raise ValueError(f"{member.filename} is packed in a way that models are not")
        _check_size(member.filename, member.file_size)
        if member.file_size > max(_SMALL, _TIGHT * member.compress_size):
            raise ValueError(f"{member.filename} unpacks to {member.file_size} bytes")


def _check_size(name: str, size: int) -> None:
    if size > _LARGEST[name]:
        raise ValueError(f"{name} has {size >> 20} MiB, of {_LARGEST[name] >> 20} at most")


def _unpack(archive: zipfile.ZipFile, name: str, size: int = sys.maxsize) -> bytes:
    """Give the first bytes of a member, or all; what was declared is the most it can be."""
    parts = []
    with archive.open(name) as member:
        while size > 0 and (part := member.read(min(size, _PIECE))):
            parts.append(part)
            size -= len(part)
    return b"".join(parts)


def _config(content: bytes) -> Config:
    if content.count(b'"') > _QUOTES:  # each unknown key would be an error of its own
        raise ValueError("config.json names too many things")
    return Config.model_validate(json.loads(content))


def _with_networks(archive: zipfile.ZipFile, about: About, config: Config) -> About:
    """Describe the networks of a file of format 1, which are those of its config."""
    if about.format > 1:
        return about
    owners = {tuple(name.split(".", 2)[:2]) for name in _declared(archive, "weights.safetensors")}
    units = [
        unit.model_copy(
            update={
                "networks": {
                    stage: settings.network
                    for stage, settings in config.stages.items()
                    if (str(index), stage) in owners
                }
            }
        )
        for index, unit in enumerate(about.units)
    ]
    return about.model_copy(update={"units": units})


def _check_layout(archive: zipfile.ZipFile, about: About) -> None:
    """Compare what the tensors are declared to be with the networks that are described."""
    units = [str(index) for index in range(len(about.units))]
    weights = _declared(archive, "weights.safetensors")
    if {name.partition(".")[0] for name in weights} != set(units):
        raise ValueError(f"its weights are not those of {len(units)} units")
    wanted = {
        f"{index}.{stage}.{name}": of
        for index, unit in enumerate(about.units)
        for stage, options in unit.networks.items()
        for name, of in _layout(options).items()
    }
    if weights != wanted:
        differing = next(n for n in [*weights, *wanted] if weights.get(n) != wanted.get(n))
        raise ValueError(f"{differing:.60} is not of the network that the file describes")
    arrays = _declared(archive, "arrays.safetensors")
    types = {"mask": "U8", "autocorrelation": "F32"}
    if {name: of for name, (of, _) in arrays.items()} != {
        f"{unit}.{name}": of for unit in units for name, of in types.items()
    }:
        raise ValueError(f"its arrays are not the masks and autocorrelations of {len(units)} units")
    for name, (_, shape) in arrays.items():
        _check_sides(name, shape)


def _declared(archive: zipfile.ZipFile, name: str) -> _Layout:
    """Read the header of a safetensors, which must fit the size of the whole."""
    length = int.from_bytes(_unpack(archive, name, 8), "little")
    if length > _HEADER:
        raise ValueError(f"{name} has a header of {length} bytes")
    header = json.loads(_unpack(archive, name, 8 + length)[8:])
    layout = {
        key: (str(of["dtype"]), tuple(of["shape"]))
        for key, of in header.items()
        if key != "__metadata__"
    }
    size = 8 + length + sum(_BYTES[of] * math.prod(shape) for of, shape in layout.values())
    if size != archive.getinfo(name).file_size:
        raise ValueError(f"{name} has not the size of what it declares")
    return layout


def _layout(options: NetworkOptions) -> _Layout:
    """Type and shape of each tensor of a network."""
    state = sketch(options).state_dict()
    return {name: (_TYPES[value.dtype], tuple(value.shape)) for name, value in state.items()}


def _check_sides(name: str, shape: tuple[Any, ...]) -> None:
    if len(shape) != 2 or any(side not in range(1, LONGEST_SIDE + 1, 2) for side in shape):
        raise ValueError(f"{name} has shape {shape}, not two odd sides of {LONGEST_SIDE} at most")


def _check_values(contents: Contents) -> None:
    if len(contents.about.units) > 1 and not contents.config.network_per_channel:
        raise ValueError("it has several units, and one network for all channels")
    for name, value in contents.weights.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} is not finite everywhere")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise ValueError(f"{name} is a variance below zero")
    for name, array in contents.arrays.items():
        _check_sides(name, array.shape)
        if name.endswith("mask"):
            check_mask(array, name)
        elif not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite everywhere")


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        return f"{where}: {message}" if where else message
    return (str(error) or type(error).__name__).splitlines()[0][:200]
