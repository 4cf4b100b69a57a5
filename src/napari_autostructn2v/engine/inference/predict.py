"""Prediction with a trained network, tile by tile."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import psutil
import torch
from torch import Tensor

from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.data.tiles import Tile, halved, tiles
from napari_autostructn2v.engine.devices import is_out_of_memory
from napari_autostructn2v.engine.events import Stop
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.types import Array, Box, slices

_CPU_BYTES = 2**28  # memory of a tile on the CPU; small, as a stop waits for the tile in progress
_WORTH = 3.5  # halos: at this side, a tile reads at most 2.5 times the pixels it yields
_SMALLEST, _LARGEST = 64, 4096  # px


def tile_side(
    network: Network, device: torch.device, wanted: int | None, chunks: tuple[int, int] = (1, 1)
) -> int:
    """Return the side of a tile in pixels: `wanted`, or one that fits in the free memory.

    Tiles are large compared with their halo if memory allows. `chunks` are the sides (Y, X) of
    the blocks that the image is stored in: tiles hold whole chunks or divide them evenly, unless
    that makes tiles too small.
    """
    if wanted is not None:
        return wanted
    halo, stride, _ = network.footprint
    if device.type == "cuda":
        most = _fitting(network, torch.cuda.mem_get_info(device)[0] // 2)
        side = most
    else:
        most = _fitting(network, psutil.virtual_memory().available // 4)
        side = min(most, max(_fitting(network, _CPU_BYTES), math.ceil(_WORTH * halo)))
    side, most = (min(max(n, _SMALLEST), _LARGEST) for n in (side, min(most, side * 3 // 2)))
    unit = math.lcm(stride, *chunks)
    parts = (n for n in range(1, unit + 1) if unit % n == 0 and unit // n <= most)
    unit //= next((n for n in parts if unit // n % stride == 0), unit)
    if unit < _SMALLEST:
        unit *= _SMALLEST // unit
    aligned = side // unit * unit
    if aligned < min(side, _WORTH * halo):
        aligned += unit
    return aligned if _SMALLEST <= aligned <= most else side // _SMALLEST * _SMALLEST


def _fitting(network: Network, budget: int) -> int:
    """Return the side of the largest tile whose activations, with halo, fit in `budget` bytes."""
    halo, _, bytes_per_pixel = network.footprint
    return int((budget / bytes_per_pixel) ** 0.5) - 2 * halo


def predict(
    network: Network,
    read: Callable[[Box], Array],
    size: tuple[int, int],
    side: int,
    device: torch.device,
    stop: Stop | None = None,
    region: Box | None = None,
) -> Iterator[tuple[Box, Array, int]]:
    """Denoise one plane, or a region of it.

    If memory runs out, the remaining tiles are split and prediction continues.

    Parameters
    ----------
    network
        On `device` already.
    read
        Returns a region of the plane, normalised, (h, w).
    size
        (Y, X) of the plane.
    side
        Largest side of a tile.
    stop
        Checked before each tile.

    Yields
    ------
    region, block, left
        Region of a tile, its result (NaN where the input is not finite) and the number of tiles
        left. Together the tiles equal the result of the whole plane, to float rounding.
    """
    halo, stride, _ = network.footprint
    todo = tiles(size, side, halo, stride, region)[::-1]
    while todo and not (stop is not None and stop.is_set()):
        tile = todo.pop()
        try:
            block = _predict_tile(network, read, tile, device)
        except (RuntimeError, MemoryError) as error:
            parts = halved(tile, size, halo, stride)
            if not is_out_of_memory(error) or len(parts) == 1:
                raise
            # The other tiles are as large, so split them all, and continue with this one's parts.
            rest = [halved(t, size, halo, stride) for t in todo]
            todo = [part for cut in [*rest, parts] for part in reversed(cut)]
            continue
        yield tile.core, block, len(todo)


def denoise_plane(
    network: Network,
    source: Source,
    plane: int,
    normalisation: Normalisation,
    side: int,
    device: torch.device,
    stop: Stop | None = None,
    region: Box | None = None,
) -> Iterator[tuple[Box, Array, int]]:
    """Denoise a plane of an image, or a region of it, as `predict` does, in grey values.

    Blocks are float32, or float64 if the image has an offset that float32 can't hold.
    """
    channel = source.channel(plane)
    normalisation = replace(normalisation, offset=source.offset)

    def read(region: Box) -> Array:
        return normalisation.apply(source.read(plane, *slices(region)), channel)

    for core, block, left in predict(network, read, source.size, side, device, stop, region):
        result = normalisation.undo(block, channel)
        yield core, result.astype(float) + source.offset if source.offset else result, left


def on_device(network: Network, device: torch.device) -> Network:
    """Return the network on a device: itself on the CPU, a copy elsewhere."""
    return network if device.type == "cpu" else copy.deepcopy(network).to(device)


def _predict_tile(
    network: Network, read: Callable[[Box], Array], tile: Tile, device: torch.device
) -> Array:
    cut: Array = run_block(network, read(tile.read), device)[tile.crop]
    return cut


def run_block(network: Network, block: Array, device: torch.device) -> Array:
    """Evaluate one (h, w) block of normalised values; pixels that are not finite become NaN."""
    missing = ~np.isfinite(block)
    image = torch.from_numpy(np.where(missing, np.float32(0), block))[None, None]
    result: Array = run_network(network, image.to(device))[0, 0].cpu().numpy()
    result[missing] = np.nan
    return result


def run_network(network: Network, image: Tensor) -> Tensor:
    """Evaluate a (B, 1, h, w) batch in float32, without gradients."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return network(image.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]
    finally:
        network.train(was_training)
