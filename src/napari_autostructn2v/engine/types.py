"""Array types, and boxes of pixels in two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

Span = tuple[int, int]
"""First pixel along an axis, and one past the last."""

Box = tuple[Span, ...]
"""One span per axis: (Y, X) or (Z, Y, X)."""


@dataclass(frozen=True)
class Place:
    """A region ((y0, y1), (x0, x1)) of a plane; `image` is the index of its image."""

    image: int
    plane: int
    region: Box


def whole(size: Sequence[int]) -> Box:
    """Return the box that covers an array of this shape."""
    return tuple((0, length) for length in size)


def shape_of(box: Box) -> tuple[int, ...]:
    return tuple(end - start for start, end in box)


def slices(box: Box, origin: Box | None = None) -> tuple[slice, ...]:
    """Return the index of a box in the whole array, or in an array that holds only `origin`."""
    firsts = [0] * len(box) if origin is None else [first for first, _ in origin]
    return tuple(slice(a - first, b - first) for (a, b), first in zip(box, firsts, strict=True))


def box_of(index: Sequence[slice], size: Sequence[int]) -> Box:
    """Return the box that slices select from an array, clipped as in indexing."""
    return tuple(where.indices(n)[:2] for where, n in zip(index, size, strict=True))


def inside(box: Box, size: Sequence[int]) -> Box:
    """Return the part of a box inside an image; a span outside it has a length of 0 or less."""
    return tuple((max(start, 0), min(end, n)) for (start, end), n in zip(box, size, strict=True))


def covers(outer: Box, inner: Box) -> bool:
    return all(a <= c and d <= b for (a, b), (c, d) in zip(outer, inner, strict=True))


def middle(box: Box, side: int, step: int = 1) -> Box:
    """Return the middle of a box, at most `side` wide, starting a multiple of `step` into it.

    Example: the middle of (0, 10) with side 4 is (3, 7); with step 2 it is (2, 6).
    """
    sides = [min(side, n) for n in shape_of(box)]
    firsts = [
        start + (end - start - n) // (2 * step) * step
        for (start, end), n in zip(box, sides, strict=True)
    ]
    return tuple((first, first + n) for first, n in zip(firsts, sides, strict=True))
