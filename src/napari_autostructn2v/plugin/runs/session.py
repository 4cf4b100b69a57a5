"""What is known of the chosen images, their noise, mask and model, and the runs that find it out.

No layout: the dock shows it and wires the buttons to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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
from napari_autostructn2v.plugin.runs.measured import Measured, same_images, same_mask
from napari_autostructn2v.plugin.runs.worker import Engine, Run

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model.model import TrainedModel

# What may change without Stage 1 being another one.
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


@dataclass(frozen=True, eq=False)
class Trained:
    """A model, where it is kept, and what the run that made it was.

    `config` is of the last training; None for a model from a file. `stage1` is the config that
    Stage 1 was trained with on the images that are chosen now, None if it can't be kept. `report`
    is of that training, and judges the model by the images that `of` names.
    """

    model: TrainedModel
    name: str
    path: Path | None = None
    config: Config | None = None
    stage1: Config | None = None
    report: dict[str, Any] = field(default_factory=dict)
    of: str = ""


@dataclass(frozen=True)
class Plan:
    """How the next training goes; `note` says what is special about it."""

    config: Config
    start: TrainedModel | None = None
    note: str = ""


class Session(QObject):
    """Belongs to the GUI thread. One run at a time.

    `changed` says that what is known, or whether something runs, is another. `told` carries each
    event of a run after it was taken account of, and `finished` whether the run was cancelled:
    then everything is known as it was before it.
    """

    changed = Signal()
    told = Signal(object)
    finished = Signal(bool)

    def __init__(self, make_engine: Callable[[Job], Engine], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.mask = MaskModel(self)
        self.images: tuple[LayerSnapshot, ...] = ()
        self.measured: Measured | None = None
        self.trained: Trained | None = None
        self.run: Run | None = None
        self.job: Job | None = None
        self._make_engine = make_engine
        self._before: tuple[Measured | None, Trained | None] = (None, None)
        self._mask_before: Array = self.mask.mask
        self._mask_then: Array = self.mask.mask  # or as the run has set it since
        self._choice = self._choice_then = 0  # counts how often other images were chosen
        self._stage1: Config | None = None  # as in `Trained`, of the run

    @property
    def model(self) -> TrainedModel | None:
        return None if self.trained is None else self.trained.model

    @property
    def is_running(self) -> bool:
        return self.run is not None

    def is_of(self, images: Sequence[LayerSnapshot]) -> bool:
        """Whether these images are chosen, with the pixels they had then."""
        return same_images(images, self.images)

    def set_images(self, images: Sequence[LayerSnapshot]) -> None:
        """Choose images; what was measured of others is forgotten, a model is not."""
        same = self.is_of(images)
        self.images = tuple(images)
        if same:
            return
        self._choice += 1
        self.forget_noise()
        if self.trained is not None:
            self.trained = replace(self.trained, stage1=None)
        self.changed.emit()

    def take_over(self, trained: Trained) -> None:
        """Know a model that another session has trained or loaded."""
        self.trained = replace(trained, stage1=None)
        if self.run is not None:
            self._before = self._before[0], self.trained
        self.changed.emit()

    def forget_noise(self) -> None:
        """Know nothing of the noise, as before it was measured."""
        if self.measured is not None or not self.mask.is_automatic:
            self.measured = None
            self.mask.forget()
            self.changed.emit()

    def extract(self, options: Structure) -> Array:
        """Make a mask by other options; in any thread."""
        measured = self.measured
        return self.mask.mask if measured is None else measured.extract(options)

    def score(self, mask: Array) -> Score | None:
        """Judge a mask; in any thread. None before the noise is measured."""
        measured = self.measured
        return None if measured is None else measured.score(mask)

    def plan(self, config: Config) -> Plan:
        """Say how to train now: with the mask as it is, and without Stage 1 if that can be kept."""
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
        """Whether the mask is all that has changed since Stage 1 was trained on these images."""
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
        """Say how to train the model further: the last stage it has, and what comes after it.

        Only budget, device and the type of the result are taken from `config`.
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
        """Train on parts of the chosen images, and denoise these."""
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
        """Make the run; it waits for its `start`, so that others can follow it from the first."""
        assert self.run is None
        self.job = job
        self._before = self.measured, self.trained
        self._mask_before = self._mask_then = self.mask.mask
        self._choice_then = self._choice
        trained = self.trained
        kept = trained is not None and isinstance(job, Train) and not job.config.run_stage1
        self._stage1 = trained.stage1 if trained is not None and kept else None
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
                self._stage1 = None if event.stopped == "stopped" else self.job.config
            case Loaded():
                self.trained = Trained(event.model, event.path.name, event.path)
            case Saved() if self.trained is not None:
                self.trained = replace(self.trained, name=event.path.name, path=event.path)
        self.told.emit(event)

    def _on_finished(self) -> None:
        run, self.run, self.job = self.run, None, None
        cancelled = run is not None and run.is_cancelled
        if cancelled:
            self._undo()
        self._before = None, None  # they hold images and networks
        self.finished.emit(cancelled)
        self.changed.emit()

    def _undo(self) -> None:
        """Know what was known before the run; edits of a mask that it has set go with it."""
        measured, self.trained = self._before
        if self._choice != self._choice_then:  # what was measured is of other images
            if self.trained is not None:
                self.trained = replace(self.trained, stage1=None)
            return
        if measured is self.measured and same_mask(self._mask_then, self._mask_before):
            return
        self.measured = measured
        if measured is None:
            self.mask.forget()
        else:
            self._show(measured)
        self.mask.set_mask(self._mask_before)

    def _take_measured(self, event: Analysed) -> None:
        """Begin anew with a measurement; a mask that is being trained with stays as it is."""
        if self._choice != self._choice_then:
            return
        trains = isinstance(self.job, Train)
        edited = trains and not self.mask.is_automatic
        known = self.measured
        if trains and known is not None and known.is_of(event.parts):
            structure = event.config.structure
            if structure.mask_source == "array" or structure == known.config.structure:
                return
        self.measured = Measured(event.parts, event.config, event.findings, event.common)
        self._show(self.measured)
        if edited:
            self.mask.set_mask(self._mask_then)
        self._mask_then = self.mask.mask
        self.changed.emit()

    def _show(self, measured: Measured) -> None:
        noise, patch = measured.common.noise, measured.config.stage2.patch_size
        self.mask.set_noise(noise.rho, noise.error, measured.common.mask, patch - 1)

    def _take_mask(self, event: MaskFound) -> None:
        """Show the mask that is trained with, unless the user is at another one by now."""
        unknown = self._choice != self._choice_then or same_mask(event.mask, self.mask.mask)
        if unknown or not np.array_equal(self.mask.mask, self._mask_then):
            return
        if self.mask.is_automatic and isinstance(self.job, Train):
            patch = self.job.config.stage2.patch_size
            self.mask.set_noise(event.rho, None, event.mask, patch - 1)
        else:
            self.mask.set_mask(event.mask)
        self._mask_then = self.mask.mask

    def _take_model(self, job: Train, event: Finished | Failed) -> None:
        if event.model is None or not event.model.units:
            return
        of = _names(job.images)
        report = event.report if isinstance(event, Finished) else {}
        stage1 = self._stage1 if self._choice == self._choice_then else None
        self.trained = Trained(
            event.model, f"{of} (not saved)", None, job.config, stage1, report, of
        )


def _names(images: Sequence[LayerSnapshot]) -> str:
    more = len(images) - 1
    return images[0].name + (f" and {more} more" if more else "")
