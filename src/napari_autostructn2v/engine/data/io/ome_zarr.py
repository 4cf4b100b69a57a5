"""Writes OME-Zarr 0.5 region by region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.data.io.axes import without_samples
from napari_autostructn2v.engine.data.io.mark import SOFTWARE
from napari_autostructn2v.engine.data.io.metadata import Metadata
from napari_autostructn2v.engine.data.io.units import FACTORS, NGFF, converted

AXES = "TCZYX"  # the order that OME-NGFF requires
_KINDS = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
CHUNK = 512


class ZarrStorage:
    """An OME-Zarr 0.5 image (Zarr 3) being written; one resolution level, no pyramid.

    `array` has its axes in the order TCZYX; S becomes the first free one of T, C and Z.
    """

    def __init__(
        self, path: Path, axes: str, shape: tuple[int, ...], dtype: np.dtype[Any],
        metadata: Metadata, name: str,
    ) -> None:  # fmt: skip
        import zarr

        known = without_samples(axes, AXES)
        self.order = tuple(sorted(range(len(known)), key=lambda k: AXES.index(known[k])))
        stored = [known[k] for k in self.order]
        lengths = tuple(shape[k] for k in self.order)
        channels = lengths[stored.index("C")] if "C" in stored else 1
        limited = metadata.limited_to(known, channels)
        self._names = limited.channel_names
        self._colors = limited.channel_colors
        attributes = {"ome": _ome(stored, metadata, name), "software": SOFTWARE}
        self._group = zarr.create_group(path, attributes=attributes)
        self.array: Any = self._group.create_array(
            "0",
            shape=lengths,
            dtype=dtype,
            chunks=tuple(
                min(CHUNK, length) if axis in "YX" else 1
                for axis, length in zip(stored, lengths, strict=True)
            ),
            dimension_names=[axis.lower() for axis in stored],
        )

    def write(self, index: tuple[int | slice, ...], values: npt.NDArray[Any]) -> None:
        self.array[index] = values

    def finish(self, low: float, high: float) -> None:
        if count := max(len(self._names), len(self._colors)):
            window = {"min": low, "max": high, "start": low, "end": high}
            ome = dict(self._group.attrs["ome"])
            ome["omero"] = {
                "channels": [
                    {"label": name, "color": color, "window": window}
                    for name, color in zip(
                        self._names or ("",) * count,
                        self._colors or ("FFFFFF",) * count,
                        strict=True,
                    )
                ]
            }
            self._group.attrs["ome"] = ome
        self.array = None

    def reopen(self, path: Path) -> None:
        import zarr

        self.array = zarr.open_array(path / "0", mode="r")


def _ome(stored: list[str], metadata: Metadata, name: str) -> dict[str, Any]:
    from ome_zarr_models.v05.axes import Axis
    from ome_zarr_models.v05.image import ImageAttrs
    from ome_zarr_models.v05.multiscales import Dataset, Multiscale

    units = {axis: _unit(metadata.units.get(axis)) for axis in stored}
    axes = [Axis(name=axis.lower(), type=_KINDS[axis], unit=units[axis]) for axis in stored]
    scale = [metadata.size_in(axis, units[axis]) or 1.0 for axis in stored]
    shift = [
        converted(metadata.origin.get(axis, 0.0), metadata.units.get(axis), units[axis]) or 0.0
        for axis in stored
    ]
    level = Dataset.build(path="0", scale=scale, translation=shift if any(shift) else None)
    image = Multiscale(name=name, axes=axes, datasets=(level,))
    described: dict[str, Any] = ImageAttrs(multiscales=[image], version="0.5").model_dump(
        mode="json", exclude_none=True
    )
    return described


def _unit(own: str | None) -> str | None:
    """Return a unit that OME-NGFF allows; other than length and time, keep `own` as it is."""
    if own in NGFF or own not in FACTORS:
        return own
    return "meter" if FACTORS[own][0] == "length" else "second"
