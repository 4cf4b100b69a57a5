"""Saves the user's choices between sessions, in one file that can be deleted at any time.

The file is in the settings folder given by Qt, since napari stores settings of plugins only from
version 0.9 on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from qtpy.QtCore import QStandardPaths

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.files import write_json
from napari_autostructn2v.engine.errors import InputError

FORMAT = 1
_log = logging.getLogger(__name__)


class Settings(BaseModel):
    """The saved settings.

    Attributes
    ----------
    config
        The last config, with its budget, but without settings for one image: axes, an empty
        region, a mask drawn for it.
    folders
        The folders used last, by name, such as "batch".
    panels
        Whether each section of the dock is open, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Config = Config()
    folders: Mapping[str, str] = Field(default_factory=dict)
    panels: Mapping[str, bool] = Field(default_factory=dict)

    @field_validator("config")
    @classmethod
    def _of_any_image(cls, config: Config) -> Config:
        forgotten: dict[str, Any] = {"mask": None, "region": None}
        if config.structure.mask_source in ("array", "region"):
            forgotten["mask_source"] = "raw"
        structure = config.structure.model_copy(update=forgotten)
        return config.model_copy(update={"axes": None, "structure": structure})


def settings_file() -> Path:
    """Return the path of the settings file."""
    place = QStandardPaths.StandardLocation.GenericConfigLocation
    return Path(QStandardPaths.writableLocation(place), "napari-autostructn2v", "settings.json")


def load(path: Path | None = None) -> Settings:
    """Read the settings; return defaults if the file is missing, newer or damaged."""
    path = path or settings_file()
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") > FORMAT:
            return Settings()
        return Settings.model_validate(values)
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("settings in %s are ignored: %s", path, error)
        return Settings()


def save(settings: Settings, path: Path | None = None) -> None:
    """Save the settings; if the file can't be written, do nothing."""
    path = path or settings_file()
    try:
        write_json(path, {"format": FORMAT, **settings.model_dump(mode="json")})
    except InputError as error:
        _log.warning("%s", error)
