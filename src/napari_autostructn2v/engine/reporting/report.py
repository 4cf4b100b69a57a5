"""The report of a run, and the provenance that its model carries."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import torch

from napari_autostructn2v.engine.config import Config, StageName
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.mask import analysis
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.model.model import TrainedModel

_LONGEST = 255  # letters of a name; that of a layer can have any length


def provenance(
    sources: Sequence[Source],
    config: Config,
    device: torch.device,
    precision: str,
    stages: Sequence[Mapping[str, Any]],
    start: TrainedModel | None,
    began: float,
) -> dict[str, Any]:
    """Return how a model was trained; what a continued model brought along is included."""
    before = start.provenance if start else {}
    names = [*before.get("sources", []), *(source.name[:_LONGEST] for source in sources)]
    seconds = before.get("seconds", 0.0) + time.monotonic() - began
    return {
        "sources": list(dict.fromkeys(names)),
        "seed": config.seed,
        "stages": list(stages),
        "seconds": round(seconds, 3),
        "device": str(device),
        "precision": precision,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    packages = ("napari-autostructn2v", "torch", "numpy", "scipy", "tifffile", "zarr")
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


def report(
    config: Config,
    model: TrainedModel,
    findings: Sequence[NoiseAnalysis],
    stages: Sequence[Mapping[str, Any]],
    judged: Sequence[Mapping[str, Any]],
    result: StageName | None,
    device: torch.device,
    began: float,
) -> dict[str, Any]:
    """Return the report of a run; its keys are a public interface (docs/architecture.md)."""
    return {
        **analysis.report(findings),
        "trained_mask": model.units[0].mask.tolist() if model.units else [[1]],
        "stages": list(stages),
        "quality": _quality(judged),
        "result": result,
        "seconds": round(time.monotonic() - began, 3),
        "device": str(device),
        "versions": _versions(),
        "config": config.model_dump(mode="json"),
    }


def _quality(judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the quality of the first network and, if there are several, of each."""
    judged = [quality for quality in judged if quality]
    if len(judged) < 2:
        return dict(*judged)
    each = [{k: v for k, v in quality.items() if k != "meaning"} for quality in judged]
    return {**judged[0], "channels": each}
