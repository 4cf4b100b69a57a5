"""Numbering of the 2-D planes of an image."""

from __future__ import annotations

import math


class Planes:
    """The planes of an image, numbered over the axes other than Y and X.

    The numbering follows the stored order of these axes, with the last one varying fastest.

    Attributes
    ----------
    axes, shape
        In stored order; axes are letters of "STCZYX".
    lengths
        The length of each axis.
    size
        (height, width) of a plane.
    planes, channels
        Number of planes; length of C, or 1.
    """

    def __init__(self, axes: str, shape: tuple[int, ...]) -> None:
        self.axes, self.shape = axes, shape
        self.lengths = dict(zip(axes, shape, strict=True))
        self._outer = "".join(axis for axis in axes if axis not in "YX")
        self.size = (self.lengths["Y"], self.lengths["X"])
        self.planes = math.prod(self.lengths[axis] for axis in self._outer)
        self.channels = self.lengths.get("C", 1)

    @property
    def transposed(self) -> bool:
        """Whether X is stored before Y."""
        return self.axes.index("X") < self.axes.index("Y")

    def channel(self, plane: int) -> int:
        """Return the position of a plane along C; 0 if there is no such axis."""
        return self._position(plane).get("C", 0)

    def plane_of(self, channel: int, k: int) -> int:
        """Return the number of a channel's plane `k`."""
        inner = self._stride("C")
        before, after = divmod(k, inner)
        return (before * self.channels + channel) * inner + after

    def pair(self, plane: int, axis: str) -> tuple[int, int] | None:
        """Return a plane and its neighbour along an axis, or None; no plane is in two pairs."""
        if axis not in self._outer:
            return None
        position = self._position(plane)[axis]
        first = position // 2 * 2
        if first + 1 == self.lengths[axis]:
            return None
        stride = self._stride(axis)
        here = plane - (position - first) * stride
        return here, here + stride

    def index(self, plane: int, y: slice, x: slice) -> tuple[int | slice, ...]:
        """Return the index of a region of a plane in the array as stored."""
        where: dict[str, int | slice] = {**self._position(plane), "Y": y, "X": x}
        return tuple(where[axis] for axis in self.axes)

    def plane(self, index: tuple[int | slice, ...]) -> int:
        """Return the number of the plane that an index selects."""
        plane = 0
        for axis, where in zip(self.axes, index, strict=True):
            if isinstance(where, int):
                plane = plane * self.lengths[axis] + where
        return plane

    def _position(self, plane: int) -> dict[str, int]:
        if not 0 <= plane < self.planes:
            raise IndexError(f"plane {plane} of {self.planes}")
        position = {}
        for axis in reversed(self._outer):
            plane, position[axis] = divmod(plane, self.lengths[axis])
        return position

    def _stride(self, axis: str) -> int:
        """Return the difference in number between planes that are neighbours along an axis."""
        _, _, faster = self._outer.partition(axis)
        return math.prod(self.lengths[other] for other in faster)
