"""The mask editor: grid, buttons, rule and score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_autostructn2v.engine.config import Structure
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.mask_file import read_mask, write_mask
from napari_autostructn2v.engine.mask.score import Score
from napari_autostructn2v.engine.types import Array
from napari_autostructn2v.plugin.mask.mask_grid import MaskGrid
from napari_autostructn2v.plugin.mask.mask_model import MaskModel
from napari_autostructn2v.plugin.mask.mask_rule import MaskRule
from napari_autostructn2v.plugin.widgets.debounced import Debounced
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel, sentence

_FILES = "Images (*.tif *.tiff *.png *.npy);;All files (*)"
_HINT = "Click or drag to hide pixels"


class MaskEditor(QWidget):
    """Edits the mask of `model`; `extract` and `score` are called in a thread.

    `extract` makes a mask from the measured noise; `score` returns the score of a mask, or None if
    no noise was measured. `options_changed` is emitted if the user changes the rule or its
    parameters; the mask is updated once `extract` returns.
    """

    options_changed = Signal()

    def __init__(
        self,
        model: MaskModel,
        extract: Callable[[Structure], Array],
        score: Callable[[Array], Score | None],
        options: Structure | None = None,
    ) -> None:
        super().__init__()
        self._model = model
        self._extract = Debounced(extract, self)
        self._score = Debounced(score, self)
        self._by_rule = object()  # one step of the history for as long as a slider moves
        self.rule = MaskRule(options)
        self._measured_with = self.rule.options
        self._build()
        self._extract.done.connect(self._take_extracted)
        self._extract.failed.connect(self._complain)
        self._score.done.connect(self._show_score)
        self._score.failed.connect(self._complain)
        self.rule.edited.connect(self._on_rule)
        self.grid.described.connect(self._describe)
        model.measured.connect(self._on_measured)
        model.changed.connect(self._on_changed)
        self._on_changed()

    def _build(self) -> None:
        model = self._model
        self.grid = MaskGrid(model)
        self.hover = QLabel(_HINT)
        self.hover.setObjectName("mask_hover")
        self.hover.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.undo = _button("Undo", "Undo the last change of the mask", model.undo)
        self.redo = _button("Redo", "Redo the last undone change", model.redo)
        for button, key in ((self.undo, "Undo"), (self.redo, "Redo")):
            keys = QKeySequence(getattr(QKeySequence.StandardKey, key))
            button.setToolTip(f"{button.toolTip()} ({keys.toString()} in the grid)")
        self.grow = _button("Grow", "Hide one more pixel on every side", model.grow)
        self.shrink = _button("Shrink", "Hide one pixel fewer on every side", model.shrink)
        self.clear = _button("Clear", "Hide only the pixel itself", model.clear)
        self.reset = _button("Reset", "Restore the automatic mask and its settings", self._reset)
        self.load = _button("Load…", "Load the mask from an image file", self._load)
        self.save = _button("Save…", "Save the mask as a TIFF file", self._save)
        self.symmetric = _check(
            "Symmetric",
            "Change the opposite neighbour too, as noise is the same in both directions",
        )
        self.whole_row = _check("Whole row", "Hide the whole row of the pixel")
        self.whole_column = _check("Whole column", "Hide the whole column of the pixel")
        for name in ("symmetric", "whole_row", "whole_column"):
            getattr(self, name).toggled.connect(lambda on, name=name: setattr(model, name, on))
        self.score = MessageLabel("mask_score")
        self.score.setToolTip(
            "Leak: how much of a hidden pixel's noise the visible pixels predict.\n"
            "Error: predicted error of the denoised image, relative to the automatic mask."
        )
        self.note = MessageLabel("mask_note")

        buttons = QVBoxLayout()
        buttons.setSpacing(2)
        for button in (
            self.undo, self.redo, self.grow, self.shrink,
            self.clear, self.reset, self.load, self.save,
        ):  # fmt: skip
            buttons.addWidget(button)
        buttons.addStretch()
        upper = QHBoxLayout()
        upper.addWidget(self.grid, 1, Qt.AlignmentFlag.AlignTop)
        upper.addLayout(buttons)
        checks = QGridLayout()
        checks.addWidget(self.symmetric, 0, 0)
        checks.addWidget(self.whole_row, 1, 0)
        checks.addWidget(self.whole_column, 1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(upper)
        layout.addWidget(self.hover)
        layout.addLayout(checks)
        layout.addWidget(self.score)
        layout.addWidget(self.note)
        layout.addWidget(self.rule)
        layout.addStretch(1)

    @property
    def options(self) -> Structure:
        """The rule and its parameters."""
        return self.rule.options

    def set_options(self, options: Structure) -> None:
        """Set the options that the mask was made with, which `reset` restores."""
        self._measured_with = options
        self.rule.set_options(options)
        self._update_reset()

    def _on_rule(self) -> None:
        self._update_reset()
        self.options_changed.emit()
        if self._model.rho is not None:
            self._extract.request(self.options)

    def _take_extracted(self, mask: Array) -> None:
        self._model.set_mask(mask, self._by_rule)

    def _reset(self) -> None:
        self._extract.cancel()
        changed = self.options != self._measured_with
        self.rule.set_options(self._measured_with)
        self._model.reset()
        self._update_reset()
        if changed:
            self.options_changed.emit()

    def _on_measured(self) -> None:
        """Answers that are still to come are about the noise of before."""
        self._extract.cancel()
        self._score.cancel()
        self._measured_with = self.rule.options
        if self._model.rho is not None:
            self.rule.set_largest(self._model.rho.shape[0] // 2)

    def _on_changed(self) -> None:
        model = self._model
        self.note.say("")  # it was of the mask before
        self.undo.setEnabled(model.can_undo)
        self.redo.setEnabled(model.can_redo)
        self._update_reset()
        for name in ("symmetric", "whole_row", "whole_column"):
            box = getattr(self, name)
            with signals_blocked(box):
                box.setChecked(getattr(model, name))
        self._score.request(model.mask)

    def _update_reset(self) -> None:
        as_measured = self._model.is_automatic and self.options == self._measured_with
        self.reset.setEnabled(not as_measured)

    def _show_score(self, score: Score | None) -> None:
        self.score.say("" if score is None else _in_words(score))

    def _describe(self, text: str) -> None:
        self.hover.setText(text or _HINT)

    def _complain(self, error: Exception) -> None:
        bug = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        self.note.say(sentence(f"{bug}{error}"))

    def _load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a mask", "", _FILES)
        if path:
            self._try(lambda: self._model.set_mask(read_mask(Path(path))))

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the mask", "mask.tif", "TIFF (*.tif)")
        if path:
            file = Path(path) if Path(path).suffix else Path(f"{path}.tif")
            self._try(lambda: write_mask(file, self._model.mask), f"Saved as {file}.")

    def _try(self, action: Callable[[], None], done: str = "") -> None:
        try:
            action()
        except InputError as error:
            self._complain(error)
        else:
            self.note.say(done)


def _in_words(score: Score) -> str:
    """Describe a score in one or two lines."""
    pixels = "1 pixel" if score.pixels == 1 else f"{score.pixels} pixels"
    facts = (
        f"{pixels} hidden · leak {score.leak:.1%} (at most {score.leak_bound:.1%}) · "
        f"error {score.error_db:+.1f} dB"
    )
    return f"{facts}. {score.advice}".rstrip()


def _button(text: str, tip: str, action: Callable[[], None]) -> QPushButton:
    button = QPushButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
    button.clicked.connect(lambda: action())
    return button


def _check(text: str, tip: str) -> QCheckBox:
    box = QCheckBox(text)
    box.setToolTip(tip)
    return box
