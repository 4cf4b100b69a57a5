"""The tiled result is the whole-image result, for every architecture, size and accident."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
import zarr

from napari_autostructn2v.engine.config import UNetConfig
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.inference import predict as module
from napari_autostructn2v.engine.inference.predict import denoise_plane, predict, run_network
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.types import Box

CPU = torch.device("cpu")
NETWORKS = {
    "plain": UNetConfig(features=4),
    "deep": UNetConfig(features=4, depth=3),
    "n2v2": UNetConfig(features=4, blur_pool=True, top_skip=False),
    "batch norm": UNetConfig(features=4, batch_norm=True),
    "residual": UNetConfig(features=4, residual=True, depth=1),
    "checkpointed": UNetConfig(features=4, gradient_checkpointing=True),
}


def network(options: UNetConfig) -> UNet:
    torch.manual_seed(0)
    made = UNet(options)
    for parameter in made.parameters():
        # Larger weights than at the start, so that a wrong halo shows.
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def denoise(net: UNet, image: np.ndarray, side: int) -> np.ndarray:
    result = np.full_like(image, -99)

    def read(region: Box) -> np.ndarray:
        (y0, y1), (x0, x1) = region
        return image[y0:y1, x0:x1].copy()

    for (y, x), block, _ in predict(net, read, image.shape, side, CPU):
        result[slice(*y), slice(*x)] = block
    return result


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(97, 130), (64, 64), (1, 90), (90, 1), (3, 5), (1, 1), (41, 201)])
def test_tiled_equals_whole(name: str, size: tuple[int, int]) -> None:
    net = network(NETWORKS[name])
    image = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    with torch.inference_mode():
        whole = net(torch.from_numpy(image)[None, None])[0, 0].numpy()
    tolerance = 1e-5 * np.abs(whole).max()
    for side in (16, 40):
        np.testing.assert_allclose(denoise(net, image, side), whole, atol=tolerance)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("region", [((13, 70), (31, 98)), ((0, 1), (99, 100)), ((5, 90), (0, 3))])
def test_a_region_of_a_plane_is_cut_from_the_whole(name: str, region: Box) -> None:
    net = network(NETWORKS[name])
    image = np.random.default_rng(0).normal(100, 20, (2, 90, 100)).astype(np.float32)
    source, scale = as_source(image), Normalisation((100.0,), (20.0,))
    whole, part = np.zeros((90, 100)), np.full((90, 100), np.nan)
    for (y, x), block, _ in denoise_plane(net, source, 1, scale, 500, CPU):
        whole[slice(*y), slice(*x)] = block
    for (y, x), block, _ in denoise_plane(net, source, 1, scale, 24, CPU, region=region):
        part[slice(*y), slice(*x)] = block
    y, x = (slice(*span) for span in region)
    np.testing.assert_allclose(part[y, x], whole[y, x], atol=1e-5 * np.abs(whole).max())
    assert np.isfinite(part).sum() == part[y, x].size


@pytest.mark.parametrize("name", NETWORKS)
def test_reach_is_the_receptive_field(name: str) -> None:
    net = network(NETWORKS[name])
    size, middle = 6 * net.footprint.halo, 3 * net.footprint.halo
    image = torch.zeros(1, 1, size, size, requires_grad=True)
    seen = 0
    for shift in range(
        net.footprint.stride
    ):  # the field depends on the pixel's place in the coarse grid
        (gradient,) = torch.autograd.grad(net(image)[0, 0, middle + shift, middle + shift], image)
        rows = gradient[0, 0].abs().sum(1).nonzero()[:, 0]
        seen = max(seen, int((rows - middle - shift).abs().max()))
    assert seen <= net.footprint.halo
    assert net.footprint.halo - seen < 2 * net.footprint.stride  # and no wider than it need be


def test_missing_pixels_stay_missing_and_spoil_nothing_else() -> None:
    image = np.random.default_rng(0).standard_normal((50, 60)).astype(np.float32)
    image[10:13, 20:24] = np.nan
    image[40, 5] = np.inf
    result = denoise(network(NETWORKS["plain"]), image, 32)
    assert np.array_equal(np.isnan(result), ~np.isfinite(image))


def test_out_of_memory_cuts_the_tiles_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(NETWORKS["plain"])
    image = np.random.default_rng(0).standard_normal((150, 190)).astype(np.float32)
    expected = denoise(net, image, 500)
    shapes: list[tuple[int, ...]] = []

    def small_memory(net: UNet, tensor: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(tensor.shape[2:]))
        if tensor.numel() > 110 * 120:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return run_network(net, tensor)

    monkeypatch.setattr(module, "run_network", small_memory)
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(denoise(net, image, 500), expected, atol=tolerance)
    assert sum(h * w > 110 * 120 for h, w in shapes) <= 3  # it does not try in vain again


def test_other_errors_are_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(net: UNet, tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(module, "run_network", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        denoise(network(NETWORKS["plain"]), np.zeros((40, 40), np.float32), 20)


def test_stop_ends_before_the_next_tile() -> None:
    stop, done = threading.Event(), 0
    net = network(NETWORKS["plain"])

    def read(region: Box) -> np.ndarray:
        (y0, y1), (x0, x1) = region
        return np.zeros((y1 - y0, x1 - x0), np.float32)

    for _ in predict(net, read, (200, 200), 40, CPU, stop):
        done += 1
        if done == 3:
            stop.set()
    assert done == 3


def test_networks_accept_what_the_config_allows() -> None:
    for options in NETWORKS.values():
        net = UNet(options)
        out = net(torch.randn(2, 1, 17, 23))
        assert out.shape == (2, 1, 17, 23)
        out.sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


GIB = 2**30


def side(net: UNet, free: float, monkeypatch: pytest.MonkeyPatch, **more: Any) -> int:
    memory = SimpleNamespace(available=int(free * GIB))
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: memory)
    return module.tile_side(net, CPU, None, **more)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("features", [4, 16, 32])
def test_tiles_are_worth_their_halo_where_memory_allows(
    depth: int, features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = UNet(UNetConfig(depth=depth, features=features))
    halo = 2 * net.footprint.halo
    for chunks in ((1, 1), (512, 512), (256, 256), (100, 100), (2048, 2048), (5, 1), (37, 41)):
        found = side(net, 64, monkeypatch, chunks=chunks)
        assert (found + halo) ** 2 < 2.75 * found**2
        small = side(net, 0.5, monkeypatch, chunks=chunks)
        assert small == 64 or (small + halo) ** 2 * 32 * features <= 0.126 * GIB


@pytest.mark.parametrize("depth", [1, 2, 4, 5])
@pytest.mark.parametrize("chunk", [64, 100, 256, 512, 1000, 1024, 2048])
def test_tiles_keep_to_chunks(depth: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = side(UNet(UNetConfig(depth=depth)), 64, monkeypatch, chunks=(chunk, chunk))
    assert found % UNet(UNetConfig(depth=depth)).footprint.stride == 0
    assert found % chunk == 0 or chunk % found == 0 or chunk % 2**depth


def test_a_side_that_is_asked_for_is_taken() -> None:
    assert module.tile_side(UNet(UNetConfig()), CPU, 48, (512, 512)) == 48


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.zeros((3, 90, 80)), None),
        (da.zeros((3, 90, 80), chunks=(1, 40, 30)), (40, 30)),
        (da.zeros((3, 90, 80), chunks=(1, 90, 30)), (1, 30)),
        (zarr.create_array({}, shape=(3, 90, 80), chunks=(1, 32, 16), dtype="u1"), (32, 16)),
    ],
)
def test_a_source_knows_its_chunks(data: Any, expected: tuple[int, int] | None) -> None:
    assert as_source(data).chunks == expected
