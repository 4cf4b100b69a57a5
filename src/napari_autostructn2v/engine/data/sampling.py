"""Sampling: blocks of an image, of bounded total size, that are read only once per run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_autostructn2v.engine.data.defects import measurable
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.source import Source, View
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array, Box, box_of, covers, slices

_SAMPLE_PIXELS = 2**21
_LEAST_PIXELS = 2**14
_BLOCK = 1024
_KEPT_PIXELS = 2**25  # pixels kept of all images of a run together
_SHARED = 4  # defects are detected on a quarter of the pixels that noise is measured on
_AMONG = 16  # least number of positions along each axis, so that few blocks aren't all in corners

_SMALLEST, _LARGEST = 1e-15, 1e15  # limits of grey values; their squares are summed in float32


def sample_pieces(
    source: Source, channel: int, rng: np.random.Generator, images: int = 1
) -> list[Piece]:
    """Choose blocks of one channel: whole planes if small, otherwise random blocks.

    The limit on pixels is shared by `images` images. Blocks start at even pixels, which keeps the
    phase of a colour camera's pattern.
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


def noise_sample(source: Source, image: int, channel: int, seed: int) -> list[Piece]:
    """Choose the blocks to measure the noise of an image on."""
    return sample_pieces(source, channel, np.random.default_rng((seed, image, channel)))


def defect_sample(source: Source, channel: int) -> list[Piece]:
    """Choose the blocks to detect defects on."""
    return sample_pieces(source, channel, np.random.default_rng(channel), _SHARED)


def common_sample(sources: Sequence[Source], channel: int, seed: int) -> list[list[Piece]]:
    """Choose blocks of each image that has the channel, together about as many as of one image."""
    rng = np.random.default_rng((seed, channel))
    return [
        sample_pieces(source, channel, rng, images=len(sources))
        for source in sources
        if channel < source.channels
    ]


@dataclass(frozen=True, eq=False)
class Samples(View):
    """Blocks of an image kept in memory, by plane and in the stored type; the rest is read."""

    blocks: Mapping[int, Sequence[tuple[Box, Array]]]

    @classmethod
    def of(cls, pieces: Sequence[Piece], most: int) -> Samples:
        """Read pieces of one image, at most `most` pixels.

        Pieces that can't be read are skipped; the error is raised when they are needed.
        """
        blocks: dict[int, list[tuple[Box, Array]]] = {}
        for piece in pieces:
            known = blocks.setdefault(piece.plane, [])
            if piece.pixels > most or any(covers(box, piece.region) for box, _ in known):
                continue
            with suppress(InputError):
                # A copy, as the block may be a view of a larger array, such as a decoded page.
                block = np.array(piece.source.stored(piece.plane, *slices(piece.region)))
                block.setflags(write=False)
                known.append((piece.region, block))
                most -= block.size
        return cls(blocks)

    @property
    def pixels(self) -> int:
        return sum(block.size for known in self.blocks.values() for _, block in known)

    def region(self, source: Source, plane: int, y: slice, x: slice) -> Array:
        wanted = box_of((y, x), source.size)
        for box, block in self.blocks.get(plane, ()):
            if covers(box, wanted):
                return block[slices(wanted, box)]
        return source.stored(plane, y, x)

    def __reduce__(self) -> tuple[type[Samples], tuple[Any, ...]]:
        return Samples, ({},)  # pickled without blocks: another process reads what it needs


def sampled(sources: Sequence[Source], seed: int) -> list[Source]:
    """Return views of the images with their samples in memory, so that they are read only once.

    Samples beyond the limit on memory are read when they are needed.
    """
    pieces: dict[Source, list[Piece]] = {source: [] for source in sources}
    for channel in range(max(source.channels for source in sources)):
        for image, source in enumerate(sources):
            if channel < source.channels:
                pieces[source] += noise_sample(source, image, channel, seed)
                pieces[source] += defect_sample(source, channel)
        for shared in common_sample(sources, channel, seed):
            pieces[shared[0].source] += shared
    left, result = _KEPT_PIXELS, []
    for source in sources:
        view = Samples.of(pieces[source], left)
        left -= view.pixels
        result.append(source.through(view, source.offset))
    return result


def sample_blocks(
    source: Source, channel: int, rng: np.random.Generator, images: int = 1
) -> list[Array]:
    """Read the blocks chosen by `sample_pieces`, as `read_blocks` does."""
    return read_blocks(sample_pieces(source, channel, rng, images))[0]


def read_blocks(pieces: Sequence[Piece]) -> tuple[list[Array], float]:
    """Read blocks of one channel with `measurable`; return them and their share of outliers.

    Raises
    ------
    InputError
        If no block has noise.
    """
    stored = [piece.read() for piece in pieces]
    check_measurable(stored)
    blocks, outliers = measurable(stored)
    if not any(np.isfinite(block).any() for block in blocks):
        raise InputError(
            "the image consists only of constant areas, so there is no noise to remove"
        )
    return blocks, outliers


def _spread(items: Sequence[int], count: int) -> list[int]:
    """Return at most `count` items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).astype(int)]


def check_measurable(blocks: Sequence[Array]) -> None:
    """Check that there can be noise in blocks.

    Raises
    ------
    InputError
        If no block has two different finite values, or values are too large or small to square.
    """
    finite = [values for block in blocks if (values := block[np.isfinite(block)]).size]
    if not finite:
        raise InputError("the image has no finite value (all NaN or infinite)")
    largest = max(float(np.abs(values).max()) for values in finite)
    if largest < _LARGEST and all(values.min() == values.max() for values in finite):
        raise InputError(
            f"the image is constant (every pixel is {finite[0][0]:g}), so there is no noise to "
            "remove"
        )
    if not _SMALLEST < largest < _LARGEST:
        raise InputError(
            f"the image's grey values reach {largest:.2g}, too large or too small to measure "
            "the noise; set pixels without data to NaN, or rescale the image"
        )
