"""The inputs of a network's training, and its state between stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_autostructn2v.engine.config import Config, StageName
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.devices import Runtime
from napari_autostructn2v.engine.labels import STAGE_TITLES, stages_until
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.training.preview import Previewer
from napari_autostructn2v.engine.types import Array

Record = Mapping[str, Any]  # name, steps, seconds, loss, threads; channel if there are several


@dataclass(frozen=True)
class TrainingInputs:
    """The data and settings for training one network.

    Attributes
    ----------
    channel
        The channel to train on; None for all.
    networks, waiting
        Number of networks that share the budget, and number of those trained after this one.
    same_structure
        Whether the mask settings equal those of the model the run starts from; if so, the model's
        mask is kept.
    """

    config: Config
    sources: Sequence[Source]
    channel: int | None
    normalisation: Normalisation
    runtime: Runtime
    networks: int
    waiting: int
    same_structure: bool
    previewer: Previewer | None


@dataclass(frozen=True, eq=False)
class Learned:
    """The training state of one channel, or of all channels that share networks.

    Attributes
    ----------
    unit
        The networks of the stages; at first those of the model that the run starts from.
    history
        The record of each stage in `unit`, including the steps and seconds of earlier runs.
    report
        The record of each stage trained in this run.
    quality
        The quality assessment, as plain values.
    stopped
        Whether the user stopped the training.
    error
        The error that ended the training, if any; stages trained before it are kept.
    """

    unit: ChannelModel
    history: Mapping[StageName, Record] = field(default_factory=dict)
    report: tuple[Record, ...] = ()
    quality: Mapping[str, Any] = field(default_factory=dict)
    stopped: bool = False
    error: Exception | None = None

    @property
    def stages(self) -> list[StageName]:
        """The stages that have networks, in order."""
        return [stage for stage in STAGE_TITLES if stage in self.unit.networks]

    def before(self, stage: StageName) -> list[StageName]:
        """Return the stages before this one that have networks, in order."""
        return [name for name in stages_until(stage)[:-1] if name in self.unit.networks]

    def with_network(
        self, stage: StageName, network: Network, record: Record, finished: bool
    ) -> Learned:
        """Add a trained network.

        Until it is assessed, an unfinished network is not recommended over earlier stages.
        """
        earlier = self.history.get(stage)
        before = self.before(stage)
        recommended = before[-1] if before and not finished and earlier is None else None
        networks = {**self.unit.networks, stage: network}
        total = dict(record)
        if earlier is not None:
            total["steps"] += earlier["steps"]
            total["seconds"] = round(total["seconds"] + earlier["seconds"], 3)
        return replace(
            self,
            unit=replace(self.unit, networks=networks, recommended=recommended),
            history={**self.history, stage: total},
            report=(*self.report, record),
        )

    def with_noise(self, analysis: NoiseAnalysis, mask: Array, channel: int | None) -> Learned:
        """Set the noise and the mask; networks trained with another mask are dropped."""
        kept = self if np.array_equal(mask, self.unit.mask) else self.upto_mask()
        noise, name = analysis.noise, analysis.verdict.name
        unit = ChannelModel(kept.unit.networks, mask, noise.rho, noise.sigma, name, channel=channel)
        return replace(kept, unit=unit)

    def upto_mask(self) -> Learned:
        """Drop the stages that depend on the structural mask."""
        stages = self.before("stage2")
        networks = {stage: self.unit.networks[stage] for stage in stages}
        history = {stage: record for stage, record in self.history.items() if stage in stages}
        return replace(self, unit=replace(self.unit, networks=networks), history=history)
