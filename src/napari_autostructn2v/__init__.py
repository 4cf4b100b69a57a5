"""Removes structured noise from microscopy images; this is the headless API, loaded on first use.

Importing the package stays cheap: torch comes with the first call that needs it.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_autostructn2v.engine import events
    from napari_autostructn2v.engine.config import Config
    from napari_autostructn2v.engine.errors import InputError
    from napari_autostructn2v.engine.pipeline import Model, denoise, run

    __version__: str

__all__ = ["Config", "InputError", "Model", "__version__", "denoise", "events", "run"]

_HOMES = {
    "Config": "config",
    "InputError": "errors",
    "Model": "pipeline",
    "denoise": "pipeline",
    "run": "pipeline",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("napari-autostructn2v")
    if name == "events":
        return import_module("napari_autostructn2v.engine.events")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"napari_autostructn2v.engine.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
