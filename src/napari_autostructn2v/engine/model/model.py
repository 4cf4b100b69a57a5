"""What was learned, in one file that any machine can open and no stranger can hide code in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from napari_autostructn2v.engine.config import Config, Result, StageName
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.labels import STAGE_TITLES, stages_until
from napari_autostructn2v.engine.mask.shapes import check_mask
from napari_autostructn2v.engine.model import archive
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.networks.registry import build
from napari_autostructn2v.engine.noise.periodic import Wave
from napari_autostructn2v.engine.paths import user_path
from napari_autostructn2v.engine.types import Array


@dataclass(frozen=True, eq=False)
class ChannelModel:
    """The networks of one channel, or of all channels, with what they were trained for.

    `recommended` is the stage that was judged best, if any was judged; `channel` is None for all.
    """

    networks: Mapping[StageName, Network] = field(default_factory=dict)
    mask: Array = field(default_factory=lambda: np.ones((1, 1), np.uint8))
    rho: Array = field(default_factory=lambda: np.ones((1, 1)))
    sigma: float = 0.0
    verdict: str = ""
    recommended: StageName | None = None
    channel: int | None = None

    @property
    def best(self) -> StageName:
        """The stage whose result is this channel's: the recommended one, or else the last."""
        if self.recommended is not None and self.recommended in self.networks:
            return self.recommended
        return next(stage for stage in reversed(STAGE_TITLES) if stage in self.networks)

    def network(self, stage: StageName) -> Network:
        """The network of a stage, or of the last stage before it that was trained."""
        upto = reversed(stages_until(stage))
        return next(self.networks[name] for name in upto if name in self.networks)


@dataclass(frozen=True, eq=False)
class TrainedModel(ABC):
    """A trained model: `units` has one entry, or one for each channel.

    `provenance` records versions, source names, seed, steps, seconds and device. `waves` has the
    periodic noise of each channel that is subtracted from an image before the networks see it.
    """

    config: Config
    normalisation: Normalisation
    units: tuple[ChannelModel, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    waves: tuple[Wave | None, ...] = ()

    def unit(self, channel: int) -> ChannelModel:
        """What there is for a channel.

        Raises
        ------
        InputError
            If its training was stopped before it had a network.
        """
        for unit in self.units:
            if unit.channel in (None, channel):
                return unit
        raise InputError(
            f"the model has no network for channel {channel}: its training was stopped before"
        )

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages any channel has, in order."""
        return tuple(s for s in STAGE_TITLES if any(s in unit.networks for unit in self.units))

    @property
    def best(self) -> StageName:
        """The stage that is the result: the last of those that are the best of a channel.

        What is written under this name has of each channel its own best stage.
        """
        return max((unit.best for unit in self.units), key=list(STAGE_TITLES).index)

    def result(self, wanted: str) -> StageName:
        """The stage that "recommended" or a stage's own name stands for.

        Raises
        ------
        InputError
            If the model has no such stage.
        """
        if wanted == "recommended":
            return self.best
        for stage in self.stages:
            if stage == wanted:
                return stage
        raise InputError(f"the model has no {wanted}; it has {', '.join(self.stages)}")

    def available(self, wanted: Result) -> Result:
        """What is wanted, if it was trained, or else "recommended"."""
        return wanted if wanted in self.stages else "recommended"

    def networks(self, stage: str, channels: int) -> list[Network]:
        """The network of each channel for a stage; for "recommended" each channel's best."""
        units = [self.unit(channel) for channel in range(channels)]
        if stage == "recommended":
            return [unit.network(unit.best) for unit in units]
        return [unit.network(self.result(stage)) for unit in units]

    @abstractmethod
    def denoise(self, *args: Any, **options: Any) -> Any:
        """Denoise an image: see `denoising.Model`, which alone knows how."""

    def info(self) -> dict[str, Any]:
        """What is in the model, as plain values."""
        return {
            "stages": list(self.stages),
            "parameters": {
                stage: sum(p.numel() for p in self.units[0].network(stage).parameters())
                for stage in self.stages
            },
            "units": [
                {
                    "verdict": unit.verdict,
                    "mask_shape": list(unit.mask.shape),
                    "mask_pixels": int(unit.mask.sum()),
                    "noise_sigma": unit.sigma,
                    "recommended": unit.recommended,
                }
                for unit in self.units
            ],
            "mean": list(self.normalisation.mean),
            "std": list(self.normalisation.std),
            "config": self.config.model_dump(mode="json"),
            **self.provenance,
        }

    def save(self, path: str | Path) -> Path:
        """Write the model, beside its final name first, so that no half file ever has it.

        Raises
        ------
        InputError
            If it cannot be written, or holds what `load` refuses.
        """
        path = user_path(path)
        weights, arrays = {}, {}
        for index, unit in enumerate(self.units):
            arrays[f"{index}.mask"] = np.ascontiguousarray(unit.mask, np.uint8)
            arrays[f"{index}.autocorrelation"] = np.ascontiguousarray(unit.rho, np.float32)
            for stage, network in unit.networks.items():
                for name, value in network.state_dict().items():
                    weights[f"{index}.{stage}.{name}"] = value.detach().cpu().contiguous()
        about = {
            "mean": list(self.normalisation.mean),
            "std": list(self.normalisation.std),
            "units": [
                {
                    "networks": {
                        stage: network.options.model_dump()
                        for stage, network in unit.networks.items()
                    },
                    "verdict": unit.verdict,
                    "sigma": unit.sigma,
                    "recommended": unit.recommended,
                    "channel": unit.channel,
                }
                for unit in self.units
            ],
            "provenance": dict(self.provenance),
            "waves": [wave and (wave.y, wave.x, wave.lines, wave.slant) for wave in self.waves],
        }
        archive.write(path, about, self.config, weights, arrays)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model file; its networks are on the CPU.

        Raises
        ------
        InputError
            If it is missing, damaged, not a model, or written by a newer version.
        """
        file = archive.read(path)
        about = file.about
        return cls(
            config=file.config,
            normalisation=Normalisation(tuple(about.mean), tuple(about.std)),
            units=tuple(_unit(file, index) for index in range(len(about.units))),
            provenance=about.provenance,
            waves=tuple(wave and Wave(*wave) for wave in about.waves),
        )


def _unit(file: archive.Contents, index: int) -> ChannelModel:
    about = file.about.units[index]
    networks: dict[StageName, Network] = {}
    for stage, options in about.networks.items():
        prefix = f"{index}.{stage}."
        weights = file.weights.items()
        network = build(options)
        network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in weights if k.startswith(prefix)}
        )
        networks[stage] = network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    channel = about.channel
    if "channel" not in about.model_fields_set and file.config.network_per_channel:
        channel = index
    return ChannelModel(
        networks=networks,
        mask=check_mask(file.arrays[f"{index}.mask"]),
        rho=file.arrays[f"{index}.autocorrelation"],
        sigma=about.sigma,
        verdict=about.verdict,
        recommended=about.recommended,
        channel=channel,
    )
