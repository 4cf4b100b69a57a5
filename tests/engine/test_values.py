"""What is passed around can be compared, whatever it holds."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator

import numpy as np
import pytest

import napari_autostructn2v.engine
from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.model import Unit

_ARRAYS = re.compile(r"\b(Array|NDArray|ndarray|Tensor)\b")


def dataclasses_of_the_engine() -> Iterator[type]:
    package = napari_autostructn2v.engine
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if dataclasses.is_dataclass(value) and isinstance(value, type):
                yield value


def test_nothing_that_holds_an_array_is_compared_by_it() -> None:
    by_value = [cls for cls in dataclasses_of_the_engine() if "__eq__" in vars(cls)]
    holding = {
        cls.__name__
        for cls in by_value
        if any(_ARRAYS.search(str(field.type)) for field in dataclasses.fields(cls))
    }
    assert by_value
    assert not holding


@pytest.mark.parametrize(
    "make",
    [
        lambda: events.MaskFound(np.ones((3, 3)), np.ones((3, 3)), "along x", 0.1),
        lambda: events.Checked("stage2", "leaks", "It leaks.", True, np.ones((3, 3))),
        lambda: Unit(mask=np.ones((1, 3), np.uint8)),
    ],
)
def test_two_of_a_kind_are_not_the_same(make) -> None:  # type: ignore[no-untyped-def]
    one = make()
    assert one == one
    assert one != make()
    assert len({one, make()}) == 2
