"""Remembers between sessions what the user chose, in one file that is never needed.

The folder is the user's own for settings, as Qt names it: napari offers plugins a place for theirs
only from 0.9 on, and this works with older ones too.
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
    """What is remembered.

    Attributes
    ----------
    config
        The last config, with its budget; without what belongs to one image: its axes, an empty
        region of it, and a mask drawn for it.
    folders
        Where files were last read and written: one path for each name, such as "batch".
    panels
        Which parts of the dock are open: True or False for each name.
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
    """Name the file: in the user's folder for settings of programs."""
    place = QStandardPaths.StandardLocation.GenericConfigLocation
    return Path(QStandardPaths.writableLocation(place), "napari-autostructn2v", "settings.json")


def load(path: Path | None = None) -> Settings:
    """Read what was remembered; defaults if there is no file, a newer one, or a damaged one."""
    path = path or settings_file()
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") > FORMAT:
            return Settings()
        return Settings.model_validate(values)
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s is not used: %s", path, error)
        return Settings()


def save(settings: Settings, path: Path | None = None) -> None:
    """Remember; where that can't be written, nothing is remembered and nothing else happens."""
    path = path or settings_file()
    try:
        write_json(path, {"format": FORMAT, **settings.model_dump(mode="json")})
    except InputError as error:
        _log.warning("%s", error)
