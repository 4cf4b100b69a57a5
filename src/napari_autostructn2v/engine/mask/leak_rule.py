"""The leak rule: the smallest mask past which the noise does not leak."""

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

_DISK_LEAK = 5  # thresholds: what a disk may leak, where its width costs more


_WIDER_IN_DOUBT = 3  # pairs: what was taken for structure may have been noise's far end


def leak_mask(noise: Noise, verdict: Verdict, options: Structure, patch: int) -> Array:
    """The structural mask by the leak rule: uint8, odd sides, centre 1.

    `patch` is the side of a training patch: full lines reach across it from any pixel.

    The smallest mask whose predicted blind error is within the tolerance of the best. Along a line
    a mask too narrow costs decibels and one too wide next to nothing, so lines must also bring the
    leak's bound under the threshold, and are one pair wider (more where the tiles hold structure);
    for disks the width itself costs.
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
        # The predicted error alone errs where flat tiles are not flat: most of the leak must go.
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
    """Whether whole rows, and whole columns, are to be hidden."""
    rows, columns, wave = noise.row_offset > 0, noise.column_offset > 0, noise.wave
    if wave is None:
        return rows, columns
    if wave.lines:
        return rows or wave.lines == "rows", columns or wave.lines == "columns"
    # Offsets that are one wave are known from the lines that are not hidden.
    return rows and not math.isinf(wave.x), columns and not math.isinf(wave.y)


def _best_safe(correlation: Correlation, masks: Sequence[Array], options: Structure) -> int:
    """Of ever larger masks, the best of the first few that do not leak (or leak least)."""
    first = _first_tight(correlation, masks, options.leak_threshold)
    return first + _best(correlation, masks[first : first + 3], options)


def _first_tight(correlation: Correlation, masks: Sequence[Array], limit: float) -> int:
    """The first of ever larger masks whose leak's bound is under the limit.

    Where there is none, the first beyond which the leak hardly falls.
    """
    bounds = np.array([correlation.leak(mask)[1] for mask in masks])
    return int(np.argmax(bounds <= max(limit, 1.1 * float(bounds.min()))))


def _best(correlation: Correlation, masks: Sequence[Array], options: Structure) -> int:
    """The first mask whose predicted blind error is within the tolerance of the smallest."""
    errors = np.array([correlation.blind_error(mask) for mask in masks])
    return int(np.argmax(errors <= errors.min() * 10 ** (options.score_tolerance / 10)))


def _full_lines(half: int, rows: bool, columns: bool) -> Array:
    mask = np.zeros((2 * half * columns + 1, 2 * half * rows + 1), np.uint8)
    mask[mask.shape[0] // 2, :] = 1
    mask[:, mask.shape[1] // 2] = 1
    return mask


def _disks(largest: int) -> Iterator[Array]:
    """Disks with every distinct set of pixels, smallest first."""
    lag = np.arange(-largest, largest + 1)
    square = np.add.outer(lag**2, lag**2)
    for radius2 in np.unique(square)[1:]:
        if radius2 > largest**2:
            break
        inside = np.argwhere(square <= radius2) - largest
        yield mask_of(inside)
