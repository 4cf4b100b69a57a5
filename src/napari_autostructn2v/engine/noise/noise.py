"""The measured noise of one channel of an image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_autostructn2v.engine.noise.noise_variance import (
    Variance,
)
from napari_autostructn2v.engine.noise.periodic import Wave
from napari_autostructn2v.engine.types import Array


@dataclass(frozen=True, eq=False)
class Noise:
    """The measured noise of one channel.

    Attributes
    ----------
    short, short_error
        (2L+1, 2L+1) autocorrelation without the offsets of whole rows and columns, and its
        standard error; lag (0, 0) in the centre.
    sigma
        Standard deviation of the noise in grey values, offsets included.
    row_offset, column_offset
        Share of the noise variance that is common to a whole row (column); 0 if insignificant.
    autocovariance
        (2L+1, 2L+1) autocovariance of the image itself (signal and noise), grey values squared.
    tiles
        Number of flat tiles used.
    variance
        The noise variance as a function of the signal.
    doubt
        Evidence that the tiles hold structure as well. Above 1 they do, and the isotropic part
        of the correlation was taken for structure (see `removed`). 0 if nothing is correlated.
    removed
        Share of the tiles' variance that was taken for structure.
    wave
        The periodic noise, if any.
    phases
        (2, 2) standard deviation at even and odd rows and columns over that of all pixels, as
        colour cameras cause it; 1 if they do not differ.
    share
        Share of the measured area that the tiles cover.
    places
        (N, 3) block, y and x of each tile's first pixel.
    scarce
        Whether there were too few data to measure more than the strength; `short` is then that
        of independent pixels.
    """

    short: Array
    short_error: Array
    sigma: float
    row_offset: float
    column_offset: float
    autocovariance: Array
    tiles: int
    variance: Variance
    doubt: float = 0.0
    removed: float = 0.0
    wave: Wave | None = None
    phases: Array = field(default_factory=lambda: np.ones((2, 2)))
    share: float = 1.0
    places: Array = field(default_factory=lambda: np.zeros((0, 3), int))
    scarce: bool = False

    @property
    def rho(self) -> Array:
        """(2L+1, 2L+1) autocorrelation, offsets included."""
        rho: Array = self.short * (1 - self.row_offset - self.column_offset)
        centre = rho.shape[0] // 2
        rho[centre, :] += self.row_offset
        rho[:, centre] += self.column_offset
        rho[centre, centre] = 1
        return rho

    @property
    def error(self) -> Array:
        """Standard error of `rho`."""
        error: Array = self.short_error * (1 - self.row_offset - self.column_offset)
        return error
