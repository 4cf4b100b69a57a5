"""What a model says of itself besides its config, and within which bounds it can be true."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    InstanceOf,
    Strict,
    field_validator,
    model_validator,
)

from napari_autostructn2v.engine.config import NetworkConfig, StageName

FORMAT = 2  # 1: the networks are only described by the config
_DEPTH = 8  # of lists in lists in the provenance
_LONGEST_TEXT = 4096
_FLOAT = np.finfo(np.float32)  # what networks compute in


class _Schema(BaseModel):
    """Keys that a later version may add are passed over."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


_Text = Annotated[str, Field(max_length=_LONGEST_TEXT)]
_Name = InstanceOf[str]  # pydantic's str refuses a file's name that is not UTF-8
_Length = Annotated[float, Field(gt=0, allow_inf_nan=True)]
_Wave = Annotated[
    tuple[_Length, _Length, Literal["", "rows", "columns"], Literal[1, -1]], Strict(False)
]


class AboutUnit(_Schema):
    networks: dict[StageName, NetworkConfig] = {}  # empty in format 1
    verdict: _Text
    sigma: float = Field(ge=0)
    recommended: StageName | None = None  # not in files of version 0.1.0, nor is the next
    channel: int | None = Field(None, ge=0)


class _Record(_Schema):
    """What a run that goes on from a model reads of its training."""

    name: StageName
    channel: int | None = None
    steps: int = Field(ge=0, le=2**48)
    seconds: float = Field(ge=0, le=1e12)


class _Provenance(_Schema):
    """What a run that goes on from a model reads of its provenance."""

    sources: Annotated[list[_Name], FailFast()] = []
    stages: Annotated[list[_Record], FailFast()] = []
    seconds: float = Field(0.0, ge=0, le=1e12)


class About(_Schema):
    """What a model says of itself besides its config; waves as y, x, lines and slant."""

    format: int = Field(ge=1, le=FORMAT)
    mean: Annotated[list[float], FailFast()] = Field(min_length=1)
    std: Annotated[list[float], FailFast()]
    units: Annotated[list[AboutUnit], FailFast()] = Field(min_length=1)
    provenance: dict[str, Any]
    waves: Annotated[list[_Wave | None], FailFast()] = []

    @field_validator("provenance")
    @classmethod
    def _readable(cls, value: dict[str, Any]) -> dict[str, Any]:
        _check_plain(value, _DEPTH)
        _Provenance.model_validate(value)
        return value

    @model_validator(mode="after")
    def _of_channels(self) -> Self:
        if min(self.std, default=1.0) < _FLOAT.tiny:
            raise ValueError(f"a standard deviation is {min(self.std)}")
        if max(map(abs, self.mean + self.std)) > _FLOAT.max:
            raise ValueError("a mean or standard deviation is beyond float32")
        channels = len(self.mean)
        if len(self.std) != channels or len(self.waves) > channels:
            raise ValueError(f"std or waves are not of {channels} channels, as mean is")
        named = [unit.channel for unit in self.units if unit.channel is not None]
        if len(set(named)) < len(named) or max([len(self.units) - 1, *named]) >= channels:
            raise ValueError(f"its units are not of {channels} channels")
        return self


def _check_plain(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        raise ValueError(f"a text of it has more than {_LONGEST_TEXT} characters")
    if isinstance(value, dict):
        _check_plain([*value, *value.values()], depth)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item, depth - 1)
