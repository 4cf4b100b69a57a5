"""What is made of an image on the way from its file: read region by region, as it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_autostructn2v.engine.data.source import Source


class View(ABC):
    """What another makes of a source, addressed like an array of its own."""

    def __init__(self, source: Source) -> None:
        self.source, self.shape, self.dtype = source, source.shape, source.dtype

    @abstractmethod
    def region(self, plane: int, y: slice, x: slice) -> npt.NDArray[Any]:
        """Give a (Y, X) region of a plane."""

    def __getitem__(self, index: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        y, x = (index[self.source.axes.index(axis)] for axis in "YX")
        assert isinstance(y, slice)
        assert isinstance(x, slice)
        block = self.region(self.source.plane(index), y, x)
        return block.T if self.source.transposed else block

    def around(
        self, plane: int, y: slice, x: slice, halo: int
    ) -> tuple[npt.NDArray[np.float32], tuple[slice, slice], tuple[int, int]]:
        """Read a region with a halo: the block, the region in it, and where its corner lies."""
        wanted, read = [], []
        for span, length in zip((y, x), self.source.size, strict=True):
            start, stop, _ = span.indices(length)
            first = max(start - halo, 0)
            read.append(slice(first, min(stop + halo, length)))
            wanted.append(slice(start - first, stop - first))
        block = self.source.read(plane, *read)
        return block, (wanted[0], wanted[1]), (read[0].start, read[1].start)
