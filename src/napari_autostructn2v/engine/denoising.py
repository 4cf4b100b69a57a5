"""Denoises images with a trained model."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.sink import ArraySink, FileSink, Sink
from napari_autostructn2v.engine.data.source import Source, as_source
from napari_autostructn2v.engine.devices import choose_device
from napari_autostructn2v.engine.errors import DenoisingWarning, InputError
from napari_autostructn2v.engine.events import NEVER, Event, Stop
from napari_autostructn2v.engine.inference.fit import misfit
from napari_autostructn2v.engine.inference.results import write
from napari_autostructn2v.engine.lifecycle import State, guarded
from napari_autostructn2v.engine.model.model import TrainedModel


def apply(
    model: TrainedModel,
    images: Any,
    *,
    sink: Sink,
    axes: str | None = None,
    device: str = "auto",
    tile: int | None = None,
    dtype: str = "auto",
    stage: str = "recommended",
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Denoise images with a trained model; yield events like `run`.

    `stage` is the stage whose result is written: "recommended" or a stage's name.
    """
    return guarded(
        _apply(model, images, sink, axes, device, tile, dtype, stage, stop or NEVER), State(model)
    )


def _apply(
    model: TrainedModel,
    images: Any,
    sink: Sink,
    axes: str | None,
    device: str,
    tile: int | None,
    dtype: str,
    stage: str,
    stop: Stop,
) -> Generator[Event, None, events.Finished]:
    chosen = choose_device(device)
    sources = sources_of(images, axes)
    check_channels(sources, len(model.normalisation.mean))
    if not model.units:
        raise InputError("the model holds no network: its training was stopped before it began")
    for channel in range(max(source.channels for source in sources)):
        model.unit(channel)  # raises if training was stopped before this channel
    yield events.Started(tuple(source.name for source in sources), str(chosen), "float32")
    yield from misfits(model, sources)
    yield from write(model, sources, sink, chosen, tile, dtype, stop, stage)
    return events.Finished(model, stop.is_set())


def misfits(model: TrainedModel, sources: Sequence[Source]) -> Iterator[events.Warning]:
    for source in sources:
        if found := misfit(model, source):
            yield events.Warning(found)


class Model(TrainedModel):
    """A trained model, which denoises images."""

    def denoise(
        self,
        image: Any,
        out: str | Path | None = None,
        *,
        axes: str | None = None,
        device: str = "auto",
        tile: int | None = None,
        dtype: str = "auto",
        stage: str = "recommended",
        overwrite: bool = False,
    ) -> Any:
        """Denoise an array or a file.

        Parameters
        ----------
        image
            Array-like of 2 to 5 axes, or the path of an image.
        out
            A .tif or .zarr file to write, tile by tile; default: the result is returned.
        stage
            The stage whose result is wanted, "stage1" or "stage2"; default: the best.

        Returns
        -------
        An array of the image's shape, or the path `out`.

        Raises
        ------
        InputError
            If the image can't be read, has other channels than the model, or `out` exists; if the
            model has no such stage.
        """
        is_path = isinstance(image, str | Path)
        source = open_source(image, axes) if is_path else as_source(image, axes)
        sink = FileSink([out], overwrite) if out is not None else ArraySink()
        with source:
            consume(
                apply(self, source, sink=sink, device=device, tile=tile, dtype=dtype, stage=stage)
            )
        return Path(out) if out is not None else sink.final[0]  # type: ignore[union-attr]


def consume(stream: Iterable[Event]) -> events.Finished:
    """Run to the end and return the last event; raise the error if the run failed.

    Warnings of the run are issued as `DenoisingWarning`.
    """
    last = None
    for last in stream:  # only the last is kept: previews are images
        if isinstance(last, events.Warning):
            warnings.warn(last.message, DenoisingWarning, stacklevel=2)
    if isinstance(last, events.Failed):
        raise last.error
    assert isinstance(last, events.Finished)
    return last


def check_channels(sources: Sequence[Source], trained: int) -> None:
    for source in sources:
        if source.channels > trained:
            raise InputError(
                f"image {source.name} has {source.channels} channels, the model was trained on "
                f"{trained}"
            )


def sources_of(images: Any, axes: str | None) -> list[Source]:
    several = images if isinstance(images, list | tuple) else [images]
    sources = [as_source(image, axes) for image in several]
    if not sources:
        raise InputError("there is no image to denoise")
    return sources
