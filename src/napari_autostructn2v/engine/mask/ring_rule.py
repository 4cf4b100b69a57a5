"""The ring rule: autoStructN2V's way to derive a mask from an autocorrelation."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_autostructn2v.engine.config import Ring
from napari_autostructn2v.engine.noise.correlation import autocovariance
from napari_autostructn2v.engine.types import Array


def ring_mask(patches: Array, ring: Ring) -> tuple[Array, Array]:
    """Return the mask by autoStructN2V's ring rule, and the map that was thresholded.

    The mean autocorrelation of the patches is cropped, and a radial threshold is subtracted; in
    each square ring around the centre, the pixels above a share of the ring's range are hidden.

    Parameters
    ----------
    patches
        (N, H, W).
    """
    height, width = patches.shape[-2:]
    max_lag = max(height, width) - 1
    centred = patches - patches.mean((-2, -1), keepdims=True)
    lag = np.abs(np.arange(-max_lag, max_lag + 1))
    # As in the original, the estimate is biased: sums, not means, over the overlap.
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
        # Keep or drop equal values together: a lag and its mirror have the same.
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
