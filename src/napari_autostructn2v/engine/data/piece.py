"""Pieces: regions of a plane of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.types import Array, Box, box_of, inside, shape_of, slices


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


def read_around(
    source: Source, plane: int, y: slice, x: slice, halo: int
) -> tuple[Array, tuple[slice, ...], Box]:
    """Read a region with a halo; return the block, the region's index in it and the block's box."""
    wanted = box_of((y, x), source.size)
    box = inside(tuple((start - halo, end + halo) for start, end in wanted), source.size)
    return source.read(plane, *slices(box)), slices(wanted, box), box
