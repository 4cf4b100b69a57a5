"""Starting a run from an earlier model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from napari_autostructn2v.engine.config import Config, StageName
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.engine.model.model import ChannelModel, TrainedModel
from napari_autostructn2v.engine.training.learned import Learned
from napari_autostructn2v.engine.training.plan import plan


@dataclass(frozen=True, eq=False)
class InitFrom:
    """The model that a run starts from, and which parts of it are used.

    Attributes
    ----------
    stages
        The stages to take over.
    normalisation
        Whether to keep the model's normalisation, which its weights were trained with, or to
        compute it from the images.
    strict
        Whether to refuse a model if a stage to be trained has another network architecture in the
        config. If not strict, that stage starts from random weights.
    """

    model: TrainedModel
    stages: tuple[StageName, ...] = tuple(STAGE_TITLES)
    normalisation: Literal["model", "own"] = "model"
    strict: bool = False

    @property
    def taken(self) -> TrainedModel:
        """The model with only these stages.

        Raises
        ------
        InputError
            If the model has networks, but none of these stages.
        """
        model = self.model
        if model.units and not any(stage in model.stages for stage in self.stages):
            wanted = " or ".join(STAGE_TITLES[stage] for stage in self.stages)
            raise InputError(f"the model to start from has no {wanted}")
        return replace(model, units=tuple(_only(unit, self.stages) for unit in model.units))


def take_over(start: InitFrom | None, config: Config, channel: int | None) -> Learned:
    """Return the initial state of a channel: from the model's networks for it, or the shared ones.

    Raises
    ------
    InputError
        If `start` is strict and a stage to be trained has another network than in the config.
    """
    model = start.taken if start else None
    unit = replace(_unit(model, channel), channel=channel)
    trained = {stage.name: stage.settings for stage in plan(config)}
    other = [
        name
        for name, network in unit.networks.items()
        if name in trained and network.options != trained[name].network
    ]
    if other and start and start.strict:
        titles = " and ".join(STAGE_TITLES[name] for name in other)
        raise InputError(
            f"the model to start from has another network in {titles} than the config; use the "
            "model's network settings, or start without it"
        )
    unit = _only(unit, [name for name in unit.networks if name not in other])
    records = model.provenance.get("stages", []) if model else []
    history = {
        record["name"]: record
        for record in records
        if record["name"] in unit.networks and record.get("channel") in (None, channel)
    }
    return Learned(unit, history)


def _unit(start: TrainedModel | None, channel: int | None) -> ChannelModel:
    known = start.units if start else ()
    return next((unit for unit in known if unit.channel in (None, channel)), ChannelModel())


def _only(unit: ChannelModel, stages: Iterable[StageName]) -> ChannelModel:
    return replace(unit, networks={s: unit.networks[s] for s in stages if s in unit.networks})


def kept_config(config: Config, start: TrainedModel | None) -> Config:
    """Return the config of the resulting model, with the start's settings for stages kept."""
    trained = [stage.name for stage in plan(config)]
    if start is None:
        return config
    settings = start.config.stages.items()
    kept: dict[str, Any] = {stage: of for stage, of in settings if stage not in trained}
    return config.model_copy(update=kept)
