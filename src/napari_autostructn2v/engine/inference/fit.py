"""Tells when a model does not suit an image: before it is applied, and by what its type cuts off.

A network that meets grey values it has never seen answers with anything. Only what no other
exposure or scene of one camera explains is told: a false alarm would teach not to listen.
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

_BULK = 5, 95  # percent: where most pixels of an image lie
_AWAY = 10.0  # standard deviations of the images trained on
_TIMES = 4.0  # of those images' mean; three times the exposure is still the same camera
_SCALED = 6.0  # contrast and noise, both: either alone differs as much between scenes
_SHARE = 8  # of the pixels that a training samples, one in so many is enough here

_CLIPPED = 0.01  # of a result's pixels
_FEW = 0.001  # of a block's: not worth reading the image for


def misfit(model: TrainedModel, source: Source) -> str | None:
    """Say what of an image is far from what a model was trained on, if anything is.

    Its grey values and its noise are looked at, on a bounded sample.
    """
    (level,) = levelled([source])
    image = without_waves(level, model.waves)
    for channel in range(source.channels):
        rng = np.random.default_rng(channel)
        try:
            blocks = sample_blocks(image, channel, rng, images=_SHARE)
        except InputError:  # an image without noise suits any model
            continue
        if found := _misfit(model, channel, blocks, level.offset):
            what, here, there = found
            where = f", channel {channel}" if source.channels > 1 else ""
            return (
                f"{what} of {source.name}{where} ({here}) are far from those the model was trained "
                f"on ({there}): it is of another camera or setting. Train a model on it."
            )
    return None


def _misfit(
    model: TrainedModel, channel: int, blocks: list[Array], offset: float
) -> tuple[str, str, str] | None:
    """What is far, how it is in the image, and how it was in training."""
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
    # With a few bright objects the one figure is much larger than the other; the nearer counts.
    robust = 1.4826 * float(np.median(np.abs(values - middle)))
    spreads = sorted([robust, float(values.std())])
    contrast = min(max(deviation, spreads[0]), spreads[1])
    alike = (contrast > deviation) == (noise > sigma)
    if alike and min(_ratio(contrast, deviation), _ratio(noise, sigma)) > _SCALED:
        return "Contrast and noise", f"sigma {noise:.3g}", f"sigma {sigma:.3g}"
    return None


def _ratio(one: float, other: float) -> float:
    """How many times larger the larger is; infinite across zero."""
    return max(one / other, other / one) if one * other > 0 else math.inf


class Clipping:
    """Counts how much of a result its integer type cuts off.

    Parameters
    ----------
    source
        The image. Where it is itself at the end of the type, nothing is lost.
    sigma
        Its noise. By less than that, nothing is lost either.
    """

    def __init__(self, source: Source, dtype: np.dtype[Any], sigma: float) -> None:
        self._source, self._dtype = source, dtype
        self._margin = max(sigma, 0.5)
        self._seen = 0
        self._lost = [0, 0]  # below, above

    def look(self, plane: int, region: Box, block: npt.NDArray[np.float32]) -> None:
        """Count in a (Y, X) block of the result."""
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
        """What is lost, if it is more than one percent at an end."""
        end = int(np.argmax(self._lost))
        if self._lost[end] <= _CLIPPED * self._seen:
            return None
        share, limit = self._lost[end] / self._seen, int(self._ends[end])
        return (
            f"{share:.0%} of the result of {self._source.name} lie {('below', 'above')[end]} "
            f"{limit} and are cut off there, where {self._dtype} ends. Choose float32 as the type "
            "of the result, or train a model on this image."
        )

    @property
    def _ends(self) -> tuple[float, float]:
        limits = np.iinfo(self._dtype)
        return float(limits.min), float(limits.max)
