"""The only file that adds results: beside the source, filling up while they are computed.

The engine opens targets in its thread; layers are made, refreshed and removed on the GUI thread.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import psutil
from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Phase
from napari_autostructn2v.engine.io.target import Region, place
from napari_autostructn2v.engine.source import Source

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.reading import LayerSnapshot

_TITLE = {"stage1": "Stage 1", "stage2": "Stage 2"}
_REFRESH_MS = 100
_CHUNK = 512
KIND = "napari-autostructn2v"  # the key in a layer's metadata that tells what it is


class LayerTarget:
    """One result image that napari shows while it fills; the engine's `Target`.

    The engine's thread writes; `layer` is the GUI thread's. `state` tells what becomes of it.
    """

    def __init__(
        self, array: Any, source: Source, image: LayerSnapshot, stage: Phase, sink: LayerSink
    ) -> None:
        self.array = array
        self.axes = source.axes
        self.image = image
        self.stage = stage
        self.state: Literal["open", "complete", "partial"] = "open"
        self.dirty = False
        self._begun = False
        self.layer: Any = None
        self._source = source
        self._sink = sink

    def write(self, plane: int, region: Region, block: npt.NDArray[np.float32]) -> None:
        index, values = place(self._source, self.axes, self.array.dtype, plane, region, block)
        try:
            self.array[index] = values
        except OSError as error:
            raise _unwritable(error) from error
        self.dirty = self._begun = True

    def commit(self) -> None:
        self.state = "complete"

    def discard(self) -> None:
        if self.state == "open":
            self._sink.discarded.emit(self)

    def keep_partial(self) -> None:
        if self.state == "open" and self._begun:
            self.state = "partial"


class LayerSink(QObject):
    """The engine's `Sink` for image layers.

    `open` and `cut_short` are called in the worker thread; everything else belongs to the GUI
    thread. A layer that the user deletes is not missed: its array lives on until the run ends.

    Parameters
    ----------
    images
        What the results are of, in the order of the run.
    wanted
        The one stage whose results are wanted; default: those of all.
    in_memory
        Largest result in bytes that is not kept on disk; default: a quarter of the free memory.

    Attributes
    ----------
    used
        Whether the engine has opened a target.
    """

    opened = Signal(object)
    discarded = Signal(object)
    shown = Signal(object, object)
    """The layer of a result, and the image it is of."""

    def __init__(
        self,
        viewer: Any,
        images: Sequence[LayerSnapshot],
        wanted: Phase | None = None,
        in_memory: int | None = None,
    ) -> None:
        super().__init__()
        self.used = False
        self._viewer = viewer
        self._images = images
        self._wanted = wanted
        self._in_memory = in_memory
        self._short: set[Phase] = set()
        self._unwanted = False
        self._targets: list[LayerTarget] = []
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self._refresh)
        queued = Qt.ConnectionType.QueuedConnection
        self.opened.connect(self._add_result, queued)
        self.discarded.connect(self._remove_result, queued)

    def open(
        self, image: int, source: Source, stage: Phase, dtype: npt.DTypeLike, final: bool
    ) -> LayerTarget | None:
        if self._wanted not in (None, stage):
            return None
        self.used = True
        array = _allocate(source, np.dtype(dtype), self._in_memory)
        target = LayerTarget(array, source, self._images[image], stage, self)
        self.opened.emit(target)
        return target

    def cut_short(self, stage: Phase) -> None:
        """Have results of a stage, whose training was stopped, say so in their names."""
        self._short.add(stage)

    def close(self, recommended: Phase | None = None) -> list[LayerTarget]:
        """Show the results a last time, of each image only the recommended one, or else the last.

        What the engine has left open is taken away. Gives the results that are there.
        """
        self._timer.stop()
        for target in [target for target in self._targets if target.state == "open"]:
            self._remove_result(target)
        shown = [target for target in self._targets if target.layer in self._viewer.layers]
        for target in shown:
            if target.state == "partial":
                target.layer.name += " (partial)"
            of_image = [other.stage for other in shown if other.image is target.image]
            best = recommended if recommended in of_image else of_image[-1]
            target.layer.refresh()
            target.layer.visible = target.stage == best
        self._targets.clear()
        return shown

    def remove_all(self) -> None:
        """Take every result of this run away, and show none that comes later."""
        self._unwanted = True
        self._timer.stop()
        for target in list(self._targets):
            self._remove_result(target)

    def _add_result(self, target: LayerTarget) -> None:
        if self._unwanted:
            return
        self._targets.append(target)
        image = target.image
        stopped = " (stopped)" if target.stage in self._short else ""
        target.layer = self._viewer.add_image(
            target.array,
            name=f"{image.name} {_TITLE[target.stage]}{stopped}",
            rgb=False,
            multiscale=False,
            metadata={KIND: target.stage},
            **image.placement,
            **image.look,
        )
        self.shown.emit(target.layer, image)
        self._timer.start()

    def _remove_result(self, target: LayerTarget) -> None:
        if target in self._targets:
            self._targets.remove(target)
        if target.layer in self._viewer.layers:
            self._viewer.layers.remove(target.layer)

    def _refresh(self) -> None:
        began = perf_counter()
        for target in self._targets:
            if target.dirty and target.layer in self._viewer.layers:
                target.dirty = False
                target.layer.refresh(extent=False, thumbnail=False)
        # Where a plane is slow to draw, the window must stay usable: a fifth of its time at most.
        spent = 1000 * (perf_counter() - began)
        self._timer.setInterval(max(_REFRESH_MS, int(4 * spent)))


def _allocate(source: Source, dtype: np.dtype[Any], in_memory: int | None) -> Any:
    """Make an array of zeros: in memory, or on disk if it is larger than `in_memory` bytes.

    The folder goes with the array.
    """
    limit = psutil.virtual_memory().available // 4 if in_memory is None else in_memory
    if math.prod(source.shape) * dtype.itemsize <= limit:
        return np.zeros(source.shape, dtype)
    import zarr

    try:
        folder = tempfile.TemporaryDirectory(prefix="autostructn2v-", ignore_cleanup_errors=True)
        array = zarr.create_array(
            store=str(Path(folder.name, "result.zarr")),
            shape=source.shape,
            chunks=tuple(
                min(length, _CHUNK) if axis in "YX" else 1
                for axis, length in zip(source.axes, source.shape, strict=True)
            ),
            dtype=dtype,
            fill_value=0,
        )
    except OSError as error:
        raise _unwritable(error) from error
    weakref.finalize(array, folder.cleanup)
    return array


def _unwritable(error: OSError) -> InputError:
    return InputError(
        f"the result cannot be written to {tempfile.gettempdir()} ({error.strerror or error}); "
        "make room there, or set TMPDIR to a folder on another disk"
    )
