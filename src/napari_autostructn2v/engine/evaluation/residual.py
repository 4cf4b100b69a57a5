"""Checks that what a trained network takes away is the noise: nothing less, nothing more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from napari_autostructn2v.engine.mask.shapes import union
from napari_autostructn2v.engine.noise.correlation import WINDOW, autocovariance, mask_of
from napari_autostructn2v.engine.noise.flat_tiles import remove_plane
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.noise.simulation import FINE_SHARE, bands, simulate
from napari_autostructn2v.engine.types import Array

_Place = tuple[int, int, int]
Judgement = Literal["fits", "leaks", "loses detail", "can't tell"]

_TILE = 32  # px
_SHARE = 0.25  # of the tiles are called flat, and as many structured
_LEAST_TILE = 8  # px
_LEAST = 4  # flat tiles
_DRAWS = 12
_SMOOTHING = 4.0  # px; gradients of this scale tell structure

# Tuned on synthetic filaments, nuclei and vesicles; correlations.
_LOST = 0.125  # of a lag's correlation, to call it a leak, and as many standard errors as
_SURE = 4.0
_LOBE = 0.06  # below zero, or above where noise is anticorrelated
_MISSING = 0.75  # of the noise variance: a leak whatever the rest looks like
_LOBE_ALONE = 0.2  # too large for any average of neighbours
_SHARED = 0.08  # of the noise: neighbours share it
_WIDEN = 0.06  # lost correlation: noise comes back through this lag
_LOSS = 0.12  # relative excess of the residual's energy where there is structure

_SENTENCES = {
    "fits": "What was taken away is like the noise that was measured.",
    "leaks": "Noise came back into the result, because the mask is too narrow for it: "
    "hide more neighbours.",
    "leaks all the same": "Noise came back into the result, although the mask reaches as far as it "
    "can: a wider one would not help.",
    "loses detail": "What was taken away holds structure too: train longer; a wider mask "
    "would not help.",
    "can't tell": "The image has too little flat background to tell noise from structure in what "
    "was taken away.",
}


@dataclass(frozen=True, eq=False)
class Check:
    """What the residual says.

    Attributes
    ----------
    missing, error
        Share of the noise variance that is absent from the residual in flat tiles, and its
        standard error. Below zero the noise was measured too low.
    lobes
        Largest correlation of the residual, of opposite sign, where the noise has none.
    rho
        (2L+1, 2L+1) autocorrelation of the residual in flat tiles, L at most 9.
    extend
        A wider mask, where noise leaks and one would help.
    """

    verdict: Judgement
    missing: float
    error: float
    lobes: float
    rho: Array
    extend: Array | None = None

    @property
    def sentence(self) -> str:
        beyond = self.verdict == "leaks" and self.extend is None
        return _SENTENCES["leaks all the same" if beyond else self.verdict]

    def report(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "missing_percent": round(100 * self.missing, 1),
            "missing_error_percent": round(100 * self.error, 1),
            "lobes": round(self.lobes, 3),
            "autocorrelation": self.rho.round(4).tolist(),
            "mask": None if self.extend is None else self.extend.tolist(),
        }


def check(
    noisy: Sequence[Array],
    denoised: Sequence[Array],
    noise: Noise,
    mask: Array,
    rng: np.random.Generator,
    patch: int = 64,
    noises: Sequence[Noise] = (),
) -> Check:
    """Compare the residual with noise drawn from the measurement, in the same tiles.

    Parameters
    ----------
    noisy, denoised
        Blocks, (H, W) each, in grey values; NaN where there is no value. The caller bounds their
        number.
    mask
        The mask that was trained with.
    patch
        Side of a training patch: a line that reaches across it hides the offset of a row.
    noises
        That of each block's own image, where `noise` is what several have on average.
    """
    side = min(_TILE, *(n for block in noisy for n in block.shape))
    places = _places(noisy, denoised, side) if side >= _LEAST_TILE else []
    if len(places) < 2 * _LEAST:
        return Check("can't tell", 0.0, 0.0, 0.0, np.ones((1, 1)))
    count = max(_LEAST, math.ceil(_SHARE * len(places)))
    flat, structured = places[:count], places[-count:]
    residual = [np.nan_to_num(a - b).astype(float) for a, b in zip(noisy, denoised, strict=True)]
    drawn = [
        simulate(own, block, rng, _DRAWS)
        for own, block in zip(noises or [noise] * len(denoised), denoised, strict=True)
    ]
    draws = [[block[index] for block in drawn] for index in range(_DRAWS)]

    reach = min(WINDOW, noise.short.shape[0] // 2, side // 2)
    variance, rho = _correlation(_cut(residual, flat, side), reach)
    variances, rhos = zip(
        *(_correlation(_cut(draw, flat, side), reach) for draw in draws), strict=True
    )
    missing = 1 - variance / float(np.mean(variances))
    error = float(np.std(variances) / np.mean(variances))
    comparison = _Comparison.of(rho, np.array(rhos), noise, missing)
    extend = None
    if comparison.leaks:
        verdict: Judgement = "leaks"
        extend = _wider(mask, comparison, noise, patch)
    elif noise.doubt > 1:
        verdict = "can't tell"
    else:
        energies = _energies(residual, structured, side)
        alone = np.mean([_energies(draw, structured, side) for draw in draws], axis=0)
        verdict = "loses detail" if _excess(energies, alone, 1 - missing) > _LOSS else "fits"
    lobes = max(float(comparison.lobes.max()), 0.0)
    return Check(verdict, missing, error, lobes, rho, extend)


def _places(noisy: Sequence[Array], denoised: Sequence[Array], side: int) -> list[_Place]:
    """Block, y and x of tiles at half-tile steps, flattest first."""
    found = []
    for index, (block, result) in enumerate(zip(noisy, denoised, strict=True)):
        finite = np.isfinite(block) & np.isfinite(result)
        image = np.where(finite, result, np.median(result[finite]) if finite.any() else 0)
        slopes = [
            ndimage.gaussian_filter(image.astype(float), _SMOOTHING, order=order)
            for order in ((0, 1), (1, 0))
        ]
        slope = np.hypot(*slopes)
        for y in range(0, block.shape[0] - side + 1, side // 2):
            for x in range(0, block.shape[1] - side + 1, side // 2):
                window = (slice(y, y + side), slice(x, x + side))
                if finite[window].all():
                    found.append((float(np.quantile(slope[window], 0.9)), (index, y, x)))
    return [place for _, place in sorted(found)]


def _cut(images: Sequence[Array], places: Sequence[_Place], side: int) -> Array:
    return np.stack([images[index][y : y + side, x : x + side] for index, y, x in places])


def _correlation(tiles: Array, reach: int) -> tuple[float, Array]:
    """Mean variance of levelled tiles, and their mean autocorrelation."""
    covariance = autocovariance(remove_plane(tiles), reach).mean(0)
    variance = float(covariance[reach, reach])
    return variance, covariance / max(variance, 1e-30)


def _energies(images: Sequence[Array], places: Sequence[_Place], side: int) -> Array:
    """(3,) mean energy in each of the bands."""
    tiles = zip(*(bands(image) for image in images), strict=True)
    return np.array([(_cut(band, places, side) ** 2).mean() for band in tiles])


def _excess(energies: Array, drawn: Array, flat: float) -> float:
    """How much more energy the residual holds than its finest part, which is noise, explains.

    Where noise is so smooth that its finest part is little, flat tiles are the reference.
    """
    ratios = energies / drawn
    fine = drawn[1:] > FINE_SHARE * drawn[0]
    reference = ratios[1:][fine].mean() if fine.any() else flat
    return float(ratios[0] / reference - 1)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """The residual's correlation against that of drawn noise.

    Attributes
    ----------
    lost
        (2L+1, 2L+1) how much lower it is; how much higher where noise is anticorrelated.
    sure
        (2L+1, 2L+1) the least of `lost` that is significant.
    lobes
        (2L+1, 2L+1) how far it goes to the other side of zero, where noise does not.
    shared
        (2L+1, 2L+1) bool: noise is correlated. Elsewhere it can't come back, but averaging
        neighbours, as every denoising does, leaves lobes.
    missing
        Share of the noise variance that the residual lacks, as far as known.
    """

    lost: Array
    sure: Array
    lobes: Array
    shared: Array
    missing: float

    @classmethod
    def of(cls, rho: Array, drawn: Array, noise: Noise, missing: float) -> _Comparison:
        reach = rho.shape[0] // 2
        expected, measured = drawn.mean(0), _central(noise.rho, reach)
        if noise.doubt > 1:  # nothing is known but the residual
            expected, measured, missing = np.zeros_like(rho), np.zeros_like(rho), 0.0
        expected[reach, reach] = measured[reach, reach] = 0
        strongest = expected.flat[np.abs(expected).argmax()]
        sign = -1.0 if strongest < -_LOST else 1.0
        lost = sign * (expected - rho)
        lobes = -sign * rho - np.maximum(-sign * expected, 0)
        lost[reach, reach] = lobes[reach, reach] = 0
        sure = _SURE * (drawn.std(0, ddof=1) + 0.01)
        return cls(lost, sure, lobes, np.abs(measured) > _SHARED, missing)

    @property
    def leaks(self) -> bool:
        lost = self.shared & (self.lost > np.maximum(self.sure, _LOST))
        if lost.any() and self.lobes.max() > _LOBE:
            return True
        alone = self.lobes > np.maximum(self.sure, _LOBE_ALONE)
        return bool(alone.any()) or self.missing > _MISSING

    @property
    def through(self) -> Array:
        """(2L+1, 2L+1) bool: the lags through which noise comes back."""
        lost = self.shared & (self.lost > np.maximum(self.sure, _WIDEN))
        return lost if lost.any() else self.lobes > _LOBE_ALONE / 2


def _central(rho: Array, reach: int) -> Array:
    middle = rho.shape[0] // 2
    inner = slice(middle - reach, middle + reach + 1)
    return rho[inner, inner].copy()


def _wider(mask: Array, comparison: _Comparison, noise: Noise, patch: int) -> Array | None:
    """The mask with the lags through which noise comes back, one pixel more along each side.

    One that is too narrow costs decibels, one that is a pixel too wide next to nothing. None if
    it has all of that already: no pixel is farther than a patch.
    """
    found, whole = comparison.through, 2 * patch - 1
    parts = [mask, _cropped(ndimage.binary_closing(np.pad(found, 1))[1:-1, 1:-1] | found)]
    centre = found.shape[0] // 2
    for axis, share in ((0, noise.row_offset), (1, noise.column_offset)):
        if np.median(np.take(comparison.lost, centre, axis)) > share / 2 > 0:
            line = np.ones(whole, np.uint8)
            parts.append(line[None] if axis == 0 else line[:, None])
    wider = _grown(union(*parts), whole)
    return None if np.array_equal(wider, mask) else wider


def _cropped(found: Array) -> Array:
    """What hangs together with the centre, without empty margins."""
    centre = found.shape[0] // 2
    found[centre, centre] = True
    labels, _ = ndimage.label(found, np.ones((3, 3)))
    lags = np.argwhere(labels == labels[centre, centre]) - centre
    return mask_of(lags)


def _grown(mask: Array, most: int) -> Array:
    """One pixel more at each end, along the axes the mask extends along, but for whole lines."""
    along = [1 < side < most or mask.size == 1 for side in mask.shape]
    grown = np.pad(mask, [(int(wide), int(wide)) for wide in along])
    for axis in np.flatnonzero(along):
        grown = np.maximum.reduce([np.roll(grown, step, axis) for step in (-1, 0, 1)])
    return grown
