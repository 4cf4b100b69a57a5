"""What every kind of network is to the rest of the engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import nn

from napari_autostructn2v.engine.config import NetworkOptions


class Footprint(NamedTuple):
    """What a network needs of an image.

    Attributes
    ----------
    halo
        Radius of the receptive field in pixels: what a tile must read around what it yields.
    stride
        Origins of tiles must be multiples of this.
    bytes_per_pixel
        Memory of the activations that are alive at once at inference, roughly.
    """

    halo: int
    stride: int
    bytes_per_pixel: int


class Network(nn.Module, ABC):
    """Maps (B, 1, H, W) of any size to the same shape; a tile with its halo gives the same pixels.

    `options` are what it was built from: `registry.build` gives a network of the same layout.
    """

    options: NetworkOptions

    @property
    @abstractmethod
    def footprint(self) -> Footprint: ...
