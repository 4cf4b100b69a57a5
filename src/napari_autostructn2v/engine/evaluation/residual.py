"""Checks that the residual of a trained network, noisy minus denoised, is only noise."""

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
_SHARE = 0.25  # of the tiles count as flat, and as many as structured
_LEAST_TILE = 8  # px
_LEAST = 4  # flat tiles
_DRAWS = 12
_SMOOTHING = 4.0  # px; the scale of gradients that count as structure

# Thresholds, tuned on synthetic filaments, nuclei and vesicles; mostly correlations.
_LOST = 0.125  # loss of correlation at a lag that counts as a leak
_SURE = 4.0  # standard errors that such a loss must exceed as well
_LOBE = 0.06  # negative correlation of the residual (positive if noise is anticorrelated)
_MISSING = 0.75  # missing share of the noise variance that is a leak by itself
_LOBE_ALONE = 0.2  # lobe that is a leak by itself, too large for an average of neighbours
_SHARED = 0.08  # correlation of the noise at lags that can leak
_WIDEN = 0.06  # lost correlation at lags that are added to the mask
_LOSS = 0.12  # relative excess energy of the residual in structured tiles

_SENTENCES = {
    "fits": "The removed noise matches the measured noise.",
    "leaks": "Noise leaks into the result because the mask is too narrow: hide more neighbours.",
    "leaks all the same": "Noise leaks into the result although the mask already covers all "
    "leaking neighbours; a wider one would not help.",
    "loses detail": "Structure was removed along with the noise: train longer; a wider mask "
    "would not help.",
    "can't tell": "The image has too little flat background to tell whether only noise was "
    "removed.",
}


@dataclass(frozen=True, eq=False)
class Check:
    """Result of the check.

    Attributes
    ----------
    missing, error
        Share of the noise variance that is missing from the residual in flat tiles, and its
        standard error. A negative share means that the noise was underestimated.
    lobes
        Largest correlation of the residual with the sign opposite to that of the noise.
    rho
        (2L+1, 2L+1) autocorrelation of the residual in flat tiles, L at most 9.
    extend
        A wider mask, if noise leaks and a wider mask would help.
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
    """Compare the residual with noise simulated from the measurement, in the same tiles.

    Parameters
    ----------
    noisy, denoised
        Blocks, (H, W) each, in grey values; NaN for missing values. The caller limits their
        number.
    noise
        The measured noise, averaged over the images.
    mask
        The mask used in training.
    patch
        Side of a training patch. A line of 2 * patch - 1 px hides the offset of a row or column.
    noises
        The noise of each block's own image, if there are several images.
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
    """Return (block, y, x) of tiles at half-tile steps, flattest first."""
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
    """Return the mean variance and autocorrelation of tiles, each less a fitted plane."""
    covariance = autocovariance(remove_plane(tiles), reach).mean(0)
    variance = float(covariance[reach, reach])
    return variance, covariance / max(variance, 1e-30)


def _energies(images: Sequence[Array], places: Sequence[_Place], side: int) -> Array:
    """Return the mean energy in each band, (3,)."""
    tiles = zip(*(bands(image) for image in images), strict=True)
    return np.array([(_cut(band, places, side) ** 2).mean() for band in tiles])


def _excess(energies: Array, drawn: Array, flat: float) -> float:
    """Return the residual's relative excess energy over what its high-pass bands, noise, explain.

    If noise is so smooth that little of it is in those bands, flat tiles are the reference.
    """
    ratios = energies / drawn
    fine = drawn[1:] > FINE_SHARE * drawn[0]
    reference = ratios[1:][fine].mean() if fine.any() else flat
    return float(ratios[0] / reference - 1)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """The residual's correlation compared with that of simulated noise.

    Attributes
    ----------
    lost
        (2L+1, 2L+1) how much lower it is; how much higher if noise is anticorrelated.
    sure
        (2L+1, 2L+1) significance threshold for `lost`.
    lobes
        (2L+1, 2L+1) correlation with the opposite sign, beyond that of simulated noise.
    shared
        (2L+1, 2L+1) bool: lags at which the noise is correlated. Noise can't leak at other lags,
        but denoising averages neighbours, which leaves lobes there.
    missing
        Share of the noise variance missing from the residual; 0 if unknown.
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
        if noise.doubt > 1:  # the measurement can't be trusted: use the residual alone
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
        """(2L+1, 2L+1) bool: the lags through which noise leaks."""
        lost = self.shared & (self.lost > np.maximum(self.sure, _WIDEN))
        return lost if lost.any() else self.lobes > _LOBE_ALONE / 2


def _central(rho: Array, reach: int) -> Array:
    middle = rho.shape[0] // 2
    inner = slice(middle - reach, middle + reach + 1)
    return rho[inner, inner].copy()


def _wider(mask: Array, comparison: _Comparison, noise: Noise, patch: int) -> Array | None:
    """Return the mask with the leaking lags added, one pixel wider, at most as long as a patch.

    The extra pixel is a safe choice: a mask that is too narrow costs decibels, one that is a pixel
    too wide almost nothing. Return None if the mask covers all of this already.
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
    """Return the mask of the lags connected to the centre, cropped to them."""
    centre = found.shape[0] // 2
    found[centre, centre] = True
    labels, _ = ndimage.label(found, np.ones((3, 3)))
    lags = np.argwhere(labels == labels[centre, centre]) - centre
    return mask_of(lags)


def _grown(mask: Array, most: int) -> Array:
    """Widen the mask by a pixel at both ends of each axis it extends along, unless it is full."""
    along = [1 < side < most or mask.size == 1 for side in mask.shape]
    grown = np.pad(mask, [(int(wide), int(wide)) for wide in along])
    for axis in np.flatnonzero(along):
        grown = np.maximum.reduce([np.roll(grown, step, axis) for step in (-1, 0, 1)])
    return grown
