"""The command line `autostructn2v` (demo, run, analyse, denoise, info), on the headless API alone.

What takes long to import is imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import PRESETS, Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.files import check_outputs, write_json, write_tiff

if TYPE_CHECKING:
    from napari_autostructn2v.engine.model import Model
    from napari_autostructn2v.engine.source import Source

DONE, BUG, BAD_INPUT, STOPPED = 0, 1, 2, 130

# What the machine refuses is the user's to mend, and told in one line.
_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_USAGE_ERROR: Any = typer.BadParameter.__base__  # the one above it is not exported
_STAGE_TITLES = {"stage1": "Stage 1", "stage2": "Stage 2"}

app = typer.Typer(
    help="Removes structured noise from microscopy images by self-supervised learning.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a bug, 2 bad usage or input, 130 stopped."""
    try:
        code = app(arguments, standalone_mode=False, prog_name="autostructn2v")
    except InputError as error:
        code = _complain(error)
    except _USAGE_ERROR as error:
        code = _complain(error.format_message())
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        code = _complain(f"{error.filename or 'the output'}: {error.strerror}")
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    sys.exit(code or DONE)


def _complain(message: object) -> int:
    print(f"autostructn2v: {' '.join(str(message).split())}", file=sys.stderr)
    return BAD_INPUT


# Options: their help is the config's own.


def _help(field: str, more: str = "") -> str:
    return f"{Config.model_fields[field].description}{more}."


Inputs = Annotated[
    list[str], typer.Argument(metavar="IN...", help="Images, folders or globs.", show_default=False)
]
Out = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="OUT", help="A .tif or .zarr, or a folder."),
]
ModelFile = Annotated[Path, typer.Argument(metavar="M.asn2v", help="A trained model.")]
Axes = Annotated[str | None, typer.Option(metavar="TYX", help=_help("axes"))]
BudgetText = Annotated[
    str | None,
    typer.Option(metavar="60s", help=_help("budget", ": 60s, 2min, 200steps, 20epochs, converged")),
]
Seed = Annotated[int | None, typer.Option(help=_help("seed"), show_default=False)]
Device = Annotated[str | None, typer.Option(metavar="NAME", help=_help("device"))]
Dtype = Annotated[str | None, typer.Option(metavar="TYPE", help=_help("dtype"))]
ConfigFile = Annotated[
    Path | None,
    typer.Option(metavar="C.json", help="A config, or a dictionary of the original autoStructN2V."),
]
Report = Annotated[Path | None, typer.Option(metavar="R.json", help="Write what was found here.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write into.")
    ] = Path(),
    budget: BudgetText = "45s",
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Denoise a synthetic sample whose truth is known, and draw what happened."""
    import numpy as np

    from napari_autostructn2v.engine import pipeline
    from napari_autostructn2v.engine.figure import page
    from napari_autostructn2v.engine.sink import ArraySink
    from napari_autostructn2v.engine.source import as_source
    from napari_autostructn2v.engine.synthetic import psnr, sample

    started = time.monotonic()
    settings = _settings(None, None, None, {"budget": budget, "seed": seed, "device": device})
    image, picture = output / "autostructn2v-demo-noisy.tif", output / "autostructn2v-demo.png"
    check_outputs([image, picture], overwrite=True)
    made = sample("nuclei", "horizontal", size=512, seed=settings.seed, psnr=18.0)
    write_tiff(image, made.noisy)
    source = as_source(made.noisy, "YX", name="demo")
    sink = ArraySink(every_stage=True)
    with _stop_flag() as stop, _Display() as display:
        last = _last(pipeline.run(source, settings, sink=sink, stop=stop), display.show)
    report = _finished(last).report

    results = {_STAGE_TITLES[stage]: result for (_, stage), result in sink.results.items()}
    title = f"autostructn2v demo: a synthetic sample, noise {report['verdict']}"
    rho, mask = np.array(report["autocorrelation"]), np.array(report["mask"], np.uint8)
    page(picture, made.noisy, rho, mask, results, title=title, truth=made.clean)

    table = Table("image", "PSNR")
    for name, result in {"noisy": made.noisy, **results}.items():
        table.add_row(name, f"{psnr(made.clean, result):.2f} dB")
    _console().print(table)
    _say("PSNR = 20 log10(range of the truth / rms error)")
    _say(
        f"{report['verdict']}; {time.monotonic() - started:.0f} s in all; wrote {image}, {picture}"
    )


@app.command()
def run(
    inputs: Inputs,
    output: Out,
    budget: BudgetText = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"One of {', '.join(PRESETS)}.")
    ] = None,
    config: ConfigFile = None,
    mask: Annotated[
        str | None, typer.Option(metavar="M.tif|auto", help="Structural mask; auto measures it.")
    ] = None,
    axes: Axes = None,
    seed: Seed = None,
    device: Device = None,
    report: Report = None,
    save_model: Annotated[
        Path | None, typer.Option(metavar="M.asn2v", help="Keep the trained model here.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Train a model for each input, not one for all.")
    ] = False,
    experiment: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep masks, models, logs and results here.")
    ] = None,
    dtype: Dtype = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure the noise of images, train on them, and write them denoised.

    Several inputs train one model. With --each and several inputs, --report, --save-model and
    --experiment name folders that get one item for each.
    """
    from napari_autostructn2v.engine.sink import output_paths
    from napari_autostructn2v.engine.source import find_sources

    options = {"budget": budget, "axes": axes, "seed": seed, "device": device, "dtype": dtype}
    settings = _settings(preset, config, mask, options)
    extras = _Extras(report, save_model, experiment)
    with _stop_flag() as stop:
        if each:
            _run_each(inputs, output, extras, settings, overwrite, stop)
        else:
            sources = find_sources(inputs, settings.axes)
            job = _Job(output_paths(output, sources), extras, settings, overwrite)
            job.check()
            job.run(sources, stop)


@app.command()
def analyse(
    inputs: Inputs,
    config: ConfigFile = None,
    axes: Axes = None,
    report: Report = None,
    mask_out: Annotated[
        Path | None, typer.Option(metavar="M.tif", help="Write the first image's mask, as 0 and 1.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="P.png", help="Draw the first image's noise.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure the noise of images and say how it is correlated; nothing is trained."""
    from napari_autostructn2v.engine import analysis
    from napari_autostructn2v.engine.source import find_sources

    settings = _settings(None, config, None, {"axes": axes})
    check_outputs([report, mask_out, plot], overwrite)
    sources = find_sources(inputs, settings.axes)
    table = Table("image", "channel", "noise", "sigma", "leak", "mask")
    findings = []
    for finding in analysis.analyse(sources, settings):
        findings.append(finding)
        table.add_row(
            Text(finding.name),
            str(finding.channel),
            Text(f"{finding.verdict.name}. {finding.verdict.sentence}"),
            f"{finding.noise.sigma:.4g}",
            f"{finding.verdict.leak:.1%}",
            f"{int(finding.mask.sum())} px",
        )
    _console().print(table)

    first = findings[0]
    if report:
        used = settings.model_dump(mode="json")
        write_json(report, {**analysis.report(findings), "config": used})
    if mask_out:
        write_tiff(mask_out, first.mask)
    if plot:
        from napari_autostructn2v.engine.figure import LONGEST, page

        corner = sources[0].read(0, slice(0, LONGEST), slice(0, LONGEST))
        title = f"{first.name}: noise {first.verdict.name}"
        page(plot, corner, first.noise.rho, first.mask, title=title)


@app.command()
def denoise(
    model: ModelFile,
    inputs: Inputs,
    output: Out,
    tile: Annotated[int | None, typer.Option(metavar="PX", help=_help("tile"))] = None,
    axes: Axes = None,
    device: Device = None,
    dtype: Dtype = None,
    overwrite: Overwrite = False,
) -> None:
    """Denoise images with a trained model."""
    from napari_autostructn2v.engine import pipeline
    from napari_autostructn2v.engine.model import Model
    from napari_autostructn2v.engine.sink import FileSink, output_paths
    from napari_autostructn2v.engine.source import find_sources

    settings = _settings(None, None, None, {"tile": tile, "device": device, "dtype": dtype})
    with _stop_flag() as stop:
        trained = Model.load(model)
        sources = find_sources(inputs, axes)
        outputs = output_paths(output, sources)
        sink = FileSink(outputs, overwrite=overwrite)
        tiles = pipeline.apply(
            trained,
            sources,
            sink=sink,
            device=settings.device,
            tile=settings.tile,
            dtype=settings.dtype,
            stop=stop,
        )
        with _Display() as display:
            last = _last(tiles, display.show)
    _finished(last)
    _say_written(outputs)


@app.command()
def info(model: ModelFile) -> None:
    """Show what a model file holds."""
    from napari_autostructn2v.engine.model import Model

    table = Table("field", "value", title=str(model), title_justify="left")
    for key, value in _flat(Model.load(model).info()):
        table.add_row(Text(key), Text(value))
    _console().print(table)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value, default=str)


# A run and what is kept of it.


def _settings(
    preset: str | None, file: Path | None, mask: str | None, options: Mapping[str, Any]
) -> Config:
    """Options override the config file, which overrides the preset."""
    base = Config.load(file, preset) if file else Config.parse({"preset": preset or "balanced"})
    values = base.model_dump(mode="json")
    values.update({key: value for key, value in options.items() if value is not None})
    structure = values["structure"]
    if mask == "auto" and structure["mask_source"] in ("file", "array"):
        structure.update(mask_source="raw", mask_file=None, mask=None)
    elif mask not in (None, "auto"):
        structure.update(mask_source="file", mask_file=mask)
    return Config.parse(values)


@dataclass(frozen=True)
class _Extras:
    """What is kept of a run besides its results."""

    report: Path | None = None
    save_model: Path | None = None
    experiment: Path | None = None

    def of(self, stem: str) -> _Extras:
        """Give the paths for one of several inputs, in the folders that these then are."""
        return _Extras(
            self.report and self.report / f"{stem}.json",
            self.save_model and self.save_model / f"{stem}.asn2v",
            self.experiment and self.experiment / stem,
        )


@dataclass(frozen=True)
class _Job:
    """One model: its outputs and how it is trained."""

    outputs: Sequence[Path]
    extras: _Extras
    settings: Config
    overwrite: bool

    def check(self) -> None:
        """Find out what can't be written, before anything is trained."""
        from napari_autostructn2v.engine.sink import FileSink

        FileSink(self.outputs, overwrite=self.overwrite)
        check_outputs([self.extras.report, self.extras.save_model], self.overwrite)
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
        with _Display() as display:
            running = pipeline.run(sources, settings, sink=sink, stop=stop)
            last = _last(running, *observers, display.show)
        if isinstance(last, events.Failed) or last.stopped:
            self._keep_unfinished(sources, last.model)
        finished = _finished(last)
        written = list(self.outputs)
        if self.extras.save_model:
            finished.model.save(self.extras.save_model)
            written.append(self.extras.save_model)
        if self.extras.report:
            write_json(self.extras.report, finished.report)
            written.append(self.extras.report)
        if kept:
            kept.finish(finished.model, finished.report)
            written.append(kept.folder)
        _say_written(written)

    def _keep_unfinished(self, sources: Sequence[Source], model: Model | None) -> None:
        """Save the model so far, and tell how to go on from it."""
        if model is None or not model.units:
            return
        out = self.outputs[0] if len(self.outputs) == 1 else self.outputs[0].parent
        path = self.extras.save_model or _free(out.with_name(f"{_stem(out)}.stopped.asn2v"))
        model.save(path)
        inputs = [str(source.path) for source in sources]
        command = ["autostructn2v", "denoise", str(path), *inputs, "-o", str(out)]
        if self.settings.axes is not None:
            command += ["--axes", self.settings.axes]
        if any(output.exists() for output in self.outputs):
            command += ["--overwrite"]
        _say(f"the model so far is kept; to finish: {shlex.join(command)}")


def _run_each(
    inputs: Sequence[str],
    output: Path,
    extras: _Extras,
    settings: Config,
    overwrite: bool,
    stop: threading.Event,
) -> None:
    """Train a model for each file; a file that fails doesn't end the batch."""
    from napari_autostructn2v.engine.sink import output_paths
    from napari_autostructn2v.engine.source import find_files, open_source

    files = find_files(inputs)
    failed: list[str] = []
    crashed = False
    good: list[tuple[Path, Source]] = []
    for file in files:
        try:
            with open_source(file, settings.axes) as source:
                good.append((file, source))  # closed, it still has its name and path
        except InputError as error:
            failed.append(str(file))
            _complain(error)
    outputs = output_paths(output, [source for _, source in good])
    jobs = [
        _Job([path], extras.of(_stem(path)) if len(files) > 1 else extras, settings, overwrite)
        for path in outputs
    ]
    for job in jobs:
        job.check()
    for job, (file, _) in zip(jobs, good, strict=True):
        try:
            with open_source(file, settings.axes) as source:
                job.run([source], stop)
        except InputError as error:
            failed.append(str(file))
            _complain(f"{file}: {error}")
        except typer.Exit:  # stopped
            raise
        except Exception:  # noqa: BLE001 - a bug met on one file must not end the night's batch
            failed.append(str(file))
            traceback.print_exc()
            crashed = True
    if failed:
        _complain(f"{len(failed)} of {len(files)} inputs failed: {', '.join(failed)}")
        raise typer.Exit(BUG if crashed else BAD_INPUT)


def _last(
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


def _finished(last: events.Finished | events.Failed) -> events.Finished:
    """Give the result of a run, or leave the way its end calls for."""
    if isinstance(last, events.Failed):
        raise last.error
    if last.stopped:
        _say("stopped")
        raise typer.Exit(STOPPED)
    return last


@contextmanager
def _stop_flag() -> Iterator[threading.Event]:
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


# Names of files.


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".ome")


def _free(path: Path) -> Path:
    """Give the first of path, path-2, path-3 ... that does not exist."""
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return candidate


# What is said.


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160  # no terminal to fit into
    return console


def _say(text: str) -> None:
    _console().print(Text(text), soft_wrap=True)


def _say_written(paths: Sequence[Path]) -> None:
    shown = ", ".join(map(str, paths[:4]))
    _say(f"wrote {shown}" + (f" and {len(paths) - 4} more" if len(paths) > 4 else ""))


class _Display:
    """Shows a run: a line for each thing found, and on a terminal a bar for each thing in work."""

    def __init__(self) -> None:
        self._console = _console()
        self._images: tuple[str, ...] = ()
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> _Display:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, event: events.Event) -> None:
        match event:
            case events.Started():
                self._images = event.images
                count = "1 image" if len(event.images) == 1 else f"{len(event.images)} images"
                self._line(f"{count} on {event.device}, {event.precision}")
            case events.NoiseMeasured():
                where = self._images[event.image] if self._images else "noise"
                channel = f" channel {event.channel}" if event.channel else ""
                self._line(
                    f"{where}{channel}: noise {event.verdict}, sigma {event.sigma:.4g}, "
                    f"neighbours predict {event.leak:.0%}. {event.sentence}"
                )
            case events.MaskFound():
                rows, columns = event.mask.shape
                self._line(f"mask: {int(event.mask.sum())} px within {rows} x {columns}")
            case events.Progress():
                name = _STAGE_TITLES[event.stage] + _channel(event.channel)
                self._bar(name, event.step, event.total, f"loss {event.loss:.4f}")
            case events.StageDone():
                name = _STAGE_TITLES[event.stage] + _channel(event.channel)
                why = f", ended early: {event.stopped}" if event.stopped else ""
                trained = (
                    f"{event.steps} steps in {event.seconds:.1f} s, loss {event.loss:.4f}{why}"
                )
                self._line(f"{name}: {trained if event.steps else event.stopped}")
            case events.TileDone():
                name = f"{_STAGE_TITLES[event.stage]}, tiles"
                self._bar(name, event.done, event.total, "")
            case events.Warning():
                self._line(f"warning: {event.message}")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _bar(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note=note)
        self._bars.update(self._tasks[name], completed=done, total=total, note=note)


def _channel(channel: int | None) -> str:
    return "" if channel is None else f", channel {channel}"
