"""Subtracts periodic noise that all lines of an image share, which no mask can hide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_autostructn2v.engine.data.piece import read_around
from napari_autostructn2v.engine.data.source import Source, View
from napari_autostructn2v.engine.noise.periodic import Wave
from napari_autostructn2v.engine.types import Array

_COHERENCE = 24.0  # px: amplitude and phase are averaged over this scale
_TRUNCATE = 3.0  # of those scales


def without_waves(source: Source, waves: Sequence[Wave | None]) -> Source:
    """Return an image without its waves, or the image itself if there are none."""
    if not any(wave and not wave.lines for wave in waves):
        return source
    return source.through(_WithoutWaves(tuple(waves)), source.offset)


@dataclass(frozen=True)
class _WithoutWaves(View):
    """An image without its waves: `waves` has one for each channel, or None.

    A band of 1 / (2 pi 24) = 0.007 cycles per pixel around the wave is estimated by complex
    demodulation and removed, including structure of the same wavelength and direction.
    """

    waves: tuple[Wave | None, ...]

    def region(self, source: Source, plane: int, y: slice, x: slice) -> Array:
        wave = self.waves[min(source.channel(plane), len(self.waves) - 1)]
        if wave is None or wave.lines:
            return source.read(plane, y, x)
        halo = math.ceil(_TRUNCATE * _COHERENCE)
        block, wanted, ((top, _), (left, _)) = read_around(source, plane, y, x, halo)
        calm = (block - _band(block, wave, top, left))[wanted]
        return calm.astype(np.float32)


def _band(block: Array, wave: Wave, top: int, left: int) -> Array:
    """Return a block's narrow band around a wave, with phase 0 at the image's corner."""
    finite = np.isfinite(block)
    inside = _smooth(finite.astype(np.float64))
    values = np.where(finite, block, 0.0)
    centred = np.where(finite, values - _smooth(values) / np.maximum(inside, 1e-9), 0.0)
    rows, columns = (
        np.arange(n) + first for n, first in zip(block.shape, (top, left), strict=True)
    )
    turns = np.add.outer(rows / wave.y, columns / wave.x * wave.slant)
    carrier = np.exp(2j * np.pi * turns)
    turned = centred * carrier.conj()
    envelope = (_smooth(turned.real) + 1j * _smooth(turned.imag)) / np.maximum(inside, 1e-9)
    band: Array = 2 * (envelope * carrier).real
    return band


def _smooth(values: Array) -> Array:
    smooth: Array = ndimage.gaussian_filter(values, _COHERENCE, mode="constant", truncate=_TRUNCATE)
    return smooth
