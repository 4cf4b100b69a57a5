"""Previews of the network in training, at a limited rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.events import Place, Stop
from napari_autostructn2v.engine.inference.predict import denoise_plane
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.types import inside, middle, shape_of, slices

_FIRST = 10  # steps of a stage before its first preview
_EVERY = 2.0  # seconds between the starts of two previews, at least
_SHARE = 0.1  # of the time spent on previews, at most
_SIDE = 512  # px, the maximum side of a preview
_TILE = 256  # px; small, as a stop waits for the tile in progress


@dataclass
class Previewer:
    """Denoises a place with the network in training.

    `ask` returns the place, or None for no preview. It is called in the thread of the run, only
    when a preview is due. No random numbers are drawn, so previews don't change the training.
    """

    ask: Callable[[], Place | None]
    sources: Sequence[Source]
    normalisation: Normalisation
    device: torch.device
    stop: Stop
    _due: float = -math.inf

    def look(
        self, stage: StageName, step: int, network: Network, channel: int | None, last: bool = False
    ) -> Iterator[events.Preview]:
        """Yield a preview if one is due; `channel` is the one being trained, None for all."""
        began = time.monotonic()
        if not last and (step < _FIRST or began < self._due):
            return
        preview = None
        place = self.ask()
        if place is not None:
            source = self.sources[place.image]
            if channel in (None, source.channel(place.plane)):
                preview = self._denoise(stage, step, network, place, source)
        self._due = began + max(_EVERY, (time.monotonic() - began) / _SHARE)
        if preview is not None:
            yield preview

    def _denoise(
        self, stage: StageName, step: int, network: Network, place: Place, source: Source
    ) -> events.Preview | None:
        """Denoise the middle of a place; return None if it is outside the image, or if stopped."""
        shown = inside(place.region, source.size)
        if min(shape_of(shown)) <= 0:
            return None
        region, missing = middle(shown, _SIDE), 1
        dtype = np.float64 if source.offset else np.float32
        image: npt.NDArray[Any] = np.empty(shape_of(region), dtype)
        for part, block, left in denoise_plane(
            network, source, place.plane, self.normalisation, _TILE, self.device, self.stop, region
        ):
            image[slices(part, region)] = block
            missing = left
        if missing:
            return None
        there = Place(place.image, place.plane, region)
        return events.Preview(stage, step, events.read_only(image), there)
