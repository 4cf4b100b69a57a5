"""What a session knows, as frozen values: a run that is cancelled puts back what was known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.mask.mask_model import MaskState
from napari_autostructn2v.plugin.runs.measured import Measured

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model.model import TrainedModel


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


@dataclass(frozen=True, eq=False)
class Known:
    """The chosen images, their noise, and the model at hand.

    `mask` is as it was when a run began, or as the run has set it since: it tells whether the user
    is at another one by now. `stage1` is what `Trained.stage1` will be after the run.
    """

    images: tuple[LayerSnapshot, ...] = ()
    measured: Measured | None = None
    trained: Trained | None = None
    mask: MaskState = field(default_factory=MaskState)
    stage1: Config | None = None

    def of_others(self, images: tuple[LayerSnapshot, ...]) -> Known:
        """What is left when other images are chosen: the model, but not its Stage 1."""
        trained = self.trained and replace(self.trained, stage1=None)
        return Known(images, trained=trained, mask=self.mask)
