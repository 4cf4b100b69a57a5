"""Hidden means hidden: nothing of a hidden pixel reaches the network."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine.config import Replacement
from napari_autostructn2v.engine.training.objectives import BlindSpots

SHAPE = (40, 48)
MASKS = {
    "single": torch.ones(1, 1, dtype=torch.bool),
    "line": torch.ones(1, 7, dtype=torch.bool),
    "column": torch.ones(5, 1, dtype=torch.bool),
    "disk": torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.bool),
    "pair": torch.tensor([[1, 0, 0, 0, 1, 0, 0, 0, 1]], dtype=torch.bool),
    "full line": torch.ones(1, 127, dtype=torch.bool),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("percentage", [2.0, 15.0, 40.0])
@pytest.mark.parametrize("name", MASKS)
def test_percentage_is_met(name: str, percentage: float) -> None:
    hidden = BlindSpots(MASKS[name], percentage, "zeros").draw(64, SHAPE, generator())
    # One full line is 1 of 40 rows: no fewer can be hidden.
    expected = max(percentage, 2.5) if name == "full line" else percentage
    assert 100 * float(hidden.float().mean()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", MASKS)
def test_counted_pixels_have_their_whole_neighbourhood_hidden(name: str) -> None:
    masking = BlindSpots(MASKS[name], 20.0, "zeros")
    hidden = masking.draw(8, SHAPE, generator())
    counted = masking.loss_mask(hidden)
    assert counted.flatten(1).any(1).all()
    (top, left), (height, width) = (side // 2 for side in MASKS[name].shape), SHAPE
    around = np.pad(hidden.numpy(), [(0, 0), (top, top), (left, left)], constant_values=True)
    expected = np.ones(hidden.shape, bool)
    for y, x in np.argwhere(MASKS[name].numpy()):
        expected &= around[:, y : y + height, x : x + width]
    assert np.array_equal(counted.numpy(), expected)


@pytest.mark.parametrize("replacement", get_args(Replacement))
@pytest.mark.parametrize("name", MASKS)
def test_no_hidden_value_reaches_the_input(name: str, replacement: Replacement) -> None:
    masking = BlindSpots(MASKS[name], 25.0, replacement)
    hidden = masking.draw(4, SHAPE, generator(1))
    patches = torch.randn(4, *SHAPE, generator=generator(2))
    changed = torch.where(hidden, torch.randn(patches.shape, generator=generator(3)), patches)
    one, other = (masking.replace(image, hidden, generator(4)) for image in (patches, changed))
    assert torch.equal(one, other)
    assert torch.equal(one[~hidden], patches[~hidden])
    assert one.isfinite().all()


@pytest.mark.parametrize("replacement", get_args(Replacement))
def test_a_patch_that_is_all_hidden_still_has_values(replacement: Replacement) -> None:
    masking = BlindSpots(MASKS["disk"], 25.0, replacement)
    everything = torch.ones(2, 8, 8, dtype=torch.bool)
    assert masking.replace(torch.randn(2, 8, 8), everything, generator()).isfinite().all()


def test_replacements_are_what_they_are_called() -> None:
    patches = torch.arange(25.0).view(1, 5, 5)
    hidden = torch.zeros(1, 5, 5, dtype=torch.bool)
    hidden[0, 2, 2] = True

    def replaced(replacement: Replacement) -> float:
        masking = BlindSpots(MASKS["single"], 4.0, replacement)
        return float(masking.replace(patches, hidden, generator())[0, 2, 2])

    assert replaced("local_mean") == 12.0  # of the eight around it
    assert replaced("median") == 11.0  # the lower of the middle two
    assert replaced("zeros") == 0.0
    assert replaced("random_visible") in set(range(25)) - {12}
    assert replaced("uniform") in set(range(25)) - {12}
    assert -2 <= replaced("noise") <= 2


def test_masks_are_fresh_and_repeatable() -> None:
    masking = BlindSpots(MASKS["line"], 15.0, "zeros")
    stream = generator()
    first, second = (masking.draw(4, SHAPE, stream) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, masking.draw(4, SHAPE, generator()))


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (1, 1), (3, 5)])
def test_thin_patches(shape: tuple[int, int]) -> None:
    for mask in MASKS.values():
        for replacement in get_args(Replacement):
            masking = BlindSpots(mask, 20.0, replacement)
            hidden = masking.draw(3, shape, generator())
            assert masking.loss_mask(hidden).shape == (3, *shape)
            made = masking.replace(torch.randn(3, *shape), hidden, generator())
            assert made.isfinite().all()


def test_centres_are_spread_evenly() -> None:
    hidden = BlindSpots(MASKS["single"], 2.0, "zeros").draw(4000, (32, 32), generator()).float()
    rate = hidden.mean(0)
    assert float(rate.std() / rate.mean()) < 0.2  # no pixel is favoured
    counts = hidden.sum((1, 2))
    assert float(counts.std()) < 2.0  # stratified: the number hardly varies
