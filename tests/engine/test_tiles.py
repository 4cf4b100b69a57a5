"""Tiles cover an image exactly once and see all they need."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_autostructn2v.engine.data.tiles import Tile, halved, tiles
from napari_autostructn2v.engine.types import Box, covers, middle, shape_of, slices, whole

SIZES = st.integers(1, 90)


def spans(length: int) -> st.SearchStrategy[tuple[int, int]]:
    ends = st.tuples(st.integers(0, length), st.integers(0, length))
    return ends.map(lambda ends: (min(ends), max(ends)))


def test_a_table_to_check_by_eye() -> None:
    found = tiles((1, 10), side=4, halo=1, stride=2)
    assert [(t.core[1], t.read[1]) for t in found] == [
        ((0, 4), (0, 6)),
        ((4, 8), (2, 10)),
        ((8, 10), (6, 10)),
    ]
    assert {t.core[0] for t in found} == {(0, 1)}
    assert found[1].crop == (slice(0, 1), slice(2, 6))
    assert found[1].shape == (1, 8)


@pytest.mark.parametrize(
    ("size", "side", "halo", "stride", "number", "first_core", "first_read"),
    [
        # one for the whole volume
        ((8, 16, 16), 16, 4, 4, 1, ((0, 8), (0, 16), (0, 16)), ((0, 8), (0, 16), (0, 16))),
        # each axis is cut, and the halo ends at a multiple of the stride
        ((8, 16, 20), 8, 3, 4, 6, ((0, 8), (0, 8), (0, 8)), ((0, 8), (0, 12), (0, 12))),
        # sizes of 1: a plane, a line, a voxel
        ((1, 9, 9), 8, 2, 2, 4, ((0, 1), (0, 8), (0, 8)), ((0, 1), (0, 9), (0, 9))),
        ((5, 1, 1), 4, 1, 1, 2, ((0, 4), (0, 1), (0, 1)), ((0, 5), (0, 1), (0, 1))),
        ((1, 1, 1), 4, 9, 8, 1, ((0, 1), (0, 1), (0, 1)), ((0, 1), (0, 1), (0, 1))),
        # thin slices: a side, halo and stride for each axis
        ((6, 64, 64), (2, 32, 64), (1, 8, 8), (1, 8, 8), 6,
         ((0, 2), (0, 32), (0, 64)), ((0, 3), (0, 40), (0, 64))),
    ],
)  # fmt: skip
def test_tiles_of_a_volume(
    size: tuple[int, ...], side: Any, halo: Any, stride: Any, number: int, first_core: Box,
    first_read: Box,
) -> None:  # fmt: skip
    found = tiles(size, side, halo, stride)
    assert (len(found), found[0]) == (number, Tile(first_core, first_read))
    check(found, size, halo, stride, whole(size))
    check([half for tile in found for half in halved(tile, size, halo, stride)], size, halo, stride,
          whole(size))  # fmt: skip


def test_a_tile_is_halved_along_every_axis_that_is_long_enough() -> None:
    (tile,) = tiles((8, 3, 16), 16, 2, 4)
    halves = halved(tile, (8, 3, 16), 2, 4)
    assert [half.core for half in halves] == [
        ((0, 4), (0, 3), (0, 8)), ((0, 4), (0, 3), (8, 16)),
        ((4, 8), (0, 3), (0, 8)), ((4, 8), (0, 3), (8, 16)),
    ]  # fmt: skip
    (small,) = tiles((4, 3, 2), 16, 2, 4)
    assert halved(small, (4, 3, 2), 2, 4) == [small]


@given(
    size=st.tuples(SIZES, SIZES) | st.tuples(*[st.integers(1, 20)] * 3),
    side=st.integers(1, 100),
    halo=st.integers(0, 30),
    stride=st.sampled_from([1, 2, 4, 8]),
    cut=st.booleans(),
    data=st.data(),
)
def test_tiles_cover_once_and_read_enough(
    size: tuple[int, ...], side: int, halo: int, stride: int, cut: bool, data: st.DataObject
) -> None:
    region = data.draw(st.none() | st.tuples(*(spans(length) for length in size)))
    found = tiles(size, side, halo, stride, region)
    if cut:
        found = [part for tile in found for part in halved(tile, size, halo, stride)]
    check(found, size, halo, stride, region or whole(size))


def check(found: list[Tile], size: tuple[int, ...], halo: Any, stride: Any, box: Box) -> None:
    """The cores cover a box once; what is read has the halo and begins and ends where it should."""
    halos, strides = (np.broadcast_to(value, len(size)) for value in (halo, stride))
    covered = np.zeros(size, int)
    for tile in found:
        covered[slices(tile.core)] += 1
        assert covers(whole(size), tile.read)
        assert covers(tile.read, tile.core)
        for (start, end), (first, last), length, margin, step in zip(
            tile.core, tile.read, size, halos, strides, strict=True
        ):
            assert first <= max(start - margin, 0)
            assert min(end + margin, length) <= last
            assert first % step == 0
            assert last % step == 0 or last == length
        assert np.zeros(tile.shape)[tile.crop].shape == shape_of(tile.core)
    expected = np.zeros(size, int)
    expected[slices(box)] = 1
    assert np.array_equal(covered, expected)


@pytest.mark.parametrize(
    ("box", "side", "step", "expected"),
    [
        (((0, 10), (0, 10)), 4, 1, ((3, 7), (3, 7))),
        (((0, 10), (5, 8)), 4, 2, ((2, 6), (5, 8))),
        (((0, 1), (10, 21), (0, 4)), 4, 1, ((0, 1), (13, 17), (0, 4))),
    ],
)
def test_the_middle_of_a_box(box: Box, side: int, step: int, expected: Box) -> None:
    assert middle(box, side, step) == expected
