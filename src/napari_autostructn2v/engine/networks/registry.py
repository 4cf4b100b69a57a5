"""The kinds of networks by name: a new kind is its options, its class and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from napari_autostructn2v.engine.config import NetworkOptions
from napari_autostructn2v.engine.networks.network import Footprint, Network
from napari_autostructn2v.engine.networks.unet import UNet

BUILDERS: dict[str, Callable[[Any], Network]] = {"unet": UNet}


def build(options: NetworkOptions) -> Network:
    """Make a network with random weights."""
    return BUILDERS[options.kind](options)


def sketch(options: NetworkOptions) -> Network:
    """Make a network whose weights take no memory, to learn its layout."""
    with torch.device("meta"):
        return build(options)


def footprint(options: NetworkOptions) -> Footprint:
    return sketch(options).footprint
