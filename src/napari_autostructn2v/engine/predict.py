"""Runs a trained network over images of any size, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from napari_autostructn2v.engine.events import Stop
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.tiles import Region, Tile, quarters, tiles

Array = npt.NDArray[Any]

# Activations alive at once in a U-Net's widest place: skip, upsampled, joined, two outputs.
_ALIVE = 8
_CPU_BYTES = 2**28


def tile_side(network: UNet, device: torch.device, wanted: int | None) -> int:
    """The largest tile that fits in a share of the free memory, or the side asked for."""
    if wanted is not None:
        return wanted
    if device.type == "cuda":
        budget = torch.cuda.mem_get_info(device)[0] // 2
    else:
        budget = min(psutil.virtual_memory().available // 4, _CPU_BYTES)
    side = int((budget / (4 * _ALIVE * network.options.features)) ** 0.5) - 2 * network.reach
    return min(max(side // 64 * 64, 64), 4096)


def predict(
    network: UNet,
    read: Callable[[Region], Array],
    size: tuple[int, int],
    side: int,
    device: torch.device,
    stop: Stop | None = None,
) -> Iterator[tuple[Region, Array, int]]:
    """Denoise one plane.

    Parameters
    ----------
    read
        Gives a region of the plane, normalised: (h, w) float32, NaN where it has no value.
    side
        Largest side of a tile.
    stop
        Looked at before each tile.

    Yields
    ------
    region, block, left
        A tile's place, its result (NaN where the input was), and how many tiles are left. Tiles
        fit together to the result for the whole plane, to float rounding. Where memory runs out
        the tile is cut in four and the run goes on.
    """
    todo = tiles(size, side, network.reach, network.stride)[::-1]
    while todo and not (stop is not None and stop.is_set()):
        tile = todo.pop()
        try:
            block = _predict_tile(network, read, tile, device)
        except (RuntimeError, MemoryError) as error:
            parts = quarters(tile, size, network.reach, network.stride)
            if not is_out_of_memory(error) or len(parts) == 1:
                raise
            if device.type == "cuda":
                torch.cuda.empty_cache()
            # The other tiles are as large: cut them all, this one's parts first.
            rest = [quarters(t, size, network.reach, network.stride) for t in todo]
            todo = [part for cut in [*rest, parts] for part in reversed(cut)]
            continue
        yield tile.core, block, len(todo)


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA, MPS and the CPU's allocator each say it in their own way."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate" in text)
    )


def _predict_tile(
    network: UNet, read: Callable[[Region], Array], tile: Tile, device: torch.device
) -> Array:
    block = read(tile.read)
    missing = ~np.isfinite(block)
    image = torch.from_numpy(np.where(missing, np.float32(0), block))[None, None]
    result = run_network(network, image.to(device))[0, 0].cpu().numpy()
    result[missing] = np.nan
    cut: Array = result[tile.crop]
    return cut


def run_network(network: UNet, image: Tensor) -> Tensor:
    """Evaluate in float32: (B, 1, h, w)."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return network(image.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]
    finally:
        network.train(was_training)
