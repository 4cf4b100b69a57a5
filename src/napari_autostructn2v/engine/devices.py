"""Devices: which there are, how precisely they compute, when their memory is used up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from napari_autostructn2v.engine.errors import InputError

Precision = Literal["float32", "bfloat16"]


def choose_device(name: str) -> torch.device:
    """Resolve "auto" to the fastest device there is.

    Raises
    ------
    InputError
        If the device asked for is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= there[device.type]:
        raise InputError(f"device {name!r} is not available on this machine; use auto or cpu")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """bfloat16 where the device computes with it, so that the choice never depends on timing."""
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        fast = device.type == "cpu" and probe()
    return "bfloat16" if fast else "float32"


@dataclass(frozen=True)
class Runtime:
    """Where and how precisely a run computes."""

    device: torch.device
    precision: Precision

    @classmethod
    def of(cls, device: str, precision: str) -> Runtime:
        """Resolve the settings of a config.

        Raises
        ------
        InputError
            If the device asked for is not there.
        """
        chosen = choose_device(device)
        return cls(chosen, choose_precision(precision, chosen))


@contextmanager
def threads_restored() -> Iterator[None]:
    """Undo what `choose_threads` chose, so that whoever chooses next has all to choose from."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA, MPS and the CPU's allocator each say it in their own way."""
    text = str(error).lower()
    words = ("out of memory", "not enough memory", "can't allocate", "status_alloc_failed")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in text for word in words)
    )
