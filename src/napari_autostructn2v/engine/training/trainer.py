"""Trains one stage of one network."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.data.split import split
from napari_autostructn2v.engine.devices import threads_restored
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Event, Stop
from napari_autostructn2v.engine.inference.predict import run_block
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.networks.registry import build
from napari_autostructn2v.engine.training.augment import symmetries
from napari_autostructn2v.engine.training.learned import Learned, TrainingInputs
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
from napari_autostructn2v.engine.training.objectives import LOSSES
from napari_autostructn2v.engine.training.plan import StagePlan, shares_of_time
from napari_autostructn2v.engine.training.pool import Pool, validation_pool
from napari_autostructn2v.engine.training.schedule import Length
from napari_autostructn2v.engine.training.tensorboard import Board
from napari_autostructn2v.engine.types import Array

# Checks the network halfway; returns the result, and the mask to restart with, if any.
LookHalfway = Callable[[Network], tuple[events.Checked, Array | None]]


@dataclass(frozen=True, eq=False)
class Trained:
    """How the training of a stage ended.

    Attributes
    ----------
    step
        The last step; None if an error came first.
    network
        The trained network, on the CPU; None if nothing was learned.
    wider
        The mask to restart with, if training ended halfway because noise leaks.
    """

    step: Step | None
    seconds: float
    threads: int
    network: Network | None
    wider: Array | None = None
    error: Exception | None = None


def train_stage(
    inputs: TrainingInputs,
    stages: tuple[StagePlan, ...],
    stage: StagePlan,
    learned: Learned,
    found: NoiseAnalysis,
    stop: Stop,
    halfway: LookHalfway | None = None,
) -> Generator[Event, None, tuple[Learned, Array | None]]:
    """Train one of the planned `stages`.

    Returns
    -------
    learned
        With the trained network, also if training was stopped or failed; errors are in
        `learned.error`.
    wider
        The mask to restart with, if `halfway` asked for it.
    """
    done = yield from _train(inputs, stages, stage, learned, found, stop, halfway)
    step = done.step
    if step is not None and done.network is not None:
        record = {
            "name": stage.name,
            "steps": step.step,
            "seconds": round(done.seconds, 3),
            "loss": step.loss,
            "threads": done.threads,
        } | ({} if inputs.channel is None else {"channel": inputs.channel})
        finished = 2 * step.step >= step.total or step.stopped in (CONVERGED, DIVERGED)
        learned = learned.with_network(stage.name, done.network, record, finished)
    if done.error is not None or done.wider is not None or step is None:
        return _ended(learned, step, done.error), done.wider
    if step.stopped == NOTHING_LEARNED:
        sentence = (
            f"{STAGE_TITLES[stage.name]} diverged before anything was learned; set "
            f"{stage.name}.learning_rate below {stage.settings.learning_rate:g}"
        )
        if stage.name not in learned.unit.networks and not learned.before(stage.name):
            return _ended(learned, step, InputError(sentence)), None
        yield events.Warning(f"{sentence}. The earlier networks are kept.")
    elif step.stopped == DIVERGED:
        yield events.Warning(
            f"{STAGE_TITLES[stage.name]}: {DIVERGED}. Try a smaller learning_rate."
        )
    yield events.StageDone(
        stage.name, step.step, done.seconds, step.loss, step.stopped, inputs.channel
    )
    return _ended(learned, step, None), None


def _ended(learned: Learned, step: Step | None, error: Exception | None) -> Learned:
    stopped = step is not None and step.stopped == STOPPED
    return replace(learned, stopped=learned.stopped or stopped, error=error)


def _train(
    inputs: TrainingInputs,
    stages: tuple[StagePlan, ...],
    stage: StagePlan,
    learned: Learned,
    found: NoiseAnalysis,
    stop: Stop,
    halfway: LookHalfway | None,
) -> Generator[Event, None, Trained]:
    config, channel, previewer = inputs.config, inputs.channel, inputs.previewer
    earlier = learned.history.get(stage.name, {"steps": 0})
    # A continued stage gets other random patches and masks than before.
    seed = config.seed * 2 + list(STAGE_TITLES).index(stage.name) + earlier["steps"]
    generator = torch.Generator(inputs.runtime.device).manual_seed(seed)
    done, step, wider = Trained(None, 0.0, 0, None), None, None
    try:
        with (
            closing(Board(config.tensorboard, stage.name)) as board,
            threads_restored(),
            _task(inputs, stage, learned, found, seed) as (task, planes),
        ):
            start = time.monotonic()
            share = stage.share / inputs.networks
            length = choose_length(config.budget, share, task, planes, stop)
            shares = shares_of_time(stages, config.budget)
            begun = time.monotonic()
            try:
                for step in train(task, length, generator, stop, config.budget.unit == "converged"):
                    board.step(step)
                    elapsed = time.monotonic() - begun
                    left = _seconds_left(inputs, shares, stage, step, elapsed, length)
                    yield events.Progress(
                        stage.name, step.step, step.total, step.loss, left, step.validation, channel
                    )
                    if previewer is not None and step.step < step.total:
                        yield from previewer.look(stage.name, step.step, task.ema, channel)
                    enough = 2 * step.step >= step.total or step.stopped == CONVERGED
                    if halfway is not None and enough and step.stopped in (None, CONVERGED):
                        checked, wider = halfway(task.ema)
                        halfway = None
                        yield checked
                        if wider is not None:
                            break
            finally:  # keep the network if an error is raised
                done = _done(task, step, time.monotonic() - start)
            if done.network is not None and wider is None:
                if board.on:
                    board.image("sample", _sample(inputs, task.ema), step.step if step else 0)
                if previewer is not None and step is not None:
                    yield from previewer.look(stage.name, step.step, task.ema, channel, last=True)
    except Exception as error:  # noqa: BLE001 - raised again once the network is saved
        return replace(done, error=error)
    return replace(done, wider=wider)


def _done(task: Task, step: Step | None, seconds: float) -> Trained:
    network = None
    if step is not None and step.stopped != NOTHING_LEARNED:
        network = copy.deepcopy(task.ema).to("cpu")
    return Trained(step, seconds, torch.get_num_threads(), network)


def _seconds_left(
    inputs: TrainingInputs,
    shares: Mapping[StageName, float],
    stage: StagePlan,
    step: Step,
    elapsed: float,
    length: Length,
) -> float:
    """Estimate the seconds left for all stages of all networks, at the pace so far."""
    left = (step.total - step.step) * elapsed / step.step
    if length.seconds is not None:
        left = max(0.0, length.seconds - elapsed)
    names = list(shares)
    network = (elapsed + left) / shares[stage.name]  # seconds of all its stages
    later = sum(shares[name] for name in names[names.index(stage.name) + 1 :])
    return left + network * (later + inputs.waiting)


@contextmanager
def _task(
    inputs: TrainingInputs, stage: StagePlan, learned: Learned, found: NoiseAnalysis, seed: int
) -> Iterator[tuple[Task, int]]:
    """Load the data of a stage and make its network; also give the number of training planes."""
    config, settings, device = inputs.config, stage.settings, inputs.runtime.device
    training = config.training
    if config.budget.unit == "converged":
        training = training.model_copy(update={"schedule": "plateau"})
    parts = split(inputs.sources, config, inputs.channel)
    data = (inputs.normalisation, settings, config.pool_size * 2**20, seed, device)
    with (
        closing(Pool(parts.training, *data)) as pool,
        closing(validation_pool(parts.validation, *data)) as held,
    ):
        objective = stage.objective(found, learned.unit.mask, device)
        square = pool.shape[0] == pool.shape[1]
        task = Task(
            network=_network(inputs, stage, learned, seed),
            pool=pool,
            validation=held,
            objective=objective,
            stage=settings,
            training=training,
            symmetries=symmetries(objective.pattern, settings.augmentation, square=square),
            precision=inputs.runtime.precision,
            device=device,
            loss_function=LOSSES[stage.loss],
            continued=stage.name in learned.unit.networks,
        )
        yield task, len(parts.training)


def _network(inputs: TrainingInputs, stage: StagePlan, learned: Learned, seed: int) -> Network:
    """Return a copy of the stage's network, or a new one with weights from `stage.init`."""
    if stage.name in learned.unit.networks:
        network = copy.deepcopy(learned.unit.networks[stage.name])
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(stage.settings.network)
        if stage.init is not None and stage.init in learned.unit.networks:
            own, other = network.state_dict(), learned.unit.networks[stage.init].state_dict()
            same = {k: v for k, v in other.items() if k in own and v.shape == own[k].shape}
            network.load_state_dict({**own, **same})
    return network.to(inputs.runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _sample(inputs: TrainingInputs, network: Network) -> Array:
    """Return a denoised corner of the first image, for the logs."""
    channel = inputs.channel or 0
    source = next(source for source in inputs.sources if channel < source.channels)
    plane = next(p for p in range(source.planes) if source.channel(p) == channel)
    height, width = (min(n, 256) for n in source.size)
    image = source.read(plane, slice(height), slice(width))
    normalised = inputs.normalisation.apply(image, channel)
    return run_block(network, normalised, inputs.runtime.device)
