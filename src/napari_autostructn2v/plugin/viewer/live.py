"""Live preview: the region in view, denoised by the network in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Place, Preview
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.layers.region import Region
from napari_autostructn2v.plugin.viewer.preview import LivePreview, preview_place

_LOOK_MS = 500


class LiveView(QObject):
    """The live preview of a run's first image. For the GUI thread, except `place`.

    Parameters
    ----------
    region
        Returns the region chosen by the user; for a whole layer, the part in view is shown.
    """

    def __init__(
        self, viewer: Any, image: LayerSnapshot, region: Callable[[], Region], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._image = image
        self._region = region
        self._place: Place | None = None
        self._shown: LivePreview | None = None
        self._split = False
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)

    def place(self) -> Place | None:
        """Return the place to show next; thread-safe."""
        return self._place

    def set(self, on: bool, split: bool) -> None:
        self._split = split
        if not on:
            self.close()
        elif not self._timer.isActive():
            self._timer.start()
            self._look()
        if self._shown is not None:
            self._shown.split = split

    def show_event(self, event: Preview) -> None:
        if self._timer.isActive():
            if self._shown is None:
                self._shown = LivePreview(self._viewer, self._image, self._split)
            self._shown.show_event(event)

    def close(self) -> None:
        """Remove the preview."""
        self._timer.stop()
        self._place = None
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    def _look(self) -> None:
        if self._image.layer() not in self._viewer.layers:  # the view may have lost its axes too
            self._place = None
            return
        region = self._region()
        shapes = None if isinstance(region, str) else region
        try:
            self._place = preview_place(self._viewer, self._image, shapes)
        except InputError:  # nothing of it is in view
            self._place = None
