"""A mask comes back from its file as it was, and what is no mask is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.mask_file import read_mask, write_mask

Array = np.ndarray


@pytest.mark.parametrize("shape", [(3, 5), (1, 2047)], ids=["small", "a row of the largest patch"])
def test_round_trip(tmp_path: Path, shape: tuple[int, int]) -> None:
    mask = np.ones(shape, np.uint8)
    mask[0, 0] = 0
    write_mask(tmp_path / "m.tif", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), mask)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((2, 4)), "m.tif of 2 x 4 px: both sides must be odd"),
        (np.zeros((3, 3)), "m.tif of 3 x 3 px: its central pixel, the one to predict, is not set"),
        (np.ones((1, 2049)), "m.tif of 1 x 2049 px is too large"),
        (np.ones((4, 5, 5)), "m.tif has 4 planes"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, values: Array, reason: str) -> None:
    tifffile.imwrite(tmp_path / "m.tif", values.astype(np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=reason):
        read_mask(tmp_path / "m.tif")


def test_where_it_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/m\.tif cannot be written"):
        write_mask(tmp_path / "file" / "m.tif", np.ones((1, 3), np.uint8))
