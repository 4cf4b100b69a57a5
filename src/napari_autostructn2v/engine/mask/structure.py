"""From a measured noise correlation to a verdict in words and the structural mask."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from napari_autostructn2v.engine.config import LONGEST_SIDE, Structure
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.noise.correlation import (
    CONFIDENCE,
    WINDOW,
    Correlation,
    at,
    mask_of,
)
from napari_autostructn2v.engine.noise.measure import Noise
from napari_autostructn2v.engine.types import Array

_DISK_LEAK = 5  # thresholds: what a disk may leak, where its width costs more
_WIDER_IN_DOUBT = 3  # pairs: what was taken for structure may have been noise's far end
_COSTLY = 0.3  # dB
_ADVISED = 12  # pairs of pixels at most
_NUMBERS = {1: "One", 2: "Two", 3: "Three", 4: "Four", 5: "Five"}
_MOST, _LITTLE = 0.7, 0.3  # of the leak: what lies along one line, and across it

SINGLE_PIXEL: Array = np.ones((1, 1), np.uint8)

_SENTENCES = {
    "unstructured": "Every pixel's noise is its own: one blind pixel is enough.",
    "along x": "Noise is shared by neighbours along x, as a line scan's detector gives it: "
    "a horizontal run of pixels is hidden.",
    "along y": "Noise is shared by neighbours along y: a vertical run of pixels is hidden.",
    "diagonal": "Noise is shared by neighbours along a diagonal, as rotating or shearing an image "
    "leaves it: that diagonal is hidden.",
    "isotropic": "Noise is blurred alike in all directions, as resampling or demosaicking "
    "leaves it: a disk of pixels is hidden.",
    "row offsets": "Each row has an offset of its own: whole rows are hidden.",
    "column offsets": "Each column has an offset of its own: whole columns are hidden.",
    "periodic": "Noise repeats every {wave} px, as mains hum or vibration gives it: ",
    "mixed": "Noise is shared by neighbours in a pattern of its own: that pattern is hidden.",
    "scarce": "Too little of the image is data to tell how its noise is shared: one pixel is "
    "hidden. A dark frame, repeats of one frame or an empty region would settle it.",
    "can't tell": "The image has no flat place where noise could be told from fine structure; "
    "{taken} A dark frame, repeats of one frame or an empty region would settle it.",
}
_AS_STRUCTURE = "what is alike in all directions is taken for structure, and one pixel is hidden."
_AS_NOISE = "neighbours hardly differ, so that the noise must be blurred: a disk is hidden."
_AND_OFFSETS = " Each {lines} has an offset of its own, too: whole {lines}s are hidden."
_HIDDEN_LINES = "whole {lines} are hidden."
_NO_MASK = "no mask hides it. Have it subtracted (subtract_wave), or mend it at the microscope."


@dataclass(frozen=True)
class Verdict:
    """What kind of noise it is.

    `leak` is R2 with a single blind pixel, `leak_bound` its upper 95 % confidence bound.
    """

    name: str
    sentence: str
    leak: float
    leak_bound: float

    @property
    def kind(self) -> str:
        """The name without what comes with it."""
        return self.name.split(" with ")[0].split(" and ")[0]


@dataclass(frozen=True)
class Score:
    """What is expected of a mask, without any truth.

    Attributes
    ----------
    leak, leak_bound
        R2 of the pixels it leaves visible, and its upper 95 % confidence bound.
    error_db
        Predicted error of the best linear blind predictor over that of the measured mask, in dB;
        positive is worse. An edited mask can't be better by much: the measured one is near the
        best of its kind.
    pixels
        Number of hidden pixels.
    advice
        One sentence.
    """

    leak: float
    leak_bound: float
    error_db: float
    pixels: int
    advice: str


def judge(noise: Noise, threshold: float, patch: int) -> Verdict:
    """Name the kind of noise.

    It is unstructured when the upper bound of a single blind pixel's leak is under `threshold`.
    """
    correlation = Correlation(noise, patch)
    leak, bound = correlation.leak(SINGLE_PIXEL)
    offsets = [
        name
        for name, share in (
            ("row offsets", noise.row_offset),
            ("column offsets", noise.column_offset),
        )
        if share > 0
    ]
    short, error = correlation.short_leak(correlation.lags)
    if noise.wave is not None:
        name = "periodic"
    elif short + CONFIDENCE * error >= threshold:
        name = _direction(correlation, short)
        if noise.doubt > 1 and name in ("isotropic", "mixed"):
            name = "can't tell"
        name = " with ".join([name, *offsets[:1]])
    elif offsets:
        name = " and ".join(offsets)
    else:
        name = "can't tell" if noise.doubt > 1 or noise.scarce else "unstructured"
    verdict = Verdict(name, "", leak, bound)
    sentence = _sentence(verdict.kind, noise)
    if offsets and " with " in name:
        sentence += _AND_OFFSETS.format(lines=offsets[0].removesuffix(" offsets"))
    return Verdict(name, sentence, leak, bound)


def _direction(correlation: Correlation, short: float) -> str:
    """Where the correlation of neighbours lies: along one line, all around, or neither."""
    y, x = correlation.lags.T
    lines = {"along x": y == 0, "along y": x == 0, "diagonal": y == x, "": y == -x}
    leaks = {name: correlation.short_leak(correlation.lags[on])[0] for name, on in lines.items()}
    first, second = sorted(leaks, key=leaks.__getitem__, reverse=True)[:2]
    if leaks[first] > _MOST * short and leaks[second] < _LITTLE * short:
        return first or "diagonal"
    rho_x, rho_y = (at(correlation.short, np.array([lag]))[0] for lag in ((0, 1), (1, 0)))
    even = min(rho_x, rho_y) > 0.6 * max(rho_x, rho_y) > 0
    return "isotropic" if even and _round(correlation.short) else "mixed"


def _round(rho: Array) -> bool:
    """Whether the two diagonals are alike and rank between the axes and zero."""
    one, other = (at(rho, np.array([lag]))[0] for lag in ((1, 1), (1, -1)))
    axis = max(at(rho, np.array([lag]))[0] for lag in ((0, 1), (1, 0)))
    return bool(min(one, other) > 0 and abs(one - other) < 0.4 * axis and max(one, other) < axis)


def _sentence(kind: str, noise: Noise) -> str:
    if noise.scarce:
        return _SENTENCES["scarce"]
    if kind == "can't tell":
        return _SENTENCES[kind].format(taken=_AS_STRUCTURE if noise.removed else _AS_NOISE)
    if noise.wave is None:
        return _SENTENCES[kind]
    lines = noise.wave.lines
    what = _HIDDEN_LINES.format(lines=lines) if lines else _NO_MASK
    return _SENTENCES["periodic"].format(wave=f"{noise.wave.length:.3g}") + what


def leak_mask(noise: Noise, verdict: Verdict, options: Structure, patch: int) -> Array:
    """The structural mask by the leak rule: uint8, odd sides, centre 1.

    `patch` is the side of a training patch: full lines reach across it from any pixel.

    The smallest mask whose predicted blind error is within the tolerance of the best. Along a line
    a mask too narrow costs decibels and one too wide next to nothing, so lines must also bring the
    leak's bound under the threshold, and are one pair wider (more where the tiles hold structure);
    for disks the width itself costs.
    """
    kind = verdict.kind
    if kind == "can't tell" and not (noise.removed or noise.scarce):  # see `_AS_NOISE`
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


def score(
    noise: Noise, mask: Array, options: Structure, patch: int, measured: Array | None = None
) -> Score:
    """Judge any mask by the measured noise.

    The leak counts first: the predicted error trusts the measured covariances too far. `measured`
    is the mask of `leak_mask`, if it is at hand.
    """
    mask = mask_of(np.argwhere(mask) - np.array(mask.shape) // 2)  # without a border of zeros
    verdict = judge(noise, options.leak_threshold, patch)
    correlation = Correlation(noise, patch, isotropic=verdict.kind == "isotropic")
    if measured is None:
        measured = leak_mask(noise, verdict, options, patch)
    leak, bound = correlation.leak(mask)
    error, best = correlation.blind_error(mask), correlation.blind_error(measured)
    error_db = float(10 * np.log10(max(error, 1e-30) / max(best, 1e-30)))
    limit = max(options.leak_threshold, correlation.leak(measured)[0] + 0.01)
    if noise.wave is not None and not noise.wave.lines:
        advice = "No mask hides a wave that all lines share."
    elif leak > limit:
        advice = f"{leak:.0%} of the noise gets past it. {_missing(correlation, mask, limit)}"
    elif error_db > _COSTLY:
        advice = f"It hides more than it must, at a cost of about {error_db:.1f} dB."
    elif leak > max(options.leak_threshold, 0.01):
        advice = f"{leak:.0%} of the noise gets past it, and past any mask that would be found."
    else:
        advice = "The noise does not get past it."
    return Score(leak, bound, error_db, int(mask.sum()), advice)


def _missing(correlation: Correlation, mask: Array, limit: float) -> str:
    """Say which more pixels would bring the leak under the limit."""
    half = np.array(mask.shape) // 2
    for axis, share, lines in (
        (1, correlation.row_offset, "rows"),
        (0, correlation.column_offset, "columns"),
    ):
        if share > limit and half[axis] < correlation.full_line:
            return f"Hiding whole {lines} would help."
    wider = mask
    for wider in correlation.greedy(_ADVISED, mask):
        if correlation.leak(wider)[0] <= limit:
            break
    pairs = int(union(wider, mask).sum() - mask.sum()) // 2
    new = np.argwhere(union(wider) & ~union(mask, np.zeros_like(wider)))
    added = new - np.array(wider.shape) // 2
    if not len(added):
        return ""
    where = "around it"
    if (added[:, 0] == 0).all():
        where = "to the left and right"
    elif (added[:, 1] == 0).all():
        where = "above and below"
    return f"{_NUMBERS.get(pairs, pairs)} more pixel{'s' * (pairs > 1)} {where} would help."


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


def union(*masks: Array) -> Array:
    """The pixels of any of the masks, centres aligned."""
    half = np.max([np.array(mask.shape) // 2 for mask in masks], axis=0)
    total = np.zeros(2 * half + 1, np.uint8)
    for mask in masks:
        pad = half - np.array(mask.shape) // 2
        total |= np.pad(mask.astype(np.uint8), [(n, n) for n in pad])
    return total


def check_size(shape: Sequence[int], name: str = "mask") -> None:
    """Refuse a mask, before it is read, that is too large to be one."""
    if max(shape) > LONGEST_SIDE:
        raise InputError(f"{name} is a picture; a mask has at most {LONGEST_SIDE} px on each side")


def check_mask(mask: Array, name: str = "mask") -> Array:
    """Validate a mask from outside and give it as uint8 of 0 and 1; errors call it `name`.

    Raises
    ------
    InputError
        Unless it is 2-D with odd sides of at most `LONGEST_SIDE` and its centre is hidden.
    """
    values = np.asarray(mask)
    if values.ndim != 2:
        raise InputError(f"{name}: expected 2 axes, got shape {values.shape}")
    check_size(values.shape, name)
    if not all(side % 2 for side in values.shape):
        raise InputError(
            f"{name}: both sides must be odd, so that it has a centre; got {values.shape}"
        )
    result = (values > 0).astype(np.uint8)
    if not result[result.shape[0] // 2, result.shape[1] // 2]:
        raise InputError(f"{name}: its central pixel is not set; it is the pixel that is predicted")
    return result
