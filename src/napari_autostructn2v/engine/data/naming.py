"""Names files: any disk takes the name, and no result takes the place of another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count


def file_stem(name: str) -> str:
    """Make a file name, without suffix, of what an image is called.

    >>> file_stem("..cells 3/4")
    'cells 3_4'
    """
    return re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", name).lstrip(".") or "image"


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
