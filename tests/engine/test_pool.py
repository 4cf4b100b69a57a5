"""Patches come from where they should, unchanged, and repeat with the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine.config import Stage
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.source import Source, as_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.training.augment import move, symmetries
from napari_autostructn2v.engine.training.pool import Pool, validation_pool

CPU = torch.device("cpu")
SAME = Normalisation((0.0,), (1.0,))


def numbered(shape: tuple[int, int], first: int = 0) -> Source:
    """An image in which every pixel tells where it is."""
    return as_source(first + np.arange(np.prod(shape), dtype=np.float32).reshape(shape))


def whole(source: Source) -> Piece:
    height, width = source.size
    return Piece(source, 0, ((0, height), (0, width)))


def pool(pieces: list[Piece], capacity: int = 2**26, seed: int = 0, **stage: object) -> Pool:
    return Pool(pieces, SAME, Stage(patch_size=8, **stage), capacity, seed, CPU)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_patches_are_windows_of_the_images() -> None:
    sources = [numbered((20, 30)), numbered((40, 9), first=10_000)]
    batch = pool([whole(s) for s in sources]).batch(400, generator()).numpy()
    assert batch.shape == (400, 8, 8)
    from_second = batch[:, 0, 0] >= 10_000
    for patches, width in ((batch[~from_second], 30), (batch[from_second], 9)):
        assert len(patches)
        steps = patches - patches[:, :1, :1]
        expected = np.add.outer(np.arange(8) * width, np.arange(8))
        assert np.array_equal(steps, np.broadcast_to(expected, steps.shape))
    # Each image is drawn as often as it has patches: 13 x 23 against 33 x 2.
    assert from_second.mean() == pytest.approx(66 / 365, abs=0.05)


def test_every_origin_is_reached() -> None:
    batch = pool([whole(numbered((10, 11)))]).batch(500, generator())
    origins = set(batch[:, 0, 0].long().tolist())
    assert origins == {11 * y + x for y in range(3) for x in range(4)}


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (5, 7), (1, 1)])
def test_small_images_shrink_the_patch(shape: tuple[int, int]) -> None:
    made = pool([whole(numbered(shape))])
    assert made.shape == (min(8, shape[0]), min(8, shape[1]))
    assert made.batch(3, generator()).shape == (3, *made.shape)


def test_missing_values_are_nan() -> None:
    image = np.zeros((9, 9), np.float32)
    image[4, 4], image[4, 5] = np.inf, np.nan
    batch = pool([whole(as_source(image))]).batch(10, generator())
    assert (batch.isnan().sum((1, 2)) == 2).all()
    assert not batch.isinf().any()


def test_large_data_is_a_bounded_pool_that_changes_and_repeats() -> None:
    reads: list[tuple[int, ...]] = []

    class Recorded:
        shape, dtype, ndim = (6, 4000, 4000), np.dtype(np.float32), 3

        def __getitem__(self, index: tuple[int, slice, slice]) -> np.ndarray:
            plane, y, x = index
            reads.append((plane, y.start, x.start))
            return np.full((y.stop - y.start, x.stop - x.start), len(reads), np.float32)

    def values(seed: int) -> list[float]:
        reads.clear()
        source = as_source(Recorded(), "TYX")
        pieces = [Piece(source, t, ((0, 4000), (0, 4000))) for t in range(6)]
        made = pool(pieces, capacity=32 * 32 * 4 * 10, seed=seed)
        stream, seen = generator(), []
        for _ in range(60):
            seen.append(float(made.batch(4, stream).max()))
            made.advance()
        made.close()
        return [*seen, *map(float, np.ravel(reads[:20]))]

    assert values(0) == values(0) != values(1)
    assert len(reads) <= 10 + 60 // 4 + 1
    values(0)
    assert max(values(0)[:60]) > 10  # blocks read later are used


def test_roi_keeps_to_the_wanted_side() -> None:
    image = np.zeros((64, 64), np.float32)
    image[:, 32:] = 100
    for background in (True, False):
        made = pool(
            [whole(as_source(image))], use_roi=True, select_background=background, scale_factor=0.5
        )
        mean = made.batch(200, generator()).mean((1, 2))
        assert ((mean <= 50) if background else (mean >= 50)).all()


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(InputError, match="no image"):
        pool([])


def test_symmetries_keep_the_mask() -> None:
    line, bent = np.ones((1, 5)), np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    masks = {"pixel": np.ones((1, 1)), "line": line, "bent": bent}
    count = {name: len(symmetries(mask, "symmetric", True)) for name, mask in masks.items()}
    assert count == {"pixel": 8, "line": 4, "bent": 1}
    assert len(symmetries(bent, "all", square=True)) == 8
    assert len(symmetries(line, "none", square=True)) == 1
    assert not any(transpose for transpose, *_ in symmetries(np.ones((1, 1)), "all", square=False))


def test_move_is_what_the_symmetry_says() -> None:
    patch = torch.arange(9.0).view(1, 3, 3)
    image = patch[0].numpy()
    for s in symmetries(np.ones((1, 1)), "all", square=True):
        expected = image.T if s[0] else image
        expected = expected[::-1] if s[1] else expected
        expected = expected[:, ::-1] if s[2] else expected
        assert np.array_equal(move(patch, torch.tensor([s]))[0].numpy(), expected)


def test_normalisation_undoes_itself() -> None:
    made = Normalisation((100.0, 5.0), (20.0, 0.5))
    block = np.array([[90.0, 140.0]], np.float32)
    assert made.apply(block, 0).tolist() == [[-0.5, 2.0]]
    np.testing.assert_allclose(made.undo(made.apply(block, 1), 1), block, rtol=1e-6)


def test_images_smaller_than_the_patch_are_drawn_too() -> None:
    made = pool([whole(numbered((20, 30))), whole(numbered((5, 9), first=10_000))])
    batch = made.batch(3000, generator())
    small = batch.nan_to_num(0).amax((1, 2)) >= 10_000
    assert small.any()
    assert (batch[small].isnan().sum((1, 2)) == 3 * 8).all()
    assert not batch[~small].isnan().any()


# A specimen that fills part of an image much larger than the pool.
LARGE = (600, 600)


def specimen(place: tuple[slice, slice]) -> Source:
    image = np.random.default_rng(0).normal(10, 1, LARGE).astype(np.float32)
    image[place] += 100
    return as_source(image)


@pytest.mark.parametrize(
    "place",
    [
        (slice(None), slice(300, None)),  # a half
        (slice(180, 370), slice(120, 310)),  # a tenth
        (slice(540, None), slice(0, 60)),  # a hundredth, in a corner
    ],
)
@pytest.mark.parametrize("capacity", [2**15, 2**18, 2**24])  # 8 and 64 blocks; all of it
@pytest.mark.parametrize("background", [False, True])
def test_patches_of_large_data_are_on_the_wanted_side(
    place: tuple[slice, slice], capacity: int, background: bool
) -> None:
    made = pool([whole(specimen(place))], capacity, use_roi=True, select_background=background)
    stream, wanted = generator(), 0
    for _ in range(20):
        mean = made.batch(32, stream).mean((1, 2))
        wanted += int(((mean < 80) if background else (mean > 40)).sum())
        made.advance()
    made.close()
    assert wanted == 20 * 32


def test_a_region_is_drawn_from_evenly_wherever_it_lies() -> None:
    source = specimen((slice(None), slice(None, 150)))  # the rest is empty
    made = pool([whole(source)], 2**17, use_roi=True)
    stream, rows = generator(), []
    truth = source.read(0, slice(None), slice(None))
    places = {float(value): k // LARGE[1] for k, value in enumerate(truth.ravel())}
    for _ in range(400):
        rows += [places[float(value)] for value in made.batch(8, stream)[:, 0, 0]]
        made.advance()
    made.close()
    shares = np.histogram(rows, 4, (0, LARGE[0]))[0] / len(rows)
    assert shares.min() > 0.1


@pytest.mark.parametrize("capacity", [2**15, 2**24])
def test_without_a_region_anywhere_that_is_said(capacity: int) -> None:
    with pytest.raises(InputError, match=r"above the brightness of roi_threshold 1; "):
        pool([whole(specimen((slice(100), slice(100))))], capacity, use_roi=True, roi_threshold=1.0)


def test_held_out_parts_without_a_region_validate_all_the_same() -> None:
    flat = specimen((slice(0, 0), slice(0, 0)))
    stage = Stage(patch_size=8, use_roi=True, roi_threshold=1.0)
    held = validation_pool([whole(flat)], SAME, stage, 2**26, 0, CPU)
    assert held.batch(4, generator()).shape == (4, 8, 8)
