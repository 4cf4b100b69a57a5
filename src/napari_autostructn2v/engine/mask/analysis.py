"""Analyses the noise of every image and channel and derives its mask, without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_autostructn2v.engine.config import Config, Structure
from napari_autostructn2v.engine.data.defects import measurable
from napari_autostructn2v.engine.data.levels import levelled
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.sampling import noise_sample, read_blocks, sample_blocks
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.labels import listed
from napari_autostructn2v.engine.mask.leak_rule import leak_mask
from napari_autostructn2v.engine.mask.ring_rule import ring_mask
from napari_autostructn2v.engine.mask.shapes import SINGLE_PIXEL, union
from napari_autostructn2v.engine.mask.verdict import Verdict, judge
from napari_autostructn2v.engine.noise.flat_tiles import Surface, flat_tiles, remove_plane
from napari_autostructn2v.engine.noise.measure import (
    measure,
    measure_empty,
    measure_repeats,
    no_noise,
)
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.noise.pooling import pooled
from napari_autostructn2v.engine.types import Array, Box, Place

_PAIRS = 4  # pairs of planes that are compared
_NAMED = 3  # images listed in a sentence
_REPEATS = 0.1  # share of the noise; less is not reported


@dataclass(frozen=True, eq=False)
class NoiseAnalysis:
    """The noise, verdict and structural mask of one channel of one image.

    Attributes
    ----------
    blocks
        The blocks that were measured; `noise.places` refers to them by number.
    between
        Correlation of a pixel's noise with that in the next plane along T and Z, if there are
        any: positive for a pattern fixed in time, or a resampled volume.
    outliers
        Share of the pixels that are hot or dead.
    parts
        For a combination of several images or channels, the analysis of each.
    offset
        Was subtracted from the image, so `noise.variance` takes grey values less this.
    """

    image: int
    channel: int
    name: str
    noise: Noise
    verdict: Verdict
    mask: Array
    blocks: tuple[Place, ...] = ()
    between: Mapping[str, float] = field(default_factory=dict)
    outliers: float = 0.0
    offset: float = 0.0
    parts: tuple[NoiseAnalysis, ...] = ()

    def noise_of(self, image: int, channel: int) -> Noise:
        """Return the noise of one part if it was measured separately, else the common noise."""
        own = [f.noise for f in self.parts if (f.image, f.channel) == (image, channel)]
        return own[0] if own else self.noise

    @property
    def blank(self) -> bool:
        """Whether there was no noise to measure; the verdict says why."""
        return self.verdict.name == "no data"

    def report(self) -> dict[str, Any]:
        """Return a channel's part of the report."""
        noise = self.noise
        return {
            "verdict": self.verdict.name,
            "leak": round(self.verdict.leak, 5),
            "noise_sigma": noise.sigma,
            "autocorrelation": noise.rho.round(5).tolist(),
            "mask": self.mask.tolist(),
            "noise": {
                "sentence": self.verdict.sentence,
                "leak_bound": round(self.verdict.leak_bound, 5),
                "autocorrelation_error": noise.error.round(5).tolist(),
                "row_offset": round(noise.row_offset, 5),
                "column_offset": round(noise.column_offset, 5),
                "variance": {
                    "read": noise.variance.read - noise.variance.gain * self.offset,
                    "gain": noise.variance.gain,
                },
                "wavelength": noise.wave and noise.wave.length,
                "phases": noise.phases.round(4).tolist(),
                "between_planes": {axis: round(rho, 4) for axis, rho in self.between.items()},
                "outliers": round(self.outliers, 6),
                "flat_share": round(noise.share, 5),
                "tiles": noise.tiles,
                "doubt": round(noise.doubt, 3),
                "taken_for_structure": round(noise.removed, 4),
            },
        }

    def remarks(self) -> list[str]:
        """Return further findings that matter to a microscopist, one sentence each."""
        noise, said = self.noise, []
        if self.outliers > 0:
            said.append(
                f"{100 * self.outliers:.2g} % of the pixels are hot or dead: they stay in the "
                "image, but are ignored in this analysis and in the training."
            )
        if noise.variance.gain > 0:
            said.append(
                f"It grows with the signal, by {noise.variance.gain:.3g} grey values squared per "
                "grey value, as photon noise does."
            )
        if (noise.phases != 1).any():
            said.append(
                f"It differs by {noise.phases.max() / noise.phases.min() - 1:.0%} between the "
                "pixels of each 2 x 2 square, as in a colour camera."
            )
        if self.between.get("T", 0) > _REPEATS:
            said.append(
                f"{self.between['T']:.0%} of it is the same in the next frame: a fixed pattern, "
                "which averaging frames will not remove."
            )
        if self.between.get("Z", 0) > _REPEATS:
            said.append(
                f"{self.between['Z']:.0%} of it is the same in the next slice of the volume."
            )
        return said


def analyse(sources: Sequence[Source], config: Config) -> Iterator[NoiseAnalysis]:
    """Measure every channel of every image; the analysis of one without noise is `blank`.

    Raises
    ------
    InputError
        If no image has noise, or the region, dark frame or frames to measure are missing.
    """
    without: dict[str, str] = {}
    measured = False
    for image, whole in enumerate(sources):
        (source,) = levelled([whole])
        for channel in range(source.channels):
            pieces = noise_sample(source, image, channel, config.seed)
            places = tuple(Place(image, piece.plane, piece.region) for piece in pieces)
            try:
                blocks, outliers = read_blocks(pieces)
            except InputError as error:
                without[source.name] = str(error)
                if len(sources) > 1 or source.channels > 1:
                    yield _blank(image, channel, source.name, str(error), places, config)
                continue
            measured = True
            noise = _measure(source, pieces, blocks, config.structure)
            finding = _finding(noise, blocks, config, image, channel, source.name)
            between = {} if noise.doubt > 1 else _between(pieces)
            yield replace(
                finding,
                blocks=places,
                between=between,
                outliers=outliers,
                offset=source.offset,
            )
    if not measured:
        raise InputError(nothing_to_measure(without))


def nothing_to_measure(reasons: Mapping[str, str]) -> str:
    """Return a message that says why no noise could be measured in the named images."""
    alike: dict[str, list[str]] = {}
    for name, why in reasons.items():
        alike.setdefault(why, []).append(name)
    said = [f"{listed(names, _NAMED)}: {why}" for why, names in alike.items()]
    return "; ".join(said[:_NAMED]) + (f"; and others of {len(reasons)}" if said[_NAMED:] else "")


def _blank(
    image: int, channel: int, name: str, why: str, places: tuple[Place, ...], config: Config
) -> NoiseAnalysis:
    verdict = Verdict("no data", f"{why[0].upper()}{why[1:]}.", 0.0, 0.0)
    noise = no_noise(config.structure.max_lag)
    return NoiseAnalysis(image, channel, name, noise, verdict, SINGLE_PIXEL, places)


def _measure(
    source: Source, pieces: Sequence[Piece], blocks: Sequence[Array], how: Structure
) -> Noise:
    """Measure the noise where the config says to, even if it also gives a mask."""
    if how.mask_source == "region":
        assert how.region is not None
        y0, y1, x0, x1 = how.region
        if y1 > source.size[0] or x1 > source.size[1]:
            raise InputError(
                f"region {how.region} is not inside image {source.name} of {source.size[0]} x "
                f"{source.size[1]} px"
            )
        planes = sorted({piece.plane for piece in pieces})
        empty, _ = read_blocks([Piece(source, plane, ((y0, y1), (x0, x1))) for plane in planes])
        return measure_empty(empty, blocks, how.max_lag)
    if how.mask_source == "dark":
        assert how.dark_file is not None
        with open_source(how.dark_file) as dark:
            (level,) = levelled([dark])
            empty = sample_blocks(level, 0, np.random.default_rng(0))
            return measure_empty(empty, blocks, how.max_lag)
    if how.mask_source == "frames":
        found = neighbours(pieces, "T")
        if not found:
            raise InputError(
                f"image {source.name} with axes {source.axes} has no two frames along T; "
                "mask_source = frames needs repeats of one scene"
            )
        frames, others = (read_blocks(frame)[0] for frame in zip(*found, strict=True))
        return measure_repeats(list(zip(frames, others, strict=True)), how.max_lag)
    return measure(blocks, how.max_lag)


def neighbours(pieces: Sequence[Piece], axis: str) -> list[tuple[Piece, Piece]]:
    """Pair pieces of one image with the next plane along an axis; no plane is in two pairs."""
    pairs: dict[tuple[int, Box], tuple[Piece, Piece]] = {}
    for piece in pieces:
        if planes := piece.source.pair(piece.plane, axis):
            one, other = (replace(piece, plane=plane) for plane in planes)
            pairs[one.plane, one.region] = one, other
    return list(pairs.values())[:_PAIRS]


def _between(pieces: Sequence[Piece]) -> dict[str, float]:
    """Return the correlation of the noise in flat tiles between planes, along T and Z."""
    found = {}
    for axis in "TZ":
        values: list[float] = []
        for pair in neighbours(pieces, axis):
            blocks, _ = measurable([piece.read() for piece in pair])
            values += _repeating(*map(Surface.of, blocks))
        if values:
            found[axis] = float(np.median(values))
    return found


def _repeating(here: Surface, there: Surface) -> list[float]:
    tiles = flat_tiles([here])
    if tiles is None:
        return []
    height, width = tiles.values.shape[1:]
    windows = [(slice(y, y + height), slice(x, x + width)) for _, y, x in tiles.places]
    both = tiles.valid & np.stack([there.finite[window] for window in windows])
    one = remove_plane(tiles.values, both)
    other = remove_plane(np.stack([there.image[window] for window in windows]), both)
    norm = np.sqrt((one**2).sum((1, 2)) * (other**2).sum((1, 2)))
    one, other, norm = (values[norm > 0] for values in (one, other, norm))
    return list((one * other).sum((1, 2)) / np.maximum(norm, 1e-30))


def _finding(
    noise: Noise, blocks: Sequence[Array], config: Config, image: int, channel: int, name: str
) -> NoiseAnalysis:
    verdict = judge(noise, config.structure.leak_threshold, config.stage2.patch_size)
    if config.structure.extractor == "ring":
        tiles = flat_tiles([Surface.of(block) for block in blocks])
        mask = SINGLE_PIXEL
        if tiles is not None:
            mask, _ = ring_mask(tiles.values, config.structure.ring)
    else:
        mask = leak_mask(noise, verdict, config.structure, config.stage2.patch_size)
    return NoiseAnalysis(image, channel, name, noise, verdict, mask)


def find_in(blocks: Sequence[Array], config: Config) -> NoiseAnalysis:
    """Analyse blocks that do not come from a source, such as Stage 1 results."""
    noise = measure(blocks, config.structure.max_lag)
    return _finding(noise, blocks, config, 0, 0, "")


def combine(findings: Sequence[NoiseAnalysis], config: Config) -> NoiseAnalysis:
    """Combine several images or channels (see `pooled`), ignoring those without noise.

    With the ring rule, which uses no noise measurement, the mask is the union of the masks.
    """
    findings = [finding for finding in findings if not finding.blank] or findings[:1]
    first = findings[0]
    if len(findings) == 1:
        return first
    noise = pooled([finding.noise for finding in findings])
    verdict = judge(noise, config.structure.leak_threshold, config.stage2.patch_size)
    if config.structure.extractor == "ring":
        mask = union(*[finding.mask for finding in findings])
        return replace(first, noise=noise, verdict=verdict, mask=mask, parts=tuple(findings))
    mask = leak_mask(noise, verdict, config.structure, config.stage2.patch_size)
    return replace(first, noise=noise, verdict=verdict, mask=mask, parts=tuple(findings))


def report(findings: Sequence[NoiseAnalysis]) -> dict[str, Any]:
    """Return the part of a run's report that needs no training."""
    images: list[dict[str, Any]] = []
    for finding in findings:
        if len(images) <= finding.image:
            images.append({"name": finding.name, "channels": []})
        images[finding.image]["channels"].append(finding.report())
    first = next((finding for finding in findings if not finding.blank), findings[0])
    return {**first.report(), "images": images}
