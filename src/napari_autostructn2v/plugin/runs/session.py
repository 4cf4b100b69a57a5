"""The session: the chosen images, their noise, mask and model, and the runs that change them.

It has no user interface; the dock shows its state and connects the buttons to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_autostructn2v.engine.config import Config, Structure
from napari_autostructn2v.engine.events import (
    Failed,
    Finished,
    MaskFound,
    Place,
    StageDone,
)
from napari_autostructn2v.engine.mask.score import Score
from napari_autostructn2v.engine.types import Array
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.layers.writing import LayerSink
from napari_autostructn2v.plugin.mask.mask_model import MaskModel
from napari_autostructn2v.plugin.runs.jobs import (
    Analyse,
    Analysed,
    Apply,
    Job,
    Load,
    Loaded,
    Save,
    Saved,
    Train,
)
from napari_autostructn2v.plugin.runs.known import Known, Trained
from napari_autostructn2v.plugin.runs.measured import Measured, same_images, same_mask
from napari_autostructn2v.plugin.runs.worker import Engine, Run

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model.model import TrainedModel

# Settings that don't affect Stage 1.
_OF_STAGE2 = {
    "budget",
    "run_stage1",
    "run_stage2",
    "stage2",
    "structure",
    "tile",
    "dtype",
    "device",
}


@dataclass(frozen=True)
class Plan:
    """The plan of the next training; `note` explains it if it isn't the usual one."""

    config: Config
    start: TrainedModel | None = None
    note: str = ""


class Session(QObject):
    """The state and the current run, at most one at a time. For the GUI thread.

    `changed` is emitted if the state changes, or if a run begins or ends. `told` carries each
    event of a run, after the state was updated. `finished` carries whether the run was cancelled;
    if so, the state from before the run is restored.
    """

    changed = Signal()
    told = Signal(object)
    finished = Signal(bool)

    def __init__(self, make_engine: Callable[[Job], Engine], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.mask = MaskModel(self)
        self.known = self._before = Known()  # `_before` is what was known when the run began
        self.run: Run | None = None
        self.job: Job | None = None
        self._make_engine = make_engine

    @property
    def images(self) -> tuple[LayerSnapshot, ...]:
        return self.known.images

    @property
    def measured(self) -> Measured | None:
        return self.known.measured

    @property
    def trained(self) -> Trained | None:
        return self.known.trained

    @property
    def model(self) -> TrainedModel | None:
        return None if self.trained is None else self.trained.model

    @property
    def is_running(self) -> bool:
        return self.run is not None

    def is_of(self, images: Sequence[LayerSnapshot]) -> bool:
        """Return whether these images are still chosen, with the same pixels."""
        return same_images(images, self.images)

    def set_images(self, images: Sequence[LayerSnapshot]) -> None:
        """Choose images; measurements of others are discarded, but a model is kept."""
        if self.is_of(images):
            self.known = replace(self.known, images=tuple(images))
            return
        self.known = self.known.of_others(tuple(images))
        self.mask.forget()
        self.changed.emit()

    def take_over(self, trained: Trained) -> None:
        """Take over a model that another session has trained or loaded."""
        trained = replace(trained, stage1=None)
        self.known = replace(self.known, trained=trained)
        self._before = replace(self._before, trained=trained)
        self.changed.emit()

    def forget_noise(self) -> None:
        """Discard the measured noise."""
        if self.measured is not None or not self.mask.is_automatic:
            self.known = replace(self.known, measured=None)
            self.mask.forget()
            self.changed.emit()

    def extract(self, options: Structure) -> Array:
        """Make a mask with other options; thread-safe."""
        measured = self.measured
        return self.mask.mask if measured is None else measured.extract(options)

    def score(self, mask: Array) -> Score | None:
        """Score a mask, or return None before the noise is measured; thread-safe."""
        measured = self.measured
        return None if measured is None else measured.score(mask)

    def plan(self, config: Config) -> Plan:
        """Plan a training with the present mask, and without Stage 1 if that can be kept."""
        if self.mask.is_automatic:
            plan = Plan(config)
        else:
            # The patches may be others than those the noise was measured for.
            mask = self.mask.written_out(config.stage2.patch_size - 1)
            given = {"mask_source": "array", "mask": tuple(tuple(map(int, row)) for row in mask)}
            structure = config.structure.model_copy(update=given)
            plan = Plan(config.model_copy(update={"structure": structure}), note="With your mask.")
        if not self._keeps_stage1(config):
            return plan
        kept = plan.config.model_copy(update={"run_stage1": False})
        assert self.trained is not None
        whose = "the automatic" if self.mask.is_automatic else "your"
        note = f"Trains Stage 2 only, with {whose} mask."
        if self.mask.mask.sum() == 1:
            note = f"Trains nothing: with {whose} mask of one pixel Stage 2 would repeat Stage 1."
        return Plan(kept, self.trained.model, note)

    def _keeps_stage1(self, config: Config) -> bool:
        """Return whether only the mask has changed since Stage 1 was trained on these images."""
        trained = self.trained
        if trained is None or trained.stage1 is None or self.measured is None:
            return False
        if not config.run_stage2 or "stage1" not in trained.model.stages:
            return False
        if self.mask.is_automatic and config.structure == trained.model.config.structure:
            return False  # of other parts of the images
        if len(trained.model.units) > 1 or same_mask(self.mask.mask, trained.model.units[0].mask):
            return False
        return config.model_dump(exclude=_OF_STAGE2) == trained.stage1.model_dump(
            exclude=_OF_STAGE2
        )

    def further(self, config: Config) -> Plan:
        """Plan how to continue training the model: its last stage and those after it.

        Only the budget, the device and the type of the result are taken from `config`.
        """
        assert self.trained is not None
        model = self.trained.model
        given = {name: getattr(config, name) for name in ("budget", "device", "tile", "dtype")}
        given["run_stage1"] = "stage2" not in model.stages
        given["run_stage2"] = True
        given["stage1_model"] = None
        return Plan(model.config.model_copy(update=given), model)

    def analyse(self, parts: Sequence[LayerSnapshot], config: Config) -> Run:
        return self._start(Analyse(parts, config), f"Analyse {_names(parts)}")

    def train(
        self,
        plan: Plan,
        parts: Sequence[LayerSnapshot],
        sink: LayerSink,
        preview: Callable[[], Place | None] | None = None,
    ) -> Run:
        """Train on parts of the chosen images, and denoise the images."""
        job = Train(self.images, parts, plan.config, sink, plan.start, preview)
        return self._start(job, f"Denoise {_names(self.images)}")

    def apply(self, images: Sequence[LayerSnapshot], config: Config, sink: LayerSink) -> Run:
        assert self.trained is not None
        job = Apply(images, self.trained.model, config, sink)
        return self._start(job, f"Denoise {_names(images)}")

    def save(self, path: Path) -> Run:
        assert self.trained is not None
        return self._start(Save(self.trained.model, path), f"Save {path.name}")

    def load(self, path: Path) -> Run:
        return self._start(Load(path), f"Load {path.name}")

    def _start(self, job: Job, title: str) -> Run:
        """Create the run without starting it, so that its first event isn't missed."""
        assert self.run is None
        self.job = job
        trained = self.trained
        kept = trained is not None and isinstance(job, Train) and not job.config.run_stage1
        stage1 = trained.stage1 if trained is not None and kept else None
        self.known = self._before = replace(self.known, mask=self.mask.state, stage1=stage1)
        self.run = Run(self._make_engine(job), title)
        self.run.event.connect(self._on_event)
        self.run.finished.connect(self._on_finished)
        return self.run

    def _on_event(self, event: object) -> None:
        match event:
            case Analysed():
                self._take_measured(event)
            case MaskFound(channel=None | 0):
                self._take_mask(event)
            case Finished() | Failed() if isinstance(self.job, Train):
                self._take_model(self.job, event)
            case StageDone(stage="stage1") if isinstance(self.job, Train):
                stage1 = None if event.stopped == "stopped" else self.job.config
                self.known = replace(self.known, stage1=stage1)
            case Loaded():
                trained = Trained(event.model, event.path.name, event.path)
                self.known = replace(self.known, trained=trained)
            case Saved() if self.trained is not None:
                trained = replace(self.trained, name=event.path.name, path=event.path)
                self.known = replace(self.known, trained=trained)
        self.told.emit(event)

    def _on_finished(self) -> None:
        run, self.run, self.job = self.run, None, None
        cancelled = run is not None and run.is_cancelled
        if cancelled:
            self._undo()
        self._before = Known()  # the earlier one may hold images and networks
        self.finished.emit(cancelled)
        self.changed.emit()

    def _undo(self) -> None:
        """Restore the state from before the run, including edits of a mask that it has set."""
        if not self._is_of_run:
            self.known = self._before.of_others(self.images)
            return
        if self.known.mask is not self._before.mask:
            self.mask.state = self._before.mask
        self.known = replace(self._before, images=self.images)

    @property
    def _is_of_run(self) -> bool:
        """Return whether the images of the run are still chosen, with the same pixels."""
        return self.is_of(self._before.images)

    def _take_measured(self, event: Analysed) -> None:
        """Set the measured noise and its mask; a mask used in a running training is kept."""
        if not self._is_of_run:
            return
        trains = isinstance(self.job, Train)
        edited = trains and not self.mask.is_automatic
        known = self.measured
        if trains and known is not None and known.is_of(event.parts):
            structure = event.config.structure
            if structure.mask_source == "array" or structure == known.config.structure:
                return
        noise, patch, mask = event.common.noise, event.config.stage2.patch_size, self.mask.mask
        self.mask.set_noise(noise.rho, noise.error, event.common.mask, patch - 1)
        if edited:
            self.mask.set_mask(mask)
        measured = Measured(event.parts, event.config, event.findings, event.common)
        self.known = replace(self.known, measured=measured, mask=self.mask.state)
        self.changed.emit()

    def _take_mask(self, event: MaskFound) -> None:
        """Show the mask used in training, unless the user has changed it by now."""
        edited = not self.mask.state.shape.equals(self.known.mask.shape)
        if edited or not self._is_of_run or same_mask(event.mask, self.mask.mask):
            return
        if self.mask.is_automatic and isinstance(self.job, Train):
            patch = self.job.config.stage2.patch_size
            self.mask.set_noise(event.rho, None, event.mask, patch - 1)
        else:
            self.mask.set_mask(event.mask)
        self.known = replace(self.known, mask=self.mask.state)

    def _take_model(self, job: Train, event: Finished | Failed) -> None:
        if event.model is None or not event.model.units:
            return
        of = _names(job.images)
        report = event.report if isinstance(event, Finished) else {}
        stage1 = self.known.stage1 if self._is_of_run else None
        name = f"{of} (not saved)"
        trained = Trained(event.model, name, None, job.config, stage1, report, of)
        self.known = replace(self.known, trained=trained)


def _names(images: Sequence[LayerSnapshot]) -> str:
    more = len(images) - 1
    return images[0].name + (f" and {more} more" if more else "")
