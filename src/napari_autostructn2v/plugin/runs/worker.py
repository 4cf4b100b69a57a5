"""Runs the engine in a thread and passes its events to the GUI thread.

napari's generator worker hides RuntimeErrors (such as CUDA out-of-memory) and abandons the
generator when asked to quit, so the engine's generator is consumed in a plain function.
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
"""Starts a run in the worker thread, given a stop flag; yields the events in order.

Besides the engine's events there are some of the plugin.
"""

_PATIENCE = 5.0  # seconds; longer than a training step or a tile
_log = logging.getLogger(__name__)


class Done:
    """The last event of a run without training or denoising."""


class StopFlag:
    """Set if the user stops the run, or if napari asks its worker to quit.

    `again` is set if the user presses Stop a second time. `aborted` is set if nobody will see the
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
    """One run in a thread. Methods are called, and signals received, in the GUI thread.

    `event` carries the engine's events in order; the last is `Finished`, `Failed` or `Done`,
    unless the run was cancelled or aborted. `finished` is emitted once, after all events.
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
        """Start the thread as a napari task: napari asks before closing while it runs."""
        self._stop.worker = create_worker(_TitledWork(self._work, self.title))
        self._stop.worker.finished.connect(self._release)
        self._running = True
        _started.add(self)
        self._stop.worker.start()

    def stop(self) -> None:
        """Ask the engine to stop the training and denoise with the model so far.

        A second call stops the denoising too.
        """
        self._stop.set()

    def cancel(self) -> None:
        """End without a result or further events, except `finished`."""
        self._stop.abort()

    def abort(self) -> bool:
        """End without a result or further events, and wait a limited time for the thread.

        Returns whether the thread has ended. A thread that has not started will do nothing.
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
        """Deliver events in order, even if a receiver lets Qt process further ones."""
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
        """Release the run's objects, in this thread, now that the worker thread has ended."""
        _started.discard(self)

    def _pass_on(self, message: object) -> None:
        if message is None:
            self._running = False
            self.finished.emit()
        elif not self._stop.aborted():
            self.event.emit(message)


class _TitledWork:
    """A function with a readable name, which napari shows when it asks before closing.

    It drops its function after the call, since napari keeps every worker in its list of tasks,
    and would keep the image with it.
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
            # napari's worker emits signals after the run, for which it needs Qt.
            QThreadPool.globalInstance().waitForDone(1000)
