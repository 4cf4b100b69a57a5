"""File names for results: valid on any disk, and distinct."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count


def file_stem(name: str) -> str:
    """Turn the name of an image into a valid file name without suffix.

    >>> file_stem("..cells 3/4")
    'cells 3_4'
    """
    return re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).lstrip(".") or "image"


def distinct(names: Iterable[str]) -> Iterator[str]:
    """Yield every name, with a number before the suffix if it has occurred before.

    Names that differ only in case count as the same, as on many disks.

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
