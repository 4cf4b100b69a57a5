"""A section of the form that opens and closes; its controls are created when it opens."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from napari_autostructn2v.plugin.settings_form.editors import Editor, make_editor
from napari_autostructn2v.plugin.settings_form.fields import Field, Place, words
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel

_INDENT = 12  # pixels


@dataclass
class _Row:
    """A field in the grid: its name (unless it is a check box), its control and a note below."""

    field: Field
    line: int
    name: QWidget
    editor: Editor
    note: MessageLabel | None = None


class Section(QWidget):
    """Fields of one group. `edited` carries a field and its new value after edits by the user.

    Parameters
    ----------
    title
        Title on the button.
    shown
        The fields, those of nested groups last.
    values
        All values by path, updated by the owner; read when the controls are created.
    """

    edited = Signal(object, object)

    def __init__(self, title: str, shown: Sequence[Field], values: Mapping[Place, Any]) -> None:
        super().__init__()
        self._title = title
        self._fields = shown
        self._values = values
        self._problems: Mapping[Place, str] = {}
        self._rows: dict[Place, _Row] = {}
        self._headings: dict[Place, QLabel] = {}
        self.header = QToolButton()
        self.header.setText(title)
        self.header.setCheckable(True)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setArrowType(Qt.ArrowType.RightArrow)
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.header.setToolTip(f"Show or hide the settings of {title}")
        font = self.header.font()
        font.setBold(True)
        self.header.setFont(font)
        self.header.toggled.connect(self._on_toggled)
        self.note = MessageLabel()
        self._body = QWidget()
        self._body.hide()
        self._grid = QGridLayout(self._body)
        self._grid.setContentsMargins(_INDENT, 2, 0, 6)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for widget in (self.header, self.note, self._body):
            layout.addWidget(widget)

    @property
    def is_expanded(self) -> bool:
        return bool(self.header.isChecked())

    def expand(self, on: bool = True) -> None:
        self.header.setChecked(on)

    def editor(self, path: Place) -> Editor:
        """Return the control of a field, creating it if necessary."""
        self._make()
        return self._rows[path].editor

    def note_of(self, path: Place) -> str:
        """Return the note beside a field."""
        note = self._rows[path].note if path in self._rows else None
        return str(note.text()) if note is not None else ""

    def refresh(self) -> None:
        """Update all controls from the values."""
        for path, row in self._rows.items():
            row.editor.set(self._values[path])
            self._mark(row)

    def show_problems(self, found: Mapping[Place, str]) -> None:
        """Show errors beside their fields, and those without a field here under the title."""
        self._problems = found
        for row in self._rows.values():
            self._explain(row)
        paths = {field.path for field in self._fields}
        self.note.say(" ".join(text for path, text in found.items() if path not in paths))
        self.header.setText(f"{self._title} ⚠" if found else self._title)

    def filter(self, wanted: Collection[str]) -> bool:
        """Show only fields that contain all words; open if there are words and such fields."""
        found = {field.path for field in self._fields if field.has(wanted)}
        self.setVisible(bool(found))
        if found and wanted:
            self.expand()
        for path, row in self._rows.items():
            for widget in (row.name, row.editor.widget):
                widget.setVisible(path in found)
            self._explain(row)
        for group, heading in self._headings.items():
            heading.setVisible(any(path[:-1] == group for path in found))
        return bool(found)

    def _on_toggled(self, on: bool) -> None:
        self.header.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        if on:
            self._make()
        self._body.setVisible(on)

    def _make(self) -> None:
        if self._rows:
            return
        group = self._fields[0].path[:-1]
        for field in self._fields:
            if field.path[:-1] != group:
                group = field.path[:-1]
                heading = QLabel(f"<i>{html.escape(words(group[-1]))}</i>")
                self._grid.addWidget(heading, self._next_line(), 0, 1, 2)
                self._headings[group] = heading
            self._rows[field.path] = self._make_row(field)
        self.refresh()
        self.show_problems(self._problems)

    def _make_row(self, field: Field) -> _Row:
        editor = make_editor(field)
        editor.widget.setToolTip(_tip(field))
        editor.widget.setAccessibleName(field.label)
        editor.on_change(lambda: self._on_edited(field.path))
        line = self._next_line()
        if editor.titled:
            self._grid.addWidget(editor.widget, line, 0, 1, 2)
            return _Row(field, line, editor.widget, editor)
        label = QLabel(field.label)
        label.setToolTip(_tip(field))
        label.setWordWrap(True)
        label.setBuddy(editor.widget)
        self._grid.addWidget(label, line, 0)
        self._grid.addWidget(editor.widget, line, 1)
        return _Row(field, line, label, editor)

    def _next_line(self) -> int:
        """Return the next row of the grid; each field takes two, the second for its note."""
        return 2 * (len(self._rows) + len(self._headings))

    def _on_edited(self, path: Place) -> None:
        row = self._rows[path]
        self.edited.emit(row.field, row.editor.value())
        self._mark(row)

    def _mark(self, row: _Row) -> None:
        """Show names of fields that differ from their default in bold."""
        font = row.name.font()
        font.setBold(self._values[row.field.path] != row.field.default)
        row.name.setFont(font)

    def _explain(self, row: _Row) -> None:
        text = self._problems.get(row.field.path, "")
        if text and row.note is None:
            row.note = MessageLabel()
            self._grid.addWidget(row.note, row.line + 1, 0, 1, 2)
        if row.note is not None:
            row.note.say(f"⚠ {text}" if text and not row.name.isHidden() else "")


def _tip(field: Field) -> str:
    """Return rich text, as Qt wraps no other tooltips."""
    return "<p>" + "<br>".join(map(html.escape, field.help)) + "</p>"
