"""Opens image files, and all images in files, folders and globs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from napari_autostructn2v.engine.data.io import readers
from napari_autostructn2v.engine.data.io.find import find_files
from napari_autostructn2v.engine.data.source import Crop, Source, SourceSpec
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.paths import real_path, user_path

_log = logging.getLogger("napari_autostructn2v")


def open_source(
    path: str | Path, axes: str | None = None, scene: int | str | None = None
) -> Source:
    """Open an image file that holds one image, or one `scene` of several, by number or name.

    Raises
    ------
    InputError
        If there is no such file or scene, the file holds several images and `scene` is None, or
        it is not an image, damaged or rgb.
    """
    path = user_path(path)
    stored = readers.read(path, axes)
    names = [image.scene for image in stored]
    if scene is None and len(stored) > 1:
        raise InputError(
            f"{path} holds {len(stored)} images ({', '.join(names)}); choose one of them, or open "
            "all with open_sources"
        )
    number = scene if isinstance(scene, int) else names.index(scene) if scene in names else None
    if scene is not None and (number is None or not 0 <= number < len(stored)):
        raise InputError(f"{path} has no scene {scene!r}; it has {len(stored)}: {', '.join(names)}")
    return _source(path, stored[number or 0])


def open_sources(path: str | Path, axes: str | None = None) -> list[Source]:
    """Open every image of a file: TIFF, PNG, .npy, or an OME-Zarr or Zarr folder.

    Thumbnails, masks and smaller copies are skipped. If there are several images, their names end
    in the scene.

    Raises
    ------
    InputError
        If there is no such file, or it is not an image, damaged or rgb.
    """
    path = user_path(path)
    sources = [_source(path, image) for image in readers.read(path, axes)]
    if len(sources) > 1:
        scenes = ", ".join(source.scene for source in sources)
        _log.warning("%s: %d images in one file, each denoised separately: %s",
                     path, len(sources), scenes)  # fmt: skip
    return sources


def _source(path: Path, stored: readers.Stored) -> Source:
    name = readers.set_name(stored.set_files) if stored.set_files else readers.stem(path)
    if stored.scene:
        name = f"{name}_{stored.scene}"
    try:
        return Source(
            stored.data,
            stored.axes,
            name=name.encode("utf-8", "replace").decode(),  # a file name may not be valid Unicode
            metadata=stored.metadata,
            path=path,
            set_files=stored.set_files,
            scene=stored.scene,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def reopen(spec: SourceSpec) -> Source:
    """Open the image that a `Source.spec` describes.

    Raises
    ------
    InputError
        If its file no longer exists or no longer holds that image.
    """
    data: Any = spec.array
    if spec.path is not None:
        stored = readers.read(spec.path, None if spec.scene else spec.axes)
        data = next((image.data for image in stored if image.scene == spec.scene), None)
        if data is None:
            raise InputError(f"{spec.path} has changed and no longer holds image {spec.name}")
    source = Source(
        data,
        spec.axes,
        name=spec.name,
        metadata=spec.metadata,
        path=spec.path,
        set_files=spec.set_files,
        scene=spec.scene,
    )
    for step in spec.steps:
        if isinstance(step, Crop):
            spans = dict(zip(source.axes, step.box, strict=True))
            source = source.crop(**{axis: slice(*span) for axis, span in spans.items()})
        else:
            source = source.through(step.view, step.offset)
    return source


def open_each(
    paths: str | Path | Iterable[str | Path], axes: str | None = None
) -> Iterator[tuple[Path, list[Source] | InputError | OSError]]:
    """Open the files that `find_files` lists one by one; yield the error if one cannot be opened.

    A multi-file set is opened with the first of its files, and the others are skipped.
    """
    known: set[Path] = set()
    for file in find_files(paths):
        if real_path(file) in known:
            continue
        try:
            sources = open_sources(file, axes)
        except (InputError, OSError) as error:
            yield file, error
            continue
        known.update(real_path(part) for source in sources for part in source.set_files)
        yield file, sources


def find_sources(paths: str | Path | Iterable[str | Path], axes: str | None = None) -> list[Source]:
    """Open every image of the files that `find_files` lists, in its order.

    Raises
    ------
    InputError
        If nothing is given, a folder or glob holds no image, or an image cannot be opened.
    """
    sources: list[Source] = []
    for _, opened in open_each(paths, axes):
        if not isinstance(opened, list):
            raise opened
        sources += opened
    sets = [{real_path(part) for part in source.set_files} for source in sources]
    # Drop files that were opened by themselves before the set they belong to was known.
    return [
        source
        for source, own in zip(sources, sets, strict=True)
        if not (own and any(own < other for other in sets))
    ]
