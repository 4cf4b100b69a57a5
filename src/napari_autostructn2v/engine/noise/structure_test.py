"""Tells whether tiles hold noise alone or structure too, and takes the structure's share out.

Noise is alike in every tile and as often above its mean as below; fine structure is neither.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, optimize

from napari_autostructn2v.engine.types import Array

_SMOOTHING = 1.5  # px; structure outlives it, most noise does not
_NEAR = 8  # px: lags summed for the spread that noise alone has
_LAGS = ((0, 2), (2, 0), (1, 1), (2, 2), (3, 0), (0, 3))
# Highest of 48 images without structure in their tiles, and lowest of most with it (tuned on
# synthetic scenes and on the clean images of the benchmarks).
_SKEWED = 3.3  # standard errors
_SPREAD = 2.6  # times the variance between tiles that noise alone gives
_WIDTHS = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 16.0)  # px: of the Gaussians structure is made of
_FIT = 10  # px
_ROUNDS = 8


def doubt(tiles: Array, ratios: Array, pixels: float) -> float:
    """Evidence that tiles hold structure; above 1 they do.

    Parameters
    ----------
    tiles
        (N, h, w), levelled.
    ratios
        (N, 2L+1, 2L+1) autocorrelation of each.
    pixels
        How many of a tile have a value; the others are 0.
    """
    if len(tiles) < 4 or min(tiles.shape[1:]) < 16:
        return 0.0
    return max(_skewness(tiles) / _SKEWED, _spread(ratios, pixels) / _SPREAD)


def _skewness(tiles: Array) -> float:
    """Mean skewness of the smoothed tiles, in standard errors; what pixels alone give is taken off.

    A sum of independent skewed values is less skewed than they are, by a factor of the weights.
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
    """Variance between tiles of the correlation at a few lags, over what Bartlett's formula says.

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
    """What of a correlation is the same in all directions, as that of structure is on average.

    A mixture of Gaussians, none negative, fitted to the lags other than 0; lags along which
    noise adds a correlation of its own count as outliers (Tukey's biweight).

    Returns
    -------
    part, scatter
        (2L+1, 2L+1) share of the isotropic part, lag 0 extrapolated; and the robust standard
        deviation of what the fit leaves.
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
