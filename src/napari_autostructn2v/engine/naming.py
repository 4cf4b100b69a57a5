"""Numbers file names that repeat, so that no result takes the place of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count


def distinct(names: Iterable[str]) -> Iterator[str]:
    """Give every name, with a number before its suffix where it was given before.

    Names that differ in letter case alone are one name, as they are on many disks.

    >>> list(distinct(["a.tif", "A.tif", "a.zarr", "a-2.tif", "a.tif"]))
    ['a.tif', 'A-2.tif', 'a.zarr', 'a-2-2.tif', 'a-3.tif']
    """
    taken: set[str] = set()
    numbers: dict[str, Iterator[int]] = {}
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        free = name
        while free.casefold() in taken:
            number = next(numbers.setdefault(name.casefold(), count(2)))
            free = f"{stem}-{number}{dot}{suffix}"
        taken.add(free.casefold())
        yield free
