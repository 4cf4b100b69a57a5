"""Writes small files so that they are whole or not there."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tifffile

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.io.mark import SOFTWARE


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a hidden name beside `path`; what is written there takes its name at the end.

    The folder is made if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON; NaN and infinities, which it does not know, become null."""
    with beside(path) as part:
        part.write_text(json.dumps(_finite(values), indent=1) + "\n", encoding="utf-8")


def write_tiff(path: Path, image: Any, software: str = SOFTWARE) -> None:
    """Write an array; unless it is an image to be denoised, it is marked as written here."""
    with beside(path) as part:
        tifffile.imwrite(part, image, software=software)


def check_outputs(paths: Iterable[Path | None], overwrite: bool) -> None:
    """Find out, before any work is done, which of the files that are wanted can't be written.

    Raises
    ------
    InputError
        If one is a folder, exists (and `overwrite` is false) or cannot be written.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists; choose another name or --overwrite")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
