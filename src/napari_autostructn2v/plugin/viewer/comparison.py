"""Keeps track of which result belongs to which image, and compares the selected pair."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.ondemand import Window
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.viewer.compare import Peek, add_residual, link_contrast
from napari_autostructn2v.plugin.viewer.curtain import Curtain


@dataclass(frozen=True, eq=False)
class Pair:
    """A result and its noisy image, both in the viewer, with the `report` on it, if any."""

    result: Image
    image: LayerSnapshot
    source: Image
    report: Mapping[str, Any] | None = None


class Comparison(QObject):
    """Compares the selected result, or else the newest. For the GUI thread.

    `changed` is emitted if `pair` or `curtain` changes. `close` must be called at the end, to
    release a key of the viewer.
    """

    changed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._pairs: list[Pair] = []
        self._peek: Peek | None = None
        self._peeked: Image | None = None
        self._awake = True
        self.curtain: Curtain | None = None
        self._ties = [
            (viewer.layers.events.removed, self._on_removed),
            (viewer.layers.selection.events.active, self._on_active),
        ]
        for emitter, callback in self._ties:
            emitter.connect(callback)

    @property
    def pair(self) -> Pair | None:
        active = self._viewer.layers.selection.active
        chosen = [pair for pair in self._pairs if pair.result is active] or self._pairs
        return chosen[-1] if chosen else None

    def add(self, result: Image, image: LayerSnapshot) -> None:
        """Register a new result, and link its contrast limits with those of its image."""
        source = image.layer()
        if source is None or source not in self._viewer.layers:
            return
        result.contrast_limits = source.contrast_limits
        link_contrast([source, result])
        self._pairs.append(Pair(result, image, source))
        self._update()

    def judge(self, results: Collection[Image], report: Mapping[str, Any]) -> None:
        """Record the report of a run for its results."""
        self._pairs = [
            replace(pair, report=report) if pair.result in results else pair for pair in self._pairs
        ]
        self.changed.emit()

    def hold(self, noisy: bool) -> None:
        """Show the noisy image instead of the result, or the result again."""
        if self._peek is not None:
            self._peek.show(noisy)

    def show_curtain(self, on: bool) -> None:
        """Show or remove the curtain.

        Raises
        ------
        InputError
            If there is nothing to compare, or if the current view can't show a curtain.
        """
        if self.curtain is not None:
            self.curtain.close()
        if on:
            pair = self._wanted()
            region = pair.image if isinstance(pair.image.data, Window) else None
            self.curtain = Curtain(self._viewer, pair.source, pair.result, region=region)
            self.curtain.closed.connect(self._on_curtain_closed)
            self.changed.emit()

    def add_residual(self) -> None:
        """Add a layer with the residual.

        Raises
        ------
        InputError
            If there is nothing to compare.
        """
        pair = self._wanted()
        add_residual(self._viewer, pair.image, pair.result)

    def rest(self) -> None:
        """Release key and curtain while the panel is closed; `wake` binds the key again."""
        self._awake = False
        if self.curtain is not None:
            self.curtain.close()
        self._update()

    def wake(self) -> None:
        self._awake = True
        self._update()

    def close(self) -> None:
        """Remove key, callbacks and curtain, without emitting signals."""
        self.blockSignals(True)
        for emitter, callback in self._ties:
            emitter.disconnect(callback)
        self._ties.clear()
        self._pairs.clear()
        self.rest()

    def _wanted(self) -> Pair:
        if self.pair is None:
            raise InputError("there is no result to compare; denoise an image first")
        return self.pair

    def _on_removed(self, event: Any) -> None:
        left = [pair for pair in self._pairs if event.value not in (pair.result, pair.source)]
        if len(left) < len(self._pairs):
            self._pairs = left
            self._update()

    def _on_active(self) -> None:
        if self._pairs:
            self._update()

    def _update(self) -> None:
        """Bind the key to show the noisy image of the current pair."""
        pair = self.pair
        source = pair.source if pair and self._awake else None
        if source is not self._peeked:
            if self._peek is not None:
                self._peek.close()
            self._peek = Peek(self._viewer, source) if source is not None else None
            self._peeked = source
        self.changed.emit()

    def _on_curtain_closed(self) -> None:
        self.curtain = None
        self.changed.emit()
