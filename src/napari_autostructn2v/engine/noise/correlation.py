"""The correlation of noise between pixels: its estimate, and the leak and error it predicts.

The leak of a mask is the share of the hidden pixel's noise variance that the best linear
predictor recovers from the pixels that the mask leaves visible: R2 = r_U' C_UU^-1 r_U, with C
the noise covariance over the visible lags U and r_U its column at the hidden pixel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import fft, linalg
from threadpoolctl import ThreadpoolController

from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.types import Array

# The systems have a few hundred unknowns: several BLAS threads would mostly wait for each other.
_threads = ThreadpoolController()

_SIGNIFICANT = 3.0  # standard errors
CONFIDENCE = 1.645  # one-sided 95 %
_PAIRS = 0.02  # least share of the pairs in a complete tile for an estimate
_RIDGE = 0.02  # share of the variance; networks do not exploit weaker components
WINDOW = 9  # px: lags in this square, and all lags on the axes, are used


def autocovariance(stack: Array, max_lag: int, valid: Array | None = None) -> Array:
    """Unbiased autocovariance of each image of a stack, by zero-padded FFT.

    Parameters
    ----------
    stack
        (N, H, W), mean already removed.
    max_lag
        Largest lag L along both axes; lags beyond the image are 0.
    valid
        (N, H, W) bool: the pixels that have a value; elsewhere the stack is 0.

    Returns
    -------
    (N, 2L+1, 2L+1), lag (0, 0) in the centre: sum of x(p) x(p+d) over the number of such pairs;
    0 where there are hardly any.
    """
    if valid is not None and not valid.all():
        pairs = autocovariance(valid.astype(float), max_lag)
        share: Array = np.where(pairs > _PAIRS, pairs, np.inf)
        return autocovariance(stack, max_lag) / share
    height, width = stack.shape[-2:]
    reach = (min(max_lag, height - 1), min(max_lag, width - 1))
    padded = (fft.next_fast_len(height + reach[0], True), fft.next_fast_len(width + reach[1], True))
    spectrum = fft.rfft2(stack, padded)
    sums = fft.irfft2(spectrum.real**2 + spectrum.imag**2, padded)
    dy = np.arange(-reach[0], reach[0] + 1)
    dx = np.arange(-reach[1], reach[1] + 1)
    pairs = np.multiply.outer(height - np.abs(dy), width - np.abs(dx))
    result = np.zeros((len(stack), 2 * max_lag + 1, 2 * max_lag + 1))
    inner = (
        slice(None),
        slice(max_lag - reach[0], max_lag + reach[0] + 1),
        slice(max_lag - reach[1], max_lag + reach[1] + 1),
    )
    result[inner] = sums[:, dy[:, None], dx[None, :]] / pairs
    return result


class Correlation:
    """A measured noise correlation, regularised so that linear systems can be solved with it.

    Insignificant lags are shrunk to zero, the rest is tapered, and its spectrum is projected to
    be non-negative, so that every covariance matrix built from it is valid. `patch` is the side
    of a training patch: only a mask that spans it hides the offset of a line.
    """

    def __init__(self, noise: Noise, patch: int, isotropic: bool = False) -> None:
        self.full_line = patch - 1
        max_lag = noise.short.shape[0] // 2
        self.row_offset, self.column_offset = noise.row_offset, noise.column_offset
        self.error = noise.short_error
        rho = noise.short
        if isotropic:  # average over the symmetries to reduce the estimation error
            rho = (rho + rho.T) / 2
            rho = (rho + rho[::-1]) / 2
        self.short = _valid(shrink(rho, noise.short_error))
        sigma2 = noise.sigma**2
        self.noise = self.short * (1 - noise.row_offset - noise.column_offset) * sigma2
        image = noise.autocovariance.copy()
        image[max_lag, :] -= noise.row_offset * sigma2
        image[:, max_lag] -= noise.column_offset * sigma2
        self.signal = positive(_tapered(image) - self.noise)
        lag = np.arange(-max_lag, max_lag + 1)
        dy, dx = np.meshgrid(lag, lag, indexing="ij")
        near = np.maximum(abs(dy), abs(dx)) <= WINDOW
        inside = (near | (dy == 0) | (dx == 0)) & ((dy != 0) | (dx != 0))
        self.lags = np.stack([dy[inside], dx[inside]], 1)

    def leak(self, mask: Array) -> tuple[float, float]:
        """Return R2 of a mask and its upper 95 % confidence bound."""
        visible = self.lags[~_covers(mask, self.lags)]
        r2, error = self.short_leak(visible)
        half = np.array(mask.shape) // 2
        offsets = (0.0 if half[1] >= self.full_line else self.row_offset) + (
            0.0 if half[0] >= self.full_line else self.column_offset
        )
        total = r2 * (1 - offsets) + offsets
        return min(total, 1.0), min(total + CONFIDENCE * error, 1.0)

    def short_leak(self, visible: Array) -> tuple[float, float]:
        if len(visible) == 0:
            return 0.0, 0.0
        column = at(self.short, visible)
        weights = _solve(_matrix(self.short, visible), column)
        errors = 2 * weights * at(self.error, visible)
        # A lag and its mirror are the same measurement, so their errors add up.
        return float(weights @ column), float(np.sqrt(2 * (errors**2).sum()))

    def blind_error(self, mask: Array) -> float:
        """Return the predicted mean squared error of the best linear blind predictor, J(M).

        The predictor uses the noisy visible pixels, is fitted to the noisy hidden pixel, and its
        error is taken against the signal, whose covariance is the image's less the noise's.
        """
        visible = self.lags[~_covers(mask, self.lags)]
        variance = float(self.signal[tuple(n // 2 for n in self.signal.shape)])
        if len(visible) == 0:
            return variance
        image = _matrix(self.signal + self.noise, visible)
        weights = _solve(image, at(self.signal + self.noise, visible))
        explained = 2 * weights @ at(self.signal, visible)
        return float(variance - explained + weights @ image @ weights)

    def greedy(self, steps: int, start: Array | None = None) -> Iterator[Array]:
        """Yield masks that grow by the pair of lags +-d that reduces the leak most.

        The first mask is `start`, by default a single pixel, plus one pair.
        """
        hidden = np.zeros((1, 2), int)
        if start is not None:
            hidden = np.argwhere(start) - np.array(start.shape) // 2
            hidden = np.concatenate([hidden, -hidden])  # pairs go together
            start = mask_of(hidden)
        lags = self.lags if start is None else self.lags[~_covers(start, self.lags)]
        with _threads.limit(limits=1, user_api="blas"):
            inverse = np.asarray(linalg.inv(_ridged(_matrix(self.short, lags))))
        column = at(self.short, lags)
        alive = np.ones(len(lags), bool)
        mirror = np.array([_index_of(lags, -lag) for lag in lags])
        chosen = list(hidden)
        for _ in range(min(steps, len(lags) // 2)):
            weights = inverse @ np.where(alive, column, 0)
            a, b, c = np.diag(inverse), np.diag(inverse)[mirror], inverse[range(len(lags)), mirror]
            determinant = np.where(alive, a * b - c * c, 1)
            u, v = weights, weights[mirror]
            drop = np.where(alive, (b * u * u - 2 * c * u * v + a * v * v) / determinant, -np.inf)
            best = int(np.argmax(drop))
            pair = [best, int(mirror[best])]
            chosen += [lags[i] for i in pair]
            # Removing variables from a system downdates its inverse (a Schur complement).
            block = inverse[:, pair]
            inverse = inverse - block @ np.linalg.solve(inverse[np.ix_(pair, pair)], block.T)
            inverse[pair] = inverse[:, pair] = 0
            alive[pair] = False
            yield mask_of(np.array(chosen))


def shrink(rho: Array, error: Array) -> Array:
    """Shrink lags below three standard errors to zero, continuously (the non-negative garrote).

    Steps in the correlation would be high frequencies, which solving amplifies.
    """
    ratio = _SIGNIFICANT * error / np.maximum(np.abs(rho), 1e-30)
    result: Array = rho * np.maximum(1 - ratio**2, 0)
    return result


def _valid(correlation: Array) -> Array:
    """Return a valid correlation, tapered and with a spectrum >= 0: (4L+1, 4L+1)."""
    valid = positive(_tapered(correlation))
    centre = valid.shape[0] // 2
    result: Array = valid / max(valid[centre, centre], 1e-30)
    return result


def _tapered(correlation: Array) -> Array:
    """Taper from half the largest lag on and pad to (4L+1, 4L+1)."""
    max_lag = correlation.shape[0] // 2
    lag = np.abs(np.arange(-max_lag, max_lag + 1)) / (max_lag + 1)
    taper = np.where(lag < 0.5, 1.0, np.cos(np.pi * (np.clip(lag, 0.5, 1) - 0.5)) ** 2)
    return np.pad(correlation * np.multiply.outer(taper, taper), max_lag)


def positive(covariance: Array) -> Array:
    """Return the covariance with the negative part of its spectrum set to zero."""
    spectrum = np.fft.fft2(np.fft.ifftshift(covariance)).real
    result: Array = np.fft.fftshift(np.fft.ifft2(np.maximum(spectrum, 0)).real)
    return result


def at(covariance: Array, lags: Array) -> Array:
    centre = np.array(covariance.shape) // 2
    limit = covariance.shape[0] // 2
    inside = (np.abs(lags) <= limit).all(-1)
    safe = np.where(inside[..., None], lags, 0) + centre
    return np.where(inside, covariance[safe[..., 0], safe[..., 1]], 0.0)


def _matrix(covariance: Array, lags: Array) -> Array:
    return at(covariance, lags[:, None, :] - lags[None, :, :])


def _ridged(matrix: Array) -> Array:
    result: Array = matrix + _RIDGE * matrix[0, 0] * np.eye(len(matrix))
    return result


def _solve(matrix: Array, column: Array) -> Array:
    with _threads.limit(limits=1, user_api="blas"):
        return np.asarray(linalg.solve(_ridged(matrix), column, assume_a="pos"))


def _covers(mask: Array, lags: Array) -> Array:
    half = np.array(mask.shape) // 2
    inside: Array = np.asarray((np.abs(lags) <= half).all(1))
    at = np.where(inside[:, None], lags + half, 0)
    result: Array = inside & mask[at[:, 0], at[:, 1]].astype(bool)
    return result


def _index_of(lags: Array, lag: Array) -> int:
    return int(np.flatnonzero((lags == lag).all(1))[0])


def mask_of(lags: Array) -> Array:
    half = np.abs(lags).max(0)
    mask = np.zeros(2 * half + 1, np.uint8)
    mask[lags[:, 0] + half[0], lags[:, 1] + half[1]] = 1
    return mask
