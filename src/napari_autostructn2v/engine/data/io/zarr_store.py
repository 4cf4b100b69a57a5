"""A Zarr store for reading that survives damaged Blosc chunks."""

from __future__ import annotations

import json
from pathlib import Path

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

_HEADER = 16  # bytes of a Blosc frame; the last four hold the length of the frame


class CheckedStore(LocalStore):  # type: ignore[misc]
    """Checks Blosc frames for truncation: numcodecs would read past the end of a short one.

    Frames inside the shards of Zarr 3 are not checked.
    """

    def __init__(self, root: Path | str, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)
        self._frames: dict[Path, bool] = {}  # by folder: whether its chunks are Blosc frames

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        found = await super().get(key, prototype, byte_range)
        path = self.root / key
        if found is not None and byte_range is None and self._has_frames(path.parent):
            length = int.from_bytes(found[12:_HEADER].to_bytes(), "little")
            if len(found) < max(length, _HEADER) and path.name not in _DESCRIPTIONS:
                raise ValueError(f"{path.name} has {len(found)} of {length} bytes")
        return found

    def _has_frames(self, folder: Path) -> bool:
        if folder not in self._frames:
            description = next((f for name in _ARRAYS if (f := folder / name).is_file()), None)
            if description is not None:
                self._frames[folder] = _is_blosc(description)
            else:
                self._frames[folder] = folder != self.root and self._has_frames(folder.parent)
        return self._frames[folder]


_ARRAYS = (".zarray", "zarr.json")
_DESCRIPTIONS = (*_ARRAYS, ".zattrs", ".zgroup", ".zmetadata")


def _is_blosc(description: Path) -> bool:
    """Whether the stored chunks of an array are Blosc frames."""
    about = json.loads(description.read_text(encoding="utf-8"))
    outermost = about.get("compressor") or (about.get("codecs") or [{}])[-1]
    name = outermost.get("id") or outermost.get("name")
    return str(name).removeprefix("numcodecs.") == "blosc"
