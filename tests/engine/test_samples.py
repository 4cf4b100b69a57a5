"""The blocks that a run looks at again and again are read once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data import sampling
from napari_autostructn2v.engine.data.opening import open_source, reopen
from napari_autostructn2v.engine.data.sampling import (
    Samples,
    common_sample,
    defect_sample,
    noise_sample,
    sampled,
)
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.denoising import consume
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.pipeline import run

RNG = np.random.default_rng(0)
SMALL = {"network": {"features": 4}, "patch_size": 32}
WHOLE = slice(None)


class Counting:
    """An array that counts the pixels asked of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape, self.dtype, self.read = array.shape, array.dtype, 0
        self._array = array

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        block = self._array[index]
        self.read += block.size
        return block


class Endless:
    """A movie of any size, whose values depend on nothing but their place in a block."""

    dtype = np.dtype("uint16")

    def __init__(self, *shape: int) -> None:
        self.shape, self.read = shape, 0

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        spans = [span for span in index if isinstance(span, slice)]
        sides = zip(spans, self.shape[-2:], strict=True)
        shape = [len(range(*span.indices(n))) for span, n in sides]
        self.read += shape[0] * shape[1]
        return np.random.default_rng(0).poisson(100, shape).astype(np.uint16)


def noisy(*shape: int) -> np.ndarray:
    noise = RNG.normal(0, 20, shape)
    return (500 + noise + 0.8 * np.roll(noise, 1, -1)).astype(np.float32)


@pytest.mark.parametrize(
    ("shapes", "axes", "choices"),
    [
        ([(3, 72, 80)], "TYX", {"structure": {"mask_source": "frames"}}),
        ([(2, 72, 80)], "CYX", {"network_per_channel": True, "structure": {"subtract_wave": True}}),
        ([(72, 80)], "YX", {"structure": {"mask_source": "stage1"}}),
        ([(64, 64), (72, 80), (64, 72)], "YX", {}),
    ],
)
def test_a_run_reads_each_pixel_of_its_samples_once(
    shapes: list[tuple[int, ...]], axes: str, choices: dict[str, Any]
) -> None:
    images = [Counting(noisy(*shape)) for shape in shapes]
    config = {
        "budget": "4steps", "device": "cpu", "axes": axes, "stage1": SMALL, "stage2": SMALL,
    }  # fmt: skip
    sink = ArraySink()
    consume(run(images, Config.parse(config | choices), sink=sink))
    assert [result.shape for result in sink.final.values()] == shapes
    assert [image.read for image in images] == [np.prod(shape) for shape in shapes]


def test_a_huge_movie_is_sampled_once_and_within_bounds() -> None:
    movie, other = Endless(20, 2, 9_000, 8_000), Endless(2, 3_000, 3_000)
    seen = sampled([as_source(movie, "TCYX"), as_source(other, "CYX")], seed=3)
    most = 2 * (2 + 1 / 4) * 2**21  # of two channels: for the noise, for all, for defects
    assert 2**21 < movie.read <= most
    assert 2**21 < other.read <= most
    before = movie.read, other.read
    for channel in (0, 1):
        pieces = [piece for shared in common_sample(seen, channel, 3) for piece in shared]
        for image, source in enumerate(seen):
            pieces += noise_sample(source, image, channel, 3) + defect_sample(source, channel)
        for piece in pieces:
            assert piece.read().shape == piece.shape
    assert (movie.read, other.read) == before
    seen[0].read(0, slice(0, 5), slice(0, 8_000))  # which no block covers
    assert movie.read == before[0] + 5 * 8_000


def test_samples_are_what_the_image_holds() -> None:
    array = noisy(2, 3, 40, 50)
    plain = as_source(array, "TCXY")
    (seen,) = sampled([plain], seed=0)
    for plane in range(plain.planes):
        for y, x in ((WHOLE, WHOLE), (slice(3, 20), slice(7, 8))):
            np.testing.assert_array_equal(seen.read(plane, y, x), plain.read(plane, y, x))
    assert (seen.name, seen.axes, seen.metadata) == (plain.name, plain.axes, plain.metadata)


def test_samples_hold_nothing_but_themselves() -> None:
    page = np.zeros((3000, 3000), np.uint16)
    (piece,) = defect_sample(as_source(page), 0)
    ((_, block),) = Samples.of([piece], most=2**20).blocks[0]
    assert block.shape == piece.shape != page.shape
    assert not np.shares_memory(block, page)
    with pytest.raises(ValueError, match="read-only"):
        block[0, 0] = 1


def test_of_too_many_images_some_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_KEPT_PIXELS", 2 * 40 * 50)
    images = [Counting(noisy(40, 50)) for _ in range(3)]
    for source in sampled([as_source(image) for image in images], seed=0):
        source.read(0, WHOLE, WHOLE)
        source.read(0, WHOLE, WHOLE)
    assert [image.read for image in images] == [40 * 50, 40 * 50, 2 * 40 * 50]


def test_what_cannot_be_read_is_told_when_it_is_needed() -> None:
    class Broken(Counting):
        def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
            if index[0] == 1:
                raise OSError("bad sector")
            return super().__getitem__(index)

    (source,) = sampled([as_source(Broken(noisy(3, 40, 50)))], seed=0)
    source.read(0, WHOLE, WHOLE)
    with pytest.raises(InputError, match="cannot be read at plane 1"):
        source.read(1, WHOLE, WHOLE)


def test_another_process_gets_no_samples_along(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noisy(400, 500))
    (source,) = sampled([open_source(tmp_path / "a.npy")], seed=0)
    sent = pickle.dumps(source.spec())
    assert len(sent) < 2000
    np.testing.assert_array_equal(
        reopen(pickle.loads(sent)).read(0, WHOLE, WHOLE), source.read(0, WHOLE, WHOLE)
    )
