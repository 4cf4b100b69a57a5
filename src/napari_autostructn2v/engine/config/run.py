"""All settings of a run, and how they are read."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator

from napari_autostructn2v.engine import original
from napari_autostructn2v.engine.config.base import Frozen, field
from napari_autostructn2v.engine.config.budget import Budget, BudgetField
from napari_autostructn2v.engine.config.presets import DEFAULT_PRESET, PRESETS
from napari_autostructn2v.engine.config.stage import Stage, Stage2, StageName
from napari_autostructn2v.engine.config.structure import Structure
from napari_autostructn2v.engine.config.training import Training
from napari_autostructn2v.engine.errors import InputError, explain
from napari_autostructn2v.engine.paths import regular_file

_LARGEST = 2**26  # characters of a file; the largest mask takes a fifth of them
Result = Literal["recommended", "stage1", "stage2"]


class Config(Frozen):
    """One run, complete.

    The same config and data on the same device give the same result, unless the budget is a time:
    how many steps that is, is measured, and recorded in the report.
    """

    budget: BudgetField = field(Budget("seconds", 60.0), "How long to train, all stages together")
    seed: int = field(0, "Seed of every random choice", ge=0, le=2**63 - 1)
    device: str = field(
        "auto", "auto, cpu, cuda, cuda:N or mps", pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$"
    )
    axes: str | None = field(
        None, "Names of the image's axes in stored order, for example TYX; default: from the file"
    )
    run_stage1: bool = field(True, "Train Stage 1 (Noise2Void)")
    run_stage2: bool = field(True, "Train Stage 2 (structN2V)")
    stage1_model: Path | None = field(
        None, "Take Stage 1 from this model file instead of training it"
    )
    stage1: Stage = Stage()
    stage2: Stage2 = Stage2()
    structure: Structure = Structure()
    training: Training = Training()
    split_ratio: tuple[float, float, float] = field(
        (0.7, 0.15, 0.15), "Shares of the data for training, validation and test"
    )
    network_per_channel: bool = field(False, "A network for each channel instead of one for all")
    pool_size: int = field(
        256, "Memory for training data; larger data is drawn in random blocks", unit="MiB", ge=1
    )
    tile: int | None = field(
        None, "Side of an inference tile; default: as large as memory allows", unit="px", ge=16
    )
    replace_outliers: bool = field(
        False, "Denoise hot and dead pixels too, instead of leaving them as they are"
    )
    result: Result = field(
        "recommended", "Stage whose result is written; recommended takes what was judged best"
    )
    dtype: Literal["auto", "same", "float32", "uint8", "uint16"] = field(
        "auto",
        "Type of the result; auto keeps integers unless rounding would undo the denoising",
    )
    tensorboard: Path | None = field(None, "Folder for TensorBoard logs")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.run_stage1 or self.run_stage2):
            raise ValueError("run_stage1 and run_stage2 are both false: there is nothing to train")
        if any(share < 0 for share in self.split_ratio) or self.split_ratio[0] <= 0:
            raise ValueError(f"split_ratio {self.split_ratio} needs a positive share for training")
        if abs(sum(self.split_ratio) - 1) > 1e-6:
            raise ValueError(f"split_ratio {self.split_ratio} must sum to 1")
        return self

    @property
    def stages(self) -> dict[StageName, Stage]:
        return {"stage1": self.stage1, "stage2": self.stage2}

    def stage(self, name: StageName) -> Stage:
        return self.stages[name]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Config:
        """Build a config, raising `InputError` with one sentence instead of a report."""
        values = dict(values)
        preset = values.pop("preset", DEFAULT_PRESET)
        if preset not in tuple(PRESETS):
            raise InputError(f"preset {reprlib.repr(preset)} is not one of {', '.join(PRESETS)}")
        try:
            return cls.model_validate(_merge(PRESETS[preset], values))
        except ValidationError as error:
            raise InputError(explain(error)) from error

    @classmethod
    def load(cls, path: str | Path, preset: str | None = None) -> Config:
        """Read a JSON file of `Config` fields, or a dictionary of the original autoStructN2V.

        What the file leaves out is the preset's; the original's dictionary has defaults of its own.
        """
        path = regular_file(path, "config")
        try:
            values = json.loads(_text(path))
            if not isinstance(values, dict):
                raise InputError(f"config {path} holds a {type(values).__name__}, not an object")
            if "input_dir" in values:
                return cls.from_autostructn2v(values)
            return cls.parse({**({"preset": preset} if preset else {}), **values})
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise InputError(f"config {path} cannot be read as JSON: {error}") from error
        except RecursionError:
            raise InputError(f"config {path} is nested too deeply to be one") from None

    @property
    def files(self) -> list[Path]:
        """The files besides the images that a run reads."""
        given = (self.stage1_model, self.structure.mask_file, self.structure.dark_file)
        return [path for path in given if path is not None]

    @classmethod
    def from_autostructn2v(cls, values: Mapping[str, Any]) -> Config:
        """Translate a configuration dictionary of the original autoStructN2V.

        Missing keys take the original's defaults. The paths and `verbose` belong to the call
        and not to the method; they are accepted and play no part.

        Raises
        ------
        InputError
            If a key is unknown or a value out of range; the sentence names it.
        """
        return cls.parse({"preset": "autostructn2v", **original.translate(values)})


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise InputError(f"config {path} is larger than {_LARGEST >> 20} MiB; it is no config")
    return text


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
