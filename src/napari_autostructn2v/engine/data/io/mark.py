"""Recognises files written by this package, so that a folder search skips them."""

from __future__ import annotations

import json
from pathlib import Path

SOFTWARE = "napari-autostructn2v"

_HEAD = 65536  # bytes; a PNG's text chunk comes within these


def is_ours(path: Path) -> bool:
    """Whether a file is a result, a mask or a page written by this package."""
    try:
        if path.is_dir():
            about = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
            return bool(about["attributes"].get("software") == SOFTWARE)
        if path.suffix.lower() == ".png":
            with path.open("rb") as file:
                return b"tEXtSoftware\x00" + SOFTWARE.encode() in file.read(_HEAD)
        if path.suffix.lower() in (".tif", ".tiff"):
            import tifffile

            with tifffile.TiffFile(path) as tif:
                return bool(tif.pages.first.tags.valueof("Software") == SOFTWARE)
    except Exception:  # noqa: BLE001 - opening the file reports what is wrong with it
        return False
    return False
