"""The choice of the rule that derives a mask from the measured noise, and its parameters."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic import ValidationError
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QGridLayout,
    QLabel,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_autostructn2v.engine.config import Structure
from napari_autostructn2v.plugin.settings_form.editors import Editor, make_editor
from napari_autostructn2v.plugin.settings_form.fields import Field, fields, nest
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel
from napari_autostructn2v.plugin.widgets.wheel import tame

_ABOVE = ("structure",)
# What is tried first; the rest of the ring rule is behind the button.
_FIRST = {
    "leak": ("leak_threshold", "score_tolerance", "max_lag"),
    "ring": ("center_size", "max_true_pixels"),
}
_SLIDERS = (*_FIRST["leak"], "center_size")
_NUMBER = 72  # pixels
_STEPS = 150
_SKEW = 3  # of a slider over a wide range: finer towards its low end


class MaskRule(QWidget):
    """Controls for the fields of `Structure` about the rule; `edited` is emitted for user edits.

    `options` are the last valid combination of values.
    """

    edited = Signal()

    def __init__(self, options: Structure | None = None) -> None:
        super().__init__()
        self._options = options or Structure()
        self._editors: dict[tuple[str, ...], Editor] = {}
        self._sliders: dict[tuple[str, ...], tuple[QSlider, Field]] = {}
        self._largest = 0
        known = {field.path[1:]: field for field in fields(Structure, _ABOVE)}
        self._chooser = self._make_editor(known["extractor",])
        ring = [path for path in known if path[0] == "ring"]
        first = [path for path in ring if path[-1] in _FIRST["ring"]]
        self._pages = {
            "leak": self._page([known[name,] for name in _FIRST["leak"]]),
            "ring": self._page([known[path] for path in first]),
            "more": self._page([known[path] for path in ring if path not in first]),
        }
        self.more = QToolButton()
        self.more.setText("More")
        self.more.setCheckable(True)
        self.more.setToolTip("Show all parameters of the ring rule")
        self.more.setArrowType(Qt.ArrowType.RightArrow)
        self.more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.more.toggled.connect(self._show_pages)
        self.note = MessageLabel("rule_note")

        top = QGridLayout()
        label = QLabel("&Rule")
        label.setBuddy(self._chooser.widget)
        top.addWidget(label, 0, 0)
        top.addWidget(self._chooser.widget, 0, 1)
        top.setColumnStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(self._pages["leak"])
        layout.addWidget(self._pages["ring"])
        layout.addWidget(self.more)
        layout.addWidget(self._pages["more"])
        layout.addWidget(self.note)
        self.set_options(self._options)

    @property
    def options(self) -> Structure:
        return self._options

    def set_options(self, options: Structure) -> None:
        """Show other values, without emitting `edited`."""
        self._options = options
        values = options.model_dump()
        for path, editor in self._editors.items():
            editor.set(values[path[0]][path[1]] if len(path) > 1 else values[path[0]])
            self._follow(path)
        self.note.say("")
        self._show_pages()

    def set_largest(self, lag: int) -> None:
        """Limit the slider of the largest lag to the measured lags."""
        self._largest = lag
        self._follow(("max_lag",))

    def editor(self, *path: str) -> Editor:
        """Return the control of a field of `Structure`."""
        return self._editors[path]

    def slider(self, *path: str) -> QSlider:
        return self._sliders[path][0]

    def _page(self, shown: list[Field]) -> QWidget:
        page = QWidget()
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        grid.setColumnMinimumWidth(2, _NUMBER)
        for line, field in enumerate(shown):
            editor = self._make_editor(field)
            if editor.titled:
                grid.addWidget(editor.widget, line, 0, 1, 3)
                continue
            label = QLabel(field.label)
            label.setBuddy(editor.widget)
            label.setToolTip(editor.widget.toolTip())
            if field.path[-1] in _SLIDERS:
                grid.addWidget(label, line, 0)
                grid.addWidget(self._make_slider(field, editor), line, 1)
                grid.addWidget(editor.widget, line, 2)
            elif field.optional:  # the tick before the number needs room
                grid.addWidget(label, line, 0)
                grid.addWidget(editor.widget, line, 1, 1, 2)
            else:
                label.setWordWrap(True)
                grid.addWidget(label, line, 0, 1, 2)
                grid.addWidget(editor.widget, line, 2)
        return page

    def _make_slider(self, field: Field, editor: Editor) -> QSlider:
        slider = QSlider(Qt.Orientation.Horizontal)
        tame(slider)
        slider.setToolTip(editor.widget.toolTip())
        slider.setAccessibleName(field.label)
        slider.valueChanged.connect(partial(self._on_slider, field.path[1:]))
        self._sliders[field.path[1:]] = slider, field
        return slider

    def _make_editor(self, field: Field) -> Editor:
        editor = make_editor(field)
        numbers = editor.widget.findChildren(QAbstractSpinBox)
        for widget in (editor.widget, *numbers):
            widget.setToolTip("\n".join(field.help))
            widget.setAccessibleName(field.label)
        if isinstance(editor.widget, QAbstractSpinBox):  # its buttons take the number's room
            editor.widget.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        editor.on_change(partial(self._on_edit, field.path[1:]))
        self._editors[field.path[1:]] = editor
        return editor

    def _on_edit(self, path: tuple[str, ...]) -> None:
        self._follow(path)
        self._take()

    def _on_slider(self, path: tuple[str, ...], position: int) -> None:
        field = self._sliders[path][1]
        value = self._low(field) + position
        if field.kind is float:
            value = round(float(f"{_high(field) * (position / _STEPS) ** _SKEW:.2g}"), 3)
            value = max(value, self._low(field))
        self._editors[path].set(value)
        self._take()

    def _follow(self, path: tuple[str, ...]) -> None:
        """Move the slider to its value."""
        if path not in self._sliders:
            return
        slider, field = self._sliders[path]
        value = self._editors[path].value()
        with signals_blocked(slider):
            if field.kind is float:
                slider.setRange(0, _STEPS)
                slider.setValue(round(_STEPS * (value / _high(field)) ** (1 / _SKEW)))
            else:
                low = self._low(field)
                slider.setRange(0, round(self._limit(path, field) - low))
                slider.setValue(round(value - low))

    def _limit(self, path: tuple[str, ...], field: Field) -> float:
        return self._largest if path == ("max_lag",) and self._largest else _high(field)

    def _low(self, field: Field) -> Any:
        low = field.bounds.low or 0
        return 0.001 if field.kind is float and field.bounds.low_is_open else low

    def _take(self) -> None:
        """Read all controls; if the values are invalid, show why and keep the last ones."""
        values: dict[Any, Any] = {path: editor.value() for path, editor in self._editors.items()}
        data = self._options.model_dump()
        changed = nest(values)
        data |= changed | {"ring": data["ring"] | changed["ring"]}
        try:
            options = Structure.model_validate(data)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            self.note.say(f"{message[:1].upper()}{message[1:]}.")
            return
        self.note.say("")
        self._show_pages()
        if options != self._options:
            self._options = options
            self.edited.emit()

    def _show_pages(self, *_: object) -> None:
        rule = self._chooser.value()
        self._pages["leak"].setVisible(rule == "leak")
        for widget in (self._pages["ring"], self.more):
            widget.setVisible(rule == "ring")
        shown = self.more.isChecked()
        self._pages["more"].setVisible(rule == "ring" and shown)
        self.more.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)


def _high(field: Field) -> float:
    if field.bounds.high is None:
        raise ValueError(f"{field.key} has no upper bound for a slider")
    return field.bounds.high
