"""What is trained on and what is judged by: apart where it can be, and true where it can't."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.source import Source, as_source
from napari_autostructn2v.engine.data.split import split


def images(count: int, shape: tuple[int, ...] = (20, 20)) -> list[Source]:
    return [as_source(np.zeros(shape, np.float32), name=f"image {i}") for i in range(count)]


def config(
    ratio: tuple[float, float, float] = (0.7, 0.15, 0.15), patch: int = 8, second: int = 8
) -> Config:
    return Config.parse(
        {
            "split_ratio": ratio,
            "stage1": {"patch_size": patch},
            "stage2": {"patch_size": second},
        }
    )


def counts(piece: Piece) -> np.ndarray:
    covered = np.zeros(piece.source.size, int)
    (y0, y1), (x0, x1) = piece.region
    covered[y0:y1, x0:x1] = 1
    return covered


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (1, 1, 0)), (2, (2, 2, 0)), (4, (4, 4, 0)), (6, (6, 6, 0)), (7, (5, 1, 1)),
     (20, (14, 3, 3))],
)  # fmt: skip
def test_whole_images_are_held_out_where_each_share_comes_to_one(
    count: int, expected: tuple[int, int, int]
) -> None:
    parts = split(images(count, (40, 40)), config())
    assert tuple(len(parts.names[key]) for key in ("train", "val", "test")) == expected
    assert (len(parts.training), len(parts.validation), len(parts.test)) == expected
    assert parts.apart
    assert parts.judged == (parts.test or parts.validation)
    trained, judged = ({p.source.name for p in part} for part in (parts.training, parts.judged))
    assert not trained & judged or not parts.test


SHARES = [
    (0.01, 0.99, 0.0), (0.01, 0.0, 0.99), (0.01, 0.495, 0.495), (1e-6, 1 - 1e-6, 0.0),
    (1.0, 0.0, 0.0), (0.999, 0.001, 0.0), (0.5, 0.5, 0.0), (0.8, 0.0, 0.2), (0.34, 0.33, 0.33),
]  # fmt: skip


@pytest.mark.parametrize("ratio", SHARES)
def test_any_shares_of_any_sizes_leave_two_patches(ratio: tuple[float, float, float]) -> None:
    shapes = [(1, 1), (1, 90), (20, 48), (24, 24), (25, 7), (40, 100), (3, 30, 20), (2, 1, 16)]
    for shape, count, patch in product(shapes, (1, 2, 3, 10), (8, 16)):
        sources = images(count, shape)
        parts = split(sources, config(ratio, patch))
        assert parts.training
        assert parts.validation
        for piece in parts.training:
            for length, whole in zip(piece.shape, piece.source.size, strict=True):
                assert length == whole or length >= 2 * patch
        if parts.apart:
            for trained, held in product(parts.training, parts.judged):
                same = trained.source is held.source and trained.plane == held.plane
                assert not same or not (counts(trained) & counts(held)).any()
        else:
            assert parts.judged == parts.training


def test_a_strip_is_about_as_wide_as_its_share() -> None:
    for seed in range(8):
        made = config(patch=16).model_copy(update={"seed": seed})
        parts = split(images(1, (100, 60)), made)
        (kept,), (held,) = parts.training, parts.validation
        assert (counts(kept) + counts(held) == 1).all()
        assert min(held.shape) >= 16
        assert held.pixels < 0.3 * 6000


def test_images_too_small_for_a_strip_leave_the_judging_to_others() -> None:
    sources = [*images(1, (20, 20)), *images(1, (60, 60))]
    parts = split(sources, config())
    assert len(parts.training) == 2
    assert [piece.source for piece in parts.judged] == [sources[1]]
    assert not split(sources[:1], config()).apart


@pytest.mark.parametrize(("patch", "second"), [(8, 32), (32, 8), (32, 32)])
def test_stages_of_any_patch_divide_alike(patch: int, second: int) -> None:
    parts = split(images(1, (100, 100)), config(patch=patch, second=second))
    assert min(parts.validation[0].shape) >= 32


def test_a_channel_is_divided_among_the_images_that_have_it() -> None:
    sources = [*images(9, (40, 40)), as_source(np.zeros((2, 40, 40), np.float32), "CYX")]
    for seed in range(6):
        made = config().model_copy(update={"seed": seed})
        parts = split(sources, made, channel=1)
        assert {piece.source for piece in parts.training} == {sources[9]}
        assert parts.apart
