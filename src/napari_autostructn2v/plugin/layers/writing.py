"""Result layers, shown beside the image while they are computed.

The engine opens targets in its thread; layers are added, refreshed and removed in the GUI thread.
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

    `open` and `cut_short` are called in the worker thread, everything else in the GUI thread. If
    the user deletes a layer, its array is kept until the run ends.

    Parameters
    ----------
    images
        The images to denoise, in the order of the run.
    wanted
        The stages whose results are shown besides the final ones.
    in_memory
        Largest result in bytes that is kept in memory; default: a quarter of the free memory.

    Attributes
    ----------
    used
        Whether the engine has opened a target.
    unwanted
        Whether all results of the run are to be removed.
    """

    opened = Signal(object)
    moved = Signal(object)
    discarded = Signal(object)
    shown = Signal(object, object)
    """The layer of a result, and the image it was computed from."""

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
        """The layers of the results that exist so far."""
        return [target.layer for target in self._targets]

    def cut_short(self, stage: StageName) -> None:
        """Mark results of a stage as stopped in their names."""
        self._short.add(stage)

    def close(self) -> list[LayerTarget]:
        """Refresh the results, show only the final or else the last one per image, return them.

        Results that the engine has left open are removed.
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
            if selection.active is target.layer:  # compare the result that is shown
                selection.active = best.layer
        self._targets.clear()
        return shown

    def remove_all(self, *, keep_files: bool = False) -> None:
        """Remove all results of this run, and show no later ones."""
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
        """Let the layer read the file under its final name."""
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
        # Spend at most a fifth of the time on drawing, so that the window stays responsive.
        spent = 1000 * (perf_counter() - began)
        self._timer.setInterval(max(_REFRESH_MS, int(4 * spent)))
