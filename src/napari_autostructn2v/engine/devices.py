"""Devices: choice of device and precision, number of threads, out-of-memory errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from napari_autostructn2v.engine.errors import InputError

Precision = Literal["float32", "bfloat16"]


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the fastest one available.

    Raises
    ------
    InputError
        If the device is not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= available[device.type]:
        raise InputError(f"device {name!r} is not available on this machine; use auto or cpu")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Return the precision; "auto" is bfloat16 if the hardware supports it.

    Support is queried, not timed, so that the same machine always chooses the same.
    """
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
    """The device and precision of a run."""

    device: torch.device
    precision: Precision

    @classmethod
    def of(cls, device: str, precision: str) -> Runtime:
        """Resolve the settings of a config.

        Raises
        ------
        InputError
            If the device is not available.
        """
        chosen = choose_device(device)
        return cls(chosen, choose_precision(precision, chosen))


@contextmanager
def threads_restored() -> Iterator[None]:
    """Restore torch's number of threads on exit, undoing `choose_threads`."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of CUDA, MPS or the CPU's allocator means that memory ran out."""
    text = str(error).lower()
    words = ("out of memory", "not enough memory", "can't allocate", "status_alloc_failed")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in text for word in words)
    )
