"""The training of one network through its stages: Stage 1, the mask, Stage 2."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_autostructn2v.engine import analysis, events
from napari_autostructn2v.engine.analysis import Finding
from napari_autostructn2v.engine.board import Board
from napari_autostructn2v.engine.config import Budget, Config, Stage, StageName
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Event, Stop
from napari_autostructn2v.engine.masking import Masking
from napari_autostructn2v.engine.model import Model
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.noise import sample_blocks
from napari_autostructn2v.engine.patches import Normalisation, Piece, Pool, split, symmetries
from napari_autostructn2v.engine.predict import run_network
from napari_autostructn2v.engine.source import Source, open_source
from napari_autostructn2v.engine.structure import Correlation, check_mask
from napari_autostructn2v.engine.train import Precision, Task, choose_threads, train

Array = npt.NDArray[Any]

_CONVERGED_STEPS = 100_000  # at most, where the budget is "until it stops improving"


class Course:
    """One network's way: `networks`, `about` them and `report` fill as `train` is walked."""

    def __init__(
        self,
        config: Config,
        sources: Sequence[Source],
        channel: int | None,
        normalisation: Normalisation,
        device: torch.device,
        precision: Precision,
        courses: int,
    ) -> None:
        self.config, self.sources, self.channel = config, sources, channel
        self.normalisation, self.device, self.precision = normalisation, device, precision
        self.courses = courses
        self.networks: dict[StageName, UNet] = {}
        self.about: dict[str, Any] = {}
        self.report: list[dict[str, Any]] = []
        self.stopped = False

    def train(self, finding: Finding, stop: Stop) -> Iterator[Event]:
        """Stage 1, then the mask, then Stage 2; either may be left out."""
        config, structure = self.config, self.config.structure
        late = structure.mask_source == "stage1"  # the mask is known only after Stage 1
        mask = None if late else self._mask(finding)
        second = config.run_stage2 and (mask is None or mask.size > 1 or not config.run_stage1)
        self._tell(finding, mask)
        if config.run_stage1:
            yield from self._first(1.0 - second * (1 - config.training.stage1_share), stop)
        if self.stopped or not config.run_stage2:
            return
        if late:
            found = analysis.find_in(self._background(), config)
            # Of Stage 1's output, normalised: the strength of the noise stays that of the image.
            noise = replace(found.noise, sigma=finding.noise.sigma)
            finding, mask = replace(found, noise=noise), found.mask
        assert mask is not None
        self._tell(finding, mask)
        leak = Correlation(finding.noise, config.stage2.patch_size).leak(mask)[0]
        yield events.MaskFound(
            events.read_only(mask), events.read_only(finding.noise.rho), finding.verdict.name,
            leak, self.channel,
        )  # fmt: skip
        if mask.size == 1 and config.run_stage1:
            if late:
                yield events.Warning("No structure was found after Stage 1: Stage 2 is left out.")
            return
        trains_first = config.run_stage1 and config.stage1_model is None
        share = 1 - config.training.stage1_share if trains_first else 1.0
        yield from self._stage("stage2", config.stage2, mask, share, stop)

    def _tell(self, finding: Finding, mask: Array | None) -> None:
        self.about = {
            "rho": finding.noise.rho,
            "sigma": finding.noise.sigma,
            "verdict": finding.verdict.name,
            **({} if mask is None else {"mask": mask}),
        }

    def _mask(self, finding: Finding) -> Array:
        structure = self.config.structure
        if structure.mask_source == "file":
            assert structure.mask_file is not None
            return read_mask(structure.mask_file)
        if structure.mask_source == "array":
            return check_mask(np.array(structure.mask))
        return finding.mask

    def _first(self, share: float, stop: Stop) -> Iterator[Event]:
        path = self.config.stage1_model
        if path is None:
            single = np.ones((self.config.stage1.mask_center_size,) * 2, np.uint8)
            yield from self._stage("stage1", self.config.stage1, single, share, stop)
            return
        model = Model.load(path)
        if "stage1" not in model.stages:
            raise InputError(f"model {path} has no Stage 1 to take")
        network = model.unit(self.channel or 0).networks["stage1"]
        if network.options != self.config.stage1.network:
            raise InputError(
                f"the Stage 1 of model {path} has the network {network.options!r}, not the "
                f"config's {self.config.stage1.network!r}; set stage1.network to it"
            )
        self.networks["stage1"] = network.to(self.device)
        yield events.StageDone("stage1", 0, 0.0, math.nan, f"taken from {path}", self.channel)

    def _background(self) -> list[Array]:
        """Stage-1 results of the blocks the noise is measured on."""
        network, blocks = self.networks["stage1"], []
        for source in self.sources:
            for channel in range(source.channels):
                if self.channel in (None, channel):
                    rng = np.random.default_rng((self.config.seed, channel))
                    for block in sample_blocks(source, channel, rng, images=len(self.sources)):
                        image = np.nan_to_num(self.normalisation.apply(block, channel))
                        tensor = torch.from_numpy(image)[None, None].to(self.device)
                        blocks.append(run_network(network, tensor)[0, 0].cpu().numpy())
        return blocks

    def _stage(
        self, name: StageName, stage: Stage, mask: Array, share: float, stop: Stop
    ) -> Iterator[Event]:
        """Train one network; `share` is its part of the budget of a course."""
        config, training = self.config, self.config.training
        if config.budget.unit == "converged":
            training = training.model_copy(update={"schedule": "plateau"})
        seed = config.seed * 2 + (name == "stage2")
        parts = split(
            self.sources, config.split_ratio, stage.patch_size, np.random.default_rng(config.seed),
            self.channel,
        )  # fmt: skip
        capacity = config.pool_size * 2**20
        pool, validation = (
            Pool(pieces, self.normalisation, stage, capacity, seed, self.device)
            for pieces in parts[:2]
        )
        board = Board(config.tensorboard, name)
        with closing(pool), closing(validation), closing(board):
            task = Task(
                network=self._network(name, stage, seed),
                pool=pool,
                validation=validation,
                masking=Masking(
                    torch.from_numpy(mask.astype(bool)).to(self.device),
                    stage.mask_percentage,
                    stage.replacement,
                ),
                stage=stage,
                training=training,
                symmetries=symmetries(
                    mask, stage.augmentation, square=pool.shape[0] == pool.shape[1]
                ),
                precision=self.precision,
                device=self.device,
            )
            start = time.monotonic()
            steps, pace = _steps(config.budget, share / self.courses, task, parts[0])
            later = 0.0 if name == "stage2" else (1 / share - 1) * steps * pace
            generator = torch.Generator(self.device).manual_seed(seed)
            step = None
            converge = config.budget.unit == "converged"
            for step in train(task, steps, generator, stop, patience=converge):
                board.step(step)
                pace = (time.monotonic() - start) / step.step
                left = (step.total - step.step) * pace + later
                yield events.Progress(
                    name, step.step, step.total, step.loss, left, step.validation, self.channel
                )
            assert step is not None
            board.image("sample", self._sample(task.network), step.step)
        seconds = time.monotonic() - start
        self.networks[name] = task.network
        self.stopped = step.stopped == "stopped"
        self.report.append(
            {
                "name": name,
                "steps": step.step,
                "seconds": round(seconds, 3),
                "loss": step.loss,
                "threads": torch.get_num_threads(),
            }
            | ({} if self.channel is None else {"channel": self.channel})
        )
        if step.stopped and "finite" in step.stopped:
            yield events.Warning(f"{name}: {step.stopped}; the last good weights are kept.")
        yield events.StageDone(name, step.step, seconds, step.loss, step.stopped, self.channel)

    def _network(self, name: StageName, stage: Stage, seed: int) -> UNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = UNet(stage.network)
        first = self.networks.get("stage1")
        if name == "stage2" and first is not None and self.config.training.warm_start:
            own = network.state_dict()
            same = {k: v for k, v in first.state_dict().items() if v.shape == own[k].shape}
            network.load_state_dict({**own, **same})
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _sample(self, network: UNet) -> Array:
        source = self.sources[0]
        height, width = (min(n, 256) for n in source.size)
        image = self.normalisation.apply(source.read(0, slice(height), slice(width)), 0)
        tensor = torch.from_numpy(np.nan_to_num(image))[None, None].to(self.device)
        result: Array = run_network(network, tensor)[0, 0].cpu().numpy()
        return result


def read_mask(path: Path) -> Array:
    """Read a structural mask from an image file."""
    with open_source(path) as source:
        if source.planes != 1:
            raise InputError(f"mask {path} has {source.planes} planes; it must be one 2-D image")
        return check_mask(source.read(0, slice(None), slice(None)))


def _steps(budget: Budget, share: float, task: Task, pieces: Sequence[Piece]) -> tuple[int, float]:
    """The number of steps a share of the budget is, and the seconds one takes (0 if not timed)."""
    if budget.unit == "steps":
        return max(1, round(budget.amount * share)), 0.0
    if budget.unit == "epochs":
        patches = task.stage.patches_per_image * len(pieces)
        return round(budget.amount) * max(1, math.ceil(patches / task.stage.batch_size)), 0.0
    if budget.unit == "converged":
        return _CONVERGED_STEPS, 0.0
    seconds = budget.amount * share
    pace = choose_threads(task, seconds)
    return max(10, round(seconds / pace)), pace
