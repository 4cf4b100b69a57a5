"""Reads a bounded number of blocks of an image, however large it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from napari_autostructn2v.engine.data.defects import measurable
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array

_SAMPLE_PIXELS = 2**21
_LEAST_PIXELS = 2**14
_BLOCK = 1024
_AMONG = 16  # places along each axis; of few blocks not all shall lie in corners

_SMALLEST, _LARGEST = 1e-15, 1e15  # grey values; their squares are summed in float32


def sample_pieces(
    source: Source, channel: int, rng: np.random.Generator, images: int = 1
) -> list[Piece]:
    """Choose blocks of one channel: whole planes when small, else random ones.

    `images` is how many images share the bound. Blocks begin at even pixels, so that the four
    phases of a colour camera keep their places.
    """
    pixels = max(_SAMPLE_PIXELS // images, _LEAST_PIXELS)
    side = min(_BLOCK, math.isqrt(pixels) // 2 * 2)
    planes = range(source.planes // source.channels)  # of this channel
    block = tuple(min(length, side) for length in source.size)
    wanted = max(1, pixels // math.prod(block))
    among = max(wanted, _AMONG)
    rows, columns = (
        _spread(range(0, length - n + 1, n), among)
        for length, n in zip(source.size, block, strict=True)
    )
    among_planes = [source.plane_of(channel, k) for k in _spread(planes, among)]
    grid = [(plane, y, x) for plane in among_planes for y in rows for x in columns]
    chosen = sorted(rng.choice(len(grid), min(wanted, len(grid)), replace=False))
    return [
        Piece(source, plane, ((y, y + block[0]), (x, x + block[1])))
        for plane, y, x in (grid[i] for i in chosen)
    ]


def sample_blocks(
    source: Source, channel: int, rng: np.random.Generator, images: int = 1
) -> list[Array]:
    """Read the blocks that `sample_pieces` chooses, less what is no data."""
    return read_blocks(sample_pieces(source, channel, rng, images))[0]


def read_blocks(pieces: Sequence[Piece]) -> tuple[list[Array], float]:
    """Read blocks of one channel as `measurable` gives them.

    Raises
    ------
    InputError
        If there is no noise in any of them.
    """
    stored = [piece.read() for piece in pieces]
    check_measurable(stored)
    blocks, outliers = measurable(stored)
    if not any(np.isfinite(block).any() for block in blocks):
        raise InputError(
            "the image holds nothing but areas of one value each: there is no noise to remove"
        )
    return blocks, outliers


def _spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).astype(int)]


def check_measurable(blocks: Sequence[Array]) -> None:
    """Refuse blocks without noise.

    Raises
    ------
    InputError
        If no block has two different finite values, or they are too large or small to be squared.
    """
    finite = [values for block in blocks if (values := block[np.isfinite(block)]).size]
    if not finite:
        raise InputError("the image holds no finite value (all NaN or infinite)")
    largest = max(float(np.abs(values).max()) for values in finite)
    if largest < _LARGEST and all(values.min() == values.max() for values in finite):
        raise InputError(
            f"the image is constant (every pixel is {finite[0][0]:g}): there is no noise to remove"
        )
    if not _SMALLEST < largest < _LARGEST:
        raise InputError(
            f"the image's grey values reach {largest:.2g}, where noise cannot be measured: set "
            "pixels without data to NaN, or multiply the image by a number"
        )
