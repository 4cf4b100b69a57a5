"""Reads one input as the commands do, in a process of its own that may hang, grow or die."""

from __future__ import annotations

import os
import resource
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = 2 * 2**30  # bytes
_LONGEST = 2000  # characters of a sentence


def serve(pipe: Any) -> None:
    """Try what the pipe names, (kind, path), and send the outcome and what is wrong with it."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from napari_autostructn2v.cli.terminal import outlets

    _reader("model")  # what is imported for it is not the input's time
    with tempfile.TemporaryFile() as terminal:
        os.dup2(terminal.fileno(), 1)
        os.dup2(terminal.fileno(), 2)
        pipe.send("ready")
        while (task := pipe.recv()) is not None:
            terminal.truncate(0)
            terminal.seek(0)
            with outlets():
                outcome, fault = _outcome(*task)
            terminal.seek(0)
            said = terminal.read().decode(errors="replace").splitlines()
            if strange := [line for line in said if not line.startswith("autostructn2v: ")]:
                fault = fault or f"says on the terminal: {strange[0][:300]}"
            pipe.send((outcome, fault))


def _outcome(kind: str, path: Path) -> tuple[str, str]:
    from napari_autostructn2v.engine.errors import InputError

    try:
        _reader(kind)(path)
    except InputError as error:
        text = str(error)
        if len(text.splitlines()) != 1 or len(text) > _LONGEST:
            return "refused", f"not one sentence: {text[:300]!r}"
        return "refused", ""
    except Exception as error:  # noqa: BLE001 - any other is what is looked for
        *_, last = traceback.extract_tb(error.__traceback__)
        ours = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if "napari_autostructn2v" in frame.filename
        ]
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in [last, *ours[::-1][:3]])
        return "error", f"{type(error).__name__}: {str(error)[:200]} ({where})"
    return "read", ""


def _reader(kind: str) -> Callable[[Path], object]:
    from napari_autostructn2v.engine.config import Config
    from napari_autostructn2v.engine.denoising import Model
    from napari_autostructn2v.engine.mask.mask_file import read_mask

    if kind.startswith("model"):
        return lambda path: Model.load(path).info()
    if kind.startswith("config"):
        return Config.load
    return read_mask if kind.startswith("mask") else _analyse


def _analyse(path: Path) -> None:
    """Open an image, read a corner of its first and last plane, and measure its noise."""
    from napari_autostructn2v.engine.config import Config
    from napari_autostructn2v.engine.data.opening import find_sources
    from napari_autostructn2v.engine.mask.analysis import analyse, report

    sources = find_sources([path])
    try:
        for source in sources:
            for plane in {0, source.planes - 1}:
                source.read(plane, slice(0, 8), slice(0, 8))
        report(list(analyse(sources, Config())))
    finally:
        for source in sources:
            source.close()
