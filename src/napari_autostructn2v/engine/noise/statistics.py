"""The standard error of a median over tiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_autostructn2v.engine.types import Array

SURE = 4.0  # standard errors


def median_error(values: Array, tiles: int) -> Any:
    """Return the standard error of the median over tiles that overlap by half."""
    spread = 1.4826 * np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    # With few tiles, the values at some lags agree by chance.
    spread = np.maximum(spread, np.median(spread))
    return 1.2533 * spread / np.sqrt(max(1.0, tiles / 2))
