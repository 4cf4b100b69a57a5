"""What all groups of settings have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from napari_autostructn2v.engine.paths import user_path


def field(default: Any, help_: str, *, unit: str = "", **bounds: Any) -> Any:
    return Field(default, description=help_, json_schema_extra={"unit": unit}, **bounds)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _nameable(cls, value: Any) -> Any:
        """A path must be one that a disk can have, and that can be written down in JSON."""
        if not isinstance(value, Path):
            return value
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise ValueError(f"the name {str(value)!r} is not UTF-8; rename the file") from None
        return user_path(value)
