import gc
import itertools
import threading
import time
import weakref

import pytest
from qtpy.QtCore import QThread, QTimer
from qtpy.QtWidgets import QApplication

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Failed, Finished, Progress, Started
from napari_autostructn2v.plugin.runs.worker import Done, Run

STARTED = Started(("a",), "cpu", "float32")
FINISHED = Finished(None, stopped=False)


class OutOfMemory(RuntimeError):
    """As torch's is."""


def normal(stop):
    yield STARTED
    yield Progress("stage1", 1, 2, 0.5, 1.0)
    yield FINISHED


def failing(error):
    def begin(stop):
        yield STARTED
        raise error

    return begin


def until_stopped(stop):
    yield STARTED
    while not stop.is_set():
        time.sleep(0.001)
        yield Progress("stage1", 1, 2, 0.5, 1.0)
    yield Finished(None, stopped=True)


def collect(qtbot, begin, act=None):
    events, run = [], Run(begin)
    run.event.connect(events.append)
    with qtbot.waitSignal(run.finished, timeout=5000):
        run.start()
        assert run.is_running
        if act is not None:
            QTimer.singleShot(50, lambda: act(run))
    assert not run.is_running
    return events


def test_events_arrive_in_order_on_the_gui_thread(qtbot):
    threads, run = [], Run(normal)
    run.event.connect(lambda event: threads.append(QThread.currentThread()))
    with qtbot.waitSignal(run.finished):
        run.start()
    assert threads == [QThread.currentThread()] * 3
    assert collect(qtbot, normal) == list(normal(None))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("The image is empty; open another."), "The image is empty; open another."),
        (ValueError("bad"), "ValueError: bad"),
        (OutOfMemory("CUDA out of memory"), "OutOfMemory: CUDA out of memory"),
        (SystemExit(1), "SystemExit: 1"),
    ],
)
def test_an_error_of_any_kind_is_the_last_event(qtbot, error, message):
    first, last = collect(qtbot, failing(error))
    assert first == STARTED
    assert isinstance(last, Failed)
    assert last.error is error
    assert last.message == message


def test_an_engine_that_cannot_begin_fails_too(qtbot):
    def begin(stop):
        raise ImportError("no torch")

    (last,) = collect(qtbot, begin)
    assert last.message == "ImportError: no torch"


def test_a_run_without_an_end_is_a_failure(qtbot):
    *_, last = collect(qtbot, lambda stop: iter([STARTED]))
    assert last.message == "RuntimeError: the run ended without a result"


def test_events_stay_in_order_when_a_slot_handles_window_events(qtbot):
    heard = []

    def slow_slot(event):
        QApplication.processEvents()
        time.sleep(0.01)
        QApplication.processEvents()
        heard.append(event)

    run = Run(lambda stop: iter([*[Progress("stage1", i, 9, 0, 0) for i in range(9)], FINISHED]))
    run.event.connect(slow_slot)
    run.finished.connect(lambda: heard.append("finished"))
    with qtbot.waitSignal(run.finished):
        run.start()
    assert [event.step for event in heard[:-2]] == list(range(9))
    assert heard[-2:] == [FINISHED, "finished"]


def test_stop_lets_the_engine_finish(qtbot):
    events = collect(qtbot, until_stopped, Run.stop)
    assert events[-1] == Finished(None, stopped=True)


def test_abort_ends_at_the_next_event_and_tells_nothing_more(qtbot):
    closed = threading.Event()

    def deaf(stop):
        try:
            while True:
                time.sleep(0.001)
                yield STARTED
        finally:
            closed.set()

    after = []

    def abort(run):
        run.event.disconnect()
        run.event.connect(after.append)
        assert run.abort()
        assert closed.is_set(), "the generator is closed in its own thread, before abort returns"

    collect(qtbot, deaf, abort)
    assert after == []


def test_napari_asking_its_worker_to_quit_ends_the_run(qtbot):
    from napari.qt.threading import WorkerBase

    def quit_all(run):
        for worker in WorkerBase._worker_set:
            worker.quit()

    events = collect(qtbot, until_stopped, quit_all)
    assert not isinstance(events[-1], Failed)


def test_a_run_aborted_before_its_thread_begins_does_nothing(qtbot):
    began = []

    def begin(stop):
        began.append(True)
        return iter([FINISHED])

    run = Run(begin)

    def start_and_abort():
        run.start()
        assert run.abort()

    with qtbot.waitSignal(run.finished):
        QTimer.singleShot(0, start_and_abort)
    assert began == []


def test_the_window_lives_while_a_run_is_busy(qtbot):
    """A 10 ms timer beats while Python code holds the interpreter in the worker."""

    def busy(stop):
        yield STARTED
        end = time.perf_counter() + 1.0
        while time.perf_counter() < end:
            sum(range(1000))
        yield FINISHED

    beats = []
    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start()
    collect(qtbot, busy)
    timer.stop()
    gaps = sorted(b - a for a, b in itertools.pairwise(beats))
    assert gaps[int(0.9 * len(gaps))] < 0.1


def test_what_a_run_has_worked_on_is_not_kept(qtbot):
    """Though napari keeps the worker."""
    image = Image()
    gone = weakref.ref(image)

    def begin(stop, image=image):
        yield Done()

    collect(qtbot, begin)
    del image, begin

    def freed():
        gc.collect()
        return gone() is None

    qtbot.waitUntil(freed)


class Image:
    """Large."""


def test_a_cancelled_run_tells_nothing_more_and_finishes(qtbot):
    events = collect(qtbot, until_stopped, act=lambda run: run.cancel())
    assert FINISHED not in events
    assert not any(isinstance(event, Finished) for event in events)
