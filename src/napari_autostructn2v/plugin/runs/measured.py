"""The measured noise of some images, and the score of any mask on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_autostructn2v.engine.config import Config, Structure
from napari_autostructn2v.engine.mask import analysis
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.mask.leak_rule import leak_mask
from napari_autostructn2v.engine.mask.score import Score, score
from napari_autostructn2v.engine.mask.verdict import judge
from napari_autostructn2v.engine.types import Array
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot, is_same
from napari_autostructn2v.plugin.widgets.lag_grid import trimmed

_ONE_BY_ONE = 4  # verdicts that are told apart


@dataclass(frozen=True, eq=False)
class Measured:
    """The noise of `parts`, measured with `config`; `common` is their combined noise.

    The methods are thread-safe.
    """

    parts: Sequence[LayerSnapshot]
    config: Config
    findings: tuple[NoiseAnalysis, ...]
    common: NoiseAnalysis

    @property
    def sentence(self) -> str:
        """The verdict in words, for each channel and image if they differ."""
        return self._lines({finding: finding.verdict.sentence for finding in self.findings})

    @property
    def remarks(self) -> str:
        """Further facts about the noise of each image and channel."""
        return self._lines(
            {
                finding: " ".join(
                    [f"Its strength is {finding.noise.sigma:.3g} grey values.", *finding.remarks()]
                )
                for finding in self.findings
                if not finding.blank
            }
        )

    def extract(self, options: Structure) -> Array:
        """Return the mask for other options than those of the measurement."""
        structure = self.config.structure
        by_leak = options.extractor == "leak" == structure.extractor
        if by_leak and options.max_lag == structure.max_lag:
            patch, noise = self.config.stage2.patch_size, self.common.noise
            verdict = judge(noise, options.leak_threshold, patch)
            return leak_mask(noise, verdict, options, patch)
        config = self.config.model_copy(update={"structure": options})
        sources = [part.source() for part in self.parts]
        return analysis.combine(list(analysis.analyse(sources, config)), config).mask

    def score(self, mask: Array) -> Score:
        structure = self.config.structure
        measured = self.common.mask if structure.extractor == "leak" else None
        patch = self.config.stage2.patch_size
        return score(self.common.noise, mask, structure, patch, measured)

    def is_of(self, parts: Sequence[LayerSnapshot]) -> bool:
        """Return whether the noise was measured on these pixels."""
        return same_images(self.parts, parts)

    def _lines(self, said: Mapping[NoiseAnalysis, str]) -> str:
        """Return one line if all are the same, otherwise a line for each of the first few."""
        if len(set(said.values())) <= 1:
            return next(iter(said.values()), "")
        lines = [f"{self._place(finding)}: {text}" for finding, text in said.items()]
        more = len(lines) - _ONE_BY_ONE
        return "\n".join(lines[:_ONE_BY_ONE] + [f"and {more} more"] * (more > 0))

    def _place(self, finding: NoiseAnalysis) -> str:
        channel = f"C{finding.channel}"
        return f"{finding.name} {channel}" if len(self.parts) > 1 else channel


def same_images(some: Sequence[LayerSnapshot], others: Sequence[LayerSnapshot]) -> bool:
    return len(some) == len(others) and all(map(is_same, some, others))


def same_mask(one: Array, other: Array) -> bool:
    """Return whether two masks hide the same pixels, ignoring empty borders."""
    return np.array_equal(trimmed(one), trimmed(other))
