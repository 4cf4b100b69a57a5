"""Events, and what they carry, can be compared and used as keys: each is itself."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pkgutil

import numpy as np
import pytest

from napari_autostructn2v import engine
from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.denoising import consume
from napari_autostructn2v.engine.model.model import ChannelModel

ROW = np.ones((1, 3))
WITH_ARRAYS = [
    events.NoiseMeasured(0, 0, ROW, 1.0, "along x", 0.5, ""),
    events.Preview("stage1", 3, ROW, events.Place(0, 0, ((0, 1), (0, 3)))),
    events.MaskFound(ROW, ROW, "along x", 0.5),
    events.Checked("stage2", "fits", "", True, ROW),
    ChannelModel(mask=ROW),
]


@pytest.mark.parametrize("thing", WITH_ARRAYS, ids=lambda thing: type(thing).__name__)
def test_what_holds_arrays_is_compared_as_a_thing(thing):
    assert thing == thing
    assert thing != copy.copy(thing)
    assert len({thing, copy.copy(thing)}) == 2


def test_nothing_that_holds_an_array_compares_it():
    found = []
    for module in pkgutil.walk_packages(engine.__path__, engine.__name__ + "."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and dataclasses.is_dataclass(thing):
                types = " ".join(str(field.type) for field in dataclasses.fields(thing))
                holds = any(kind in types for kind in ("Array", "ndarray", "Tensor"))
                if holds and "__eq__" in vars(thing):
                    found.append(thing)
    assert found == []


class Counted(events.Warning):
    alive = 0

    def __init__(self):
        super().__init__("")
        Counted.alive += 1

    def __del__(self):
        Counted.alive -= 1


def test_a_run_that_is_consumed_keeps_no_event():
    def stream():
        for _ in range(5):
            yield Counted()
            assert Counted.alive <= 1
        yield done

    done = events.Finished(None, False)
    assert consume(stream()) is done
    assert Counted.alive == 0
