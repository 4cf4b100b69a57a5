"""Training data: a pool of image blocks in memory, of bounded size, to draw patches from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from napari_autostructn2v.engine.config import Stage
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.roi import Interest
from napari_autostructn2v.engine.data.sampling import sample_pieces
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.types import Array

_BLOCK_PATCHES = 4  # side of a pool block, in patches
_MOST_ORIGINS = 2**21  # patch origins in regions of interest kept for all blocks together
# Search for blocks with a region of interest: reads per block of data, and their maximum unless
# the pool holds more.
_TRIES, _MOST_TRIES = 4, 1024
_STEPS_PER_BLOCK = 4  # steps between replacements of a block


@dataclass(frozen=True, eq=False)
class _Block:
    """Pixels and the number of patches in them; patch origins if there is a region of interest."""

    pixels: Array
    patches: int
    origins: Array | None = None


class Pool:
    """Normalised blocks of image data in memory, to draw batches of patches from.

    Data that fits is held completely. Otherwise the pool holds random blocks, and every few steps
    one is replaced by a block read in the background. The choice depends only on the seed, so runs
    are reproducible. Blocks without a region of interest are skipped, so that all patches in the
    region are equally likely.

    Parameters
    ----------
    pieces
        Regions to take patches from.
    stage
        Patch size and region of interest.
    capacity
        Maximum size in bytes.

    Raises
    ------
    InputError
        If there are no pieces, or if no patch is in the region of interest. If the data doesn't
        fit, only a limited number of blocks is searched.
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
        self._interests = self._find_interests(pieces) if stage.use_roi else {}
        pixels = sum(max(piece.pixels, math.prod(self.shape)) for piece in pieces)
        if pixels * 4 > capacity:
            side = tuple(_BLOCK_PATCHES * n for n in self.shape)
            self._draws = _random_blocks(pieces, side, self._rng)
            most = max(1, capacity // (4 * math.prod(side)))
            share = min(_TRIES * pixels // math.prod(side), _MOST_TRIES)
            tries = itertools.islice(self._draws, max(_TRIES * most, share))
            blocks = list(itertools.islice(self._usable(tries), most))
            self._executor = ThreadPoolExecutor(1, "autostructn2v-pool")
        else:
            blocks = list(self._usable(pieces))
        if not blocks:
            raise InputError(
                f"no patch is {'below' if stage.select_background else 'above'} the brightness of "
                f"roi_threshold {stage.roi_threshold:g}; choose another roi_threshold, or set "
                "use_roi to false"
            )
        arrays = [block.pixels for block in blocks]
        sizes = np.array([array.size for array in arrays])
        self._starts = np.cumsum(sizes) - sizes
        self._start = torch.as_tensor(self._starts, device=device)
        self._width = torch.tensor([a.shape[1] for a in arrays], device=device)
        self._data = torch.from_numpy(np.concatenate([a.ravel() for a in arrays])).to(device)
        self._shapes = [array.shape for array in arrays]
        ranges = [[n - m + 1 for n, m in zip(a.shape, self.shape, strict=True)] for a in arrays]
        self._range = torch.tensor(ranges, device=device)
        self._patches = [block.patches for block in blocks]
        self._listing = _MOST_ORIGINS // len(blocks) + 1
        self._roi = [self._listed(block) for block in blocks] if stage.use_roi else []
        self._weigh()
        self._turn = itertools.cycle(range(len(blocks)))
        self._step = 0
        self._next: Future[_Block] | None = None
        self._prefetch()

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw random patches, (count, h, w), normalised; pixels that are not finite are NaN."""
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
        """Count a step, and every few steps replace a block by the one read in the background."""
        self._step += 1
        if self._next is None or self._step % _STEPS_PER_BLOCK:
            return
        block = self._next.result()
        slot = next(self._turn)
        if block.patches and block.pixels.shape == self._shapes[slot]:
            start = int(self._starts[slot])
            self._data[start : start + block.pixels.size] = torch.from_numpy(
                block.pixels.ravel()
            ).to(self._data.device)
            if self._roi:
                self._roi[slot], self._patches[slot] = self._listed(block), block.patches
                self._weigh()
        self._prefetch()

    def close(self) -> None:
        """Stop the background reader."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _prefetch(self) -> None:
        if self._executor is not None:
            self._next = self._executor.submit(self._read, next(self._draws))

    def _usable(self, pieces: Iterable[Piece]) -> Iterator[_Block]:
        """Read pieces, skipping those without a patch."""
        return (block for piece in pieces if (block := self._read(piece)).patches)

    def _read(self, piece: Piece) -> _Block:
        """Read a piece; one smaller than a patch is padded with NaN."""
        channel = piece.channel
        block = self._normalisation.apply(piece.read(), channel)
        pixels = np.where(np.isfinite(block), block, np.float32(np.nan)).astype(np.float32)
        margin = [(0, max(m - n, 0)) for n, m in zip(pixels.shape, self.shape, strict=True)]
        padded = np.pad(pixels, margin, constant_values=np.nan)
        if not self._stage.use_roi:
            ends = [n - m + 1 for n, m in zip(padded.shape, self.shape, strict=True)]
            return _Block(padded, math.prod(ends))
        height, width = (min(n, m) for n, m in zip(pixels.shape, self.shape, strict=True))
        chosen = self._interests[piece.source, channel].origins(pixels, (height, width))
        origins = np.flatnonzero(np.pad(chosen, margin))
        return _Block(padded, len(origins), origins)

    def _find_interests(self, pieces: Sequence[Piece]) -> dict[tuple[Source, int], Interest]:
        """Find the region of interest of each channel of each image, from a sample of it."""
        found = {}
        wanted = {(piece.source, piece.channel): None for piece in pieces}
        images = len({source for source, _ in wanted})
        for source, channel in wanted:
            pieces = sample_pieces(source, channel, np.random.default_rng(channel), images)
            normalised = [self._normalisation.apply(piece.read(), channel) for piece in pieces]
            found[source, channel] = Interest.of(normalised, self._stage)
        return found

    def _listed(self, block: _Block) -> Tensor:
        """Return the origins of a block's patches, a random subset if there are too many."""
        assert block.origins is not None
        if block.patches <= self._listing:
            return torch.from_numpy(block.origins)
        return torch.from_numpy(self._rng.choice(block.origins, self._listing, replace=False))

    def _weigh(self) -> None:
        """Weight each block by its number of patches."""
        device = self._data.device
        if self._roi:
            counts = np.array([len(origins) for origins in self._roi])
            self._count = torch.as_tensor(counts, device=device)
            self._first = torch.as_tensor(np.cumsum(counts) - counts, device=device)
            self._origins = torch.cat(self._roi).to(device)
        shares = np.cumsum(np.array(self._patches, float))
        self._cumulative = torch.as_tensor(shares / shares[-1], device=device, dtype=torch.float32)


def validation_pool(
    pieces: Sequence[Piece],
    normalisation: Normalisation,
    stage: Stage,
    capacity: int,
    seed: int,
    device: torch.device,
) -> Pool:
    """Return the pool for validation; without a region of interest if none is in the data."""
    try:
        return Pool(pieces, normalisation, stage, capacity, seed, device)
    except InputError:
        everywhere = stage.model_copy(update={"use_roi": False})
        return Pool(pieces, normalisation, everywhere, capacity, seed, device)


def _patch_shape(pieces: Sequence[Piece], side: int) -> tuple[int, int]:
    """Return the shape of a patch, smaller than `side` if no piece is large enough."""
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
        yield replace(piece, region=tuple(region))
