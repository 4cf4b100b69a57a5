"""Removes structured noise from microscopy images; this is the headless API, loaded on first use.

Importing the package stays cheap: torch comes with the first call that needs it.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_autostructn2v.engine import events, synthetic
    from napari_autostructn2v.engine.config import Config
    from napari_autostructn2v.engine.data.opening import find_sources
    from napari_autostructn2v.engine.data.sink import ArraySink, FileSink, output_paths
    from napari_autostructn2v.engine.data.source import as_source
    from napari_autostructn2v.engine.denoising import Model, apply, consume
    from napari_autostructn2v.engine.errors import DenoisingWarning, InputError
    from napari_autostructn2v.engine.mask.analysis import analyse
    from napari_autostructn2v.engine.pipeline import denoise, run
    from napari_autostructn2v.engine.training.resume import InitFrom

    __version__: str

__all__ = [
    "ArraySink", "Config", "DenoisingWarning", "FileSink", "InitFrom", "InputError", "Model",
    "__version__", "analyse", "apply", "as_source", "consume", "denoise", "events", "find_sources",
    "output_paths", "run", "synthetic",
]  # fmt: skip

_HOMES = {
    "config": ("Config",),
    "data.opening": ("find_sources",),
    "data.sink": ("ArraySink", "FileSink", "output_paths"),
    "data.source": ("as_source",),
    "errors": ("DenoisingWarning", "InputError"),
    "mask.analysis": ("analyse",),
    "denoising": ("Model", "apply", "consume"),
    "pipeline": ("denoise", "run"),
    "training.resume": ("InitFrom",),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("napari-autostructn2v")
    if name in ("events", "synthetic"):
        return import_module(f"napari_autostructn2v.engine.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"napari_autostructn2v.engine.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
