"""Cuts an image into tiles whose results fit together to the whole image's: integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from napari_autostructn2v.engine.types import Box, Span, shape_of, slices, whole


@dataclass(frozen=True)
class Tile:
    """`core` is the part of the image this tile yields, `read` what the network must see for it."""

    core: Box
    read: Box

    @property
    def crop(self) -> tuple[slice, ...]:
        """The core, in coordinates of what was read."""
        return slices(self.core, self.read)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is read."""
        return shape_of(self.read)


def tiles(
    size: Sequence[int],
    side: int | Sequence[int],
    halo: int | Sequence[int],
    stride: int | Sequence[int],
    region: Box | None = None,
) -> list[Tile]:
    """Tiles that cover an image, or a region of it, exactly once; the last axis runs fastest.

    Parameters
    ----------
    size
        (height, width) of an image, or (depth, height, width) of a volume.
    side
        Largest side of a core; rounded down to a multiple of `stride`, at least one. This and
        what follows may be given for each axis.
    halo
        Radius of the network's receptive field.
    stride
        What is read begins at multiples of it, so that every level of the network meets the same
        pixels as in the whole image, and ends at one or at the image's end.

    Example: size 10, side 4, halo 1, stride 2 along one axis gives cores 0-4, 4-8, 8-10 that
    read 0-6, 2-10, 6-10.
    """
    sides, strides = _each(side, size), _each(stride, size)
    steps = [max(n // m, 1) * m for n, m in zip(sides, strides, strict=True)]
    return _cut(region or whole(size), steps, size, halo, strides)


def halved(
    tile: Tile, size: Sequence[int], halo: int | Sequence[int], stride: int | Sequence[int]
) -> list[Tile]:
    """The same core cut in two along every axis; the tile itself if it can't be cut."""
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
    """Tiles with cores of so many pixels that cover a box."""
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
