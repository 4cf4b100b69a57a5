"""The original's ring rule finds what its authors meant it to find."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_autostructn2v.engine.config import Ring
from napari_autostructn2v.engine.mask.ring_rule import ring_mask


def test_it_finds_a_line_in_patches_of_line_noise() -> None:
    rng = np.random.default_rng(0)
    patches = ndimage.uniform_filter1d(rng.standard_normal((40, 48, 48)), 7, axis=2)
    mask, square = ring_mask(patches, Ring())
    assert mask.shape == square.shape == (11, 11)
    assert mask[5, 4:7].all()
    assert not mask[3:5, 5].any()
    assert mask.sum() <= 25


def test_parameters_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    patches = ndimage.gaussian_filter(rng.standard_normal((20, 32, 32)), (0, 1.5, 1.5))
    assert ring_mask(patches, Ring(center_size=8))[0].shape == (9, 9)
    assert ring_mask(patches, Ring(max_true_pixels=5))[0].sum() <= 5
    assert ring_mask(patches, Ring(center_ratio_threshold=1.0))[0].sum() == 1
    low, high = (
        ring_mask(patches, Ring(base_percentile=p, max_true_pixels=None))[0] for p in (10, 90)
    )
    assert low.sum() > high.sum()
    whole = ring_mask(patches, Ring(crop_autocorr=False))[0]
    assert whole.shape == (63, 63)


def test_the_mask_is_point_symmetric_with_a_hidden_centre() -> None:
    rng = np.random.default_rng(1)
    patches = rng.standard_normal((10, 32, 32))
    mask, _ = ring_mask(patches, Ring())
    assert mask[5, 5] == 1
    np.testing.assert_array_equal(mask, mask[::-1, ::-1])
