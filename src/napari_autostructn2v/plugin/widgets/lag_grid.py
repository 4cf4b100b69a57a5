"""Grids of lags with lag 0 in the centre: cropping and colours.

Shared by the clickable grid in the dock and the layers beside the image, so that they look alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from napari_autostructn2v.engine.types import Array

# Blue below zero, orange above: told apart in colour blindness, readable in both themes.
NEGATIVE, ZERO, POSITIVE = "#3d9bff", "#1d1f24", "#ff9f1c"
_RGB = np.array([list(bytes.fromhex(colour[1:])) for colour in (NEGATIVE, ZERO, POSITIVE)])

AT_FIRST = 10  # lags shown unless more are asked for: cells that a pointer can hit
_VISIBLE = 0.05  # a correlation below this is not worth showing
_SIGNIFICANT = 3  # standard errors
_LEAST_REACH = 5


def centred(lags: Array, radius: int | Sequence[int], fill: float = 0) -> Array:
    """Crop or pad a grid with odd sides to the lags up to `radius`."""
    radii = np.broadcast_to(radius, lags.ndim)
    for axis, (side, limit) in enumerate(zip(lags.shape, radii, strict=True)):
        if (excess := side // 2 - limit) > 0:
            lags = np.take(lags, range(excess, side - excess), axis)
    missing = [limit - side // 2 for side, limit in zip(lags.shape, radii, strict=True)]
    return np.pad(lags, [(side, side) for side in missing], constant_values=fill)


def trimmed(cells: Array) -> Array:
    """Crop the empty border of a mask symmetrically; at least one pixel must be set."""
    half = np.array(cells.shape)[:, None] // 2
    return centred(cells, np.abs(np.nonzero(cells) - half).max(1))


def split_lines(mask: Array, least: tuple[int, int]) -> tuple[Array, bool, bool]:
    """Remove the whole row and column from a mask; return the rest and whether each was there.

    A row or column through the centre is whole if it has no gap and its half-length is at least
    `least` (of the column, of the row: in the order of the axes).
    """
    y, x = (side // 2 for side in mask.shape)
    column = bool(y >= least[0] and mask[:, x].all())
    row = bool(x >= least[1] and mask[y, :].all())
    core = (mask != 0).astype(np.uint8)
    core[y, :] *= not row
    core[:, x] *= not column
    core[y, x] = 1
    return trimmed(core), row, column


def reach(rho: Array, error: Array | None = None) -> int:
    """Return the largest lag to show: the reach of the correlation plus a margin.

    If its standard error is given, insignificant correlation is ignored.
    """
    centre = np.array(rho.shape)[:, None] // 2
    least = _VISIBLE if error is None else np.maximum(_VISIBLE, _SIGNIFICANT * error)
    far = np.abs(np.nonzero(np.abs(rho) > least) - centre).max(initial=0)
    return int(min(max(far + 2, _LEAST_REACH), *centre.flat))


def highest_off_centre(rho: Array) -> float:
    """Return the largest correlation with another pixel, or at least the visible minimum."""
    lags = np.abs(rho)
    lags[tuple(side // 2 for side in lags.shape)] = 0
    return max(float(np.nanmax(lags)), _VISIBLE)


def coloured(rho: Array, limit: float) -> Array:
    """Return colours of correlations from -limit to limit: uint8 (..., RGBA), NaN transparent."""
    pixels = np.full((*rho.shape, 4), 255, np.uint8)
    for i in range(3):
        pixels[..., i] = np.interp(np.nan_to_num(rho), (-limit, 0, limit), _RGB[:, i])
    pixels[np.isnan(rho), 3] = 0
    return pixels


def outline(cells: Array) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the edges between set and unset cells, as corners (y, x)."""
    padded = np.pad(cells != 0, 1)
    for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        yield (y, x), (y, x + 1)
    for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
        yield (y, x), (y + 1, x)
