"""Hiding and closing a panel, and what happens to its run and model.

A hidden panel (by its eye button, a tab or a menu) stays in napari, and its runs continue. A
closed panel is removed from the window: its run stops as by the Stop button, and its model is
passed to the panel opened next, even if that is opened before the run has ended.
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
"""Closed panels that are kept alive until their runs have ended."""
_models: WeakKeyDictionary[Any, Trained] = WeakKeyDictionary()
"""The last model of each viewer, for panels opened later."""


class Lifetime(QObject):
    """Watches one panel; its session starts with the viewer's last model.

    `hidden` is emitted if the user hides or closes the panel, and `closed` if it is removed from
    the window. `inherited` is emitted once the run of an earlier, closed panel has ended and its
    model was taken over.
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
        """Whether the run of an earlier, closed panel is still ending."""
        return any(session.is_running for session in self._awaited)

    def follow(self, run: Run) -> None:
        """Keep the panel alive until a run ends, even if closed; the run needs it."""
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
        """Return napari's dock widget around the panel; None once it was closed."""
        window: QWidget | None = self._panel
        while window is not None and not isinstance(window, QDockWidget):
            window = window.parentWidget()
        return window

    @property
    def _is_closed(self) -> bool:
        return self._window is None and self._panel.isHidden()

    def _look(self) -> None:
        """Return whether the panel was hidden itself, not only covered by something else."""
        if (self._window or self._panel).isHidden():
            self.hidden.emit()
        if self._is_closed:
            self.closed.emit()

    def _keep_model(self) -> None:
        if self._session.trained is not None:
            _models[self._viewer] = self._session.trained

    def _inherit(self) -> None:
        """Take over the model of the earlier panel, unless this one has its own by now."""
        left, known = _models.get(self._viewer), self._session.trained
        model_then = None if self._first is None else self._first.model
        if left is not None and (known is None or known.model is model_then):
            self._session.take_over(left)
        self.inherited.emit()
