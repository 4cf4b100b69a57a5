"""Judging trained networks: whether they remove only noise, and how good their results are.

Neither needs a clean image. A leaking mask shows anywhere, so the check uses the whole image;
quality is assessed on held-out parts if there are any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from napari_autostructn2v.engine.config import Config, StageName
from napari_autostructn2v.engine.data.defects import measurable
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.sampling import sample_pieces
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.data.split import split
from napari_autostructn2v.engine.evaluation.quality import Card, Name, assess, meaning, recommend
from napari_autostructn2v.engine.evaluation.residual import Check, check
from napari_autostructn2v.engine.inference.predict import on_device, run_block
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis, neighbours
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.types import Array, middle, slices, whole

_SIDE = 256  # px
_LEAST_SIDE = 16  # px; smaller blocks aren't used
_CHECKED, _HELD = 4, 4  # number of blocks to check, and to assess
_GLANCE = 128  # px, the side of one block; takes no longer than a tile


@dataclass(frozen=True)
class Judge:
    """The data and settings for judging a network.

    If the network is shared by several channels, all are checked and the first with noise is
    assessed. Each block is compared with the noise of its own image and channel.
    """

    config: Config
    sources: Sequence[Source]
    channel: int | None
    normalisation: Normalisation
    device: torch.device
    finding: NoiseAnalysis

    def check(self, network: Network, mask: Array) -> Check:
        """Compare what a network removes with the measured noise."""
        rng = np.random.default_rng(self.config.seed)
        pieces = [_middle(piece) for piece in self._anywhere(rng)]
        seen = [piece.read() for piece in pieces]
        denoised = [
            self._denoiser(network, piece.channel)(block)
            for piece, block in zip(pieces, seen, strict=True)
        ]
        patch = self.config.stage2.patch_size
        return check(
            _data(seen), denoised, self.finding.noise, mask, rng, patch, self._noises(pieces)
        )

    def assess(self, networks: Mapping[StageName, Network], found: Check) -> dict[str, Any]:
        """Return the quality card of each network and the best stage, as plain values."""
        parts = split(self.sources, self.config, self.channel)
        cards = self._cards(networks, *self._blocks(parts.judged))
        return {
            "stages": {name: card.report() for name, card in cards.items()},
            "recommended": recommend(cards) if cards else list(networks)[-1],
            "check": found.report(),
            "apart": parts.apart,
            "meaning": meaning(parts.apart),
        }

    def better(self, networks: Mapping[Name, Network]) -> Name | None:
        """Return the name of the best network, from a small block; None if it can't be estimated.

        If the networks are about equally good, return the first.
        """
        parts = split(self.sources, self.config, self.channel)
        blocks, repeats, noises = self._blocks(parts.judged)
        few = [_centre(block, _GLANCE) for block in blocks[:1]]
        again = [[_centre(block, _GLANCE) for block in frame[:1]] for frame in repeats]
        cards = self._cards(networks, few, again, noises[:1])
        told = cards and all(card.told for card in cards.values())
        return recommend(cards) if told else None

    def _cards(
        self,
        networks: Mapping[Name, Network],
        blocks: Sequence[Array],
        repeats: Sequence[Sequence[Array]],
        noises: Sequence[Noise],
    ) -> dict[Name, Card]:
        cards: dict[Name, Card] = {}
        for name, network in networks.items() if blocks else ():
            rng = np.random.default_rng(self.config.seed)
            denoise = self._denoiser(network, self.finding.channel)
            noise = self.finding.noise
            cards[name] = assess(denoise, blocks, noise, rng, repeats, noises)
        return cards

    def _noises(self, pieces: Sequence[Piece]) -> list[Noise]:
        """Return the noise of each piece's image and channel."""
        return [
            self.finding.noise_of(self.sources.index(piece.source), piece.channel)
            for piece in pieces
        ]

    def _denoiser(self, network: Network, channel: int) -> Callable[[Array], Array]:
        ready = on_device(network, self.device)

        def denoise(block: Array) -> Array:
            image = self.normalisation.apply(block.astype(np.float32), channel)
            result = run_block(ready, image, self.device)
            return self.normalisation.undo(result, channel)

        return denoise

    def _anywhere(self, rng: np.random.Generator) -> list[Piece]:
        found = [
            piece
            for source in self.sources
            for channel in range(source.channels)
            if self.channel in (None, channel)
            for piece in sample_pieces(source, channel, rng, images=len(self.sources))
        ]
        order = rng.permutation(len(found))[:_CHECKED]
        return [found[i] for i in sorted(order)]

    def _blocks(
        self, pieces: Sequence[Piece]
    ) -> tuple[list[Array], list[list[Array]], list[Noise]]:
        """Return blocks from some pieces, the same blocks of another frame, and their noise.

        The other frame is read only if the noise was measured in repeated frames.
        """
        wanted = [
            piece
            for piece in pieces
            if piece.channel == self.finding.channel and min(piece.shape) >= _LEAST_SIDE
        ]
        order = np.random.default_rng(self.config.seed).permutation(len(wanted))[:_HELD]
        chosen = [_middle(wanted[i]) for i in sorted(order)]
        again: list[Array] = []
        if self.config.structure.mask_source == "frames":
            pairs = [neighbours([piece], "T") for piece in chosen]
            if all(pairs):
                chosen = [pair[0][0] for pair in pairs]
                again = [pair[0][1].read() for pair in pairs]
        blocks = _data([piece.read() for piece in chosen])
        return blocks, [again] if again else [], self._noises(chosen)


def _data(blocks: Sequence[Array]) -> list[Array]:
    """Return the blocks with NaN for pixels without data."""
    return [block for each in blocks for block in measurable([each])[0]]


def _centre(block: Array, side: int) -> Array:
    """Return the middle of a block, at most `side` wide."""
    return block[slices(middle(whole(block.shape), side))]


def _middle(piece: Piece) -> Piece:
    """Return the middle of a piece, at most `_SIDE` wide, starting at an even pixel of it."""
    return replace(piece, region=middle(piece.region, _SIDE, step=2))
