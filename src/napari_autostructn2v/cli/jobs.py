"""Runs that keep their results: what is checked before, what is written after, how they stop."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from napari_autostructn2v.cli.display import (
    BAD_INPUT,
    BUG,
    STOPPED,
    Display,
    complain,
    say,
    say_quality,
    say_written,
)
from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.files import check_outputs, write_json

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model import Model
    from napari_autostructn2v.engine.source import Source


@dataclass(frozen=True)
class Extras:
    """What is kept of a run besides its results."""

    report: Path | None = None
    save_model: Path | None = None
    experiment: Path | None = None

    @property
    def page(self) -> Path | None:
        """The picture that goes with the report, beside it."""
        if self.report is None:
            return None
        return self.report.with_name(f"{self.report.name.removesuffix('.json')}.png")

    def of(self, stem: str) -> Extras:
        """Give the paths for one of several inputs, in the folders that these then are."""
        return Extras(
            self.report and self.report / f"{stem}.json",
            self.save_model and self.save_model / f"{stem}.asn2v",
            self.experiment and self.experiment / stem,
        )


@dataclass(frozen=True)
class Job:
    """One model: its outputs and how it is trained."""

    outputs: Sequence[Path]
    extras: Extras
    settings: Config
    overwrite: bool

    def check(self) -> None:
        """Find out what can't be written, before anything is trained."""
        from napari_autostructn2v.engine.sink import FileSink

        FileSink(self.outputs, overwrite=self.overwrite)
        check_outputs(
            [self.extras.report, self.extras.page, self.extras.save_model], self.overwrite
        )
        if self.extras.experiment is not None:
            from napari_autostructn2v.engine.experiment import check_folder

            check_folder(self.extras.experiment)

    def run(self, sources: Sequence[Source], stop: threading.Event) -> None:
        from napari_autostructn2v.engine import pipeline
        from napari_autostructn2v.engine.experiment import Experiment
        from napari_autostructn2v.engine.sink import FileSink

        settings, kept = self.settings, None
        if self.extras.experiment is not None:
            kept = Experiment(self.extras.experiment, self.outputs, sources, settings)
            settings = kept.config
        sink = FileSink(self.outputs, self.overwrite, kept.stage_results if kept else None)
        observers = [kept.observe] if kept else []
        with Display() as display:
            running = pipeline.run(sources, settings, sink=sink, stop=stop)
            last = last_event(running, *observers, display.show)
        if isinstance(last, events.Failed) or last.stopped:
            self._keep_unfinished(sources, last.model)
        done = finished(last)
        written = list(self.outputs)
        if self.extras.save_model:
            done.model.save(self.extras.save_model)
            written.append(self.extras.save_model)
        if self.extras.report:
            write_json(self.extras.report, done.report)
            written.append(self.extras.report)
        if kept:
            kept.finish(done.model, done.report)
            written.append(kept.folder)
        if self.extras.page:
            self._draw(self.extras.page, sources[0], done)
            written.append(self.extras.page)
        say_quality(done.report["quality"])
        say_written(written)

    def _draw(self, page: Path, source: Source, done: events.Finished) -> None:
        """Draw the page of the first image."""
        from napari_autostructn2v.engine.glimpse import glimpse
        from napari_autostructn2v.engine.result_page import result_page

        stage = done.model.result(self.settings.result)
        noisy, results = glimpse(source, self.outputs[0], done.model, stage)
        title = f"{source.name}: noise {done.report['verdict']}"
        result_page(title, noisy, results, done.report).save(page)

    def _keep_unfinished(self, sources: Sequence[Source], model: Model | None) -> None:
        """Save the model so far, and tell how to go on from it."""
        from napari_autostructn2v.engine.io.readers import stem

        if model is None or not model.units:
            return
        out = self.outputs[0] if len(self.outputs) == 1 else self.outputs[0].parent
        path = self.extras.save_model or _free(out.with_name(f"{stem(out)}.stopped.asn2v"))
        model.save(path)
        inputs = list(dict.fromkeys(str(source.path) for source in sources))
        command = ["autostructn2v", "denoise", str(path), *inputs, "-o", str(out)]
        if self.settings.axes is not None:
            command += ["--axes", self.settings.axes]
        if any(output.exists() for output in self.outputs):
            command += ["--overwrite"]
        say(f"the model so far is kept; to finish: {shlex.join(command)}")


def run_each(
    inputs: Sequence[str],
    output: Path,
    extras: Extras,
    settings: Config,
    overwrite: bool,
    stop: threading.Event,
) -> None:
    """Train a model for each file; a file that fails doesn't end the batch."""
    from napari_autostructn2v.engine.io.readers import stem
    from napari_autostructn2v.engine.sink import output_paths
    from napari_autostructn2v.engine.source import open_each

    failed: list[str] = []
    crashed = False
    good: list[Source] = []
    for file, opened in open_each(inputs, settings.axes):
        if isinstance(opened, InputError):
            failed.append(str(file))
            complain(opened)
        else:
            good += opened
    count = len(good) + len(failed)
    outputs = output_paths(output, good)
    jobs = [
        Job([path], extras.of(stem(path)) if count > 1 else extras, settings, overwrite)
        for path in outputs
    ]
    for job in jobs:
        job.check()
    for job, source in zip(jobs, good, strict=True):
        try:
            job.run([source], stop)
        except InputError as error:
            failed.append(source.name)
            complain(f"{source.path}: {error}")
        except typer.Exit:  # stopped
            raise
        except Exception:  # noqa: BLE001 - a bug met on one file must not end the night's batch
            failed.append(source.name)
            traceback.print_exc()
            crashed = True
    if failed:
        complain(f"{len(failed)} of {count} inputs failed: {', '.join(failed)}")
        raise typer.Exit(BUG if crashed else BAD_INPUT)


def last_event(
    stream: Iterator[events.Event], *observers: Callable[[events.Event], None]
) -> events.Finished | events.Failed:
    """Show every event to the observers and give the last."""
    try:
        for event in stream:
            for observe in observers:
                observe(event)
            if isinstance(event, events.Finished | events.Failed):
                return event
        raise RuntimeError("the run ended without a result")
    finally:
        getattr(stream, "close", lambda: None)()  # an abandoned run leaves nothing behind


def finished(last: events.Finished | events.Failed) -> events.Finished:
    """Give the result of a run, or leave the way its end calls for."""
    if isinstance(last, events.Failed):
        raise last.error
    if last.stopped:
        say("stopped")
        raise typer.Exit(STOPPED)
    return last


@contextmanager
def stop_flag() -> Iterator[threading.Event]:
    """Let the first Ctrl-C (or SIGTERM) set the flag, and the second abort."""
    flag = threading.Event()

    def ask(_signal: int, _frame: object) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()
        os.write(2, b"\nautostructn2v: stopping; Ctrl-C again aborts\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free(path: Path) -> Path:
    """Give the first of path, path-2, path-3 ... that does not exist."""
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return candidate
