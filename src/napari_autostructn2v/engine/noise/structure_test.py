"""Tests whether tiles hold structure besides noise, and estimates the structure's share.

Noise is the same in every tile and symmetric about its mean; fine structure is neither.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, optimize

from napari_autostructn2v.engine.types import Array

_SMOOTHING = 1.5  # px; removes most noise but not structure
_NEAR = 8  # px: lags summed in Bartlett's formula
_LAGS = ((0, 2), (2, 0), (1, 1), (2, 2), (3, 0), (0, 3))
# Highest of 48 images without structure in their tiles, and lowest of most with it (tuned on
# synthetic scenes and on the clean images of the benchmarks).
_SKEWED = 3.3  # standard errors
_SPREAD = 2.6  # times the variance between tiles of pure noise
_WIDTHS = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 16.0)  # px: Gaussians fitted to the structure
_FIT = 10  # px: largest lag of that fit
_ROUNDS = 8


def doubt(tiles: Array, ratios: Array, pixels: float) -> float:
    """Return the evidence that tiles hold structure; above 1 they do.

    Parameters
    ----------
    tiles
        (N, h, w), levelled.
    ratios
        (N, 2L+1, 2L+1) autocorrelation of each.
    pixels
        Mean number of valid pixels in a tile; the others are 0.
    """
    if len(tiles) < 4 or min(tiles.shape[1:]) < 16:
        return 0.0
    return max(_skewness(tiles) / _SKEWED, _spread(ratios, pixels) / _SPREAD)


def _skewness(tiles: Array) -> float:
    """Return the mean skewness of the smoothed tiles in standard errors, less the pixels' own.

    A weighted sum of independent skewed values is less skewed, by a factor that the weights give.
    """
    smooth = ndimage.gaussian_filter(tiles, (0, _SMOOTHING, _SMOOTHING))
    delta = np.zeros((25, 25))
    delta[12, 12] = 1
    weights = ndimage.gaussian_filter(delta, _SMOOTHING)
    kept = (weights**3).sum() / (weights**2).sum() ** 1.5
    skews = _skew(smooth)
    error = skews.std() / np.sqrt(len(skews) / 2) + 1e-12  # tiles overlap by half
    own = kept * abs(float(_skew(tiles).mean()))
    return float(max(abs(skews.mean()) - own, 0.0) / error)


def _skew(tiles: Array) -> Array:
    skew: Array = (tiles**3).mean((1, 2)) / np.maximum((tiles**2).mean((1, 2)), 1e-30) ** 1.5
    return skew


def _spread(ratios: Array, pixels: float) -> float:
    """Return the variance of the correlation between tiles, relative to Bartlett's formula.

    Bartlett (1946): for Gaussian noise of correlation r the estimate at lag d has the variance
    1/n sum_k (r_k^2 + r_{k+d} r_{k-d} - 4 r_d r_k r_{k-d} + 2 r_d^2 r_k^2).
    """
    centre = ratios.shape[1] // 2
    near = min(_NEAR, centre - 3)
    if near < 3:
        return 0.0
    mean = np.median(ratios, axis=0)

    def around(dy: int, dx: int) -> Array:
        rows = slice(centre + dy - near, centre + dy + near + 1)
        return mean[rows, centre + dx - near : centre + dx + near + 1]

    here, found = around(0, 0), []
    for dy, dx in _LAGS:
        r = mean[centre + dy, centre + dx]
        after, before = around(dy, dx), around(-dy, -dx)
        terms = here**2 + after * before - 4 * r * here * before + 2 * r**2 * here**2
        found.append(ratios[:, centre + dy, centre + dx].var() / max(terms.sum() / pixels, 1e-12))
    return float(np.median(found))


def isotropic_part(correlation: Array, error: Array) -> tuple[Array, float]:
    """Estimate the isotropic part of a correlation, which that of structure is on average.

    A non-negative sum of Gaussians is fitted to all lags but 0; lags where noise adds its own
    correlation count as outliers (Tukey's biweight).

    Returns
    -------
    part, scatter
        (2L+1, 2L+1) isotropic part, extrapolated to lag 0; and the robust standard deviation of
        the residual.
    """
    centre = correlation.shape[0] // 2
    lag = np.arange(-centre, centre + 1)
    distance2 = np.add.outer(lag**2, lag**2)
    basis = np.stack([np.exp(-distance2 / (2 * width**2)) for width in _WIDTHS], axis=-1)
    fitted = (distance2 > 0) & (distance2 <= _FIT**2)
    values, functions = correlation[fitted], basis[fitted]
    floor = float(np.median(error[fitted]))
    weights, scatter = np.ones(len(values)), floor
    amounts = np.zeros(len(_WIDTHS))
    for _ in range(_ROUNDS):
        amounts, _ = optimize.nnls(functions * weights[:, None], values * weights)
        rest = values - functions @ amounts
        scatter = max(1.4826 * float(np.median(np.abs(rest))), floor)
        weights = np.sqrt(np.clip(1 - (rest / (4 * scatter)) ** 2, 0, 1) ** 2)
    return basis @ amounts, scatter
