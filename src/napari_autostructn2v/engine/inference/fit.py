"""Detects images that a model doesn't suit, and results that their integer type clips.

A network's output is arbitrary for grey values it was never trained on. The thresholds are high:
another exposure or scene of the same camera doesn't exceed them, so false alarms are rare.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.levels import levelled
from napari_autostructn2v.engine.data.sampling import sample_blocks
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.model.model import TrainedModel
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.noise.wave_subtraction import without_waves
from napari_autostructn2v.engine.types import Array, Box, slices

_BULK = 5, 95  # percentiles between which most pixels of an image lie
_AWAY = 10.0  # distance from the training mean, in standard deviations of the training images
_TIMES = 4.0  # ratio to the training mean; the same camera at 3 times the exposure stays below
_SCALED = 6.0  # ratio of both contrast and noise; one alone varies as much between scenes
_SHARE = 8  # sample one in so many of the pixels that training samples

_CLIPPED = 0.01  # share of a result's pixels
_FEW = 0.001  # share of a block's pixels; below, the image isn't read to compare


def misfit(model: TrainedModel, source: Source) -> str | None:
    """Return a warning if an image is very different from those the model was trained on.

    Grey values, contrast and noise are compared, on a sample of bounded size.
    """
    (level,) = levelled([source])
    image = without_waves(level, model.waves)
    for channel in range(source.channels):
        rng = np.random.default_rng(channel)
        try:
            blocks = sample_blocks(image, channel, rng, images=_SHARE)
        except InputError:  # no noise, so there is nothing to compare
            continue
        if found := _misfit(model, channel, blocks, level.offset):
            what, here, there = found
            where = f", channel {channel}" if source.channels > 1 else ""
            return (
                f"{what} of {source.name}{where} ({here}) are far from those the model was trained "
                f"on ({there}), as if from another camera or setting. Train a model on this image."
            )
    return None


def _misfit(
    model: TrainedModel, channel: int, blocks: list[Array], offset: float
) -> tuple[str, str, str] | None:
    """Return the quantity that differs, its value in the image and its value in training."""
    values = np.concatenate([block[np.isfinite(block)] for block in blocks]).astype(float) + offset
    mean, deviation = model.normalisation.mean[channel], model.normalisation.std[channel]
    low, middle, high = (float(value) for value in np.percentile(values, [_BULK[0], 50, _BULK[1]]))
    nearest = min(max(mean, low), high)
    if abs(nearest - mean) > _AWAY * deviation and _ratio(nearest, mean) > _TIMES:
        known = f"{mean - deviation:.4g} to {mean + deviation:.4g}"
        return "The grey values", f"median {middle:.4g}", known
    try:
        sigma = model.unit(channel).sigma
        noise = measure(blocks, model.config.structure.max_lag).sigma
    except InputError:  # the model has no network for the channel yet
        return None
    # A few bright objects make the standard deviation much larger than the robust estimate; use
    # the one closer to training.
    robust = 1.4826 * float(np.median(np.abs(values - middle)))
    spreads = sorted([robust, float(values.std())])
    contrast = min(max(deviation, spreads[0]), spreads[1])
    alike = (contrast > deviation) == (noise > sigma)
    if alike and min(_ratio(contrast, deviation), _ratio(noise, sigma)) > _SCALED:
        return "Contrast and noise", f"sigma {noise:.3g}", f"sigma {sigma:.3g}"
    return None


def _ratio(one: float, other: float) -> float:
    """Return the larger value divided by the smaller; infinite if their signs differ."""
    return max(one / other, other / one) if one * other > 0 else math.inf


class Clipping:
    """Counts the pixels of a result that its integer type clips.

    Parameters
    ----------
    source
        The image. Pixels where it is itself at the limit of the type don't count.
    sigma
        Standard deviation of its noise. Pixels that exceed the limit by less don't count.
    """

    def __init__(self, source: Source, dtype: np.dtype[Any], sigma: float) -> None:
        self._source, self._dtype = source, dtype
        self._margin = max(sigma, 0.5)
        self._seen = 0
        self._lost = [0, 0]  # below, above

    def look(self, plane: int, region: Box, block: npt.NDArray[np.float32]) -> None:
        """Add a (Y, X) block of the result to the counts."""
        if self._dtype.kind not in "ui":
            return
        self._seen += block.size
        low, high = self._ends
        for end, lost in enumerate((block < low - self._margin, block > high + self._margin)):
            if np.count_nonzero(lost) > _FEW * block.size:
                image = self._source.read(plane, *slices(region))
                inside = image > low if end == 0 else image < high
                self._lost[end] += int(np.count_nonzero(lost & inside))

    @property
    def sentence(self) -> str | None:
        """The warning, if more than 1 % of the pixels are clipped at one end."""
        end = int(np.argmax(self._lost))
        if self._lost[end] <= _CLIPPED * self._seen:
            return None
        share, limit = self._lost[end] / self._seen, int(self._ends[end])
        return (
            f"{share:.0%} of the result of {self._source.name} is {('below', 'above')[end]} "
            f"{limit}, the limit of {self._dtype}, and is clipped. Choose float32 as the type of "
            "the result, or train a model on this image."
        )

    @property
    def _ends(self) -> tuple[float, float]:
        limits = np.iinfo(self._dtype)
        return float(limits.min), float(limits.max)
