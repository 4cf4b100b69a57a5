"""Where the structural mask comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from napari_autostructn2v.engine.config.base import Frozen, field


class Ring(Frozen):
    """The ring rule of autoStructN2V's StructuralNoiseExtractor, parameters under its names."""

    norm_autocorr: bool = field(True, "Divide the autocorrelation by its value at lag 0")
    log_autocorr: bool = field(True, "Use log(1 + |autocorrelation|)")
    crop_autocorr: bool = field(True, "Look only at the central `center_size` lags")
    adapt_autocorr: bool = field(True, "Subtract a threshold that falls with distance")
    adapt_CB: float = field(
        50.0, "Base coefficient of that threshold (cancels in its normalisation)", gt=0, le=1000
    )
    adapt_DF: float = field(0.95, "Distance factor of that threshold", gt=0, lt=1)
    center_size: int = field(
        11, "Side of the central square; an even side is taken one larger", unit="px", ge=3, le=101
    )
    base_percentile: float = field(
        50.0, "Threshold of the first ring, as a share of the ring's range", unit="%", ge=0, le=100
    )
    percentile_decay: float = field(1.15, "Factor on that share per ring outwards", gt=0, le=5)
    center_ratio_threshold: float = field(
        0.3, "A ring whose maximum is below this share of the centre is skipped", ge=0, le=1
    )
    use_center_proximity: bool = field(True, "Also take pixels nearly as high as the centre")
    center_proximity_threshold: float = field(0.95, "How nearly", ge=0, le=1)
    keep_center_component_only: bool = field(True, "Keep only what is connected to the centre")
    max_true_pixels: int | None = field(25, "Most pixels in the mask", ge=1)


LONGEST_SIDE = 2047  # px of a mask: a full line of the largest patch; what is longer is a picture
MaskRows = tuple[tuple[int, ...], ...]
MaskSource = Literal["raw", "region", "frames", "dark", "stage1", "file", "array"]


LEAST_REGION = 16  # px each way, of a part of an image that is measured or trained on


class Structure(Frozen):
    """Where the structural mask comes from and how it is cut out of the autocorrelation."""

    mask_source: MaskSource = field(
        "raw",
        "What the mask is found from: the flat places of the raw image (raw), an empty region of "
        "it (region), the differences of repeated frames (frames), a dark frame (dark), the "
        "Stage-1 output of background patches, the original's way (stage1); or a mask that is "
        "given (file, array)",
    )
    region: tuple[int, int, int, int] | None = field(
        None, "First and last row + 1, first and last column + 1 of the empty region", unit="px"
    )
    dark_file: Path | None = field(
        None, "Image of the camera without light, for `mask_source = dark`"
    )
    extractor: Literal["leak", "ring"] = field(
        "leak", "The leak rule, or autoStructN2V's ring rule"
    )
    mask_file: Path | None = field(None, "Mask image for `mask_source = file`")
    mask: MaskRows | None = field(None, "Rows of 0 and 1 for `mask_source = array`")
    subtract_wave: bool = field(
        False,
        "Subtract a periodic noise that all lines share, which no mask hides, before anything else",
    )
    leak_threshold: float = field(
        0.02,
        "A mask leaks when the pixels it leaves visible predict more than this share of the "
        "hidden pixel's noise variance",
        gt=0,
        le=1,
    )
    score_tolerance: float = field(
        0.1,
        "The smallest mask is taken whose predicted error is this close to the best",
        unit="dB",
        ge=0,
        le=10,
    )
    max_lag: int = field(20, "Largest lag that is measured", unit="px", ge=2, le=64)
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
