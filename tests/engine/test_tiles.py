"""Tiles cover an image exactly once and see all they need."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_autostructn2v.engine.data.tiles import quarters, tiles

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


@given(
    size=st.tuples(SIZES, SIZES),
    side=st.integers(1, 100),
    halo=st.integers(0, 30),
    stride=st.sampled_from([1, 2, 4, 8]),
    cut=st.booleans(),
    data=st.data(),
)
def test_tiles_cover_once_and_read_enough(
    size: tuple[int, int], side: int, halo: int, stride: int, cut: bool, data: st.DataObject
) -> None:
    whole = (0, size[0]), (0, size[1])
    region = data.draw(st.none() | st.tuples(*(spans(length) for length in size)))
    found = tiles(size, side, halo, stride, region)
    if cut:
        found = [part for tile in found for part in quarters(tile, size, halo, stride)]
    covered = np.zeros(size, int)
    for tile in found:
        (y0, y1), (x0, x1) = tile.core
        covered[y0:y1, x0:x1] += 1
        for (start, end), (first, last), length in zip(tile.core, tile.read, size, strict=True):
            assert 0 <= first <= max(start - halo, 0)
            assert min(end + halo, length) <= last <= length
            assert first % stride == 0
            assert last % stride == 0 or last == length
        assert np.zeros(tile.shape)[tile.crop].shape == (y1 - y0, x1 - x0)
    expected = np.zeros(size, int)
    expected[tuple(slice(*span) for span in region or whole)] = 1
    assert np.array_equal(covered, expected)
