"""Runs that write files: the checks before, what is written afterwards, and how they stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from napari_autostructn2v.cli.display import (
    Display,
    say_quality,
    say_stage,
    say_written,
)
from napari_autostructn2v.cli.failures import tell, worst
from napari_autostructn2v.cli.terminal import DONE, STOPPED, complain, say
from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.files import free_name, write_json
from napari_autostructn2v.engine.data.outputs import check_outputs
from napari_autostructn2v.engine.errors import InputError

if TYPE_CHECKING:
    from napari_autostructn2v.engine.data.source import Source
    from napari_autostructn2v.engine.model.model import TrainedModel

Write = Callable[[], object]


@dataclass(frozen=True)
class Extras:
    """What a run writes besides its results."""

    report: Path | None = None
    save_model: Path | None = None
    experiment: Path | None = None

    @property
    def page(self) -> Path | None:
        """The page with pictures that is written beside the report."""
        if self.report is None or not self.report.name:
            return None
        return self.report.with_name(f"{self.report.name.removesuffix('.json')}.png")

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.report, self.page, self.save_model) if path is not None]

    def of(self, stem: str) -> Extras:
        """Return the paths for one of several inputs; the paths given are then folders."""
        return Extras(
            self.report and self.report / f"{stem}.json",
            self.save_model and self.save_model / f"{stem}.asn2v",
            self.experiment and self.experiment / stem,
        )


@dataclass(frozen=True)
class TrainingRun:
    """One model to train: its settings and outputs."""

    outputs: Sequence[Path]
    extras: Extras
    settings: Config
    overwrite: bool

    def run(self, sources: Sequence[Source], stop: threading.Event) -> int:
        """Train, write the files and print a summary; return the exit code."""
        from napari_autostructn2v.engine import pipeline
        from napari_autostructn2v.engine.data.sink import FileSink
        from napari_autostructn2v.engine.reporting.experiment import Experiment

        settings, kept = self.settings, None
        if self.extras.experiment is not None:
            kept = Experiment(self.extras.experiment, self.outputs, sources, settings)
            settings = kept.config
        sink = FileSink(self.outputs, self.overwrite, kept.stage_results if kept else None)
        failures: list[int] = []
        with Display(sink.kept) as display:
            running = pipeline.run(sources, settings, sink=sink, stop=stop)
            observers = [kept.observe] if kept else []
            last = last_event(running, [*observers, display.show], failures)
        if isinstance(last, events.Failed) or last.stopped:
            self._keep_unfinished(sources, last.model)
        done = finished(last)
        extras = self.extras

        def finish() -> None:
            if kept:
                kept.finish(done.model, done.report)

        wanted: list[tuple[Path | None, Write]] = [
            (extras.save_model, lambda: done.model.save(extras.save_model or "")),
            (extras.report, lambda: write_json(extras.report or Path(), done.report)),
            (extras.experiment, finish),
            (extras.page, lambda: self._draw(extras.page or Path(), sources, done)),
        ]
        written = write_all(wanted, failures)
        say_quality(done.report["quality"])
        say_stage(done.model, done.report["result"])
        say_written([*self.outputs, *written])
        return worst(failures) if failures else DONE

    def _draw(self, page: Path, sources: Sequence[Source], done: events.Finished) -> None:
        """Draw the page of the first image with noise."""
        from napari_autostructn2v.engine.reporting.report_crops import middle_crops
        from napari_autostructn2v.engine.reporting.result_page import result_page

        index = next(
            index
            for index, image in enumerate(done.report["images"])
            if any(channel["verdict"] != "no data" for channel in image["channels"])
        )
        source, output = sources[index], self.outputs[index]
        noisy, results = middle_crops(source, output, done.model, done.report["result"])
        title = f"{source.name}: noise {done.report['verdict']}"
        result_page(title, noisy, results, done.report).save(page)

    def _keep_unfinished(self, sources: Sequence[Source], model: TrainedModel | None) -> None:
        """Save the model so far and print the command that continues from it."""
        from napari_autostructn2v.engine.data.io.readers import stem
        from napari_autostructn2v.engine.reporting.script import as_command

        if model is None or not model.units:
            return
        out = self.outputs[0] if len(self.outputs) == 1 else self.outputs[0].parent
        name = stem(out) if len(self.outputs) == 1 else "model"
        path = self.extras.save_model or free_name(
            self.outputs[0].with_name(f"{name}.stopped.asn2v")
        )
        try:
            model.save(path)
        except InputError as error:
            complain(error)
            return
        try:
            model.networks("recommended", max(source.channels for source in sources))
        except InputError as error:  # a channel's turn had not come
            say(f"the model so far is kept as {path}; {error}")
            return
        wanted = model.available(self.settings.result)
        settings = self.settings.model_copy(update={"result": wanted})
        inputs = list(dict.fromkeys(source.path for source in sources))
        command = as_command(settings, inputs, out, path)
        if any(output.exists() for output in self.outputs):
            command += " --overwrite"
        say(f"the model so far is kept; to finish: {command}")


def check_runs(runs: Sequence[TrainingRun], reads: Iterable[Path | None]) -> None:
    """Raise an InputError for what can't be written, before anything is trained."""
    kept = [run for run in runs if run.extras.experiment is not None]
    logs = {run.settings.tensorboard for run in runs if run not in kept}
    check_outputs(
        results=[path for run in runs for path in run.outputs],
        files=[path for run in runs for path in run.extras.files],
        experiments=[run.extras.experiment for run in kept if run.extras.experiment],
        folders=[path for path in logs if path is not None],
        reads=[path for path in reads if path is not None],
        overwrite=any(run.overwrite for run in runs),
    )


def run_each(
    inputs: Sequence[str],
    output: Path,
    extras: Extras,
    settings: Config,
    overwrite: bool,
    stop: threading.Event,
    reads: Sequence[Path | None] = (),
) -> int:
    """Train a model per file and return the exit code; a failing file doesn't end the batch."""
    from napari_autostructn2v.engine.data.io.readers import stem
    from napari_autostructn2v.engine.data.naming import distinct
    from napari_autostructn2v.engine.data.opening import open_each
    from napari_autostructn2v.engine.data.sink import output_paths

    failed: dict[str, int] = {}
    good: list[Source] = []
    for file, opened in open_each(inputs, settings.axes):
        if isinstance(opened, list):
            good += opened
        else:
            failed[str(file)] = tell(opened)
    count = len(good) + len(failed)
    outputs = output_paths(output, good)
    names = distinct(f"{stem(path)}.json" for path in outputs)  # of a.tif and of a.zarr
    runs = [
        TrainingRun(
            [path], extras.of(stem(Path(name))) if count > 1 else extras, settings, overwrite
        )
        for path, name in zip(outputs, names, strict=True)
    ]
    check_runs(runs, [*(path for source in good for path in source.files), *reads])
    for run, source in zip(runs, good, strict=True):
        try:
            code = run.run([source], stop)
        except typer.Exit:  # stopped
            raise
        except Exception as error:  # noqa: BLE001 - the other files still run
            code = tell(error, str(source.path))
        if code:
            failed[source.name] = code
    if not failed:
        return DONE
    complain(f"{len(failed)} of {count} inputs failed: {', '.join(failed)}")
    return worst(list(failed.values()))


def last_event(
    stream: Iterator[events.Event],
    observers: Sequence[Callable[[events.Event], None]],
    failures: list[int],
) -> events.Finished | events.Failed:
    """Pass every event to the observers and return the last.

    An observer that fails doesn't end the run: its error is printed, its exit code goes into
    `failures`, and it gets no more events.
    """
    watching = list(observers)
    try:
        for event in stream:
            for observe in tuple(watching):
                try:
                    observe(event)
                except Exception as error:  # noqa: BLE001
                    watching.remove(observe)
                    failures.append(tell(error))
            if isinstance(event, events.Finished | events.Failed):
                return event
        raise RuntimeError("the run ended without a result")
    finally:
        getattr(stream, "close", lambda: None)()  # cleans up after an interrupted run


def write_all(wanted: Iterable[tuple[Path | None, Write]], failures: list[int]) -> list[Path]:
    """Write each item that has a path and return the paths written; one failure stops no other."""
    written = []
    for path, write in wanted:
        if path is None:
            continue
        try:
            write()
            written.append(path)
        except Exception as error:  # noqa: BLE001
            failures.append(tell(error))
    return written


def finished(last: events.Finished | events.Failed) -> events.Finished:
    """Return the result of a run; if it failed or was stopped, raise what ends the command."""
    from napari_autostructn2v.engine.devices import is_out_of_memory

    if isinstance(last, events.Failed):
        if is_out_of_memory(last.error):
            raise InputError(last.message) from last.error
        raise last.error
    if last.stopped:
        say("stopped")
        raise typer.Exit(STOPPED)
    return last


@contextmanager
def stop_flag() -> Iterator[threading.Event]:
    """Give a flag that the first Ctrl-C, SIGTERM or closed terminal sets; the second one aborts.

    A closed terminal is ignored under nohup, which has SIGHUP ignored already.
    """
    flag = threading.Event()

    def ask(_signal: int, _frame: object) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()
        with suppress(OSError):
            os.write(2, b"\nautostructn2v: stopping; Ctrl-C again aborts\n")

    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:
        numbers.append(hang_up)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
