"""Denoising images with a model and writing the results to a sink, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.data.arrays import chunks_of
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.sink import Sink, Target
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Event, Stop
from napari_autostructn2v.engine.inference.fit import Clipping
from napari_autostructn2v.engine.inference.mended import Mended, mended
from napari_autostructn2v.engine.inference.predict import denoise_plane, on_device, tile_side
from napari_autostructn2v.engine.model.model import TrainedModel
from napari_autostructn2v.engine.networks.network import Network


def write(
    model: TrainedModel,
    sources: Sequence[Source],
    sink: Sink,
    device: torch.device,
    tile: int | None,
    dtype: str,
    stop: Stop,
    wanted: str = "recommended",
) -> Iterator[Event]:
    """Denoise all planes of all images with each stage that the sink wants.

    The result of the stage `wanted` is passed to the sink as the final one.
    """
    result = model.result(wanted)
    for index, image in enumerate(sources):
        (whole,) = mended([image])
        source = whole.seen(model.waves)
        sigma = min(unit.sigma for unit in model.units)
        kind = result_dtype(dtype, source, sigma)
        for name in model.stages:
            target = sink.open(index, source, name, kind, final=name == result)
            if target is None:
                continue
            networks = model.networks(wanted if name == result else name, source.channels)
            clipping = Clipping(image, kind, sigma)
            try:
                yield from _fill(
                    networks, model.normalisation, index, source, name, target, device, tile, stop,
                    clipping, whole, not model.config.replace_outliers,
                )  # fmt: skip
            except InputError:  # a full disk or a damaged image
                target.discard()
                raise
            except BaseException:  # a bug: keep the finished tiles
                target.keep_partial()
                raise
            if stop.is_set():
                target.keep_partial()
                return
            target.commit()
            if name == result and (lost := clipping.sentence):
                yield events.Warning(lost)


def _fill(
    networks: Sequence[Network],
    normalisation: Normalisation,
    image: int,
    source: Source,
    stage: StageName,
    target: Target,
    device: torch.device,
    tile: int | None,
    stop: Stop,
    clipping: Clipping,
    whole: Mended,
    outliers: bool,
) -> Iterator[Event]:
    total = None
    done = 0
    ready = [on_device(network, device) for network in networks]
    chunks = chunks_of(target.array, target.axes) or source.chunks or (1, 1)
    for plane in range(source.planes):
        network = ready[source.channel(plane)]
        side = tile_side(network, device, tile, chunks)
        for region, block, left in denoise_plane(
            network, source, plane, normalisation, side, device, stop
        ):
            block = whole.restored(plane, region, block, outliers)
            target.write(plane, region, block)
            clipping.look(plane, region, block)
            done += 1
            total = max(total or 0, done + left + (source.planes - plane - 1) * (left + 1))
            yield events.TileDone(stage, image, plane, region, done, total)


def result_dtype(wanted: str, source: Source, sigma: float) -> np.dtype[Any]:
    """Return the data type of a result.

    "auto" keeps integer types unless rounding (variance 1/12) would add more than 1 % of the
    noise variance. Otherwise the result is float32, or float64 if the image has an offset that
    float32 can't hold.

    Raises
    ------
    InputError
        If the wanted type can't hold such an offset.
    """
    if wanted not in ("auto", "same"):
        kind = np.dtype(wanted)
        if source.offset and (kind.kind == "f" or abs(source.offset) > np.iinfo(kind).max):
            raise InputError(
                f"{wanted} can't hold the grey values of {source.name}, which are about "
                f"{source.offset:.10g}; set dtype to auto"
            )
        return kind
    integer = source.dtype.kind in "ui"
    if integer and (wanted == "same" or sigma**2 > 100 / 12):
        return source.dtype
    return np.dtype(np.float64 if source.offset else np.float32)
