"""Names the kind of noise, with a sentence for the user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_autostructn2v.engine.mask.shapes import SINGLE_PIXEL
from napari_autostructn2v.engine.noise.correlation import (
    CONFIDENCE,
    Correlation,
    at,
)
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.types import Array

_MOST, _LITTLE = 0.7, 0.3  # shares of the leak: least along a line, most along another

_SENTENCES = {
    "unstructured": "The noise of each pixel is independent: one blind pixel is enough.",
    "along x": "Neighbours along x share noise, as with the detector of a line scan: "
    "a horizontal run of pixels is hidden.",
    "along y": "Neighbours along y share noise: a vertical run of pixels is hidden.",
    "diagonal": "Neighbours along a diagonal share noise, as after rotating or shearing an image: "
    "that diagonal is hidden.",
    "isotropic": "The noise is blurred equally in all directions, as after resampling or "
    "demosaicking: a disk of pixels is hidden.",
    "row offsets": "Each row has an offset of its own: whole rows are hidden.",
    "column offsets": "Each column has an offset of its own: whole columns are hidden.",
    "periodic": "The noise repeats every {wave} px, as with mains hum or vibration: ",
    "mixed": "Neighbours share noise in a pattern of no standard shape: that pattern is hidden.",
    "scarce": "Too little of the image is data to measure how the noise is correlated: one pixel "
    "is hidden. Measure on a dark frame, repeated frames or an empty region instead.",
    "can't tell": "The image has no flat area that separates noise from fine structure; {taken} "
    "Measure on a dark frame, repeated frames or an empty region to be sure.",
}
_AS_STRUCTURE = "isotropic correlation is taken for structure, and one pixel is hidden."
_AS_NOISE = "neighbours hardly differ, so the noise must be blurred: a disk is hidden."
_AND_OFFSETS = " Each {lines} also has an offset of its own: whole {lines}s are hidden."
_HIDDEN_LINES = "whole {lines} are hidden."
_NO_MASK = "no mask hides it. Subtract it (subtract_wave), or remove its cause at the microscope."


@dataclass(frozen=True)
class Verdict:
    """The kind of noise.

    `leak` is R2 with a single blind pixel, `leak_bound` its upper 95 % confidence bound.
    """

    name: str
    sentence: str
    leak: float
    leak_bound: float

    @property
    def kind(self) -> str:
        """The first kind in the name: "along x" of "along x with row offsets"."""
        return self.name.split(" with ")[0].split(" and ")[0]


def judge(noise: Noise, threshold: float, patch: int) -> Verdict:
    """Name the kind of noise.

    It is unstructured if the upper bound of a single blind pixel's leak is under `threshold`.
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
    """Whether the correlation of neighbours lies along a line, is isotropic, or neither."""
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
    """Whether the two diagonals are similar and lie between the axes and zero."""
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
