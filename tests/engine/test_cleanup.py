"""However a run ends, it leaves no thread and no device memory behind, and says why it ended."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine import events, lifecycle
from napari_autostructn2v.engine.config import Config, UNetConfig
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.denoising import apply
from napari_autostructn2v.engine.errors import first_line
from napari_autostructn2v.engine.inference.predict import on_device
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.engine.training import loop, trainer

STAGE = {"network": {"features": 4, "depth": 1}, "patch_size": 32, "batch_size": 4}
IMAGE = sample("nuclei", "horizontal", size=96, psnr=18.0).noisy
STACK = np.zeros((40, 96, 96), np.float32) + IMAGE  # more than a pool of 1 MiB holds


def config(**more: Any) -> Config:
    values = {"budget": "8steps", "device": "cpu", "stage1": STAGE, "stage2": STAGE}
    return Config.parse({**values, **more})


def test_closing_the_generator_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    stream = run(STACK, config(pool_size=1, budget="1000steps"))
    for event in stream:
        if isinstance(event, events.Progress):
            break
    stream.close()
    assert set(threading.enumerate()) == before


def test_a_pool_that_fails_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    original, made = trainer.Pool, []

    def second_fails(*args: Any) -> Any:
        made.append(original(*args) if not made else None)
        if made[-1] is None:
            raise MemoryError
        return made[-1]

    monkeypatch.setattr(trainer, "Pool", second_fails)
    before = set(threading.enumerate())
    last = list(run(STACK, config(pool_size=1)))[-1]
    assert isinstance(last, events.Failed)
    assert "out of memory" in last.message
    assert set(threading.enumerate()) == before


def run_until(event: type, stream: Iterator[events.Event]) -> Iterator[events.Event]:
    """Walk a run up to an event and abandon it there."""
    try:
        for told in stream:
            yield told
            if isinstance(told, event):
                return
    finally:
        stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", ["finished", "closed", "failed"])
def test_nothing_of_a_run_stays_in_memory_when_the_caches_are_emptied(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Any]] = []
    original, loss = loop.Task.__post_init__, loop.Task.loss
    alive: list[int] = []

    def watch(self: loop.Task) -> None:
        original(self)
        held.extend(weakref.ref(part) for part in (self, self.network, self.pool))

    def fails(self: loop.Task, *batch: torch.Tensor) -> torch.Tensor:
        if end == "failed" and len(held) > 3:
            local = loss(self, *batch)  # a tensor that the traceback holds
            held.append(weakref.ref(local))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, *batch)

    monkeypatch.setattr(loop.Task, "__post_init__", watch)
    monkeypatch.setattr(loop.Task, "loss", fails)
    monkeypatch.setattr(
        lifecycle, "_empty_caches", lambda: alive.append(sum(ref() is not None for ref in held))
    )
    gc.collect()
    gc.disable()
    try:
        stop_at = {"closed": events.MaskFound}.get(end, events.Finished)
        told = list(run_until(stop_at, run(IMAGE, config(), preview=lambda: None)))
    finally:
        gc.enable()
    assert alive == [0]
    assert len(held) > 2
    kind = {"finished": events.Finished, "closed": events.MaskFound, "failed": events.Failed}
    assert isinstance(told[-1], kind[end])


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
    ],
    ids=str,
)  # fmt: skip
def test_running_out_of_memory_is_said_in_a_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: loop.Task, *_: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(loop.Task, "loss", fails)
    last = list(run(IMAGE, config()))[-1]
    assert isinstance(last, events.Failed)
    assert last.error is error
    assert last.message.startswith("out of memory; a smaller batch_size")
    assert last.model is None
    monkeypatch.undo()
    assert isinstance(list(run(IMAGE, config()))[-1], events.Finished)  # and the next one works


def test_the_devices_caches_are_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[str] = []
    for device in (torch.cuda, torch.mps):
        name = device.__name__
        monkeypatch.setattr(device, "empty_cache", lambda name=name: emptied.append(name))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    model = None
    for event in run(IMAGE, config()):
        if isinstance(event, events.Finished):
            model = event.model
            assert emptied == ["torch.cuda", "torch.mps"]  # before the last event
    assert model is not None
    list(apply(model, IMAGE, sink=ArraySink(), device="cpu"))
    assert emptied == ["torch.cuda", "torch.mps"] * 2


def test_what_a_model_computes_elsewhere_leaves_it_on_the_cpu() -> None:
    network = UNet(UNetConfig(features=4))
    there = on_device(network, torch.device("meta"))
    assert next(there.parameters()).device.type == "meta"
    assert next(network.parameters()).device.type == "cpu"
    assert on_device(network, torch.device("cpu")) is network


def test_an_unexpected_error_is_told_in_one_line() -> None:
    assert first_line(OSError("gone\nfor good")) == "OSError: gone"
    assert first_line(KeyError()) == "KeyError"
