"""The architecture of a network."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from napari_autostructn2v.engine.config.base import Frozen, field


class NetworkOptions(Frozen):
    """What a kind of network can be told; `kind` names it in `networks.registry`."""

    kind: str


class UNetConfig(NetworkOptions):
    """A U-Net (Ronneberger et al. 2015) with the switches of N2V2 (Hoeck et al. 2022)."""

    kind: Literal["unet"] = field("unet", "Kind of network")
    features: int = field(16, "Channels of the first level; doubled at each level", ge=4, le=256)
    depth: int = field(2, "Number of times the image is halved", ge=1, le=5)
    batch_norm: bool = field(False, "Batch normalisation after each convolution")
    blur_pool: bool = field(False, "N2V2: max-pool at full resolution, then blur and halve")
    top_skip: bool = field(True, "Skip connection at full resolution; N2V2 leaves it out")
    residual: bool = field(False, "Add the input to the output (never right for a blind spot)")
    gradient_checkpointing: bool = field(
        False, "Recompute activations in the backward pass: less memory, about 30 % slower"
    )


def _with_kind(value: Any) -> Any:
    """Settings written before there were kinds are a U-Net's."""
    return {"kind": "unet", **value} if isinstance(value, dict) else value


NetworkConfig = Annotated[UNetConfig, Field(discriminator="kind"), BeforeValidator(_with_kind)]
