"""Training data: a bounded, resident pool of image blocks that random patches are cut from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_autostructn2v.engine.config import Stage
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.source import Source
from napari_autostructn2v.engine.tiles import Region

Array = npt.NDArray[Any]

_BLOCK_PATCHES = 4  # side of a pool block, in patches
_MOST_ORIGINS = 65536  # kept of a block's region of interest
_STEPS_PER_BLOCK = 4  # a block of the pool is replaced every so many steps


@dataclass(frozen=True)
class Piece:
    """A rectangle of one plane of one image."""

    source: Source
    plane: int
    region: Region

    @property
    def shape(self) -> tuple[int, int]:
        (y0, y1), (x0, x1) = self.region
        return y1 - y0, x1 - x0

    @property
    def pixels(self) -> int:
        return math.prod(self.shape)

    def read(self) -> Array:
        (y0, y1), (x0, x1) = self.region
        return self.source.read(self.plane, slice(y0, y1), slice(x0, x1))


@dataclass(frozen=True)
class Normalisation:
    """z-score of each channel, of blocks less `offset`; nothing is clipped."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    offset: float = 0.0

    def apply(self, block: Array, channel: int) -> Array:
        mean = np.float32(self.mean[channel] - self.offset)
        result: Array = (block - mean) / np.float32(self.std[channel])
        return result

    def undo(self, block: Array, channel: int) -> Array:
        mean = np.float32(self.mean[channel] - self.offset)
        result: Array = block * np.float32(self.std[channel]) + mean
        return result


def split(
    sources: Sequence[Source],
    ratio: tuple[float, float, float],
    patch: int,
    rng: np.random.Generator,
    channel: int | None = None,
) -> tuple[list[Piece], list[Piece], dict[str, list[str]]]:
    """Divide the data into training and validation pieces.

    With an image for each share, whole images are divided, as autoStructN2V does; otherwise a
    strip along one side of every plane is held out for validation and nothing for testing. An
    image too small to spare a strip trains and validates on all of itself.

    Returns
    -------
    training, validation
        Pieces of `channel` (of every channel if None).
    names
        The images of "train", "val" and "test".
    """
    count = len(sources)
    validating, testing = (round(count * share) for share in ratio[1:])
    if count - validating - testing >= 1 and validating >= 1 and (testing or ratio[2] == 0):
        order = rng.permutation(count)
        parts = np.split(order, [count - validating - testing, count - testing])
        names = {
            key: [sources[i].name for i in sorted(part)]
            for key, part in zip(("train", "val", "test"), parts, strict=True)
        }
        training, validation = (
            [piece for i in sorted(part) for piece in _whole(sources[i], channel)]
            for part in parts[:2]
        )
        return training, validation, names
    training, validation = [], []
    share = ratio[1] / (ratio[0] + ratio[1])
    for piece in itertools.chain.from_iterable(_whole(source, channel) for source in sources):
        train, held = _hold_strip(piece, share, patch, rng)
        training.append(train)
        validation.append(held)
    everyone = [source.name for source in sources]
    return training, validation, {"train": everyone, "val": everyone, "test": []}


def _whole(source: Source, channel: int | None) -> list[Piece]:
    height, width = source.size
    return [
        Piece(source, plane, ((0, height), (0, width)))
        for plane in range(source.planes)
        if channel is None or source.channel(plane) == channel
    ]


def _hold_strip(
    piece: Piece, share: float, patch: int, rng: np.random.Generator
) -> tuple[Piece, Piece]:
    """Cut a strip of `share`, at least a patch wide, off a random side; keep two patches."""
    sides = [axis for axis in (0, 1) if piece.shape[axis] >= 3 * patch]
    if not sides or share == 0:
        return piece, piece
    axis = int(rng.choice(sides))
    length = piece.shape[axis]
    strip = max(patch, round(share * length))
    cut = strip if rng.random() < 0.5 else length - strip
    spans = [(0, cut), (cut, length)]
    held, train = spans if cut == strip else spans[::-1]

    def cropped(span: tuple[int, int]) -> Piece:
        other = piece.region[1 - axis]
        return Piece(piece.source, piece.plane, (span, other) if axis == 0 else (other, span))

    return cropped(train), cropped(held)


class Pool:
    """Blocks of image data, normalised and resident, that batches of patches are cut from.

    Data that fits is held whole. Of larger data the pool holds random blocks, and one block is
    replaced every few steps by one read in the background; which one and by what depends on the
    seed alone, so a run can be repeated.

    Parameters
    ----------
    pieces
        Where patches may come from.
    stage
        Patch size and region of interest.
    capacity
        Bytes.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        normalisation: Normalisation,
        stage: Stage,
        capacity: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._normalisation = normalisation
        self._stage = stage
        self._rng = np.random.default_rng(seed)
        self._executor: ThreadPoolExecutor | None = None
        self.shape = _patch_shape(pieces, stage.patch_size)
        pieces = [p for p in pieces if p.shape[0] >= self.shape[0] and p.shape[1] >= self.shape[1]]
        if sum(p.pixels for p in pieces) * 4 > capacity:
            side = tuple(_BLOCK_PATCHES * n for n in self.shape)
            self._draws = _random_blocks(pieces, side, self._rng)
            most = max(1, capacity // (4 * math.prod(side)))
            blocks = [next(self._draws) for _ in range(most)]
            self._executor = ThreadPoolExecutor(1, "autostructn2v-pool")
        else:
            blocks = list(pieces)
        arrays = [self._read(piece) for piece in blocks]
        sizes = np.array([array.size for array in arrays])
        self._start = torch.as_tensor(np.cumsum(sizes) - sizes, device=device)
        self._width = torch.tensor([a.shape[1] for a in arrays], device=device)
        self._data = torch.from_numpy(np.concatenate([a.ravel() for a in arrays])).to(device)
        self._shapes = [array.shape for array in arrays]
        ranges = [[n - m + 1 for n, m in zip(a.shape, self.shape, strict=True)] for a in arrays]
        self._range = torch.tensor(ranges, device=device)
        self._roi = [self._roi_origins(array) for array in arrays] if stage.use_roi else []
        self._weigh()
        self._turn = itertools.cycle(range(len(blocks)))
        self._step = 0
        self._next: Future[Array] | None = None
        self._prefetch()

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """Random patches, normalised: (count, h, w); NaN where the image has no finite value."""
        device = self._data.device
        pick, *place = torch.rand(3, count, generator=generator, device=device)
        piece = torch.searchsorted(self._cumulative, pick, right=True)
        piece = piece.clamp_max(len(self._shapes) - 1)
        width = self._width[piece]
        if self._roi:
            number = (place[0] * self._count[piece]).long().clamp_max(self._count[piece] - 1)
            origin = self._origins[self._first[piece] + number]
        else:
            ends = self._range[piece]
            y0, x0 = ((place[i] * ends[:, i]).long().clamp_max(ends[:, i] - 1) for i in (0, 1))
            origin = y0 * width + x0
        y = torch.arange(self.shape[0], device=device)[:, None]
        x = torch.arange(self.shape[1], device=device)
        corner = (self._start[piece] + origin)[:, None, None]
        return self._data[corner + y * width[:, None, None] + x]

    def advance(self) -> None:
        """Count a step; when a block is due, put the one read meanwhile in its place."""
        self._step += 1
        if self._next is None or self._step % _STEPS_PER_BLOCK:
            return
        array = self._next.result()
        slot = next(self._turn)
        if array.shape == self._shapes[slot]:
            start = int(self._start[slot])
            self._data[start : start + array.size] = torch.from_numpy(array.ravel()).to(
                self._data.device
            )
            if self._roi:
                self._roi[slot] = self._roi_origins(array)
                self._weigh()
        self._prefetch()

    def close(self) -> None:
        """End the background reader."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _prefetch(self) -> None:
        if self._executor is not None:
            self._next = self._executor.submit(self._read, next(self._draws))

    def _read(self, piece: Piece) -> Array:
        block = self._normalisation.apply(piece.read(), piece.source.channel(piece.plane))
        result: Array = np.where(np.isfinite(block), block, np.float32(np.nan)).astype(np.float32)
        return result

    def _roi_origins(self, array: Array) -> Tensor:
        """Flat indices of the patch origins in a block's region of interest."""
        chosen = np.zeros(array.shape, bool)
        inner = tuple(slice(n - m + 1) for n, m in zip(array.shape, self.shape, strict=True))
        chosen[inner] = _roi(array, self.shape, self._stage)[inner]
        if not chosen.any():
            chosen[inner] = True
        origins = np.flatnonzero(chosen)
        return torch.from_numpy(self._rng.permutation(origins)[:_MOST_ORIGINS])

    def _weigh(self) -> None:
        """A block is drawn as often as it has patches."""
        device = self._data.device
        if self._roi:
            counts = np.array([len(origins) for origins in self._roi], float)
            self._count = torch.as_tensor(counts, device=device, dtype=torch.long)
            self._first = torch.as_tensor(np.cumsum(counts) - counts, device=device).long()
            self._origins = torch.cat(self._roi).to(device)
        else:
            counts = self._range.cpu().numpy().astype(float).prod(1)
        shares = np.cumsum(counts) / counts.sum()
        self._cumulative = torch.as_tensor(shares, device=device, dtype=torch.float32)


def _roi(array: Array, patch: tuple[int, int], stage: Stage) -> Array:
    """Patch origins whose patch lies, by the low-resolution mean, on the wanted side.

    autoStructN2V thresholds a downscaled image; its background is dark here.
    """
    image = np.nan_to_num(array)
    scale = max(1, round(1 / stage.scale_factor))
    smooth = ndimage.uniform_filter(image, scale)
    threshold = smooth.min() + stage.roi_threshold * np.ptp(smooth)
    above = (smooth > threshold).astype(np.float32)
    # Mean over each patch, stored at the patch's origin.
    share = ndimage.uniform_filter(above, patch, origin=tuple(-(n // 2) for n in patch))
    result: Array = share < 0.5 if stage.select_background else share >= 0.5
    return result


def _patch_shape(pieces: Sequence[Piece], side: int) -> tuple[int, int]:
    """The patch, shrunk where no piece is large enough."""
    if not pieces:
        raise InputError("there is no image to train on")
    height = min(side, max(piece.shape[0] for piece in pieces))
    width = min(side, max(p.shape[1] for p in pieces if p.shape[0] >= height))
    return height, width


def _random_blocks(
    pieces: Sequence[Piece], side: tuple[int, ...], rng: np.random.Generator
) -> Iterator[Piece]:
    weights = np.array([piece.pixels for piece in pieces], float)
    weights /= weights.sum()
    while True:
        piece = pieces[rng.choice(len(pieces), p=weights)]
        region = []
        for (start, end), length in zip(piece.region, side, strict=True):
            size = min(length, end - start)
            origin = start + int(rng.integers(end - start - size + 1))
            region.append((origin, origin + size))
        yield Piece(piece.source, piece.plane, (region[0], region[1]))


Symmetry = tuple[bool, bool, bool]  # transpose, flip y, flip x; in this order


def symmetries(mask: Array, which: str, square: bool) -> list[Symmetry]:
    """The flips and rotations a stage may use: none, those that keep the mask, or all eight."""
    if which == "none":
        return [(False, False, False)]
    every = itertools.product((False, True) if square else (False,), (False, True), (False, True))
    return [s for s in every if which == "all" or np.array_equal(_move(mask, s), mask)]


def _move(mask: Array, symmetry: Symmetry) -> Array:
    transpose, flip_y, flip_x = symmetry
    moved = mask.T if transpose else mask
    return moved[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def move(batch: Tensor, choice: Tensor) -> Tensor:
    """Apply to each patch of (B, h, w) its symmetry: `choice` is (B, 3) bool."""
    transpose, flip_y, flip_x = choice[:, :, None, None].unbind(1)
    if batch.shape[1] == batch.shape[2]:
        batch = torch.where(transpose, batch.transpose(1, 2), batch)
    batch = torch.where(flip_y, batch.flip(1), batch)
    return torch.where(flip_x, batch.flip(2), batch)
