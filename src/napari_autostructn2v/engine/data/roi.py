"""The region of interest of an image: a threshold on its low-resolution brightness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_autostructn2v.engine.config import Stage
from napari_autostructn2v.engine.types import Array


@dataclass(frozen=True)
class Interest:
    """The pixels whose low-resolution value is above (or below) a threshold, as in autoStructN2V.

    One threshold holds for the whole image, so that the result doesn't depend on the block read.
    """

    stage: Stage
    threshold: float

    @classmethod
    def of(cls, sample: Sequence[Array], stage: Stage) -> Interest:
        """Compute the threshold from (H, W) blocks that represent the whole image."""
        smooth = [_downscaled(block, stage)[np.isfinite(block)] for block in sample]
        values = np.concatenate(smooth) if smooth else np.zeros(0)
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        return cls(stage, low + stage.roi_threshold * (high - low))

    def origins(self, block: Array, patch: tuple[int, int]) -> Array:
        """Return where patches can begin that lie mostly in the region: (H, W) bool."""
        smooth, inverted = _downscaled(block, self.stage), self.stage.select_background
        inside = (smooth <= self.threshold) if inverted else (smooth > self.threshold)
        inside &= np.isfinite(block)
        # Mean over each patch, stored at the patch's origin.
        share = ndimage.uniform_filter(
            inside.astype(np.float32), patch, origin=tuple(-(n // 2) for n in patch)
        )
        chosen = np.zeros(block.shape, bool)
        inner = tuple(slice(n - m + 1) for n, m in zip(block.shape, patch, strict=True))
        chosen[inner] = share[inner] > 0.5 + (1e-4 if inverted else -1e-4)  # half: bright
        return chosen


def _downscaled(block: Array, stage: Stage) -> Array:
    """Return the block smoothed to low resolution, with NaN replaced by the median."""
    finite = np.isfinite(block)
    centre = np.median(block[finite]) if finite.any() else 0.0
    smooth: Array = ndimage.uniform_filter(
        np.where(finite, block, centre), max(1, round(1 / stage.scale_factor))
    )
    return smooth
