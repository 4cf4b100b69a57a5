"""Calls a function in a thread once its argument stops changing, for sliders."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QRunnable, Qt, QThreadPool, QTimer, Signal

_log = logging.getLogger(__name__)
_NOTHING = object()
# Qt's own has a thread for each core, which a training may hold for hours.
POOL = QThreadPool()
atexit.register(POOL.waitForDone, 1000)
_REST_MS = 50


class Debounced(QObject):
    """Makes one call at a time, with the last requested argument, after a short delay.

    Even in a thread, a call can block the window, since numpy holds the GIL while indexing. `done`
    carries the result and `failed` an exception, to the thread of this object.
    """

    done = Signal(object)
    failed = Signal(object)

    def __init__(self, function: Callable[[Any], Any], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._function = function
        self._waiting: object = _NOTHING
        self._answer: _Answer | None = None
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._start)

    @property
    def is_busy(self) -> bool:
        return self._answer is not None or self._waiting is not _NOTHING

    def request(self, argument: object) -> None:
        self._waiting = argument
        self._rest.start()

    def cancel(self) -> None:
        """Cancel all requests so far."""
        self._rest.stop()
        self._waiting, self._answer = _NOTHING, None

    def _start(self) -> None:
        if self._answer is not None or self._waiting is _NOTHING:
            return
        argument, self._waiting = self._waiting, _NOTHING
        self._answer = _Answer()
        # The receiver's method, not a closure: Qt drops the connection with the receiver.
        self._answer.ready.connect(self._deliver, Qt.ConnectionType.QueuedConnection)
        POOL.start(_Call(self._function, argument, self._answer))

    def _deliver(self, answer: object, result: object, error: object) -> None:
        if answer is not self._answer:  # cancelled
            return
        self._answer = None
        self._start()
        if error is None:
            self.done.emit(result)
        else:
            self.failed.emit(error)


class _Answer(QObject):
    """Emits the signals; outlives the requesting object, which Qt may delete during a call."""

    ready = Signal(object, object, object)


class _Call(QRunnable):
    def __init__(self, function: Callable[[Any], Any], argument: object, answer: _Answer) -> None:
        super().__init__()
        self._function, self._argument, self._answer = function, argument, answer

    def run(self) -> None:
        result: Any = None
        error: Exception | None = None
        try:
            result = self._function(self._argument)
        except Exception as raised:  # noqa: BLE001 - emitted as `failed`
            error = raised
        try:
            self._answer.ready.emit(self._answer, result, error)
        except RuntimeError:  # Qt is gone: the application is exiting
            _log.debug("answer lost at exit")
