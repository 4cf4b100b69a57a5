"""Drives a run in a thread and hands its events to the GUI thread, whatever happens.

napari's generator worker swallows RuntimeError (CUDA out-of-memory is one) and abandons the
generator when it is asked to quit, so the engine's generator is walked inside a plain function.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

from napari.qt.threading import FunctionWorker, create_worker
from qtpy.QtCore import QObject, Qt, QThreadPool, Signal

from napari_autostructn2v.engine.errors import InputError, first_line
from napari_autostructn2v.engine.events import Failed, Finished

Engine = Callable[["StopFlag"], Iterator[object]]
"""Begins a run when called, in the worker thread, with the flag that asks it to stop.

It gives the engine's events, and others of the plugin's own, in order.
"""

_PATIENCE = 5.0  # seconds; longer than a training step or a tile
_log = logging.getLogger(__name__)


class Done:
    """The last event of a run that neither trains nor denoises."""


class StopFlag:
    """Set when the user stops the run, or when napari asks its worker to quit.

    `again` is set when the user has pressed Stop twice; `aborted` says that nobody will see the
    result, so that nothing more is computed.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self.again = threading.Event()
        self._aborted = threading.Event()
        self.worker: FunctionWorker | None = None

    def set(self) -> None:
        if self._stopped.is_set():
            self.again.set()
        self._stopped.set()

    def abort(self) -> None:
        self._aborted.set()
        self.again.set()

    def aborted(self) -> bool:
        return self._aborted.is_set() or (self.worker is not None and self.worker.abort_requested)

    def is_set(self) -> bool:
        return self._stopped.is_set() or self.aborted()


class Run(QObject):
    """One click on a button. Its methods belong to the GUI thread, and its signals arrive there.

    `event` carries the engine's events in order; the last is `Finished`, `Failed` or `Done`,
    unless the run was cancelled or aborted. `finished` comes once, after it, when the thread has
    nothing more to say.
    """

    event = Signal(object)
    finished = Signal()
    _sent = Signal(object)

    def __init__(self, engine: Engine, title: str = "Denoise") -> None:
        super().__init__()
        self._engine = engine
        self.title = title
        self._stop = StopFlag()
        self._begun = threading.Event()
        self._done = threading.Event()
        self._running = False
        self._inbox: deque[object] = deque()
        self._delivering = False
        self._sent.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    @property
    def is_running(self) -> bool:
        return self._running

    @property
    def is_stopping(self) -> bool:
        return self._running and self._stop.is_set()

    @property
    def is_ending(self) -> bool:
        return self._running and self._stop.again.is_set()

    @property
    def is_cancelled(self) -> bool:
        return self._stop.aborted()

    def start(self) -> None:
        """Start the thread, known to napari, which asks before it closes on a running one."""
        self._stop.worker = create_worker(_TitledWork(self._work, self.title))
        self._stop.worker.finished.connect(self._release)
        self._running = True
        _started.add(self)
        self._stop.worker.start()

    def stop(self) -> None:
        """Ask the engine to end early; what it has learned comes with its last event.

        Asked again, it ends even that.
        """
        self._stop.set()

    def cancel(self) -> None:
        """End without a result and deliver no more events; `finished` comes all the same."""
        self._stop.abort()

    def abort(self) -> bool:
        """End without a result, deliver no more events, and wait a bounded time for the thread.

        Returns whether the thread has ended (a thread that has not begun will do nothing).
        """
        self._stop.abort()
        return not self._begun.is_set() or self._done.wait(_PATIENCE)

    def _work(self) -> None:
        self._begun.set()
        try:
            self._walk()
        except BaseException as error:  # noqa: BLE001 - an error of any kind must reach the user
            self._send(_failure(error))
        finally:
            self._done.set()
            self._send(None)

    def _walk(self) -> None:
        if self._stop.aborted():
            return
        events = self._engine(self._stop)
        last: object = None
        try:
            for last in events:
                if self._stop.aborted():
                    return
                self._send(last)
        finally:
            # An abandoned generator must clean up here, not later in the garbage collector's
            # thread; a plain iterator has nothing to close.
            getattr(events, "close", lambda: None)()
        if not isinstance(last, Finished | Failed | Done) and not self._stop.aborted():
            raise RuntimeError("the run ended without a result")

    def _send(self, message: object) -> None:
        try:
            self._sent.emit(message)
        except RuntimeError:  # Qt is gone: the application is exiting
            _log.debug("event lost at exit: %r", message)

    def _deliver(self, message: object) -> None:
        """Pass on one event after the other, even if what hears one lets Qt handle more."""
        self._inbox.append(message)
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._inbox:
                self._pass_on(self._inbox.popleft())
        finally:
            self._delivering = False

    def _release(self) -> None:
        """The thread has let go: what the run is made of can be deleted, and in this thread."""
        _started.discard(self)

    def _pass_on(self, message: object) -> None:
        if message is None:
            self._running = False
            self.finished.emit()
        elif not self._stop.aborted():
            self.event.emit(message)


class _TitledWork:
    """A function with a readable name: napari shows it when it asks before closing.

    napari keeps every worker in its list of tasks; the function, and the image it has worked on,
    must not stay with it.
    """

    def __init__(self, work: Callable[[], None], title: str) -> None:
        self._work: Callable[[], None] | None = work
        self._title = title

    def __call__(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        work()

    def __str__(self) -> str:
        return self._title


def _failure(error: BaseException) -> Failed:
    if isinstance(error, InputError):
        return Failed(error, str(error))
    _log.error("denoising failed", exc_info=error)
    return Failed(error, first_line(error))


_started: set[Run] = set()


@atexit.register
def _abort_all() -> None:
    for run in list(_started):
        if run.abort():
            # napari's worker has a word to say after the run, for which it needs Qt.
            QThreadPool.globalInstance().waitForDone(1000)
