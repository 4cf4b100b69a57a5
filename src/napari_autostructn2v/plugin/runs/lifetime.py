"""How a panel lives: hidden or closed, and what becomes of its run and its model then.

A panel that is hidden, by its eye, its tab or a menu, is still napari's, and its runs go on. One
that is closed is taken out of the window: its run stops as by the button, and leaves its model to
the panel that is opened next, which may be open before the run has ended.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_autostructn2v.plugin.runs.known import Trained
from napari_autostructn2v.plugin.runs.session import Session
from napari_autostructn2v.plugin.runs.worker import Run

_SETTLED_MS = 250  # floating or tabbing a panel hides it for a moment, and takes it out

_busy: dict[Lifetime, QWidget] = {}
"""Keeps a closed panel until its runs have ended."""
_models: WeakKeyDictionary[Any, Trained] = WeakKeyDictionary()
"""The last model of each viewer: closing the panel loses nothing."""


class Lifetime(QObject):
    """Of one panel and its session, which begins with the viewer's last model.

    `hidden` says that the panel cannot be seen by the user's wish, closed panels included, and
    `closed` that it is out of the window. `inherited` comes when a run has ended that an earlier
    panel left behind, after its model was taken up.
    """

    hidden = Signal()
    closed = Signal()
    inherited = Signal()

    def __init__(self, panel: QWidget, session: Session, viewer: Any) -> None:
        super().__init__(panel)
        self._panel = panel
        self._session = session
        self._viewer = viewer
        self._first = _models.get(viewer)
        if self._first is not None:
            session.take_over(self._first)
        session.finished.connect(self._keep_model)
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLED_MS)
        self._settled.timeout.connect(self._look)
        panel.installEventFilter(self)
        panel.destroyed.connect(partial(_busy.pop, self, None))
        self._awaited = [
            other._session
            for other in _busy
            if other._viewer is viewer and other._is_closed and other._session.is_running
        ]
        for left in self._awaited:
            left.finished.connect(self._inherit)

    @property
    def is_awaiting(self) -> bool:
        """Whether a run is ending that an earlier panel left behind."""
        return any(session.is_running for session in self._awaited)

    def follow(self, run: Run) -> None:
        """Keep the panel, closed or not, until the end of a run; without it the run ends."""
        self.keep(True)
        run.finished.connect(partial(self.keep, False))
        self._panel.destroyed.connect(run.abort)

    def keep(self, on: bool) -> None:
        if on:
            _busy[self] = self._panel
        else:
            _busy.pop(self, None)

    def eventFilter(self, panel: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() in (QEvent.Type.ParentChange, QEvent.Type.Hide):
            self._settled.start()
        return False

    @property
    def _window(self) -> QDockWidget | None:
        """What napari holds the panel in; None once it was closed."""
        window: QWidget | None = self._panel
        while window is not None and not isinstance(window, QDockWidget):
            window = window.parentWidget()
        return window

    @property
    def _is_closed(self) -> bool:
        return self._window is None and self._panel.isHidden()

    def _look(self) -> None:
        """`isHidden` is true of what was closed by itself, not of what only cannot be seen."""
        if (self._window or self._panel).isHidden():
            self.hidden.emit()
        if self._is_closed:
            self.closed.emit()

    def _keep_model(self) -> None:
        if self._session.trained is not None:
            _models[self._viewer] = self._session.trained

    def _inherit(self) -> None:
        """Take up the model that was left, unless this panel has another of its own by now."""
        left, known = _models.get(self._viewer), self._session.trained
        model_then = None if self._first is None else self._first.model
        if left is not None and (known is None or known.model is model_then):
            self._session.take_over(left)
        self.inherited.emit()
