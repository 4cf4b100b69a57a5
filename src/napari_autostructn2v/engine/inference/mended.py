"""An image as the networks see it: without offset and waves, with its defects mended.

Mended pixels keep their original values in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.defects import Defects
from napari_autostructn2v.engine.data.levels import levelled
from napari_autostructn2v.engine.data.piece import read_around
from napari_autostructn2v.engine.data.sampling import defect_sample, read_blocks
from napari_autostructn2v.engine.data.source import Source, View
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.analysis import nothing_to_measure
from napari_autostructn2v.engine.noise.periodic import Wave
from napari_autostructn2v.engine.noise.wave_subtraction import without_waves
from napari_autostructn2v.engine.types import Array, Box, middle, slices, whole

_HALO = 2  # px: the neighbourhood that decides whether a pixel is hot or dead
_GLANCE, _STRIP = 8, 256  # px: a square checked first, and the height of strips read after it


class Mending(View):
    """An image with NaN for pixels without data and medians for hot and dead pixels.

    Defects are detected once per channel, on a sample of the image, so that every region is mended
    by the same rule. They are cached, so each image needs its own view.
    """

    def __init__(self) -> None:
        self._defects: dict[int, Defects] = {}
        self._blank: dict[int, bool] = {}

    def region(self, source: Source, plane: int, y: slice, x: slice) -> Array:
        if self.blank(source, plane):
            return np.full_like(source.read(plane, y, x), np.nan)
        defects = self.defects(source, source.channel(plane))
        if not defects.any:
            return source.read(plane, y, x)
        block, wanted, _ = read_around(source, plane, y, x, _HALO)
        return defects.mended(block)[wanted]

    def defects(self, source: Source, channel: int) -> Defects:
        if channel not in self._defects:
            pieces = defect_sample(source, channel)
            self._defects[channel] = Defects.of([piece.read() for piece in pieces])
        return self._defects[channel]

    def blank(self, source: Source, plane: int) -> bool:
        """Return whether a plane is constant or has no finite value."""
        if plane not in self._blank:
            height, width = source.size
            glance = slices(middle(whole(source.size), _GLANCE))
            strips = (slice(top, top + _STRIP) for top in range(0, height, _STRIP))
            parts = (source.read(plane, strip, slice(width)) for strip in strips)
            known = _values(source.read(plane, *glance))
            blank = len(known) <= 1
            while blank and (part := next(parts, None)) is not None:
                known = np.union1d(known, _values(part))
                blank = len(known) <= 1
            self._blank[plane] = blank
        return self._blank[plane]


class Mended:
    """One image, and the view of it that the networks see.

    Attributes
    ----------
    image
        The image as it was opened.
    level
        The image less its offset.
    """

    def __init__(self, image: Source, level: Source) -> None:
        self.image, self.level = image, level
        self._mending = Mending()
        self._mended = level.through(self._mending, level.offset)

    def seen(self, waves: Sequence[Wave | None]) -> Source:
        """Return the view for the networks; pixels without data are NaN."""
        return without_waves(self._mended, waves)

    @cached_property
    def blank_channels(self) -> dict[int, str]:
        """The channels without noise, with the reason for each."""
        found = {}
        for channel in range(self.level.channels):
            try:
                read_blocks(defect_sample(self.level, channel))
            except InputError as error:
                found[channel] = str(error)
        return found

    def restored(self, plane: int, region: Box, result: Array, outliers: bool) -> Array:
        """Return a region's result with the original values where there is no data.

        If `outliers` is true, hot and dead pixels keep their original values as well.
        """
        defects = self._mending.defects(self.level, self.level.channel(plane))
        if not (self._mending.blank(self.level, plane) or defects.any):
            return result
        y, x = slices(region)
        raw, seen = self.level.read(plane, y, x), self._mended.read(plane, y, x)
        kept = np.isfinite(raw) & (raw != seen)
        if not outliers:
            kept &= np.isnan(seen)
        return np.where(kept, self.image.stored(plane, y, x), result).astype(result.dtype)


def mended(images: Sequence[Source]) -> list[Mended]:
    """Return the images, less a common offset, with their defects mended."""
    return [Mended(*pair) for pair in zip(images, levelled(images), strict=True)]


def with_noise(images: Sequence[Mended], config: Config) -> tuple[list[Mended], list[str]]:
    """Return the images that have noise, and warnings about images and channels without.

    Raises
    ------
    InputError
        If no image has noise, or if a channel that needs its own network has none.
    """
    used = [image for image in images if len(image.blank_channels) < image.level.channels]
    if not used:
        raise InputError(
            nothing_to_measure({image.level.name: image.blank_channels[0] for image in images})
        )
    channels = range(max(image.level.channels for image in used))
    for channel in channels if config.network_per_channel else ():
        if all(channel in image.blank_channels for image in used):
            raise InputError(
                f"channel {channel} has no noise to train a network on; leave the channel out, or "
                "let all channels share a network (network_per_channel = false)"
            )
    said = []
    for image in images:
        name, blank = image.level.name, image.blank_channels
        what = {name: blank[0]} if image not in used else {
            f"{name}, channel {channel}": why for channel, why in blank.items()
        }  # fmt: skip
        said += [
            f"{which}: {why}. It isn't used for training and its pixels are written unchanged."
            for which, why in what.items()
        ]
    return used, said


def _values(block: Array) -> Array:
    """Return the smallest and largest finite value of a block; empty if there is none."""
    finite = block[np.isfinite(block)]
    return np.unique([finite.min(), finite.max()]) if finite.size else finite
