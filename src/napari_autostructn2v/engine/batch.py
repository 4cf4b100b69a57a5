"""Applies one model to many files; a file that fails does not end the batch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, Literal

from napari_autostructn2v.engine.data.io.find import find_files
from napari_autostructn2v.engine.data.io.readers import is_zarr, stem
from napari_autostructn2v.engine.data.naming import distinct, file_stem
from napari_autostructn2v.engine.data.opening import open_sources
from napari_autostructn2v.engine.data.outputs import refuse_clashes
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import (
    Event,
    Failed,
    Finished,
    Started,
    Stop,
    TileDone,
    Warning,  # noqa: A004 - the event's public name
)
from napari_autostructn2v.engine.paths import real_path, user_path

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model.model import TrainedModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchItem:
    """An image file and the path of its result."""

    image: Path
    output: Path


@dataclass(frozen=True)
class FileDone:
    """The file number `image` is finished; `message` says what happened to it.

    `warnings` are the messages of the run's `Warning` events.
    """

    image: int
    outcome: Literal["done", "failed", "skipped", "stopped"]
    message: str
    warnings: tuple[str, ...] = ()


def plan(images: str | Path | Iterable[str | Path], folder: str | Path) -> list[BatchItem]:
    """Find files, as `find_files` does, and name their results in a folder.

    A result is named after its file, with a number if names repeat; it is .zarr if the file is
    Zarr, else .tif. If a file holds several images, the name of each result ends in the scene.
    Files in the results folder come from earlier runs and are skipped.

    Raises
    ------
    InputError
        If there is no image, a file is missing, or the folder is the one the images are in.
    """
    folder = user_path(folder)
    home = real_path(folder)
    files = [file for file in find_files(images) if home not in real_path(file).parents]
    if not files:
        raise InputError(f"{folder} is the folder of the images; choose another for the results")
    for file in files:
        if not file.exists():
            raise InputError(f"there is no file or folder {file}")
    results = distinct(f"{stem(file)}{'.zarr' if is_zarr(file) else '.tif'}" for file in files)
    return [BatchItem(file, folder / name) for file, name in zip(files, results, strict=True)]


def denoise_files(
    model: TrainedModel | str | Path,
    items: Sequence[BatchItem],
    *,
    overwrite: bool = False,
    axes: str | None = None,
    device: str = "auto",
    tile: int | None = None,
    dtype: str = "auto",
    stage: str = "recommended",
    stop: Stop | None = None,
) -> Iterator[Event | FileDone]:
    """Denoise files one after the other with a trained model or model file.

    Yields
    ------
    `Started`; for each file a `TileDone` per tile and one `FileDone`; finally `Finished`, or only
    `Failed` if the batch cannot begin. `image` of an event is the number of its item. Files whose
    result exists are skipped unless `overwrite`; no input is ever replaced. After a stop, files
    not begun have no event.
    """
    from napari_autostructn2v.engine.denoising import Model
    from napari_autostructn2v.engine.devices import choose_device

    stop = stop or Flag()
    try:
        refuse_clashes([item.output for item in items], [item.image for item in items])
        trained = Model.load(model) if isinstance(model, str | Path) else model
        trained.result(stage)
        chosen = str(choose_device(device))
    except InputError as error:
        yield Failed(error, str(error))
        return
    yield Started(tuple(item.image.name for item in items), chosen, "float32")
    options = {"device": chosen, "tile": tile, "dtype": dtype, "stage": stage}
    known: dict[Path, Path] = {}  # file of a multi-file set: the file it was opened with
    for index, item in enumerate(items):
        if stop.is_set():
            break
        if (first := known.get(real_path(item.image))) is not None:
            yield FileDone(index, "skipped", f"{item.image} belongs to the set opened with {first}")
            continue
        if item.output.exists() and not overwrite:
            yield FileDone(index, "skipped", f"{item.output} exists and is not overwritten")
            continue
        for event in _denoise(trained, item, axes, overwrite, options, stop, known):
            yield replace(event, image=index)
    yield Finished(trained, stop.is_set())


def _denoise(
    model: TrainedModel,
    item: BatchItem,
    axes: str | None,
    overwrite: bool,
    options: Mapping[str, Any],
    stop: Stop,
    known: dict[Path, Path],
) -> Iterator[TileDone | FileDone]:
    from napari_autostructn2v.engine import denoising
    from napari_autostructn2v.engine.data.sink import FileSink

    warnings: list[str] = []
    try:
        sources = open_sources(item.image, axes)
        outputs = _scene_outputs(item.output, sources)
        known |= {real_path(part): item.image for source in sources for part in source.set_files}
        sink = FileSink(outputs, overwrite)
        for event in denoising.apply(model, sources, sink=sink, stop=stop, **options):
            match event:
                case TileDone():
                    yield event
                case Warning():
                    warnings.append(event.message)
                case Failed():
                    yield _failure(item, event.error, event.message)
                case Finished(stopped=True):
                    left = "".join(f"; {path} holds the unfinished result" for path in sink.kept)
                    yield FileDone(0, "stopped", f"{item.output} was stopped{left}")
                case Finished():
                    yield FileDone(0, "done", ", ".join(map(str, outputs)), tuple(warnings))
    except Exception as error:  # noqa: BLE001 - one file's error must not end the batch
        yield _failure(item, error, str(error) or type(error).__name__)


def _scene_outputs(output: Path, sources: Sequence[Source]) -> list[Path]:
    """Name the results of a file's images: `output` for one, else with the scene appended."""
    if len(sources) == 1:
        return [output]
    names = (f"{output.stem}_{source.scene}" for source in sources)
    return [
        output.with_name(name) for name in distinct(f"{file_stem(n)}{output.suffix}" for n in names)
    ]


def _failure(item: BatchItem, error: BaseException, message: str) -> FileDone:
    if not isinstance(error, InputError):
        _log.error("%s failed", item.image, exc_info=error)
    return FileDone(0, "failed", message)
