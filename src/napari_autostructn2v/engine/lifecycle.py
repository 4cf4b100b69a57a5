"""Ends every run cleanly: an error becomes its last event, and device memory is freed."""

from __future__ import annotations

import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.devices import is_out_of_memory
from napari_autostructn2v.engine.errors import InputError, first_line
from napari_autostructn2v.engine.events import Event
from napari_autostructn2v.engine.model.model import TrainedModel


@dataclass
class State:
    """What was trained before a run failed."""

    model: TrainedModel | None = None


def guarded(
    events_of_run: Generator[Event, None, events.Finished], state: State
) -> Iterator[Event]:
    """Turn an error into the last event, and free the device's memory."""
    last: Event
    try:
        last = yield from events_of_run
    except Exception as error:  # noqa: BLE001 - callers get every error as an event
        _let_go(error)
        last = events.Failed(error, _message(error), state.model)
    finally:
        _empty_caches()
    yield last


def _let_go(error: BaseException | None) -> None:
    """Clear the local variables that a traceback keeps: they may fill the device's memory."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _empty_caches() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _message(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    if is_out_of_memory(error):
        return "out of memory; a smaller batch_size, patch_size or number of features needs less"
    return first_line(error)
