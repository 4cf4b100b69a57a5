"""Everything the dock adds to the viewer: results, previews, noise layers, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.events import Place, Preview
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.layers.region import Region
from napari_autostructn2v.plugin.layers.writing import LayerSink
from napari_autostructn2v.plugin.mask.mask_model import MaskModel
from napari_autostructn2v.plugin.runs.measured import Measured
from napari_autostructn2v.plugin.viewer.comparison import Comparison
from napari_autostructn2v.plugin.viewer.live import LiveView
from napari_autostructn2v.plugin.viewer.noise_layers import NoiseLayers


class Canvas(QObject):
    """For the GUI thread. Call `finish` at the end of a run and `close` at the end of the dock."""

    def __init__(self, viewer: Any, mask: MaskModel, parent: QObject) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.noise = NoiseLayers(viewer, mask, self)
        self.comparison = Comparison(viewer, self)
        self._sink: LayerSink | None = None
        self._live: LiveView | None = None
        self._adds_noise = False
        viewer.layers.events.removing.connect(self._on_removing)

    @property
    def is_filling(self) -> bool:
        """Whether results are being computed."""
        return self._sink is not None

    def begin(self) -> None:
        """Record the state before a run."""
        self._adds_noise = not self.noise.are_shown

    def sink(self, images: Sequence[LayerSnapshot], wanted: Collection[StageName]) -> LayerSink:
        """Return the sink of the next run; it shows final results and those of stages `wanted`."""
        self._sink = LayerSink(self.viewer, images, wanted)
        self._sink.shown.connect(self.comparison.add)
        return self._sink

    def watch(
        self, image: LayerSnapshot, region: Callable[[], Region]
    ) -> Callable[[], Place | None]:
        """Preview a region during the next run; return the function that the run asks for it."""
        self._live = LiveView(self.viewer, image, region, self)
        return self._live.place

    def set_preview(self, on: bool, split: bool) -> None:
        if self._live is not None:
            self._live.set(on, split)

    def show_preview(self, event: Preview) -> None:
        if self._live is not None:
            self._live.show_event(event)

    def show_noise(self, measured: Measured, image: LayerSnapshot) -> None:
        """Show the noise of each channel of the first image, and the mask."""
        first = [finding for finding in measured.findings if finding.image == 0]
        self.noise.show(image, {finding.channel: finding.noise.rho for finding in first})

    def take_away(self, *, keep_files: bool = False) -> None:
        """Remove everything the current run has added, except files if these are to be kept."""
        if self._sink is not None:
            self._sink.remove_all(keep_files=keep_files)
        if self._live is not None:
            self._live.close()
        if self._adds_noise:
            self.noise.hide()

    def judge(self, report: Mapping[str, Any]) -> bool:
        """Record the report of the current run for its results; return whether there are any."""
        results = [] if self._sink is None else self._sink.layers
        self.comparison.judge(results, report)
        return bool(results)

    def finish(self) -> list[Path]:
        """Refresh the results, show the final one of each image, and return their files."""
        shown = [] if self._sink is None else self._sink.close()
        if self._live is not None:
            self._live.close()
            self._live.deleteLater()
        self._sink = self._live = None
        self._adds_noise = False
        return [target.path for target in shown if target.path is not None]

    def close(self) -> None:
        """Remove keys and callbacks from the viewer, and layers of a run that hasn't ended."""
        self.take_away(keep_files=True)
        self.comparison.close()
        self.noise.leave()
        self.viewer.layers.events.removing.disconnect(self._on_removing)

    def _on_removing(self, event: Any = None) -> None:
        """Make the canvas's OpenGL context current, where napari deletes a layer's GPU objects.

        napari (0.9.2 with vispy 0.17) deletes them in the current context, which is Qt's unless
        the canvas has just been drawn. After two removals without drawing in between, the next
        drawing crashes the process.
        """
        with suppress(AttributeError, RuntimeError):  # no window, or no longer
            self.viewer.window._qt_viewer.canvas.native.makeCurrent()
