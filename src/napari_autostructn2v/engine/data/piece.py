"""A part of one plane of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.types import Array, Box, shape_of, slices


@dataclass(frozen=True)
class Piece:
    """A region of one plane of one image."""

    source: Source
    plane: int
    region: Box

    @property
    def channel(self) -> int:
        return self.source.channel(self.plane)

    @property
    def shape(self) -> tuple[int, ...]:
        return shape_of(self.region)

    @property
    def pixels(self) -> int:
        return math.prod(self.shape)

    def read(self) -> Array:
        return self.source.read(self.plane, *slices(self.region))
