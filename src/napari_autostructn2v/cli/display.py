"""What the command line prints: lines, tables and, on a terminal, progress bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from napari_autostructn2v.cli.terminal import console, say, shown
from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.labels import STAGE_TITLES, listed, mask_words, quality_rows

if TYPE_CHECKING:
    from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
    from napari_autostructn2v.engine.mask.score import Score
    from napari_autostructn2v.engine.model.model import TrainedModel


def say_written(paths: Sequence[Path]) -> None:
    say(f"wrote {listed(paths, 4)}")


def say_stage(model: TrainedModel, stage: StageName) -> None:
    """Say which stage the results come from if it is not the last one."""
    if stage != model.stages[-1]:
        say(f"the result is from {STAGE_TITLES[stage]}")


def say_findings(findings: Iterable[NoiseAnalysis]) -> None:
    """Print a table with the noise of each channel."""
    table = Table("image", "noise", "sigma", "leak", "mask", show_lines=True)
    for finding in findings:
        verdict, noise = finding.verdict, finding.noise
        lines = (shown(verdict.name, "bold"), *map(shown, (verdict.sentence, *finding.remarks())))
        table.add_row(
            shown(_name(finding)),
            Text("\n").join(lines),
            f"{noise.sigma:.4g}",
            f"{verdict.leak:.1%}, at most {verdict.leak_bound:.1%}",
            shown(mask_words(finding.mask)),
        )
    console().print(table)
    say("sigma: noise in grey values; leak: share that neighbours predict, with its 95 % bound")


def say_score(finding: NoiseAnalysis, name: str, score: Score) -> None:
    say(
        f"{name} for {_name(finding)}: {score.pixels} px hidden, "
        f"leak {score.leak:.1%}, at most {score.leak_bound:.1%}; "
        f"{score.error_db:+.1f} dB against the measured mask. {score.advice}"
    )


def _name(finding: NoiseAnalysis) -> str:
    return finding.name + (f", channel {finding.channel}" if finding.channel else "")


def say_quality(quality: Mapping[str, Any]) -> None:
    """Print the quality card, the recommended stage and the check, as far as they are known."""
    stages = [stage for stage in quality.get("stages") or {} if stage in STAGE_TITLES]
    if rows := quality_rows(quality):
        table = Table("quality", *(STAGE_TITLES[stage] for stage in stages))
        for row in rows:
            values = (shown(row.values.get(stage, "")) for stage in stages)
            table.add_row(shown(row.title), *values)
        console().print(table)
    if (best := quality.get("recommended")) in STAGE_TITLES:
        say(f"recommended: {STAGE_TITLES[best]}")
    if sentence := (quality.get("check") or {}).get("sentence"):
        say(f"check: {sentence}")


class Display:
    """Prints the events of a run as lines and, on a terminal, as progress bars.

    `kept` is filled by the sink with results that had to take another name than the one asked
    for; they are listed however the run ends.
    """

    def __init__(self, kept: Sequence[Path] = ()) -> None:
        self._kept = kept
        self._console = console()
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

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        if self._kept:
            say(f"unfinished results are kept as {listed(self._kept, 4)}")

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
                self._line(f"mask: {mask_words(event.mask)}, leak {event.leak:.1%}")
            case events.Progress():
                name = STAGE_TITLES[event.stage] + _channel(event.channel)
                self._bar(name, event.step, event.total, f"loss {event.loss:.4f}")
            case events.Checked():
                again = "; Stage 2 starts again with a wider mask" if event.repaired else ""
                self._line(f"check{_channel(event.channel)}: {event.sentence}{again}")
            case events.StageDone():
                name = STAGE_TITLES[event.stage] + _channel(event.channel)
                why = f", ended early: {event.stopped}" if event.stopped else ""
                trained = f"{event.steps} steps in {event.seconds:.1f} s, loss {event.loss:.4f}"
                self._line(f"{name}: {trained}{why}")
            case events.TileDone():
                self._bar(f"{STAGE_TITLES[event.stage]}, tiles", event.done, event.total, "")
            case events.Warning():
                self._line(f"warning: {event.message}")

    def _line(self, text: str) -> None:
        self._console.print(shown(text), soft_wrap=True)

    def _bar(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note=note)
        self._bars.update(self._tasks[name], completed=done, total=total, note=note)


def _channel(channel: int | None) -> str:
    return "" if channel is None else f", channel {channel}"
