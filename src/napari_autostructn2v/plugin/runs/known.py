"""The state of a session as frozen values, so that cancelling a run restores the earlier one."""

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
    """A model, its file, and the run that trained it.

    `config` is that of the last training; None for a model from a file. `stage1` is the config
    that Stage 1 was trained with on the chosen images, None if Stage 1 can't be kept. `report` is
    that of the training, and assesses the model on the images named by `of`.
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
    """The chosen images, their noise and the present model.

    `mask` is the mask at the start of the run, or as set by the run since; if the present mask
    differs, the user has changed it. `stage1` becomes `Trained.stage1` after the run.
    """

    images: tuple[LayerSnapshot, ...] = ()
    measured: Measured | None = None
    trained: Trained | None = None
    mask: MaskState = field(default_factory=MaskState)
    stage1: Config | None = None

    def of_others(self, images: tuple[LayerSnapshot, ...]) -> Known:
        """Return the state after other images are chosen: keep the model, but not its Stage 1."""
        trained = self.trained and replace(self.trained, stage1=None)
        return Known(images, trained=trained, mask=self.mask)
