"""TensorBoard logs of a run, when the config asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.train import Step


class Board:
    """Writes loss, learning rate and sample images of each stage; does nothing without a folder.

    Raises
    ------
    InputError
        If a folder is given and TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._writer: Any = None
        if folder is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise InputError(
                    "TensorBoard logs need the package tensorboard: "
                    "pip install napari-autostructn2v[tensorboard]"
                ) from error
            self._writer = SummaryWriter(str(folder / name / "logs"))

    @property
    def on(self) -> bool:
        return self._writer is not None

    def step(self, step: Step) -> None:
        if self._writer is None:
            return
        self._writer.add_scalar("loss/train", step.loss, step.step)
        self._writer.add_scalar("learning_rate", step.learning_rate, step.step)
        if step.validation is not None:
            self._writer.add_scalar("loss/validation", step.validation, step.step)

    def image(self, name: str, image: Any, step: int) -> None:
        """Log a (h, w) image, stretched to its range."""
        if self._writer is not None:
            low, high = np.nanmin(image), np.nanmax(image)
            shown = np.nan_to_num((image - low) / max(high - low, 1e-12))
            self._writer.add_image(name, shown, step, dataformats="HW")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
