"""What a run takes over from an earlier model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_autostructn2v.engine.config import STAGES, Config, StageName
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.model.model import ChannelModel, TrainedModel

History = dict[StageName, dict[str, Any]]


def stage1_alone(model: TrainedModel, path: Path) -> TrainedModel:
    """What there is of Stage 1 in a model, read from a file, as a start.

    Raises
    ------
    InputError
        If it has no Stage 1.
    """
    if "stage1" not in model.stages:
        raise InputError(f"model {path} has no Stage 1 to take")
    return replace(model, units=tuple(_only(unit, ["stage1"]) for unit in model.units))


def take_over(
    start: TrainedModel | None, config: Config, channel: int | None
) -> tuple[ChannelModel, History]:
    """What a network begins from: the unit of its channel, or the one that all share.

    A stage that `config` would train with another network is left out. The history has the
    start's record of each stage that is not.
    """
    unit = replace(_unit(start, channel), channel=channel)
    usable = [
        stage
        for stage, network in unit.networks.items()
        if not config.trains(stage) or network.options == config.stage(stage).network
    ]
    records = start.provenance.get("stages", []) if start else []
    history = {
        record["name"]: record
        for record in records
        if record["name"] in usable and record.get("channel") in (None, channel)
    }
    return _only(unit, usable), history


def _unit(start: TrainedModel | None, channel: int | None) -> ChannelModel:
    known = start.units if start else ()
    return next((unit for unit in known if unit.channel in (None, channel)), ChannelModel())


def _only(unit: ChannelModel, stages: Iterable[StageName]) -> ChannelModel:
    return replace(unit, networks={s: unit.networks[s] for s in stages if s in unit.networks})


def kept_config(config: Config, start: TrainedModel | None) -> Config:
    """The config of the resulting model: stages that are kept were trained with the start's."""
    kept: dict[str, Any] = {
        stage: start.config.stage(stage) for stage in STAGES if start and not config.trains(stage)
    }
    return config.model_copy(update=kept)
