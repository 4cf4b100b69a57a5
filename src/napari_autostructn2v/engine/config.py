"""Every choice of a run, with its bounds, unit and help, written here and nowhere else.

The command line, the napari form, the JSON file and the reference page read these fields.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from napari_autostructn2v.engine import original
from napari_autostructn2v.engine.errors import InputError, explain
from napari_autostructn2v.engine.paths import regular_file, user_path

_LARGEST = 2**26  # characters of a file: a mask as large as can be takes a fifth

StageName = Literal["stage1", "stage2"]
Result = Literal["recommended", "stage1", "stage2"]

BudgetUnit = Literal["seconds", "steps", "epochs", "converged"]
STAGES: tuple[StageName, ...] = ("stage1", "stage2")


_MOST = 1e9  # of any unit of a budget: 30 years
_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_UNITS: dict[str, tuple[BudgetUnit, float]] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), ("seconds", 60.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600.0)),
    **dict.fromkeys(("step", "steps"), ("steps", 1.0)),
    **dict.fromkeys(("epoch", "epochs"), ("epochs", 1.0)),
}


@dataclass(frozen=True)
class Budget:
    """How long to train.

    `seconds` and `steps` are shared by all stages of a run; `epochs` are of each stage (as in
    autoStructN2V, where an epoch is `patches_per_image` patches of every image plane); `converged`
    trains each stage until its validation loss stops improving.
    """

    unit: BudgetUnit
    amount: float = 0.0

    @classmethod
    def parse(cls, text: object) -> Budget:
        """Read "60s", "2 min", "200 steps", "20 epochs" or "until it stops improving"."""
        if isinstance(text, Budget):
            return text
        if str(text).strip().lower() in ("converged", "until it stops improving"):
            return cls("converged")
        match = _BUDGET.fullmatch(str(text).lower())
        if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
            raise ValueError(
                f"budget {reprlib.repr(text)} is not understood; write for example 60s, 2min, "
                "200steps, 20epochs or converged"
            )
        unit, factor = _UNITS[match[2]]
        amount = float(match[1]) * factor
        if amount > _MOST:
            raise ValueError(f"budget {reprlib.repr(text)} is more than {_MOST:.0e} {unit}")
        if unit != "seconds" and not amount.is_integer():
            raise ValueError(f"budget {reprlib.repr(text)}: the number of {unit} must be whole")
        return cls(unit, amount)

    def __str__(self) -> str:
        if self.unit == "converged":
            return "converged"
        return f"{self.amount:.15g}{'s' if self.unit == 'seconds' else self.unit}"


BudgetField = Annotated[
    Budget, BeforeValidator(Budget.parse), PlainSerializer(str, return_type=str)
]


def _field(default: Any, help_: str, *, unit: str = "", **bounds: Any) -> Any:
    return Field(default, description=help_, json_schema_extra={"unit": unit}, **bounds)


class _Frozen(BaseModel):
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


class Network(_Frozen):
    """A U-Net (Ronneberger et al. 2015) with the switches of N2V2 (Hoeck et al. 2022)."""

    features: int = _field(16, "Channels of the first level; doubled at each level", ge=4, le=256)
    depth: int = _field(2, "Number of times the image is halved", ge=1, le=5)
    batch_norm: bool = _field(False, "Batch normalisation after each convolution")
    blur_pool: bool = _field(False, "N2V2: max-pool at full resolution, then blur and halve")
    top_skip: bool = _field(True, "Skip connection at full resolution; N2V2 leaves it out")
    residual: bool = _field(False, "Add the input to the output (never right for a blind spot)")
    gradient_checkpointing: bool = _field(
        False, "Recompute activations in the backward pass: less memory, about 30 % slower"
    )


Replacement = Literal["local_mean", "zeros", "random_visible", "uniform", "median", "noise"]
Augmentation = Literal["none", "symmetric", "all"]


class Stage(_Frozen):
    """How one stage draws its patches, hides pixels and trains."""

    network: Network = Network()
    patch_size: int = _field(64, "Side of a training patch", unit="px", ge=8, le=1024)
    batch_size: int = _field(16, "Patches per step", ge=1, le=1024)
    learning_rate: float = _field(2e-3, "Peak learning rate", gt=0, le=1)
    patches_per_image: int = _field(
        400, "Patches of each image plane in one epoch", ge=1, le=1_000_000
    )
    mask_percentage: float = _field(
        2.0, "Share of a patch's pixels that is hidden", unit="%", gt=0, le=60
    )
    mask_center_size: int = _field(
        1, "Side of the square hidden at each blind spot", unit="px", ge=1, le=15
    )
    replacement: Replacement = _field(
        "local_mean", "What hidden pixels are replaced with before the network sees the patch"
    )
    augmentation: Augmentation = _field(
        "symmetric",
        "Flips and rotations: none, those that leave the mask as it is, or all eight with the "
        "mask turned along",
    )
    use_roi: bool = _field(False, "Draw patches only where a low-resolution threshold says so")
    roi_threshold: float = _field(
        0.5, "Threshold of the region, as a fraction of the low-resolution range", ge=0, le=1
    )
    scale_factor: float = _field(0.25, "Scale of the low-resolution image", gt=0, le=1)
    select_background: bool = _field(False, "The region is below the threshold, not above")

    @model_validator(mode="after")
    def _centred(self) -> Self:
        if self.mask_center_size % 2 == 0:
            raise ValueError(f"mask_center_size {self.mask_center_size} must be odd")
        return self


class Stage2(Stage):
    """A stage whose mask is structural: more pixels are hidden, so that as many count."""

    mask_percentage: float = _field(
        15.0, "Share of a patch's pixels that is hidden", unit="%", gt=0, le=60
    )


class Ring(_Frozen):
    """The ring rule of autoStructN2V's StructuralNoiseExtractor, parameters under its names."""

    norm_autocorr: bool = _field(True, "Divide the autocorrelation by its value at lag 0")
    log_autocorr: bool = _field(True, "Use log(1 + |autocorrelation|)")
    crop_autocorr: bool = _field(True, "Look only at the central `center_size` lags")
    adapt_autocorr: bool = _field(True, "Subtract a threshold that falls with distance")
    adapt_CB: float = _field(
        50.0, "Base coefficient of that threshold (cancels in its normalisation)", gt=0, le=1000
    )
    adapt_DF: float = _field(0.95, "Distance factor of that threshold", gt=0, lt=1)
    center_size: int = _field(
        11, "Side of the central square; an even side is taken one larger", unit="px", ge=3, le=101
    )
    base_percentile: float = _field(
        50.0, "Threshold of the first ring, as a share of the ring's range", unit="%", ge=0, le=100
    )
    percentile_decay: float = _field(1.15, "Factor on that share per ring outwards", gt=0, le=5)
    center_ratio_threshold: float = _field(
        0.3, "A ring whose maximum is below this share of the centre is skipped", ge=0, le=1
    )
    use_center_proximity: bool = _field(True, "Also take pixels nearly as high as the centre")
    center_proximity_threshold: float = _field(0.95, "How nearly", ge=0, le=1)
    keep_center_component_only: bool = _field(True, "Keep only what is connected to the centre")
    max_true_pixels: int | None = _field(25, "Most pixels in the mask", ge=1)


LONGEST_SIDE = 2047  # px of a mask: a full line of the largest patch; what is longer is a picture
MaskRows = tuple[tuple[int, ...], ...]
MaskSource = Literal["raw", "region", "frames", "dark", "stage1", "file", "array"]


LEAST_REGION = 16  # px each way, of a part of an image that is measured or trained on


class Structure(_Frozen):
    """Where the structural mask comes from and how it is cut out of the autocorrelation."""

    mask_source: MaskSource = _field(
        "raw",
        "What the mask is found from: the flat places of the raw image (raw), an empty region of "
        "it (region), the differences of repeated frames (frames), a dark frame (dark), the "
        "Stage-1 output of background patches, the original's way (stage1); or a mask that is "
        "given (file, array)",
    )
    region: tuple[int, int, int, int] | None = _field(
        None, "First and last row + 1, first and last column + 1 of the empty region", unit="px"
    )
    dark_file: Path | None = _field(
        None, "Image of the camera without light, for `mask_source = dark`"
    )
    extractor: Literal["leak", "ring"] = _field(
        "leak", "The leak rule, or autoStructN2V's ring rule"
    )
    mask_file: Path | None = _field(None, "Mask image for `mask_source = file`")
    mask: MaskRows | None = _field(None, "Rows of 0 and 1 for `mask_source = array`")
    subtract_wave: bool = _field(
        False,
        "Subtract a periodic noise that all lines share, which no mask hides, before anything else",
    )
    leak_threshold: float = _field(
        0.02,
        "A mask leaks when the pixels it leaves visible predict more than this share of the "
        "hidden pixel's noise variance",
        gt=0,
        le=1,
    )
    score_tolerance: float = _field(
        0.1,
        "The smallest mask is taken whose predicted error is this close to the best",
        unit="dB",
        ge=0,
        le=10,
    )
    max_lag: int = _field(20, "Largest lag that is measured", unit="px", ge=2, le=64)
    ring: Ring = Ring()

    @field_validator("mask", mode="before")
    @classmethod
    def _rows(cls, value: Any) -> Any:
        """Tell of a mask that is none once, not for each of its pixels."""
        if isinstance(value, list | tuple):
            rows = [row if isinstance(row, list | tuple) else () for row in value]
            if len(rows) > LONGEST_SIDE or any(len(row) > LONGEST_SIDE for row in rows):
                raise ValueError(f"a mask has at most {LONGEST_SIDE} px on each side")
            widths = {len(row) for row in rows}
            # As text where it was typed into a form.
            numbers = all(str(pixel).strip() in ("0", "1") for row in rows for pixel in row)
            if not numbers or len(widths) != 1 or 0 in widths:
                raise ValueError("a mask is rows of 0 and 1 that are all of one length")
        return value

    @model_validator(mode="after")
    def _source_is_given(self) -> Self:
        needs = {"file": "mask_file", "array": "mask", "region": "region", "dark": "dark_file"}
        field = needs.get(self.mask_source)
        if field is not None and getattr(self, field) is None:
            raise ValueError(f"mask_source is {self.mask_source!r} but {field} is not set")
        if self.region is not None:
            y0, y1, x0, x1 = self.region
            if min(self.region) < 0 or y1 - y0 < LEAST_REGION or x1 - x0 < LEAST_REGION:
                raise ValueError(
                    f"region {self.region} must be first and last row + 1, first and last column "
                    f"+ 1, at least {LEAST_REGION} px each way"
                )
        return self


class Training(_Frozen):
    """The optimiser, its schedule and when to stop; the same for both stages."""

    optimizer: Literal["adam", "adamw"] = _field("adam", "Optimiser")
    weight_decay: float = _field(0.0, "Weight decay (adamw)", ge=0, le=1)
    schedule: Literal["cosine", "plateau"] = _field(
        "cosine", "Learning rate: cosine over the budget, or halved when validation stalls"
    )
    ema: float = _field(0.98, "Decay of the averaged weights that are kept (0: none)", ge=0, lt=1)
    early_stopping: bool = _field(False, "Stop a stage when its validation loss stalls")
    patience: int = _field(10, "Validations without improvement before stopping", ge=1, le=1000)
    min_improvement: float = _field(
        0.002, "Relative fall of the validation loss that counts as improvement", ge=0, lt=1
    )
    validate_every: int = _field(50, "Validation interval", unit="steps", ge=1, le=100_000)
    precision: Literal["auto", "float32", "bfloat16"] = _field(
        "auto", "Arithmetic of the convolutions; auto takes bfloat16 where the device has it"
    )
    stage1_share: float = _field(
        0.25, "Share of a common budget that Stage 1 gets when Stage 2 follows", gt=0, lt=1
    )
    self_check: bool = _field(
        True,
        "Halfway through Stage 2, compare what it takes away with the measured noise; where noise "
        "comes back, widen a mask that was found automatically and start Stage 2 again",
    )
    warm_start: bool = _field(
        False,
        "Start Stage 2 from Stage 1's weights where shapes match; what Stage 1 does with pixels "
        "that Stage 2 hides is never unlearned, so noise comes back",
    )


class Config(_Frozen):
    """One run, complete.

    The same config and data on the same device give the same result, unless the budget is a time:
    how many steps that is, is measured, and recorded in the report.
    """

    budget: BudgetField = _field(Budget("seconds", 60.0), "How long to train, all stages together")
    seed: int = _field(0, "Seed of every random choice", ge=0, le=2**63 - 1)
    device: str = _field(
        "auto", "auto, cpu, cuda, cuda:N or mps", pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$"
    )
    axes: str | None = _field(
        None, "Names of the image's axes in stored order, for example TYX; default: from the file"
    )
    run_stage1: bool = _field(True, "Train Stage 1 (Noise2Void)")
    run_stage2: bool = _field(True, "Train Stage 2 (structN2V)")
    stage1_model: Path | None = _field(
        None, "Take Stage 1 from this model file instead of training it"
    )
    stage1: Stage = Stage()
    stage2: Stage2 = Stage2()
    structure: Structure = Structure()
    training: Training = Training()
    split_ratio: tuple[float, float, float] = _field(
        (0.7, 0.15, 0.15), "Shares of the data for training, validation and test"
    )
    network_per_channel: bool = _field(False, "A network for each channel instead of one for all")
    pool_size: int = _field(
        256, "Memory for training data; larger data is drawn in random blocks", unit="MiB", ge=1
    )
    tile: int | None = _field(
        None, "Side of an inference tile; default: as large as memory allows", unit="px", ge=16
    )
    replace_outliers: bool = _field(
        False, "Denoise hot and dead pixels too, instead of leaving them as they are"
    )
    result: Result = _field(
        "recommended", "Stage whose result is written; recommended takes what was judged best"
    )
    dtype: Literal["auto", "same", "float32", "uint8", "uint16"] = _field(
        "auto",
        "Type of the result; auto keeps integers unless rounding would undo the denoising",
    )
    tensorboard: Path | None = _field(None, "Folder for TensorBoard logs")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not (self.run_stage1 or self.run_stage2):
            raise ValueError("run_stage1 and run_stage2 are both false: there is nothing to train")
        if any(share < 0 for share in self.split_ratio) or self.split_ratio[0] <= 0:
            raise ValueError(f"split_ratio {self.split_ratio} needs a positive share for training")
        if abs(sum(self.split_ratio) - 1) > 1e-6:
            raise ValueError(f"split_ratio {self.split_ratio} must sum to 1")
        return self

    def stage(self, name: StageName) -> Stage:
        return self.stage1 if name == "stage1" else self.stage2

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
