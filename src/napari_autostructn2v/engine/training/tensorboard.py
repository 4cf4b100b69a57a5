"""TensorBoard logs of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.training.loop import Step

_log = logging.getLogger(__name__)


class Board:
    """Writes loss, learning rate and sample images of a stage; does nothing without a folder.

    Raises
    ------
    InputError
        If the folder can't be created, or if TensorBoard is not installed.
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
            place = folder / name / "logs"
            try:
                self._writer = SummaryWriter(str(place))
            except OSError as error:
                raise InputError(
                    f"cannot create the TensorBoard folder {place}: {error.strerror or error}"
                ) from error

    @property
    def on(self) -> bool:
        return self._writer is not None

    def step(self, step: Step) -> None:
        with self._tolerant() as writer:
            if writer is None:
                return
            writer.add_scalar("loss/train", step.loss, step.step)
            writer.add_scalar("learning_rate", step.learning_rate, step.step)
            if step.validation is not None:
                writer.add_scalar("loss/validation", step.validation, step.step)

    def image(self, name: str, image: Any, step: int) -> None:
        """Log a (h, w) image, scaled to its range."""
        with self._tolerant() as writer:
            if writer is not None:
                low, high = np.nanmin(image), np.nanmax(image)
                shown = np.nan_to_num((image - low) / max(high - low, 1e-12))
                writer.add_image(name, shown, step, dataformats="HW")

    def close(self) -> None:
        with self._tolerant() as writer:
            if writer is not None:
                writer.close()

    @contextmanager
    def _tolerant(self) -> Iterator[Any]:
        """Give the writer; after a write error, training continues without logs."""
        try:
            yield self._writer
        except OSError as error:
            _log.warning("TensorBoard logging stopped: %s", error.strerror or error)
            writer, self._writer = self._writer, None
            with suppress(OSError):
                writer.close()
