"""The only file that adds results: beside the source, filling up while they are computed.

The engine opens targets in its thread; layers are made, refreshed and removed on the GUI thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.plugin.layers.layer_target import LayerTarget

if TYPE_CHECKING:
    from napari_autostructn2v.plugin.layers.reading import LayerSnapshot

_REFRESH_MS = 100
KIND = "napari-autostructn2v"  # the key in a layer's metadata that tells what it is
FILE = f"{KIND} file"  # and the one that tells where a large result is kept


class LayerSink(QObject):
    """The engine's `Sink` for image layers.

    `open` and `cut_short` are called in the worker thread; everything else belongs to the GUI
    thread. A layer that the user deletes is not missed: its array lives on until the run ends.

    Parameters
    ----------
    images
        What the results are of, in the order of the run.
    wanted
        The stages whose results are wanted besides the final ones.
    in_memory
        Largest result in bytes that is not kept in a file; default: a quarter of the free memory.

    Attributes
    ----------
    used
        Whether the engine has opened a target.
    unwanted
        Whether nothing is to be left of the run.
    """

    opened = Signal(object)
    moved = Signal(object)
    discarded = Signal(object)
    shown = Signal(object, object)
    """The layer of a result, and the image it is of."""

    def __init__(
        self,
        viewer: Any,
        images: Sequence[LayerSnapshot],
        wanted: Collection[StageName] = tuple(STAGE_TITLES),
        in_memory: int | None = None,
    ) -> None:
        super().__init__()
        self.used = self.unwanted = self._ended = False
        self._viewer = viewer
        self._images = images
        self._wanted = wanted
        self._in_memory = in_memory
        self._short: set[StageName] = set()
        self._targets: list[LayerTarget] = []
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self._refresh)
        queued = Qt.ConnectionType.QueuedConnection
        self.opened.connect(self._add_result, queued)
        self.moved.connect(self._show_anew, queued)
        self.discarded.connect(self._remove_result, queued)

    def open(
        self, image: int, source: Source, stage: StageName, dtype: npt.DTypeLike, final: bool
    ) -> LayerTarget | None:
        if not final and stage not in self._wanted:
            return None
        self.used = True
        of = self._images[image]
        target = LayerTarget(source, of, stage, np.dtype(dtype), self, self._in_memory, final)
        self.opened.emit(target)
        return target

    @property
    def layers(self) -> list[Any]:
        """The layers of the results so far."""
        return [target.layer for target in self._targets]

    def cut_short(self, stage: StageName) -> None:
        """Have results of a stage, whose training was stopped, say so in their names."""
        self._short.add(stage)

    def close(self) -> list[LayerTarget]:
        """Show the results a last time, of each image only the final one, or else the last.

        What the engine has left open is taken away. Gives the results that are there.
        """
        self._timer.stop()
        selection = self._viewer.layers.selection
        for target in [target for target in self._targets if target.state == "open"]:
            self._remove_result(target)
        shown = [target for target in self._targets if target.layer in self._viewer.layers]
        for target in shown:
            if target.state == "partial":
                target.layer.name += " (partial)"
            of_image = [other for other in shown if other.image is target.image]
            best = next((other for other in of_image if other.final), of_image[-1])
            self._show_anew(target)
            target.layer.refresh()
            target.layer.visible = target is best
            if selection.active is target.layer:  # what is shown is what is compared
                selection.active = best.layer
        self._targets.clear()
        return shown

    def remove_all(self, *, keep_files: bool = False) -> None:
        """Take every result of this run away, and show none that comes later."""
        self._ended, self.unwanted = True, not keep_files
        self._timer.stop()
        for target in list(self._targets):
            self._remove_result(target)
            if self.unwanted:
                target.erase()

    def _add_result(self, target: LayerTarget) -> None:
        if self._ended:
            return
        self._targets.append(target)
        image = target.image
        stopped = " (stopped)" if target.stage in self._short else ""
        wide = len(target.levels) > 1
        target.layer = self._viewer.add_image(
            target.levels if wide else target.array,
            name=f"{image.name} {STAGE_TITLES[target.stage]}{stopped}",
            rgb=False,
            multiscale=wide,
            metadata={KIND: target.stage},
            **image.placement,
            **image.look,
        )
        self.shown.emit(target.layer, image)
        self._timer.start()

    def _show_anew(self, target: LayerTarget) -> None:
        """Have the layer read the file under the name it has now."""
        if target.path is not None and target.layer in self._viewer.layers:
            data = target.levels if target.layer.multiscale else target.array
            if target.layer.metadata.get(FILE) != str(target.path):
                target.layer.metadata[FILE] = str(target.path)
                target.layer.data = data

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
