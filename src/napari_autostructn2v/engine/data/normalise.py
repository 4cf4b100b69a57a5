"""Normalisation of grey values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.levels import levelled
from napari_autostructn2v.engine.data.sampling import common_sample, read_blocks
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, to convert grey values to z-scores.

    Blocks have grey values less `offset`; nothing is clipped.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    offset: float = 0.0

    def apply(self, block: Array, channel: int) -> Array:
        mean = np.float32(self.mean[channel] - self.offset)
        result: Array = (block - mean) / np.float32(self.std[channel])
        return result

    def undo(self, block: Array, channel: int) -> Array:
        mean = np.float32(self.mean[channel] - self.offset)
        result: Array = block * np.float32(self.std[channel]) + mean
        return result


def normalise(sources: Sequence[Source], config: Config) -> Normalisation:
    """Compute the mean and standard deviation of each channel, from samples of all images.

    Pixels without data are ignored. A channel without noise in all images isn't changed.
    """
    means, deviations, images = [], [], levelled(sources)
    offset = images[-1].offset
    for channel in range(max(source.channels for source in images)):
        values: list[Any] = []
        for pieces in common_sample(images, channel, config.seed):
            with suppress(InputError):
                blocks, _ = read_blocks(pieces)
                values += [block[np.isfinite(block)] for block in blocks]
        found = np.concatenate(values).astype(float) if values else np.zeros(1)
        means.append(float(found.mean()) + offset)
        deviations.append(float(found.std()) or 1.0)
    return Normalisation(tuple(means), tuple(deviations), offset)
