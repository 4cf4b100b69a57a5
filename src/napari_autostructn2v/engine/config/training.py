"""The optimiser and its schedule."""

from __future__ import annotations

from typing import Literal

from napari_autostructn2v.engine.config.base import Frozen, field


class Training(Frozen):
    """The optimiser, its schedule and when to stop; the same for both stages."""

    optimizer: Literal["adam", "adamw"] = field("adam", "Optimiser")
    weight_decay: float = field(0.0, "Weight decay (adamw)", ge=0, le=1)
    schedule: Literal["cosine", "plateau"] = field(
        "cosine", "Learning rate: cosine over the budget, or halved when validation stalls"
    )
    ema: float = field(0.98, "Decay of the averaged weights that are kept (0: none)", ge=0, lt=1)
    early_stopping: bool = field(False, "Stop a stage when its validation loss stalls")
    patience: int = field(10, "Validations without improvement before stopping", ge=1, le=1000)
    min_improvement: float = field(
        0.002, "Relative fall of the validation loss that counts as improvement", ge=0, lt=1
    )
    validate_every: int = field(50, "Validation interval", unit="steps", ge=1, le=100_000)
    precision: Literal["auto", "float32", "bfloat16"] = field(
        "auto", "Arithmetic of the convolutions; auto takes bfloat16 where the device has it"
    )
    stage1_share: float = field(
        0.25, "Share of a common budget that Stage 1 gets when Stage 2 follows", gt=0, lt=1
    )
    self_check: bool = field(
        True,
        "Halfway through Stage 2, compare what it takes away with the measured noise; where noise "
        "comes back, widen a mask that was found automatically and start Stage 2 again",
    )
    warm_start: bool = field(
        False,
        "Start Stage 2 from Stage 1's weights where shapes match; what Stage 1 does with pixels "
        "that Stage 2 hides is never unlearned, so noise comes back",
    )
