"""Controls for the fields of the config: numbers, choices, files, lines of text."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from magicgui.widgets import create_widget
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_autostructn2v.plugin.settings_form.fields import Bounds, Field, plain
from napari_autostructn2v.plugin.widgets.wheel import NARROW, tame

_INT_MAX = 2**31 - 1  # of Qt's spin box
_DIGITS = 30  # decimals that Qt keeps: none is lost
_OPEN = 1e-12  # how near to an open end Qt's range goes
_LADDER = [float(f"{mantissa}e{power}") for power in range(-6, 7) for mantissa in (1, 2, 5)]
_UNFINISHED = re.compile(r"[-+]?\d*\.?\d*(e[-+]?\d*)?")


@dataclass(frozen=True)
class Editor:
    """A control and how to use it; `on_change` is called for the user's edits, not by `set`.

    `widget` is placed in the form; if `titled`, it shows the field's label itself.
    """

    widget: QWidget
    value: Callable[[], Any]
    set: Callable[[Any], None]
    on_change: Callable[[Callable[[], None]], None]
    titled: bool = False


def make_editor(field: Field) -> Editor:
    """Make the control that fits the type of a field."""
    kind = field.kind
    if kind is bool or get_origin(kind) is Literal:
        return _simple(field)
    if kind is Path:
        return _path(folder=(field.info.description or "").startswith("Folder"))
    if kind is float or (kind is int and (field.bounds.high or 0) <= _INT_MAX):
        editor = _number(kind, field.bounds, field.unit, field.default)
        return _optional(editor, field) if field.optional else editor
    return _text(field.optional, _parser(kind))


def _simple(field: Field) -> Editor:
    """Let magicgui make a check box or a choice from the type."""
    is_tick = field.kind is bool
    options: dict[str, Any] = {"text": field.label}
    if not is_tick:
        options = {"choices": [(str(v).replace("_", " "), v) for v in get_args(field.kind)]}
    control = create_widget(annotation=field.kind, options=options)
    box = control.native
    if not is_tick:
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        tame(box)

    def set_(value: Any) -> None:
        with control.changed.blocked():
            control.value = value

    return Editor(box, lambda: control.value, set_, _hears(control.changed), titled=is_tick)


def _number(kind: type, bounds: Bounds, unit: str, default: float | None) -> Editor:
    # magicgui's box for whole numbers shows no unit, and its other one makes 3e-7 a 0.
    box = _WholeBox(bounds) if kind is int else FloatBox(bounds, default or 0.0, unit)
    box.setSuffix(f" {unit}" if unit else "")
    tame(box)
    return Editor(box, box.value, _silent(box, box.setValue), _hears(box.valueChanged))


def _text(optional: bool, parse: Callable[[str], Any] = str) -> Editor:
    """A line of text, which can be empty if the field is optional."""
    line = QLineEdit()
    line.setMinimumWidth(NARROW)
    line.setPlaceholderText("not set" if optional else "")

    def value() -> Any:
        text = line.text().strip()
        return None if optional and not text else parse(text)

    def set_(value: Any) -> None:
        line.setText("" if value is None else plain(value))

    return Editor(line, value, _silent(line, set_), _hears(line.textChanged))


def _parser(kind: Any) -> Callable[[str], Any]:
    """A line of values separated by commas, with rows separated by semicolons."""
    if get_origin(kind) is not tuple:
        return str
    inner = _parser(get_args(kind)[0])
    comma = ";" if get_origin(get_args(kind)[0]) is tuple else ","
    return lambda text: tuple(inner(part.strip()) for part in text.split(comma))


def _path(*, folder: bool) -> Editor:
    # magicgui's file control makes relative paths absolute, and its button is wide.
    text = _text(optional=True)
    line = text.widget
    button = QToolButton()
    button.setText("…")
    button.setToolTip("Choose a folder" if folder else "Choose a file")
    button.setAccessibleName(button.toolTip())

    def browse() -> None:
        start = str(text.value() or "")
        title = button.toolTip()
        if folder:
            chosen = QFileDialog.getExistingDirectory(line, title, start)
        else:
            chosen, _ = QFileDialog.getOpenFileName(line, title, start)
        if chosen:
            line.setText(chosen)

    button.clicked.connect(browse)
    row = _row(line, button)
    row.setFocusProxy(line)
    return Editor(row, text.value, text.set, text.on_change)


def _optional(editor: Editor, field: Field) -> Editor:
    """A number with a check box; None, for automatic, if not checked."""
    given = QCheckBox()
    given.setToolTip("Check to set a value; otherwise it is chosen automatically")
    given.setAccessibleName(f"Set {field.label}")
    given.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
    editor.widget.setEnabled(False)
    row = _row(given, editor.widget)
    row.setFocusProxy(given)

    def set_(value: Any) -> None:
        given.setChecked(value is not None)
        editor.widget.setEnabled(value is not None)
        if value is not None:
            editor.set(value)

    def on_change(call: Callable[[], None]) -> None:
        editor.on_change(call)
        given.toggled.connect(lambda _: call())

    given.toggled.connect(editor.widget.setEnabled)
    return Editor(
        row,
        lambda: editor.value() if given.isChecked() else None,
        _silent(given, set_),
        on_change,
    )


class _WholeBox(QSpinBox):
    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        low, high = (int(end) if end is not None else None for end in (bounds.low, bounds.high))
        low = -_INT_MAX if low is None else low + bounds.low_is_open
        high = _INT_MAX if high is None else high - bounds.high_is_open
        self.setRange(low, high)
        if high - low > 1000:
            self.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)


class FloatBox(QDoubleSpinBox):
    """A number shown with its own digits, and entered in any notation, such as 2e-3.

    If the default is small compared with the range, as for a learning rate, the arrows step
    through 1, 2, 5, 10 and so on; otherwise by a hundredth of the range.
    """

    def __init__(self, bounds: Bounds, default: float, unit: str) -> None:
        super().__init__()
        self._bounds = bounds
        low = -_LADDER[-1] if bounds.low is None else bounds.low
        high = _LADDER[-1] if bounds.high is None else bounds.high
        self._by_factors = low >= 0 and unit != "%" and default < (high - low) / 20
        self._step = _LADDER[bisect_right(_LADDER, (high - low) / 100 * 1.01) - 1]
        self.setDecimals(_DIGITS)
        self.setRange(low + _OPEN * bounds.low_is_open, high - _OPEN * bounds.high_is_open)

    def textFromValue(self, value: float) -> str:
        return f"{value:.15g}"

    def valueFromText(self, text: str) -> float:
        return float(self._bare(text))

    def validate(self, text: str, position: int) -> tuple[Any, str, int]:
        bare = self._bare(text)
        try:
            value = float(bare) if _UNFINISHED.fullmatch(bare) else math.nan
        except ValueError:
            return QValidator.State.Intermediate, text, position
        if math.isnan(value):
            return QValidator.State.Invalid, text, position
        inside = self.minimum() <= value <= self.maximum()  # an exponent may bring it there yet
        state = QValidator.State.Acceptable if inside else QValidator.State.Intermediate
        return state, text, position

    def fixup(self, text: str) -> str:
        """Clip a number to the range; beyond an open end, keep the old number."""
        try:
            value = float(self._bare(text))
        except ValueError:
            return text
        end = self.minimum() if value < self.minimum() else self.maximum()
        is_open = self._bounds.low_is_open if value < end else self._bounds.high_is_open
        return text if is_open else self.textFromValue(end) + self.suffix()

    def stepBy(self, steps: int) -> None:
        value = self.value()
        for _ in range(abs(steps)):
            value = self._next(value, math.copysign(1, steps))
        if self.minimum() <= value <= self.maximum():
            self.setValue(value)
        elif not (self._bounds.low_is_open if steps < 0 else self._bounds.high_is_open):
            self.setValue(self.minimum() if steps < 0 else self.maximum())

    def _next(self, value: float, sign: float) -> float:
        if not self._by_factors:
            return round(value + sign * self._step, 12)
        if sign > 0:
            return _LADDER[min(bisect_right(_LADDER, value), len(_LADDER) - 1)]
        index = bisect_left(_LADDER, value) - 1
        return _LADDER[index] if index >= 0 else 0.0

    def _bare(self, text: str) -> str:
        return text.removesuffix(self.suffix()).strip().replace(",", ".").lower()


def _row(*widgets: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return row


def _silent(widget: QWidget, set_: Callable[[Any], None]) -> Callable[[Any], None]:
    def quietly(value: Any) -> None:
        with signals_blocked(widget):
            set_(value)

    return quietly


def _hears(signal: Any) -> Callable[[Callable[[], None]], None]:
    return lambda call: signal.connect(lambda *_: call())
