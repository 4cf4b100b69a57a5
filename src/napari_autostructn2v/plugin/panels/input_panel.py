"""The choice of images, the region to train on, and the training budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari.layers import Image, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QWidget
from superqt.utils import signals_blocked

from napari_autostructn2v.engine.config import LEAST_REGION, Budget, Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot, describe, snapshot
from napari_autostructn2v.plugin.layers.region import Region, parts
from napari_autostructn2v.plugin.layers.writing import KIND
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel, sentence
from napari_autostructn2v.plugin.widgets.wheel import tame

_BUDGETS = ("20 s", "1 min", "2 min", "10 min", "until it stops improving")
_NOT_IMAGES = ("autocorrelation", "curtain", "preview", "residual")
_OPEN = "Open an image: File > Open, or File > Open Sample."
_CHOOSE = "All images are results: choose one of them, or open another image."


class InputPanel(QWidget):
    """Lists the image layers of a viewer. For the GUI thread.

    `changed` is emitted if the chosen images, their pixels or any other option changes. The newest
    image is chosen until the user chooses one.
    """

    changed = Signal()
    view_changed = Signal()
    """The view or a shape has changed, and so may the pixels in a region."""
    budget_changed = Signal(object)
    """The new `Budget`, after each valid edit by the user."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self._layers: list[Image] = []
        self._shapes: list[Shapes] = []
        self._together: list[Image] = []
        self._picked = False
        self._axes: str | None = None
        self._build()
        events = viewer.layers.events
        for signal in (events.inserted, events.removed, events.reordered):
            signal.connect(self._sync_layers)
        viewer.layers.selection.events.changed.connect(self._on_selection)
        camera = getattr(viewer, "scene", viewer).camera  # `viewer.camera` before napari 0.9
        for model in (camera, viewer.dims):
            model.events.connect(self._on_view)
        self._sync_layers()

    @property
    def layer(self) -> Image | None:
        """The chosen image layer."""
        index = self.image.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @property
    def region(self) -> Region:
        """The region to train on and to preview."""
        index = self.region_box.currentIndex()
        return ("whole", "view", *self._shapes)[max(index, 0)]

    @property
    def error(self) -> str:
        """Why the chosen images can't be used; empty if they can."""
        return self._error

    def images(self) -> list[LayerSnapshot]:
        """Return snapshots of the chosen layers; the list can be empty.

        Raises
        ------
        InputError
            If a layer is not a greyscale image.
        """
        chosen = [] if self.layer is None else [self.layer]
        return [snapshot(layer, self._axes) for layer in [*chosen, *self._others()]]

    def parts(self, images: Sequence[LayerSnapshot]) -> list[LayerSnapshot]:
        """Crop images to the region to train on.

        Raises
        ------
        InputError
            If the region is empty or too small.
        """
        return parts(
            self._viewer, images, self.region, plane_only=self._plane_only, least=LEAST_REGION
        )

    def glimpses(self, images: Sequence[LayerSnapshot]) -> list[LayerSnapshot]:
        """Crop images to the region to preview, in the plane in view.

        Raises
        ------
        InputError
            If the region is empty.
        """
        region = "view" if self.region == "whole" else self.region
        return parts(self._viewer, images, region, plane_only=True)

    def take_budget(self) -> Budget | None:
        """Return the budget, or None and show a message if it is invalid."""
        try:
            return Budget.parse(self.budget.currentText())
        except ValueError as error:
            self.budget_note.say(sentence(error))
            return None

    def set_budget(self, budget: Budget) -> None:
        known = [Budget.parse(text) for text in _BUDGETS]
        with signals_blocked(self.budget):
            text = _BUDGETS[known.index(budget)] if budget in known else str(budget)
            self.budget.setCurrentText(text)
        self.budget_note.say("")

    def set_axes(self, axes: str | None) -> None:
        """Override the axes of the layer."""
        if axes != self._axes:
            self._axes = axes
            self.update_notes()
            self.changed.emit()

    @property
    def _plane_only(self) -> bool:
        return self.planes.currentIndex() == 1 and not self.planes.isHidden()

    def _build(self) -> None:
        self.image = _combo("The image layer to denoise")
        self.image_note = MessageLabel("image_note")
        self.several = QCheckBox("and all selected layers")
        self.several.setToolTip(
            "Train one model on all images now selected in the layer list, and denoise all of "
            "them; their sizes can differ"
        )
        self.region_box = _combo(
            "The region to train on, analyse and preview: the whole layer, the current view, or "
            "the shapes of a Shapes layer. The whole layer is denoised in any case"
        )
        self.planes = _combo("Train on all time points and slices, or only on the current one")
        self.planes.addItems(["all planes", "this plane only"])
        self.region_note = MessageLabel("region_note")
        self.budget = _combo("")
        self.budget.setEditable(True)
        self.budget.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.budget.addItems(_BUDGETS)
        self.budget.setToolTip(
            f"{Config.model_fields['budget'].description}. Choose one, or enter a time (90 s, "
            "5 min), a number of steps (200 steps) or of epochs (20 epochs)"
        )
        self.budget_note = MessageLabel("budget_note")
        self.set_budget(Config().budget)
        form = QGridLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        form.setColumnStretch(1, 1)
        form.addWidget(_buddy("&Image", self.image), 0, 0)
        form.addWidget(self.image, 0, 1)
        form.addWidget(self.image_note, 1, 1)
        form.addWidget(self.several, 2, 1)
        form.addWidget(_buddy("Train &on", self.region_box), 3, 0)
        form.addWidget(self.region_box, 3, 1)
        form.addWidget(self.planes, 4, 1)
        form.addWidget(self.region_note, 5, 1)
        form.addWidget(_buddy("&Budget", self.budget), 6, 0)
        form.addWidget(self.budget, 6, 1)
        form.addWidget(self.budget_note, 7, 1)

        self.image.currentIndexChanged.connect(self._on_image)
        self.image.activated.connect(self._pick)
        self.several.toggled.connect(self._on_several)
        self.region_box.currentIndexChanged.connect(self._on_region)
        self.planes.currentIndexChanged.connect(self._on_region)
        self.budget.editTextChanged.connect(self._on_budget)

    def _pick(self) -> None:
        self._picked = True

    def _others(self) -> list[Image]:
        """Return the images other than the chosen one."""
        return [x for x in self._layers if x in self._together and x is not self.layer]

    def _sync_layers(self, event: Any = None) -> None:
        """Update the list of layers, keeping the choice if that layer still exists."""
        chosen, region = self.layer, self.region
        layers = [layer for layer in self._viewer.layers if _can_be_chosen(layer)]
        shapes = [layer for layer in self._viewer.layers if isinstance(layer, Shapes)]
        self._follow([*layers, *shapes], [*self._layers, *self._shapes])
        self._layers, self._shapes = layers, shapes
        if chosen not in layers or not (self._picked or not self.isEnabled()):
            self._picked = False
            chosen = _newest(layers)
        with signals_blocked(self.image), signals_blocked(self.region_box):
            self.image.clear()
            self.image.addItems([layer.name for layer in layers])
            self.image.setCurrentIndex(layers.index(chosen) if chosen is not None else -1)
            self.region_box.clear()
            self.region_box.addItems(["whole layer", "current view"])
            self.region_box.addItems([f"Shapes: {layer.name}" for layer in shapes])
            regions = ["whole", "view", *shapes]
            self.region_box.setCurrentIndex(regions.index(region) if region in regions else 0)
        self._on_image()

    def _follow(self, now: list[Any], before: list[Any]) -> None:
        for layer in now:
            if layer not in before:
                for signal in _signals(layer):
                    signal.connect(self._sync_layers)
                if isinstance(layer, Shapes):
                    layer.events.data.connect(self._on_view)
        for layer in before:
            if layer not in now:
                for signal in _signals(layer):
                    signal.disconnect(self._sync_layers)
                if isinstance(layer, Shapes):
                    layer.events.data.disconnect(self._on_view)

    def _on_view(self, event: Any = None) -> None:
        self.view_changed.emit()

    def _on_several(self, on: bool) -> None:
        """Use the layers selected now, as layers added later are selected automatically."""
        self._together = self._selected() if on else []
        self._on_image()

    def _on_selection(self, event: Any = None) -> None:
        """Use a later selection of several layers too; napari itself may select a single one."""
        wanted = self.several.isChecked() and not self._others() and self.isEnabled()
        if wanted and len(self._selected()) > 1:
            self._on_several(True)

    def _selected(self) -> list[Image]:
        """Use the selected images, without results."""
        return [layer for layer in _opened(self._layers) if layer in self._viewer.layers.selection]

    def _on_image(self) -> None:
        self.update_notes()
        self.changed.emit()

    def _on_budget(self, text: str) -> None:
        self.budget_note.say("")
        try:
            self.budget_changed.emit(Budget.parse(text))
        except ValueError:  # still being written
            return

    def _on_region(self) -> None:
        self.changed.emit()

    def update_notes(self) -> None:
        """Describe the chosen images, or why they can't be used."""
        more = set(_opened(self._layers)) - {self.layer}
        self.several.setVisible(bool(more))
        self._error = ""
        images: list[LayerSnapshot] = []
        try:
            images = self.images()
        except InputError as error:
            self._error = sentence(error)
        nothing = _CHOOSE if self._layers else _OPEN
        lines = [describe(images[0])] if images else [self._error or nothing]
        lines += [f"and {image.name}   {describe(image)}" for image in images[1:]]
        if self.several.isChecked() and len(images) == 1 and more:
            lines.append("Select more in the layer list.")
        self.image_note.say("\n".join(lines))
        self.planes.setVisible(any(set(image.axes) & set("TZS") for image in images))
        self.image.setEnabled(bool(self._layers))


def _can_be_chosen(layer: Any) -> bool:
    return isinstance(layer, Image) and layer.metadata.get(KIND) not in _NOT_IMAGES


def _signals(layer: Any) -> list[Any]:
    names = ("name",) if isinstance(layer, Shapes) else ("name", "data", "axis_labels")
    return [getattr(layer.events, name) for name in names]


def _opened(layers: list[Image]) -> list[Image]:
    """Return the layers that are not results."""
    return [layer for layer in layers if KIND not in layer.metadata]


def _newest(layers: list[Image]) -> Image | None:
    """Return the image opened last, a visible one if possible; results don't count."""
    opened = _opened(layers)
    seen = [layer for layer in opened if layer.visible]
    return next((found[-1] for found in (seen, opened) if found), None)


def _combo(tip: str) -> QComboBox:
    box = QComboBox()
    box.setToolTip(tip)
    # Keep long layer names from widening the panel.
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    tame(box)
    return box


def _buddy(text: str, field: QWidget) -> QLabel:
    label = QLabel(text)
    label.setBuddy(field)
    return label
