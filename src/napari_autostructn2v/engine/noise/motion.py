"""Detects movement between frames that should show the same scene."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_autostructn2v.engine.noise.flat_tiles import Surface
from napari_autostructn2v.engine.types import Array

_SCALE = 2.0  # px; movement is measured at this scale
_LEAST_EDGES = 100  # px


def movement(one: Array, other: Array) -> float:
    """Return the share of the changes at edges that a shift of the scene explains.

    0 if there are too few edges.
    """
    one, other = Surface.of(one).image, Surface.of(other).image
    scene, difference = (one + other) / 2, one - other
    slopes = [
        ndimage.gaussian_filter(scene, _SCALE, order=order, mode="nearest")
        for order in ((0, 1), (1, 0))
    ]
    steep = np.hypot(*slopes)
    edges = steep > np.quantile(steep, 0.9)
    for axis in (1, 0):  # line offsets are noise
        difference = difference - np.median(difference, axis, keepdims=True)
    change = ndimage.gaussian_filter(difference, _SCALE, mode="nearest")[edges].astype(float)
    if len(change) < _LEAST_EDGES or np.ptp(change) == 0:
        return 0.0
    change -= change.mean()
    design = np.stack([slope[edges] for slope in slopes], 1).astype(float)
    # Cross-validate: a fit by chance to one half does not hold for the other.
    rest = np.empty_like(change)
    halves = np.array_split(np.arange(len(change)), 2)
    for here, there in (halves, halves[::-1]):
        fit, *_ = np.linalg.lstsq(design[there], change[there], rcond=None)
        rest[here] = change[here] - design[here] @ fit
    return float(1 - np.var(rest) / np.var(change))
