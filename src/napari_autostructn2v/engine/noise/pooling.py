"""Averages the noise of several images or channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.noise.noise_variance import Variance
from napari_autostructn2v.engine.noise.periodic import Wave
from napari_autostructn2v.engine.types import Array


def pooled(noises: Sequence[Noise]) -> Noise:
    """Return the mean noise of several images, weighted by their number of tiles.

    Line offsets, or waves along lines, are kept even if only one image has them: a mask that
    hides them costs the others little.
    """
    noises = [noise for noise in noises if not noise.scarce] or noises
    weights = np.array([max(noise.tiles, 1) for noise in noises], float)
    weights /= weights.sum()

    def mean(values: Sequence[Any]) -> Any:
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    spans = [noise.variance.signal for noise in noises]
    return replace(
        noises[0],
        short=mean([n.short for n in noises]),
        short_error=np.sqrt(
            sum((w * n.short_error) ** 2 for w, n in zip(weights, noises, strict=True))
        ),
        sigma=float(np.sqrt(mean([n.sigma**2 for n in noises]))),
        row_offset=float(mean([n.row_offset for n in noises])),
        column_offset=float(mean([n.column_offset for n in noises])),
        autocovariance=mean([n.autocovariance for n in noises]),
        tiles=sum(n.tiles for n in noises),
        variance=Variance(
            float(mean([n.variance.read for n in noises])),
            float(mean([n.variance.gain for n in noises])),
            (min(low for low, _ in spans), max(high for _, high in spans)),
        ),
        doubt=float(mean([n.doubt for n in noises])),
        removed=float(mean([n.removed for n in noises])),
        wave=_common_wave(noises, weights),
        phases=np.sqrt(mean([n.phases**2 for n in noises])),
        share=float(mean([n.share for n in noises])),
    )


def _common_wave(noises: Sequence[Noise], weights: Array) -> Wave | None:
    """Return the wave with the largest weight, along lines if any, else one of a majority."""
    found = [
        (bool(n.wave.lines), w, n.wave) for n, w in zip(noises, weights, strict=True) if n.wave
    ]
    lines, _, wave = max(found, key=lambda each: each[:2], default=(False, 0.0, None))
    return wave if lines or sum(weight for _, weight, _ in found) > 0.5 else None
