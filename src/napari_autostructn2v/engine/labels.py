"""Puts what was found into words, for the command line, the dock and the pages with pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.config import StageName

# Every stage in order: models, reports, the card and the dock follow it.
STAGE_TITLES: dict[StageName, str] = {"stage1": "Stage 1", "stage2": "Stage 2"}
_UNITS = {"db": "dB", "percent": "%"}


@dataclass(frozen=True)
class QualityRow:
    """One figure of the quality card: its name, what it means, how it errs.

    `figures` has its value and the range reported beside it, which may be empty, by stage.
    """

    title: str
    meaning: str
    bias: str
    figures: Mapping[str, tuple[str, str]]

    @property
    def values(self) -> dict[str, str]:
        """Value and range in one line, by stage."""
        return {
            stage: f"{value} ({ends})" if ends else value
            for stage, (value, ends) in self.figures.items()
        }


def quality_rows(quality: Mapping[str, Any]) -> list[QualityRow]:
    """The figures that a report's `quality` explains; those without a value are left out."""
    rows = []
    stages = quality.get("stages") or {}
    for key, about in (quality.get("meaning") or {}).items():
        figures = {stage: found for stage in stages if (found := _figure(key, stages[stage]))}
        if figures:
            row = about["title"], about.get("meaning", ""), about.get("bias", "")
            rows.append(QualityRow(*row, figures))
    return rows


def _figure(key: str, figures: Mapping[str, Any]) -> tuple[str, str] | None:
    """A figure with the unit that its name ends in, and the range beside it if there is one.

    >>> _figure("gain_db", {"gain_db": 7.31, "gain_range_db": [6.8, 7.94]})
    ('+7.3 dB', '6.8 to 7.9')
    >>> _figure("gain_db", {"gain_db": 7.31, "gain_range_db": [7.31, 7.33]})
    ('+7.3 dB', '')
    >>> _figure("left_percent", {"left_percent": 61.2})
    ('61 %', '')
    >>> _figure("left_percent", {"left_percent": None})
    """
    value = figures.get(key)
    if value is None or not math.isfinite(value):
        return None
    name, _, unit = key.rpartition("_")
    digits = 0 if unit == "percent" and abs(value) >= 10 else 1
    ends = figures.get(f"{name}_range_{unit}")
    lowest, highest = (f"{end:.1f}" for end in ends) if ends and None not in ends else ("", "")
    span = "" if lowest == highest else f"{lowest} to {highest}"
    sign = "+" if unit == "db" else ""
    return f"{value:{sign}.{digits}f} {_UNITS.get(unit, '')}".rstrip(), span


def stages_until(stage: StageName) -> list[StageName]:
    """Return the stages up to this one, in order."""
    stages = list(STAGE_TITLES)
    return stages[: stages.index(stage) + 1]


def mask_words(mask: npt.NDArray[Any]) -> str:
    rows, columns = mask.shape
    return "1 px" if mask.size == 1 else f"{np.count_nonzero(mask)} px in {rows} x {columns}"


def listed(items: Sequence[object], most: int) -> str:
    """The first few, and how many more there are."""
    rest = len(items) - most
    return ", ".join(map(str, items[:most])) + (f" and {rest} more" if rest > 0 else "")
