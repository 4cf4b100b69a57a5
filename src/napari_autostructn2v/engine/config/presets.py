"""Sets of choices by name."""

from __future__ import annotations

from typing import Any

from napari_autostructn2v.engine import original

DEFAULT_PRESET = "balanced"
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"budget": "20s"},
    DEFAULT_PRESET: {},
    "best": {
        "budget": "10min",
        "stage1": {"network": {"features": 32}},
        "stage2": {"network": {"features": 32}},
    },
    "autostructn2v": original.DEFAULTS,
}
