"""Says of every image and channel what noise it carries and which mask follows; no training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.noise import Noise, flat_tiles, measure, sample_blocks
from napari_autostructn2v.engine.source import Source
from napari_autostructn2v.engine.structure import Verdict, judge, leak_mask, ring_mask, union

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Finding:
    """The noise, verdict and structural mask of one channel of one image."""

    image: int
    channel: int
    name: str
    noise: Noise
    verdict: Verdict
    mask: Array

    def event(self) -> events.NoiseMeasured:
        return events.NoiseMeasured(
            image=self.image,
            channel=self.channel,
            rho=events.read_only(self.noise.rho),
            sigma=self.noise.sigma,
            verdict=self.verdict.name,
            leak=self.verdict.leak,
            sentence=self.verdict.sentence,
        )

    def report(self) -> dict[str, Any]:
        """The five keys of a channel in the report."""
        return {
            "verdict": self.verdict.name,
            "leak": round(self.verdict.leak, 5),
            "noise_sigma": self.noise.sigma,
            "autocorrelation": self.noise.rho.round(5).tolist(),
            "mask": self.mask.tolist(),
        }


def analyse(sources: Sequence[Source], config: Config) -> Iterator[Finding]:
    """Measure every channel of every image."""
    for image, source in enumerate(sources):
        for channel in range(source.channels):
            rng = np.random.default_rng((config.seed, image, channel))
            blocks = sample_blocks(source, channel, rng)
            noise = measure(blocks, config.structure.max_lag)
            yield _finding(noise, blocks, config, image, channel, source.name)


def _finding(
    noise: Noise, blocks: Sequence[Array], config: Config, image: int, channel: int, name: str
) -> Finding:
    verdict = judge(noise, config.structure.leak_threshold, config.stage2.patch_size)
    if config.structure.extractor == "ring":
        mask, _ = ring_mask(flat_tiles(blocks), config.structure.ring)
    else:
        mask = leak_mask(noise, verdict, config.structure, config.stage2.patch_size)
    return Finding(image, channel, name, noise, verdict, mask)


def find_in(blocks: Sequence[Array], config: Config) -> Finding:
    """The same for blocks that are not of a source, such as Stage-1 results."""
    noise = measure(blocks, config.structure.max_lag)
    return _finding(noise, blocks, config, 0, 0, "")


def combine(findings: Sequence[Finding], config: Config) -> Finding:
    """What is common to several images or channels; the largest sample weighs most.

    The masks of the ring rule are united: it has no noise measurement to average.
    """
    first = findings[0]
    if len(findings) == 1:
        return first
    weights = np.array([finding.noise.tiles for finding in findings], float)
    weights /= weights.sum()
    noises = [finding.noise for finding in findings]

    def mean(values: Sequence[Any]) -> Any:
        return sum(weight * value for weight, value in zip(weights, values, strict=True))

    noise = Noise(
        short=mean([n.short for n in noises]),
        short_error=np.sqrt(
            sum((w * n.short_error) ** 2 for w, n in zip(weights, noises, strict=True))
        ),
        sigma=float(np.sqrt(mean([n.sigma**2 for n in noises]))),
        row_offset=float(mean([n.row_offset for n in noises])),
        column_offset=float(mean([n.column_offset for n in noises])),
        autocovariance=mean([n.autocovariance for n in noises]),
        tiles=sum(n.tiles for n in noises),
    )
    verdict = judge(noise, config.structure.leak_threshold, config.stage2.patch_size)
    if config.structure.extractor == "ring":
        return replace(first, noise=noise, verdict=verdict, mask=union(*[f.mask for f in findings]))
    mask = leak_mask(noise, verdict, config.structure, config.stage2.patch_size)
    return replace(first, noise=noise, verdict=verdict, mask=mask)


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """The part of a run's report that needs no training."""
    images: list[dict[str, Any]] = []
    for finding in findings:
        if len(images) <= finding.image:
            images.append({"name": finding.name, "channels": []})
        images[finding.image]["channels"].append(finding.report())
    return {**findings[0].report(), "images": images}
