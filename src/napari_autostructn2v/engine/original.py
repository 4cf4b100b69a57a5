"""The configuration of the original autoStructN2V: its defaults, and a translation to ours."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from napari_autostructn2v.engine.errors import InputError

_Found = tuple[tuple[str, ...], Any]
"""Keys from the config down to a field, and its value."""

_STAGES = ("stage1", "stage2")
_STAGE: dict[str, Any] = {
    "network": {"features": 64, "depth": 2, "batch_norm": True},
    "replacement": "local_mean",
    "augmentation": "all",
    "roi_threshold": 0.5,
    "scale_factor": 0.25,
}

# Defaults of the original's pipeline/config.py and README. Augmentation rotates the mask with
# the patch, as the original's documentation intends.
DEFAULTS: dict[str, Any] = {
    "budget": "100epochs",
    "seed": 42,
    "stage1": {
        **_STAGE,
        "patch_size": 32,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "patches_per_image": 100,
        "mask_percentage": 15.0,
        "use_roi": True,
        "select_background": True,
    },
    "stage2": {
        **_STAGE,
        "patch_size": 64,
        "batch_size": 2,
        "learning_rate": 1e-5,
        "patches_per_image": 200,
        "mask_percentage": 10.0,
    },
    "structure": {"mask_source": "stage1", "extractor": "ring"},
    "training": {
        "schedule": "plateau",
        "early_stopping": True,
        "ema": 0.0,
    },
}

IGNORED = {
    "input_dir", "output_dir", "experiment_name", "image_extension", "verbose", "num_workers",
}  # fmt: skip
_REPLACEMENTS = ("local_mean", "zeros", "random_visible")
_SOURCES = {"stage1": "stage1", "extractor": "raw", "file": "file"}
TOP = {
    "random_seed": ("seed",),
    "device": ("device",),
    "split_ratio": ("split_ratio",),
    "run_stage1": ("run_stage1",),
    "run_stage2": ("run_stage2",),
    "early_stopping": ("training", "early_stopping"),
    "early_stopping_patience": ("training", "patience"),
}
STAGE = {
    "features": ("network", "features"),
    "num_layers": ("network", "depth"),
    **{
        name: (name,)
        for name in (
            "patch_size", "batch_size", "learning_rate", "patches_per_image", "mask_percentage",
            "mask_center_size", "use_roi", "roi_threshold", "scale_factor", "select_background",
        )
    },
}  # fmt: skip


def translate(values: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a config dictionary of the original into fields of our config.

    Raises
    ------
    InputError
        If a key or a choice is unknown to the original.
    """
    result: dict[str, Any] = {}
    unknown = []

    def put(key: str, found: _Found | None) -> None:
        if found is None:
            unknown.append(key)
            return
        (*above, last), value = found
        inner = result
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value

    for key, value in values.items():
        if key in IGNORED:
            continue
        if key not in _STAGES:
            put(key, _of_run(key, value))
            continue
        if not isinstance(value, Mapping):
            raise InputError(f"config: {key} must be an object (got {reprlib.repr(value)})")
        for name, item in value.items():
            put(f"{key}.{name}", _of_stage(key, name, item))
    if unknown:
        keys = ", ".join(map(reprlib.repr, unknown[:5]))
        raise InputError(f"config: autoStructN2V has no key {keys}")
    return result


def _of_run(key: str, value: Any) -> _Found | None:
    """Return our field and value for a key; None if the original has no such key."""
    if key == "num_epochs":
        return ("budget",), f"{value}epochs"
    return (TOP[key], value) if key in TOP else None


def _of_stage(stage: str, key: str, value: Any) -> _Found | None:
    if key in STAGE:
        return (stage, *STAGE[key]), value
    if key == "use_augmentation":
        return (stage, "augmentation"), "all" if value else "none"
    if key == "masking_strategy":
        if value not in (0, 1, 2):
            raise InputError(f"config: {stage}.{key} must be 0, 1 or 2 (got {reprlib.repr(value)})")
        return (stage, "replacement"), _REPLACEMENTS[int(value)]
    if stage == "stage2" and key == "extractor":
        return ("structure", "ring"), value
    if stage == "stage2" and key == "mask_file_path":
        return ("structure", "mask_file"), value
    if stage == "stage2" and key == "mask_source":
        if value not in tuple(_SOURCES):
            raise InputError(
                f"config: {stage}.{key} must be one of {', '.join(_SOURCES)} "
                f"(got {reprlib.repr(value)})"
            )
        return ("structure", "mask_source"), _SOURCES[value]
    return None
