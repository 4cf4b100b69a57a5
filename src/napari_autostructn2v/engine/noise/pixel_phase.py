"""Tests whether the noise differs within each 2 x 2 square, as in colour cameras."""

from __future__ import annotations

import numpy as np

from napari_autostructn2v.engine.noise.flat_tiles import FlatTiles
from napari_autostructn2v.engine.noise.statistics import SURE, median_error
from napari_autostructn2v.engine.types import Array

_PHASE_LEVEL = 1.02  # ratio of variances


def phases(flat: FlatTiles) -> Array:
    """Return the relative standard deviation at the four phases; 1 unless it clearly differs."""
    tiles = flat.levelled
    if min(tiles.shape[1:]) < 8 or len(tiles) < 4:
        return np.ones((2, 2))
    total = (tiles**2).sum((1, 2)) / flat.valid.sum((1, 2))
    shares = np.empty((len(tiles), 2, 2))
    for i, (tile, (_, y, x)) in enumerate(zip(tiles, flat.places, strict=True)):
        for dy, dx in np.ndindex(2, 2):
            count = int(flat.valid[i, dy::2, dx::2].sum())
            squares = (tile[dy::2, dx::2] ** 2).sum()
            share = squares / count / total[i] if count else 1.0
            shares[i, (y + dy) % 2, (x + dx) % 2] = share
    ratio = np.median(shares, axis=0)
    sure = np.abs(ratio - 1) > SURE * median_error(shares, len(tiles))
    if not (sure.any() and ratio.max() / ratio.min() > _PHASE_LEVEL):
        return np.ones((2, 2))
    result: Array = np.sqrt(ratio)
    return result
