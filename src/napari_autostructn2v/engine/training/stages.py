"""The training of one network through its stages: Stage 1, the mask, Stage 2."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import STAGES, Config, Stage, StageName
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.sampling import sample_blocks
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.data.split import split
from napari_autostructn2v.engine.devices import Precision, threads_restored
from napari_autostructn2v.engine.errors import InputError, first_line
from napari_autostructn2v.engine.evaluation.evaluate import Judge
from napari_autostructn2v.engine.evaluation.residual import Check
from napari_autostructn2v.engine.events import Event, Stop
from napari_autostructn2v.engine.inference.predict import on_device, run_block
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.engine.mask import analysis
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.mask.mask_file import read_mask
from napari_autostructn2v.engine.mask.shapes import check_mask
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.noise.correlation import Correlation
from napari_autostructn2v.engine.training.augment import symmetries
from napari_autostructn2v.engine.training.loop import (
    CONVERGED,
    DIVERGED,
    NOTHING_LEARNED,
    STOPPED,
    Step,
    Task,
    choose_length,
    train,
)
from napari_autostructn2v.engine.training.objectives import Masking
from napari_autostructn2v.engine.training.pool import Pool, validation_pool
from napari_autostructn2v.engine.training.preview import Previewer
from napari_autostructn2v.engine.training.schedule import Length
from napari_autostructn2v.engine.training.tensorboard import Board
from napari_autostructn2v.engine.types import Array

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Course:
    """One network's way: `unit`, `history` and `report` fill as `train` is walked.

    Attributes
    ----------
    courses, waiting
        The networks that share the budget, and those of them that come after this one.
    unit
        At first what an earlier run left. Of a stage that is trained its network is continued, of
        any other it is kept as it is; a Stage 2 for another mask is dropped.
    history
        Of each network in `unit`: name, steps, seconds, loss and threads, those of earlier runs
        added up.
    same_structure
        Whether the mask is to be found as it was in the earlier run: then it is kept.
    report
        The same of each stage that was trained, of this run alone.
    quality
        The judgements of `judge`, as plain values.
    """

    config: Config
    sources: Sequence[Source]
    channel: int | None
    normalisation: Normalisation
    device: torch.device
    precision: Precision
    courses: int
    waiting: int
    unit: ChannelModel
    history: dict[StageName, dict[str, Any]]
    same_structure: bool
    previewer: Previewer | None
    report: list[dict[str, Any]] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False
    _wider: Array | None = None

    def train(self, finding: NoiseAnalysis, stop: Stop) -> Iterator[Event]:
        """Stage 1, then the mask, then Stage 2; either may be left out, or kept as it is."""
        config = self.config
        # The mask is known only after Stage 1.
        late = config.structure.mask_source == "stage1" and not self._goes_on()
        if late and not self._has_first():
            raise InputError(
                "mask_source is 'stage1' but there is no Stage 1: set run_stage1, or start from a "
                "model that has one"
            )
        mask = None if late else self._mask(finding)
        self._know(finding, mask)
        share = 1.0  # of the budget
        if config.trains("stage1"):
            second = config.run_stage2 and not (mask is not None and self._needless(mask))
            share = config.training.stage1_share if second else 1.0
            single = np.ones((config.stage1.mask_center_size,) * 2, np.uint8)
            yield from self._stage("stage1", single, share, stop)
            share = 1 - share
        if self.stopped or not config.run_stage2:
            return
        if late:
            found = analysis.find_in(self._background(), config)
            # Of Stage 1's output, normalised: the strength of the noise stays that of the image.
            noise = replace(found.noise, sigma=finding.noise.sigma)
            finding, mask = replace(found, noise=noise, channel=finding.channel), found.mask
            self._know(finding, mask)
        assert mask is not None
        yield self._tell(finding, mask)
        if self._needless(mask):
            if late:
                yield events.Warning("No structure was found after Stage 1: Stage 2 is left out.")
            return
        halfway = self._checked_halfway(finding, mask) if config.training.self_check else None
        yield from self._stage("stage2", mask, share, stop, halfway)
        if self._wider is not None:
            yield from self._again(finding, self._wider, share / 2, stop)

    def _again(
        self, finding: NoiseAnalysis, mask: Array, share: float, stop: Stop
    ) -> Iterator[Event]:
        """Train Stage 2 anew with a wider mask; a stop leaves the better of the two."""
        if stop.is_set():
            self.stopped = True
            return
        unit, history, told = self.unit, dict(self.history), self.report.pop()
        self._know(finding, mask)
        yield self._tell(finding, mask)
        try:
            yield from self._stage("stage2", mask, share, stop)
        finally:
            if "stage2" not in self.unit.networks:  # an error came first, or it diverged
                self.unit, self.history = unit, history
                self.report.append(told)
        if self.stopped:
            both = {"again": self.unit.networks["stage2"], "before": unit.networks["stage2"]}
            if self._judge(finding).better(both) != "again":
                self.unit, self.history, self.report[-1] = unit, history, told
                yield self._tell(finding, unit.mask)

    def judge(self, finding: NoiseAnalysis, stop: Stop) -> Iterator[Event]:
        """Choose the best stage; after a training that was not stopped, fill `quality` too."""
        try:
            if not self.unit.networks:
                return
            if self.stopped or stop.is_set():
                yield from self._judge_unfinished(finding)
            else:
                yield from self._judge_finished(finding, stop)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - what was learned outlives its judgement
            _log.exception("judging failed")
            yield events.Warning(f"The result could not be judged ({first_line(error)}).")

    def _judge_finished(self, finding: NoiseAnalysis, stop: Stop) -> Iterator[Event]:
        judge = self._judge(finding)
        networks = self.unit.networks
        last = STAGES[-1] if STAGES[-1] in networks else STAGES[0]
        found = judge.check(networks[last], self.unit.mask)
        yield self._checked(last, found, halfway=False)
        if found.verdict == "leaks":
            yield events.Warning(found.sentence)
        if not stop.is_set():
            self.quality = judge.assess(networks, found)
            self.unit = replace(self.unit, recommended=self.quality["recommended"])

    def _judge_unfinished(self, finding: NoiseAnalysis) -> Iterator[Event]:
        """Of what was learned until a stop, name the best, in no more time than a tile takes."""
        networks = self.unit.networks
        if len(networks) > 1:
            best = self._judge(finding).better(networks) or self.unit.best
            self.unit = replace(self.unit, recommended=best)
        self.quality = {"recommended": self.unit.best}
        steps = self.history[self.unit.best]["steps"]
        yield events.Warning(
            f"Stopped: the result is that of {STAGE_TITLES[self.unit.best]} after {steps} "
            f"step{'s' * (steps != 1)}."
        )

    def _judge(self, finding: NoiseAnalysis) -> Judge:
        return Judge(
            self.config, self.sources, self.channel, self.normalisation, self.device, finding
        )

    def _tell(self, finding: NoiseAnalysis, mask: Array) -> events.MaskFound:
        leak = Correlation(finding.noise, self.config.stage2.patch_size).leak(mask)[0]
        rho = events.read_only(finding.noise.rho)
        return events.MaskFound(
            events.read_only(mask), rho, finding.verdict.name, leak, self.channel
        )

    def _checked_halfway(
        self, finding: NoiseAnalysis, mask: Array
    ) -> Callable[[UNet], Iterator[Event]]:
        """Look for leaking noise; `_wider` is then the mask to start Stage 2 again with.

        What a network has learned of pixels that are hidden only later is never unlearned, so
        that it must start afresh. A mask that the user gave is left to the user.
        """
        given = self.config.structure.mask_source in ("file", "array")

        def look(network: UNet) -> Iterator[Event]:
            found = self._judge(finding).check(network, mask)
            if found.verdict == "leaks" and not given:
                self._wider = found.extend
            yield self._checked("stage2", found, halfway=True)

        return look

    def _checked(self, stage: StageName, found: Check, halfway: bool) -> events.Checked:
        mask = None if found.extend is None else events.read_only(found.extend)
        repaired = halfway and self._wider is not None
        return events.Checked(
            stage, found.verdict, found.sentence, halfway, mask, repaired, self.channel
        )

    def _goes_on(self) -> bool:
        """Whether Stage 2 has a mask already, and nothing else is asked for by now."""
        return self.same_structure and "stage2" in self.unit.networks

    def _has_first(self) -> bool:
        return self.config.trains("stage1") or "stage1" in self.unit.networks

    def _needless(self, mask: Array) -> bool:
        """A Stage 2 with a mask of one pixel would only repeat Stage 1."""
        return mask.size == 1 and self._has_first()

    def _know(self, finding: NoiseAnalysis, mask: Array | None) -> None:
        """Note what is known now; the mask stays that of an earlier Stage 2 where this is kept."""
        networks = dict(self.unit.networks)
        if mask is None or ("stage2" in networks and not self.config.run_stage2):
            mask = self.unit.mask
        elif self._needless(mask) or not np.array_equal(mask, self.unit.mask):
            networks.pop("stage2", None)
            self.history.pop("stage2", None)
        self.unit = ChannelModel(
            networks, mask, finding.noise.rho, finding.noise.sigma, finding.verdict.name,
            channel=self.channel,
        )  # fmt: skip

    def _mask(self, finding: NoiseAnalysis) -> Array:
        structure = self.config.structure
        mask = self.unit.mask if self._goes_on() else finding.mask
        if structure.mask_source == "file":
            assert structure.mask_file is not None
            mask = read_mask(structure.mask_file)
        elif structure.mask_source == "array":
            mask = check_mask(np.array(structure.mask))
        if self.config.run_stage2:
            self._check_sight(mask)
        return mask

    def _check_sight(self, mask: Array) -> None:
        """Refuse a mask that hides all that the network could see."""
        options = self.config.stage2.network
        reach = UNet(options).reach
        centre = [n // 2 for n in mask.shape]
        inside = tuple(slice(max(c - reach, 0), c + reach + 1) for c in centre)
        if min(centre) >= reach and mask[inside].all():
            height, width = mask.shape
            raise InputError(
                f"the mask of {height} x {width} px hides all of the {2 * reach + 1} px that the "
                "network sees around a pixel; take a smaller mask or a deeper network"
            )

    def _background(self) -> list[Array]:
        """Stage-1 results of the blocks the noise is measured on."""
        network, blocks = on_device(self.unit.networks["stage1"], self.device), []
        for source in self.sources:
            for channel in range(source.channels):
                if self.channel in (None, channel):
                    rng = np.random.default_rng((self.config.seed, channel))
                    for block in sample_blocks(source, channel, rng, images=len(self.sources)):
                        image = self.normalisation.apply(block, channel)
                        blocks.append(run_block(network, image, self.device))
        return blocks

    def _stage(
        self,
        name: StageName,
        mask: Array,
        share: float,
        stop: Stop,
        halfway: Callable[[UNet], Iterator[Event]] | None = None,
    ) -> Iterator[Event]:
        """Train one network; `share` is its part of the budget of a course.

        `halfway` looks at the network then; if it finds a wider mask, the rest is left out.
        """
        budget = self.config.budget
        earlier = self.history.get(name, {"steps": 0, "seconds": 0.0})
        # A continued stage meets other patches and masks than before.
        seed = self.config.seed * 2 + (name == "stage2") + earlier["steps"]
        generator = torch.Generator(self.device).manual_seed(seed)
        again = False
        board = Board(self.config.tensorboard, name)
        with closing(board), threads_restored(), self._task(name, mask, seed) as (task, planes):
            start = time.monotonic()
            length = choose_length(budget, share / self.courses, task, planes, stop)
            begun, step = time.monotonic(), None
            try:
                for step in train(task, length, generator, stop, budget.unit == "converged"):
                    board.step(step)
                    elapsed = time.monotonic() - begun
                    yield events.Progress(
                        name, step.step, step.total, step.loss,
                        self._seconds_left(name, step, elapsed, length, share), step.validation,
                        self.channel,
                    )  # fmt: skip
                    if step.step < step.total:
                        yield from self._look(name, step, task.ema)
                    enough = 2 * step.step >= step.total or step.stopped == CONVERGED
                    if halfway is not None and enough and step.stopped in (None, CONVERGED):
                        yield from halfway(task.ema)
                        halfway = None
                        if again := self._wider is not None:
                            break
            finally:  # what was learned outlives an error
                seconds = time.monotonic() - start
                if step is not None and step.stopped != NOTHING_LEARNED:
                    self._keep(name, task.ema, step, seconds, earlier)
            assert step is not None
            if again:
                return
            if step.stopped == NOTHING_LEARNED:
                yield from self._without(name, step, seconds)
                return
            if board.on:
                board.image("sample", self._sample(task.ema), step.step)
            yield from self._look(name, step, task.ema, last=True)
        if step.stopped == DIVERGED:
            yield events.Warning(
                f"{STAGE_TITLES[name]}: {DIVERGED}; a smaller learning_rate may do better."
            )
        yield events.StageDone(name, step.step, seconds, step.loss, step.stopped, self.channel)

    def _keep(
        self, name: StageName, network: UNet, step: Step, seconds: float, earlier: dict[str, Any]
    ) -> None:
        """Take a network into `unit`, and note what it took to train it.

        Until it is judged, a network that was cut short before half of its steps is worth less
        than the finished one of an earlier stage.
        """
        networks = {**self.unit.networks, name: copy.deepcopy(network).to("cpu")}
        early = 2 * step.step < step.total and step.stopped not in (CONVERGED, DIVERGED)
        second = name == "stage2" and "stage1" in networks and not earlier["steps"]
        self.unit = replace(
            self.unit, networks=networks, recommended="stage1" if early and second else None
        )
        self.stopped = step.stopped == STOPPED
        record = {
            "name": name,
            "steps": step.step,
            "seconds": round(seconds, 3),
            "loss": step.loss,
            "threads": torch.get_num_threads(),
        } | ({} if self.channel is None else {"channel": self.channel})
        self.report.append(record)
        self.history[name] = record | {
            "steps": earlier["steps"] + step.step,
            "seconds": round(earlier["seconds"] + seconds, 3),
        }

    def _without(self, name: StageName, step: Step, seconds: float) -> Iterator[Event]:
        """Go on with what was learned before, where this stage learned nothing."""
        sentence = (
            f"{STAGE_TITLES[name]} diverged before anything was learned; choose a {name}."
            f"learning_rate smaller than {self.config.stage(name).learning_rate:g}"
        )
        if name == "stage1" or not self.unit.networks:
            raise InputError(sentence)
        yield events.Warning(f"{sentence}. What was learned before is kept.")
        yield events.StageDone(name, step.step, seconds, step.loss, step.stopped, self.channel)

    @contextmanager
    def _task(self, name: StageName, mask: Array, seed: int) -> Iterator[tuple[Task, int]]:
        """Load the data of a stage and make its network; also gives the planes to train on."""
        stage, training = self.config.stage(name), self.config.training
        if self.config.budget.unit == "converged":
            training = training.model_copy(update={"schedule": "plateau"})
        parts = split(self.sources, self.config, self.channel)
        data = (
            self.normalisation, stage, self.config.pool_size * 2**20, seed, self.device,
        )  # fmt: skip
        with (
            closing(Pool(parts.training, *data)) as pool,
            closing(validation_pool(parts.validation, *data)) as held,
        ):
            task = Task(
                network=self._network(name, stage, seed),
                pool=pool,
                validation=held,
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
                continued=name in self.unit.networks,
            )
            yield task, len(parts.training)

    def _network(self, name: StageName, stage: Stage, seed: int) -> UNet:
        if name in self.unit.networks:
            network = copy.deepcopy(self.unit.networks[name])
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = UNet(stage.network)
            first = self.unit.networks.get("stage1")
            if name == "stage2" and first is not None and self.config.training.warm_start:
                own = network.state_dict()
                same = {
                    k: v
                    for k, v in first.state_dict().items()
                    if k in own and v.shape == own[k].shape
                }
                network.load_state_dict({**own, **same})
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _look(
        self, name: StageName, step: Step, network: UNet, last: bool = False
    ) -> Iterator[events.Preview]:
        if self.previewer is not None:
            yield from self.previewer.look(name, step.step, network, self.channel, last)

    def _seconds_left(
        self, name: StageName, step: Step, elapsed: float, length: Length, share: float
    ) -> float:
        """To the end of all stages of all networks, at the pace so far."""
        if length.seconds is None:
            left = (step.total - step.step) * elapsed / step.step
        else:
            left = max(0.0, length.seconds - elapsed)
        if length.seconds is None and share < 1:
            work = {stage: self._work(stage) for stage in STAGES}
            share = work[name] / sum(work.values())
        course = (elapsed + left) / share
        later = course - elapsed - left if name == "stage1" else 0.0
        return left + later + self.waiting * course

    def _work(self, name: StageName) -> float:
        """Roughly what a stage costs where the budget is not a time: the pixels it learns from."""
        stage, first = self.config.stage(name), self.config.training.stage1_share
        steps = {
            "steps": first if name == "stage1" else 1 - first,
            "epochs": math.ceil(stage.patches_per_image / stage.batch_size),
        }.get(self.config.budget.unit, 1.0)
        return steps * stage.batch_size * stage.patch_size**2 * stage.network.features

    def _sample(self, network: UNet) -> Array:
        channel = self.channel or 0
        source = next(source for source in self.sources if channel < source.channels)
        plane = next(p for p in range(source.planes) if source.channel(p) == channel)
        height, width = (min(n, 256) for n in source.size)
        image = self.normalisation.apply(source.read(plane, slice(height), slice(width)), channel)
        return run_block(network, image, self.device)
