"""From a measured noise correlation to a verdict in words and the structural mask.

The leak of a mask is the share of the hidden pixel's noise variance that the best linear
predictor recovers from the pixels the mask leaves visible: R2 = r_U' C_UU^-1 r_U, with C the
noise covariance over the visible lags U and r_U its column at the hidden pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, ndimage

from napari_autostructn2v.engine.config import Ring, Structure
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.noise import Noise, autocovariance

Array = npt.NDArray[Any]

_SIGNIFICANT = 3.0  # standard errors
_CONFIDENCE = 1.645  # one-sided 95 %
_RIDGE = 0.02  # what lies below this share of the variance no network inverts
_WINDOW = 9  # px: lags within this square, and all on the axes, are looked at
_DISK_LEAK = 5  # thresholds: what a disk may leak, where its width costs more


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
    def structured(self) -> bool:
        return self.name != "unstructured"


class Correlation:
    """A measured noise correlation made fit to solve with.

    Insignificant lags are shrunk to zero, the rest is tapered and its spectrum projected to be
    non-negative, so that every covariance matrix built from it is valid. `patch` is the side of a
    training patch: a mask that reaches across it hides a line's offset, any shorter one does not.
    """

    def __init__(self, noise: Noise, patch: int, isotropic: bool = False) -> None:
        self.full_line = patch - 1
        max_lag = noise.short.shape[0] // 2
        self.row_offset, self.column_offset = noise.row_offset, noise.column_offset
        self.error = noise.short_error
        rho = noise.short
        if isotropic:  # eight views of one function: less estimation error
            rho = (rho + rho.T) / 2
            rho = (rho + rho[::-1]) / 2
        self.short = _valid(_shrink(rho, noise.short_error))
        sigma2 = noise.sigma**2
        self.noise = self.short * (1 - noise.row_offset - noise.column_offset) * sigma2
        image = noise.autocovariance.copy()
        image[max_lag, :] -= noise.row_offset * sigma2
        image[:, max_lag] -= noise.column_offset * sigma2
        self.signal = _positive(_tapered(image) - self.noise)
        lag = np.arange(-max_lag, max_lag + 1)
        dy, dx = np.meshgrid(lag, lag, indexing="ij")
        near = np.maximum(abs(dy), abs(dx)) <= _WINDOW
        inside = (near | (dy == 0) | (dx == 0)) & ((dy != 0) | (dx != 0))
        self.lags = np.stack([dy[inside], dx[inside]], 1)

    def leak(self, mask: Array) -> tuple[float, float]:
        """R2 of a mask, and its upper 95 % confidence bound."""
        visible = self.lags[~_covers(mask, self.lags)]
        r2, error = self._short_leak(visible)
        half = np.array(mask.shape) // 2
        offsets = (0.0 if half[1] >= self.full_line else self.row_offset) + (
            0.0 if half[0] >= self.full_line else self.column_offset
        )
        total = r2 * (1 - offsets) + offsets
        return min(total, 1.0), min(total + _CONFIDENCE * error, 1.0)

    def _short_leak(self, visible: Array) -> tuple[float, float]:
        if len(visible) == 0:
            return 0.0, 0.0
        column = _at(self.short, visible)
        weights = _solve(_matrix(self.short, visible), column)
        errors = 2 * weights * _at(self.error, visible)
        # A lag and its mirror are one measurement: their errors add up instead of averaging.
        return float(weights @ column), float(np.sqrt(2 * (errors**2).sum()))

    def blind_error(self, mask: Array) -> float:
        """Predicted mean squared error of the best linear blind predictor, J(M).

        It sees the noisy pixels the mask leaves visible, is fitted to the noisy hidden pixel, and
        is judged against the signal, whose covariance is the image's less the noise's.
        """
        visible = self.lags[~_covers(mask, self.lags)]
        image = _matrix(self.signal + self.noise, visible)
        weights = _solve(image, _at(self.signal + self.noise, visible))
        variance = self.signal[tuple(n // 2 for n in self.signal.shape)]
        explained = 2 * weights @ _at(self.signal, visible)
        return float(variance - explained + weights @ image @ weights)

    def greedy(self, steps: int) -> Iterator[Array]:
        """Masks that grow by the +-lag pair whose hiding lowers the leak most."""
        lags = self.lags
        inverse = np.asarray(linalg.inv(_ridged(_matrix(self.short, lags))))
        column = _at(self.short, lags)
        alive = np.ones(len(lags), bool)
        mirror = np.array([_index_of(lags, -lag) for lag in lags])
        chosen = [np.zeros(2, int)]
        for _ in range(steps):
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
            yield _mask_of(np.array(chosen))


def _shrink(rho: Array, error: Array) -> Array:
    """Zero the lags below three standard errors, without a step (the non-negative garrote).

    A step in the correlation would be a high frequency that solving with it amplifies.
    """
    ratio = _SIGNIFICANT * error / np.maximum(np.abs(rho), 1e-30)
    result: Array = rho * np.maximum(1 - ratio**2, 0)
    return result


def _valid(correlation: Array) -> Array:
    """The nearest valid correlation: tapered, spectrum projected to >= 0; (4L+1, 4L+1)."""
    valid = _positive(_tapered(correlation))
    centre = valid.shape[0] // 2
    result: Array = valid / max(valid[centre, centre], 1e-30)
    return result


def _tapered(correlation: Array) -> Array:
    """Faded out from half the largest lag on, and padded to (4L+1, 4L+1)."""
    max_lag = correlation.shape[0] // 2
    lag = np.abs(np.arange(-max_lag, max_lag + 1)) / (max_lag + 1)
    taper = np.where(lag < 0.5, 1.0, np.cos(np.pi * (np.clip(lag, 0.5, 1) - 0.5)) ** 2)
    return np.pad(correlation * np.multiply.outer(taper, taper), max_lag)


def _positive(covariance: Array) -> Array:
    """The covariance with the negative part of its spectrum taken out."""
    spectrum = np.fft.fft2(np.fft.ifftshift(covariance)).real
    result: Array = np.fft.fftshift(np.fft.ifft2(np.maximum(spectrum, 0)).real)
    return result


def _at(covariance: Array, lags: Array) -> Array:
    centre = np.array(covariance.shape) // 2
    limit = covariance.shape[0] // 2
    inside = (np.abs(lags) <= limit).all(-1)
    safe = np.where(inside[..., None], lags, 0) + centre
    return np.where(inside, covariance[safe[..., 0], safe[..., 1]], 0.0)


def _matrix(covariance: Array, lags: Array) -> Array:
    return _at(covariance, lags[:, None, :] - lags[None, :, :])


def _ridged(matrix: Array) -> Array:
    result: Array = matrix + _RIDGE * matrix[0, 0] * np.eye(len(matrix))
    return result


def _solve(matrix: Array, column: Array) -> Array:
    return np.asarray(linalg.solve(_ridged(matrix), column, assume_a="pos"))


def _covers(mask: Array, lags: Array) -> Array:
    half = np.array(mask.shape) // 2
    inside: Array = np.asarray((np.abs(lags) <= half).all(1))
    at = np.where(inside[:, None], lags + half, 0)
    result: Array = inside & mask[at[:, 0], at[:, 1]].astype(bool)
    return result


def _index_of(lags: Array, lag: Array) -> int:
    return int(np.flatnonzero((lags == lag).all(1))[0])


def _mask_of(lags: Array) -> Array:
    half = np.abs(lags).max(0)
    mask = np.zeros(2 * half + 1, np.uint8)
    mask[lags[:, 0] + half[0], lags[:, 1] + half[1]] = 1
    return mask


SINGLE_PIXEL: Array = np.ones((1, 1), np.uint8)

_SENTENCES = {
    "unstructured": "Every pixel's noise is its own: one blind pixel is enough.",
    "along x": "Noise is shared by neighbours along x, as a line scan's detector gives it: "
    "a horizontal run of pixels is hidden.",
    "along y": "Noise is shared by neighbours along y: a vertical run of pixels is hidden.",
    "isotropic": "Noise is blurred alike in all directions, as resampling or demosaicking "
    "leaves it: a disk of pixels is hidden.",
    "row offsets": "Each row has an offset of its own: whole rows are hidden.",
    "column offsets": "Each column has an offset of its own: whole columns are hidden.",
    "other": "Noise is shared by neighbours in a pattern of its own: that pattern is hidden.",
}


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
    lags = correlation.lags
    short, error = correlation._short_leak(lags)
    if bound < threshold:
        name = "unstructured"
    elif short + _CONFIDENCE * error < threshold:
        name = " and ".join(offsets)
    else:
        along_x = correlation._short_leak(lags[lags[:, 0] == 0])[0]
        along_y = correlation._short_leak(lags[lags[:, 1] == 0])[0]
        rho_x, rho_y = (_at(correlation.short, np.array([lag]))[0] for lag in ((0, 1), (1, 0)))
        if along_x > 0.7 * short and along_y < 0.3 * short:
            name = "along x"
        elif along_y > 0.7 * short and along_x < 0.3 * short:
            name = "along y"
        elif min(rho_x, rho_y) > 0.6 * max(rho_x, rho_y) > 0 and _round(correlation.short):
            name = "isotropic"
        else:
            name = "other"
        name = " with ".join([name, *offsets[:1]])
    kind = name.split(" with ")[0].split(" and ")[0]
    return Verdict(name, _SENTENCES[kind], leak, bound)


def _round(rho: Array) -> bool:
    """Whether the two diagonals are alike and rank between the axes and zero."""
    one, other = (_at(rho, np.array([lag]))[0] for lag in ((1, 1), (1, -1)))
    axis = max(_at(rho, np.array([lag]))[0] for lag in ((0, 1), (1, 0)))
    return bool(min(one, other) > 0 and abs(one - other) < 0.4 * axis and max(one, other) < axis)


def leak_mask(noise: Noise, verdict: Verdict, options: Structure, patch: int) -> Array:
    """The structural mask by the leak rule: uint8, odd sides, centre 1.

    `patch` is the side of a training patch: full lines reach across it from any pixel.

    The smallest mask whose predicted blind error is within the tolerance of the best. Along a line
    a mask too narrow costs decibels and one too wide next to nothing, so lines must also bring the
    leak's bound under the threshold, and are one pair wider; for disks the width itself costs.
    """
    if not verdict.structured:
        return SINGLE_PIXEL
    kind = verdict.name.split(" with ")[0]
    correlation = Correlation(noise, patch, isotropic=kind == "isotropic")
    max_lag = noise.short.shape[0] // 2
    parts = [_full_lines(patch - 1, noise.row_offset > 0, noise.column_offset > 0)]
    if kind == "isotropic":
        disks = list(_disks(_WINDOW))
        masks = [union(disk, *parts) for disk in disks]
        # The predicted error alone errs where flat tiles are not flat: most of the leak must go.
        first = _first_tight(correlation, masks, _DISK_LEAK * options.leak_threshold)
        parts.append(disks[first + _best(correlation, masks[first:], options)])
    elif kind in ("along x", "along y"):
        lines = [np.ones((1, 2 * n + 1), np.uint8) for n in range(1, max_lag + 1)]
        lines = lines if kind == "along x" else [line.T for line in lines]
        index = _best_safe(correlation, [union(line, *parts) for line in lines], options)
        parts.append(lines[min(index + 1, len(lines) - 1)])
    elif kind == "other":
        shapes = list(correlation.greedy(_WINDOW**2 // 2))
        parts.append(shapes[_best_safe(correlation, [union(s, *parts) for s in shapes], options)])
    return union(*parts)


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
        yield _mask_of(inside)


def union(*masks: Array) -> Array:
    """The pixels of any of the masks, centres aligned."""
    half = np.max([np.array(mask.shape) // 2 for mask in masks], axis=0)
    total = np.zeros(2 * half + 1, np.uint8)
    for mask in masks:
        pad = half - np.array(mask.shape) // 2
        total |= np.pad(mask.astype(np.uint8), [(n, n) for n in pad])
    return total


def check_mask(mask: Array) -> Array:
    """Validate a mask from outside and give it as uint8 of 0 and 1.

    Raises
    ------
    InputError
        Unless it is 2-D with odd sides and its centre is hidden.
    """
    values = np.asarray(mask)
    if values.ndim != 2:
        raise InputError(f"mask: expected 2 axes, got shape {values.shape}")
    if not all(side % 2 for side in values.shape):
        raise InputError(
            f"mask: both sides must be odd, so that it has a centre; got {values.shape}"
        )
    result = (values > 0).astype(np.uint8)
    if not result[result.shape[0] // 2, result.shape[1] // 2]:
        raise InputError("mask: its central pixel is not set; it is the pixel that is predicted")
    return result


def ring_mask(patches: Array, ring: Ring) -> tuple[Array, Array]:
    """The structural mask by autoStructN2V's ring rule, and the map it was cut from.

    The mean autocorrelation of the patches is cropped and flattened by a radial threshold; in
    each square ring around the centre, pixels above a share of the ring's range are taken.

    Parameters
    ----------
    patches
        (N, H, W).
    """
    height, width = patches.shape[-2:]
    max_lag = max(height, width) - 1
    centred = patches - patches.mean((-2, -1), keepdims=True)
    lag = np.abs(np.arange(-max_lag, max_lag + 1))
    # The original's estimate is the biased one: sums, not means, over the overlap.
    overlap = np.multiply.outer(np.maximum(height - lag, 0), np.maximum(width - lag, 0))
    sums = autocovariance(centred, max_lag) * overlap
    if ring.norm_autocorr:
        sums = sums / (sums[:, max_lag, max_lag] + 1e-10)[:, None, None]
    if ring.log_autocorr:
        sums = np.log1p(np.abs(sums))
    square = sums.mean(0)
    if ring.crop_autocorr:
        margin = min(ring.center_size // 2, max_lag)
        square = square[max_lag - margin :, max_lag - margin :][: 2 * margin + 1, : 2 * margin + 1]
    centre = square.shape[0] // 2
    offsets = np.arange(-centre, centre + 1)
    if ring.adapt_autocorr:
        distance = np.hypot.outer(offsets, offsets) / (np.sqrt(2) * max(centre, 1))
        threshold = np.median(square) * ring.adapt_CB * ring.adapt_DF ** (distance * 10)
        square = _unit_range(square) - _unit_range(threshold) / 2
    mask = np.zeros(square.shape, bool)
    mask[centre, centre] = True
    rings = np.maximum.outer(np.abs(offsets), np.abs(offsets))
    for number in range(1, centre + 1):
        here = rings == number
        values = square[here]
        if values.max() < ring.center_ratio_threshold * square[centre, centre]:
            continue
        share = ring.base_percentile * ring.percentile_decay ** (number - 1) / 100
        taken = values > values.min() + np.ptp(values) * share
        if ring.use_center_proximity:
            taken |= values > ring.center_proximity_threshold * square[centre, centre]
        mask[here] = taken
    if ring.keep_center_component_only:
        components, _ = ndimage.label(mask, np.ones((3, 3)))
        mask = components == components[centre, centre]
    if ring.max_true_pixels is not None and mask.sum() > ring.max_true_pixels:
        # Equal values, as a lag and its mirror have, stay or go together.
        values = np.where(mask, square, -np.inf).round(9)
        values[centre, centre] = np.inf
        lowest = np.sort(values, axis=None)[-ring.max_true_pixels]
        mask = (
            values >= lowest
            if (values >= lowest).sum() <= ring.max_true_pixels
            else (values > lowest)
        )
    return mask.astype(np.uint8), square


def _unit_range(values: Array) -> Array:
    span = float(np.ptp(values))
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)
