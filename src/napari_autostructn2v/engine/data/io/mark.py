"""How files written here say so: they are no images to be denoised when a folder is searched."""

from __future__ import annotations

import json
from pathlib import Path

SOFTWARE = "napari-autostructn2v"

_HEAD = 65536  # bytes of a PNG within which its text comes


def is_ours(path: Path) -> bool:
    """Whether a file is a result, a mask or a page that was written here."""
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
    except Exception:  # noqa: BLE001 - what cannot be read is told when it is opened
        return False
    return False
