"""Scores a mask on the measured noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_autostructn2v.engine.config import Structure
from napari_autostructn2v.engine.mask.leak_rule import leak_mask
from napari_autostructn2v.engine.mask.shapes import union
from napari_autostructn2v.engine.mask.verdict import judge
from napari_autostructn2v.engine.noise.correlation import (
    Correlation,
    mask_of,
)
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.types import Array

_COSTLY = 0.3  # dB
_ADVISED = 12  # pairs of pixels at most
_NUMBERS = {1: "One", 2: "Two", 3: "Three", 4: "Four", 5: "Five"}


@dataclass(frozen=True)
class Score:
    """The predicted performance of a mask, without ground truth.

    Attributes
    ----------
    leak, leak_bound
        R2 of the pixels that the mask leaves visible, and its upper 95 % confidence bound.
    error_db
        Predicted error of the best linear blind predictor relative to that with the measured
        mask, in dB; positive is worse. An edited mask can hardly be better, as the measured one
        is close to the optimum of its kind.
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


def score(
    noise: Noise, mask: Array, options: Structure, patch: int, measured: Array | None = None
) -> Score:
    """Score a mask on the measured noise.

    The leak counts first, as the predicted error relies on the exact covariances. `measured` is
    the mask from `leak_mask`, computed if None.
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
        advice = "No mask can hide a wave that all lines share."
    elif leak > limit:
        advice = f"{leak:.0%} of the noise gets past it. {_missing(correlation, mask, limit)}"
    elif error_db > _COSTLY:
        advice = f"It hides more than necessary, at a cost of about {error_db:.1f} dB."
    elif leak > max(options.leak_threshold, 0.01):
        advice = f"{leak:.0%} of the noise gets past it, and past any measured mask."
    else:
        advice = "The noise does not get past it."
    return Score(leak, bound, error_db, int(mask.sum()), advice)


def _missing(correlation: Correlation, mask: Array, limit: float) -> str:
    """Return a sentence that says which further pixels would bring the leak under the limit."""
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
