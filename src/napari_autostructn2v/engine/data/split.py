"""Splits the images into training, validation and test data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.types import Span, whole

_WHOLE = 1 - 1e-6  # images: the least share that counts as a whole image, despite rounding


@dataclass(frozen=True)
class Split:
    """The data of one network.

    Attributes
    ----------
    training, validation
        Never empty if there is an image.
    test
        Used only after training; empty if there are too few images.
    names
        The names of the images in "train", "val" and "test".
    """

    training: list[Piece]
    validation: list[Piece]
    test: list[Piece]
    names: dict[str, list[str]]

    @property
    def judged(self) -> list[Piece]:
        """The data that the results are judged on: the test data, else the validation data."""
        return self.test or self.validation

    @property
    def apart(self) -> bool:
        """Whether `judged` was not trained on; images may be too small to spare a part."""
        return self.judged is not self.training


def split(sources: Sequence[Source], config: Config, channel: int | None = None) -> Split:
    """Split the data of a channel (of all if None), the same for both stages.

    If each share amounts to at least one image, whole images are assigned, as in autoStructN2V.
    Otherwise a strip along one side of every plane is held out for validation and nothing for
    testing; planes too small for that are used for training only. If nothing can be held out,
    validation uses the training data.
    """
    rng = np.random.default_rng(config.seed)
    there = [source for source in sources if channel is None or channel < source.channels]
    count, shares = len(there), config.split_ratio[1:]
    validating, testing = (round(count * share) for share in shares)
    enough = all(count * share >= _WHOLE for share in shares if share > 0)
    if any(shares) and enough and validating + testing < count:
        return _by_image(there, validating, testing, channel, rng)
    patch = max(stage.patch_size for stage in config.stages.values())
    share = shares[0] / (config.split_ratio[0] + shares[0])
    training, validation = [], []
    for piece in _planes(there, channel):
        kept, held = _hold_strip(piece, share, patch, rng)
        training.append(kept)
        validation += held
    everyone = [source.name for source in there]
    spared = [source.name for source in there if any(p.source is source for p in validation)]
    names = {"train": everyone, "val": spared or everyone, "test": []}
    return Split(training, validation or training, [], names)


def _by_image(
    sources: Sequence[Source],
    validating: int,
    testing: int,
    channel: int | None,
    rng: np.random.Generator,
) -> Split:
    count = len(sources)
    order = rng.permutation(count)
    parts = np.split(order, [count - validating - testing, count - testing])
    images = [[sources[i] for i in sorted(part)] for part in parts]
    training, validation, test = (_planes(part, channel) for part in images)
    if not validation:
        images[1] = images[0]
    names = [[source.name for source in part] for part in images]
    return Split(
        training,
        validation or training,
        test,
        dict(zip(("train", "val", "test"), names, strict=True)),
    )


def _planes(sources: Sequence[Source], channel: int | None) -> list[Piece]:
    return [
        Piece(source, plane, whole(source.size))
        for source in sources
        for plane in range(source.planes)
        if channel is None or source.channel(plane) == channel
    ]


def _hold_strip(
    piece: Piece, share: float, patch: int, rng: np.random.Generator
) -> tuple[Piece, list[Piece]]:
    """Hold out a strip of `share` at a random side, one patch wide or more; two patches stay."""
    sides = [axis for axis, length in enumerate(piece.shape) if length >= 3 * patch]
    if not sides or share == 0:
        return piece, []
    axis = int(rng.choice(sides))
    length = piece.shape[axis]
    strip = min(max(patch, round(share * length)), length - 2 * patch)
    cut = strip if rng.random() < 0.5 else length - strip
    spans = [(0, cut), (cut, length)]
    held, kept = spans if cut == strip else spans[::-1]

    def cropped(span: Span) -> Piece:
        region = (*piece.region[:axis], span, *piece.region[axis + 1 :])
        return replace(piece, region=region)

    return cropped(kept), [cropped(held)]
