"""Cuts an image into tiles whose results fit together to the whole image's: integers only."""

from __future__ import annotations

from dataclasses import dataclass

Span = tuple[int, int]
Region = tuple[Span, Span]


@dataclass(frozen=True)
class Tile:
    """`core` is the part of the image this tile yields, `read` what the network must see for it."""

    core: Region
    read: Region

    @property
    def crop(self) -> tuple[slice, slice]:
        """The core, in coordinates of what was read."""
        y, x = (
            slice(core[0] - read[0], core[1] - read[0])
            for core, read in zip(self.core, self.read, strict=True)
        )
        return y, x

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of what is read."""
        (y0, y1), (x0, x1) = self.read
        return y1 - y0, x1 - x0


def tiles(
    size: tuple[int, int], side: int, halo: int, stride: int, region: Region | None = None
) -> list[Tile]:
    """Tiles that cover an image, or a region of it, exactly once, row by row.

    Parameters
    ----------
    size
        (height, width) of the image.
    side
        Largest side of a core; rounded down to a multiple of `stride`, at least one.
    halo
        Radius of the network's receptive field.
    stride
        What is read begins at multiples of it, so that every level of the network meets the same
        pixels as in the whole image, and ends at one or at the image's end.

    Example: size 10, side 4, halo 1, stride 2 along one axis gives cores 0-4, 4-8, 8-10 that
    read 0-6, 2-10, 6-10.
    """
    spans = region or ((0, size[0]), (0, size[1]))
    ys, xs = (_cores(span, max(side // stride, 1) * stride) for span in spans)
    return [
        Tile((y, x), (_read(y, size[0], halo, stride), _read(x, size[1], halo, stride)))
        for y in ys
        for x in xs
    ]


def quarters(tile: Tile, size: tuple[int, int], halo: int, stride: int) -> list[Tile]:
    """The same core in up to four smaller tiles; the tile itself if it can't be cut."""
    parts = []
    for (start, end), length in zip(tile.core, size, strict=True):
        half = (end - start + 1) // 2
        half = max(-(-half // stride) * stride, stride)
        cores = [(a, min(a + half, end)) for a in range(start, end, half)]
        parts.append([(core, _read(core, length, halo, stride)) for core in cores])
    return [Tile((y, x), (ry, rx)) for y, ry in parts[0] for x, rx in parts[1]]


def _cores(span: Span, side: int) -> list[Span]:
    return [(start, min(start + side, span[1])) for start in range(*span, side)]


def _read(core: Span, length: int, halo: int, stride: int) -> Span:
    start = max(core[0] - halo, 0) // stride * stride
    end = -(-(core[1] + halo) // stride) * stride
    return start, min(end, length)
