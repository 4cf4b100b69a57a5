"""Writes the last or the next run as a script or a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.io.readers import is_zarr, stem
from napari_autostructn2v.engine.reporting.script import as_command, as_script
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.runs.session import Session

_WRITERS: dict[str, Callable[..., str]] = {"script": as_script, "command": as_command}


def write_down(kind: Literal["script", "command"], session: Session, config: Config) -> str:
    """Write what was done to the chosen images, or what would be; Stage 1 always included.

    A model that came from a file is applied, one that was trained here is trained again.
    """
    trained = session.trained
    model = None
    if trained is not None and trained.config is None:
        model = trained.path
    elif trained is not None and trained.config is not None:
        config = trained.config
        if not config.run_stage1 and trained.stage1 is not None:
            config = config.model_copy(update={"run_stage1": True})
    else:
        config = session.plan(config).config
    inputs = [image.path for image in session.images]
    return _WRITERS[kind](config, inputs, _output(session.images), model)


def _output(images: Sequence[LayerSnapshot]) -> Path:
    """Return the output path: beside the image, or a folder for several images."""
    first = images[0].path
    if first is None:
        return Path("denoised.tif" if len(images) == 1 else "denoised")
    if len(images) > 1:
        return first.parent / "denoised"
    return first.with_name(f"{stem(first)}_denoised{'.zarr' if is_zarr(first) else '.tif'}")
