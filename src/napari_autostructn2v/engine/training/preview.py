"""Shows what the network in training makes of a region, no more often than it can be afforded."""

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

_FIRST = 10  # steps of a stage before there is anything to see
_EVERY = 2.0  # seconds between the beginnings of two previews, at least
_SHARE = 0.1  # of the time goes into previews, at most
_SIDE = 512  # px, at most
_TILE = 256  # px; a stop waits for one tile


@dataclass
class Previewer:
    """Asks which place to show, and denoises it with the network as it is.

    `ask` is called in the thread of the run, only when a preview is due; None shows nothing.
    Nothing random is drawn, so that training goes the same way with previews as without.
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
        """Give a preview, if one is due; `channel` is the one being trained, None for all."""
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
        """Denoise the middle of a place; None if it lies outside the image, or after a stop."""
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
