"""Reads the same bounded part of an image and of its results, for the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.mended import mended
from napari_autostructn2v.engine.model import Model
from napari_autostructn2v.engine.predict import denoise_plane
from napari_autostructn2v.engine.source import Source, open_source

Array = npt.NDArray[Any]

_LONGEST = 768  # px
_TILE = 256  # px


def glimpse(
    source: Source, written: Path, model: Model, result: StageName
) -> tuple[Array, dict[StageName, Array]]:
    """The middle of an image's first plane, and what each stage made of it.

    That of the stage `result` is read from the file that was written; those of the others, which
    were not, are computed again.
    """
    (y0, y1), (x0, x1) = region = (_middle(source.size[0]), _middle(source.size[1]))
    y, x = slice(y0, y1), slice(x0, x1)
    results: dict[StageName, Array] = {}
    seen = mended([source])[0].seen(model.waves)
    for stage in model.stages:
        if stage == result:
            with open_source(written) as file:  # whatever its axes' order, the first plane is it
                results[stage] = file.read(0, y, x)
            continue
        image = np.empty((y1 - y0, x1 - x0), np.float32)
        network = model.unit(source.channel(0)).network(stage)
        for (rows, columns), block, _ in denoise_plane(
            network,
            seen,
            0,
            model.normalisation,
            _TILE,
            torch.device("cpu"),
            region=region,
        ):
            image[rows[0] - y0 : rows[1] - y0, columns[0] - x0 : columns[1] - x0] = block
        results[stage] = image
    return source.read(0, y, x), results


def _middle(length: int) -> tuple[int, int]:
    start = max(length - _LONGEST, 0) // 2
    return start, min(length, start + _LONGEST)
