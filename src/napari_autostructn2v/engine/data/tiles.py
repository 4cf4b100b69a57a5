"""Tile geometry: splits an image so that the tiles' results equal that of the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from napari_autostructn2v.engine.types import Box, Span, shape_of, slices, whole


@dataclass(frozen=True)
class Tile:
    """A tile: `core` is the region it yields, `read` the region the network needs for that."""

    core: Box
    read: Box

    @property
    def crop(self) -> tuple[slice, ...]:
        """The index of the core in the region that is read."""
        return slices(self.core, self.read)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the region that is read."""
        return shape_of(self.read)


def tiles(
    size: Sequence[int],
    side: int | Sequence[int],
    halo: int | Sequence[int],
    stride: int | Sequence[int],
    region: Box | None = None,
) -> list[Tile]:
    """Return tiles that cover an image or region exactly once; the last axis varies fastest.

    Parameters
    ----------
    size
        (height, width) of an image, or (depth, height, width) of a volume.
    side
        Largest side of a core, rounded down to a multiple of `stride`, but at least one stride.
        This and the following can be given per axis.
    halo
        Radius of the network's receptive field.
    stride
        Total downsampling factor of the network. Regions that are read start at multiples of it,
        so that every level of the network is aligned with the whole image, and end at a multiple
        or at the end of the image.

    Example: size 10, side 4, halo 1, stride 2 along one axis gives cores 0-4, 4-8, 8-10 that
    read 0-6, 2-10, 6-10.
    """
    sides, strides = _each(side, size), _each(stride, size)
    steps = [max(n // m, 1) * m for n, m in zip(sides, strides, strict=True)]
    return _cut(region or whole(size), steps, size, halo, strides)


def halved(
    tile: Tile, size: Sequence[int], halo: int | Sequence[int], stride: int | Sequence[int]
) -> list[Tile]:
    """Split a tile in two along every axis; return the tile itself if it can't be split."""
    strides = _each(stride, size)
    halves = [(n + 1) // 2 for n in shape_of(tile.core)]
    steps = [max(-(-n // m) * m, m) for n, m in zip(halves, strides, strict=True)]
    return _cut(tile.core, steps, size, halo, strides)


def _cut(
    box: Box,
    steps: Sequence[int],
    size: Sequence[int],
    halo: int | Sequence[int],
    strides: Sequence[int],
) -> list[Tile]:
    """Return tiles that cover a box, with cores of at most `steps` pixels."""
    along = [
        [
            (core, _read(core, length, margin, stride))
            for start in range(*span, step)
            for core in [(start, min(start + step, span[1]))]
        ]
        for span, step, length, margin, stride in zip(
            box, steps, size, _each(halo, size), strides, strict=True
        )
    ]
    return [
        Tile(tuple(core for core, _ in spans), tuple(read for _, read in spans))
        for spans in product(*along)
    ]


def _each(value: int | Sequence[int], size: Sequence[int]) -> Sequence[int]:
    return [value] * len(size) if isinstance(value, int) else value


def _read(core: Span, length: int, halo: int, stride: int) -> Span:
    start = max(core[0] - halo, 0) // stride * stride
    end = -(-(core[1] + halo) // stride) * stride
    return start, min(end, length)
