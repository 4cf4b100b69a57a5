"""Reads the same limited part of an image and of its results, for the page of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.inference.mended import mended
from napari_autostructn2v.engine.inference.predict import denoise_plane
from napari_autostructn2v.engine.model.model import TrainedModel
from napari_autostructn2v.engine.types import Array, middle, shape_of, slices, whole

_LONGEST = 768  # px
_TILE = 256  # px


def middle_crops(
    source: Source, written: Path, model: TrainedModel, result: StageName
) -> tuple[Array, dict[StageName, Array]]:
    """Return the middle of an image's first plane, and of each stage's result, as float64.

    The result of the stage `result` is read from the file `written`; those of the other stages
    were not written and are computed again.
    """
    region = middle(whole(source.size), _LONGEST)
    y, x = slices(region)
    results: dict[StageName, Array] = {}
    (mending,) = mended([source])
    seen = mending.seen(model.waves)
    for stage in model.stages:
        if stage == result:
            with open_source(written) as file:  # plane 0 comes first in any order of axes
                results[stage] = file.stored(0, y, x).astype(float)
            continue
        image = np.empty(shape_of(region))
        network = model.unit(source.channel(0)).network(stage)
        for part, block, _ in denoise_plane(
            network,
            seen,
            0,
            model.normalisation,
            _TILE,
            torch.device("cpu"),
            region=region,
        ):
            image[slices(part, region)] = mending.restored(
                0, part, block, not model.config.replace_outliers
            )
        results[stage] = image
    return source.stored(0, y, x).astype(float), results
