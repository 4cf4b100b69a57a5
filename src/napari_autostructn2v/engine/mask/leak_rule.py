"""The leak rule: the smallest mask that keeps the noise from leaking."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from napari_autostructn2v.engine.config import Structure
from napari_autostructn2v.engine.mask.shapes import union
from napari_autostructn2v.engine.mask.verdict import Verdict
from napari_autostructn2v.engine.noise.correlation import (
    WINDOW,
    Correlation,
    mask_of,
)
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.types import Array

_DISK_LEAK = 5  # times the threshold: leak allowed for a disk, as wider disks cost more
_WIDER_IN_DOUBT = 3  # pairs of pixels, in case removed structure was the tail of the noise


def leak_mask(noise: Noise, verdict: Verdict, options: Structure, patch: int) -> Array:
    """Return the structural mask by the leak rule: uint8, odd sides, centre 1.

    `patch` is the side of a training patch; full lines span it from any pixel.

    The rule takes the smallest mask whose predicted blind error is within the tolerance of the
    best. Along a line, a mask that is too narrow costs decibels and one that is too wide next to
    nothing. Lines must therefore also bring the bound of the leak under the threshold, and are
    one pair wider (more if the tiles hold structure). Wider disks do cost.
    """
    kind = verdict.kind
    if kind == "can't tell" and not (noise.removed or noise.scarce):  # see `verdict._AS_NOISE`
        kind = "isotropic"
    correlation = Correlation(noise, patch, isotropic=kind == "isotropic")
    max_lag = noise.short.shape[0] // 2
    parts = [_full_lines(patch - 1, *_lines(noise))]
    if kind == "isotropic":
        disks = list(_disks(WINDOW))
        masks = [union(disk, *parts) for disk in disks]
        # The predicted error is unreliable if the tiles are not quite flat, so limit the leak too.
        first = _first_tight(correlation, masks, _DISK_LEAK * options.leak_threshold)
        parts.append(disks[first + _best(correlation, masks[first:], options)])
    elif kind in ("along x", "along y"):
        lines = [np.ones((1, 2 * n + 1), np.uint8) for n in range(1, max_lag + 1)]
        lines = lines if kind == "along x" else [line.T for line in lines]
        index = _best_safe(correlation, [union(line, *parts) for line in lines], options)
        wider = _WIDER_IN_DOUBT if noise.doubt > 1 else 1
        parts.append(lines[min(index + wider, len(lines) - 1)])
    elif kind in ("diagonal", "mixed"):
        shapes = list(correlation.greedy(WINDOW**2 // 2))
        parts.append(shapes[_best_safe(correlation, [union(s, *parts) for s in shapes], options)])
    return union(*parts)


def _lines(noise: Noise) -> tuple[bool, bool]:
    """Whether to hide whole rows, and whole columns."""
    rows, columns, wave = noise.row_offset > 0, noise.column_offset > 0, noise.wave
    if wave is None:
        return rows, columns
    if wave.lines:
        return rows or wave.lines == "rows", columns or wave.lines == "columns"
    # If the offsets form a wave, the visible lines reveal them, and hiding lines is no use.
    return rows and not math.isinf(wave.x), columns and not math.isinf(wave.y)


def _best_safe(correlation: Correlation, masks: Sequence[Array], options: Structure) -> int:
    """Return which of ever larger masks is best, out of the first few that do not leak."""
    first = _first_tight(correlation, masks, options.leak_threshold)
    return first + _best(correlation, masks[first : first + 3], options)


def _first_tight(correlation: Correlation, masks: Sequence[Array], limit: float) -> int:
    """Return the first of ever larger masks whose bound of the leak is under the limit.

    If there is none, return the first one beyond which the leak hardly falls.
    """
    bounds = np.array([correlation.leak(mask)[1] for mask in masks])
    return int(np.argmax(bounds <= max(limit, 1.1 * float(bounds.min()))))


def _best(correlation: Correlation, masks: Sequence[Array], options: Structure) -> int:
    """Return the first mask whose predicted blind error is within the tolerance of the best."""
    errors = np.array([correlation.blind_error(mask) for mask in masks])
    return int(np.argmax(errors <= errors.min() * 10 ** (options.score_tolerance / 10)))


def _full_lines(half: int, rows: bool, columns: bool) -> Array:
    mask = np.zeros((2 * half * columns + 1, 2 * half * rows + 1), np.uint8)
    mask[mask.shape[0] // 2, :] = 1
    mask[:, mask.shape[1] // 2] = 1
    return mask


def _disks(largest: int) -> Iterator[Array]:
    """Yield disks with every distinct set of pixels, smallest first."""
    lag = np.arange(-largest, largest + 1)
    square = np.add.outer(lag**2, lag**2)
    for radius2 in np.unique(square)[1:]:
        if radius2 > largest**2:
            break
        inside = np.argwhere(square <= radius2) - largest
        yield mask_of(inside)
