"""A text label below a control that takes no space while it is empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

from napari_autostructn2v.engine.errors import InputError

T = TypeVar("T")
Holds = Callable[[], bool]


def always() -> bool:
    return True


class MessageLabel(QLabel):
    """A message that wraps, can be copied and never widens its panel.

    Each message has a condition; `recheck` removes messages whose condition is no longer true.
    """

    def __init__(self, name: str = "note") -> None:
        super().__init__()
        self._lines: list[tuple[str, Holds]] = []
        self.setObjectName(name)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.hide()

    def say(self, text: str, holds: Holds = always) -> None:
        """Show only this message."""
        self._show([(text, holds)])

    def add(self, text: str, holds: Holds = always) -> None:
        """Show this message as well."""
        self._show([*self._lines, (text, holds)])

    def attempt(self, action: Callable[[], T]) -> T | None:
        """Return the result of an action, or show its InputError while it would be the same.

        The action is repeated to find out, so it should have no side effects.
        """
        try:
            result = action()
        except InputError as error:
            said = sentence(error)
            self.say(said, lambda: _refusal(action) == said)
            return None
        self.say("")
        return result

    def attempt_once(self, action: Callable[[], object], looked_at: Callable[[], object]) -> None:
        """Run an action once; show its InputError until `looked_at` returns another value."""
        self.say("")
        try:
            action()
        except InputError as error:
            before = looked_at()
            self.say(sentence(error), lambda: looked_at() == before)

    def recheck(self) -> None:
        """Remove messages whose condition is no longer true."""
        held = [(text, holds) for text, holds in self._lines if holds()]
        if len(held) < len(self._lines):
            self._show(held)

    def _show(self, lines: list[tuple[str, Holds]]) -> None:
        self._lines = [(text, holds) for text, holds in lines if text]
        self.setText("\n".join(text for text, _ in self._lines))
        self.setVisible(bool(self._lines))


def _refusal(action: Callable[[], object]) -> str:
    try:
        action()
    except InputError as error:
        return sentence(error)
    return ""


def sentence(text: object) -> str:
    """Return an error's message as a sentence."""
    words = str(text).rstrip(".")
    return f"{words[:1].upper()}{words[1:]}."
