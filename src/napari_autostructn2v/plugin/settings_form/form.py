"""A form with all settings of a run, generated from the fields of the config.

Values are kept separately from the controls, which are created only when their section is opened.
"""

from __future__ import annotations

import html
from collections.abc import Collection
from functools import cache
from itertools import groupby
from typing import Any

from pydantic import ValidationError
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent, QShowEvent
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_autostructn2v.engine.config import DEFAULT_PRESET, PRESETS, Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.settings_form.fields import (
    Field,
    Place,
    fields,
    nest,
    plain,
    problems,
    read,
    words,
)
from napari_autostructn2v.plugin.settings_form.section import Section
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel
from napari_autostructn2v.plugin.widgets.wheel import tame

_GENERAL: Place = ()
_TYPING_MS = 150


class ConfigForm(QWidget):
    """The settings of a run, for a scrolling panel. For the GUI thread.

    After each edit, `changed` carries the new config if it is valid, otherwise `invalid` the error
    message. `set_config` emits neither.

    Parameters
    ----------
    omit
        Keys of fields that are set elsewhere and not shown, such as "budget" or "structure.mask".
        Their values are kept, unless a preset sets them.
    """

    changed = Signal(object)
    invalid = Signal(str)

    def __init__(self, omit: Collection[str] = ()) -> None:
        super().__init__()
        self._shown = [field for field in fields() if field.key not in omit]
        self._kept = [
            field.path for field in fields() if field.key in omit and not _in_a_preset(field.path)
        ]
        self._values: dict[Place, Any] = {}
        self._problems: dict[Place, str] = {}
        self._opened: set[Place] | None = None
        self._build()
        self.set_config(Config())

    @property
    def is_valid(self) -> bool:
        return not self._problems

    @property
    def error(self) -> str:
        """The error messages; empty if the settings are valid."""
        return " ".join(self._problems.values())

    def config(self) -> Config:
        """Return the config shown in the form.

        Raises
        ------
        InputError
            If the settings are not valid.
        """
        if self._problems:
            raise InputError(self.error)
        return self._config

    def set_config(self, config: Config) -> None:
        self._take(config)
        for section in self.sections.values():
            section.refresh()
        self._show({})

    def apply_preset(self, name: str) -> None:
        """Set all fields to those of a preset; this counts as an edit."""
        self.set_config(self._with_preset(name))
        self.changed.emit(self._config)

    def _build(self) -> None:
        self.preset = QComboBox()
        self.preset.setPlaceholderText("own settings")
        for index, name in enumerate(PRESETS):
            self.preset.addItem(name)
            tip = f"<p>{html.escape(_differences(name))}</p>"
            self.preset.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
        self.preset.setToolTip("Sets of settings for common cases")
        tame(self.preset)
        self.restore = QPushButton("Restore defaults")
        self.restore.setToolTip("Reset all settings below to their defaults")
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Find a setting")
        self.filter.setToolTip("Show only settings with these words in their name or help")
        self.filter.setClearButtonEnabled(True)
        self.nothing = MessageLabel("nothing_found")
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(_TYPING_MS)
        self.sections = {
            place: Section(_title(place), list(members), self._values)
            for place, members in groupby(self._shown, _section_of)
        }

        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for section in self.sections.values():
            column.addWidget(section)
            section.edited.connect(self._on_edited)
        column.addStretch()
        head = QHBoxLayout()
        label = QLabel("&Preset")
        label.setBuddy(self.preset)
        head.addWidget(label)
        head.addWidget(self.preset, 1)
        second = QHBoxLayout()
        second.addWidget(self.filter, 1)
        second.addWidget(self.restore)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(head)
        layout.addLayout(second)
        layout.addWidget(self.nothing)
        layout.addWidget(inside)

        self.preset.activated.connect(lambda index: self.apply_preset(self.preset.itemText(index)))
        self.restore.clicked.connect(lambda: self.apply_preset(DEFAULT_PRESET))
        self.filter.textChanged.connect(lambda: self._typing.start())
        self._typing.timeout.connect(self._filter)

    def _take(self, config: Config) -> None:
        self._config = config
        self._values.update({field.path: read(config, field.path) for field in fields()})

    def _with_preset(self, name: str) -> Config:
        values = {field.path: read(_preset(name), field.path) for field in fields()}
        values |= {path: self._values[path] for path in self._kept}
        return Config.model_validate(nest(values))

    def _on_edited(self, field: Field, value: Any) -> None:
        self._values[field.path] = value
        try:
            config = Config.model_validate(nest(self._values))
        except ValidationError as error:
            self._show(problems(error, self._shown, field.path))
            self.invalid.emit(self.error)
            return
        self._take(config)
        self._show({})
        self.changed.emit(self._config)

    def _show(self, found: dict[Place, str]) -> None:
        """Update the notes and the name of the preset."""
        self._problems = found
        for place, section in self.sections.items():
            section.show_problems(
                {path: text for path, text in found.items() if self._home(path) == place}
            )
        fitting = [name for name in PRESETS if self._with_preset(name) == self._config]
        shown = fitting[0] if fitting and not found else ""
        self.preset.setCurrentIndex(self.preset.findText(shown))

    def _home(self, path: Place) -> Place:
        return path[:1] if path[:1] in self.sections else _GENERAL

    def _filter(self) -> None:
        """Show the settings that match the search; without words, restore all sections."""
        wanted = self.filter.text().lower().split()
        if wanted and self._opened is None:
            self._opened = {place for place, s in self.sections.items() if s.is_expanded}
        found = [section.filter(wanted) for section in self.sections.values()]
        self.nothing.say("" if any(found) else "No setting matches these words.")
        if not wanted and self._opened is not None:
            for place, section in self.sections.items():
                section.expand(place in self._opened)
            self._opened = None

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not any(section.is_expanded for section in self.sections.values()):
            next(iter(self.sections.values())).expand()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Let Return finish entering a number, without starting a run in a parent widget."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)


def _section_of(field: Field) -> Place:
    return field.path[:1] if len(field.path) > 1 else _GENERAL


def _title(place: Place) -> str:
    return words(place[0]) if place else "General"


@cache
def _preset(name: str) -> Config:
    return Config.parse({"preset": name})


def _in_a_preset(path: Place) -> bool:
    return any(read(_preset(name), path) != read(Config(), path) for name in PRESETS)


def _differences(name: str) -> str:
    """Describe the settings of a preset that differ from the defaults."""
    found = [
        f"{field.label} {plain(value)}"
        if len(field.path) == 1
        else f"{words(field.path[0])}: {field.label} {plain(value)}"
        for field in fields()
        if (value := read(_preset(name), field.path)) != field.default
    ]
    return "; ".join(found) or "All defaults"
