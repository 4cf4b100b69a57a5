"""How a stage draws its patches, hides pixels and trains."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from napari_autostructn2v.engine.config.base import Frozen, field
from napari_autostructn2v.engine.config.network import NetworkConfig, UNetConfig

StageName = Literal["stage1", "stage2"]

Replacement = Literal["local_mean", "zeros", "random_visible", "uniform", "median", "noise"]
Augmentation = Literal["none", "symmetric", "all"]


class Stage(Frozen):
    """How one stage draws its patches, hides pixels and trains."""

    network: NetworkConfig = UNetConfig()
    patch_size: int = field(64, "Side of a training patch", unit="px", ge=8, le=1024)
    batch_size: int = field(16, "Patches per step", ge=1, le=1024)
    learning_rate: float = field(2e-3, "Peak learning rate", gt=0, le=1)
    patches_per_image: int = field(
        400, "Patches of each image plane in one epoch", ge=1, le=1_000_000
    )
    mask_percentage: float = field(
        2.0, "Share of a patch's pixels that is hidden", unit="%", gt=0, le=60
    )
    mask_center_size: int = field(
        1, "Side of the square hidden at each blind spot", unit="px", ge=1, le=15
    )
    replacement: Replacement = field(
        "local_mean", "What hidden pixels are replaced with before the network sees the patch"
    )
    augmentation: Augmentation = field(
        "symmetric",
        "Flips and rotations: none, those that leave the mask as it is, or all eight with the "
        "mask turned along",
    )
    use_roi: bool = field(False, "Draw patches only where a low-resolution threshold says so")
    roi_threshold: float = field(
        0.5, "Threshold of the region, as a fraction of the low-resolution range", ge=0, le=1
    )
    scale_factor: float = field(0.25, "Scale of the low-resolution image", gt=0, le=1)
    select_background: bool = field(False, "The region is below the threshold, not above")

    @model_validator(mode="after")
    def _centred(self) -> Self:
        if self.mask_center_size % 2 == 0:
            raise ValueError(f"mask_center_size {self.mask_center_size} must be odd")
        return self


class Stage2(Stage):
    """A stage whose mask is structural: more pixels are hidden, so that as many count."""

    mask_percentage: float = field(
        15.0, "Share of a patch's pixels that is hidden", unit="%", gt=0, le=60
    )
