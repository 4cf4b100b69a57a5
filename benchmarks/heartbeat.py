"""Responsiveness of the viewer during training, and the speed compared with no viewer.

A 10 ms timer in the event loop of an open viewer records when it fires. A gap is the time between
two beats. Each repeat is a new process, so that its first run imports torch, as for a user.
Needs a display (xvfb-run works).
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np

from common import head, keep, parser, row, say
from napari_autostructn2v.engine.synthetic import sample

INTERVAL = 10  # ms


def image() -> np.ndarray:
    return sample("nuclei", "horizontal", size=512, dtype=np.uint16).noisy


def in_viewer(budget: str) -> dict[str, np.ndarray | float]:
    """Measure the gaps (ms) of an idle viewer, during training and when stopped; and times (s)."""
    import napari
    from qtpy.QtCore import QEventLoop, Qt, QTimer

    from napari_autostructn2v.engine.events import Failed, Preview, StageDone
    from napari_autostructn2v.plugin.runs import settings

    fresh = Path(tempfile.mkdtemp(), "settings.json")  # not the user's
    settings.settings_file = lambda: fresh
    viewer = napari.Viewer()
    viewer.add_image(image(), name="cells")
    began = perf_counter()
    _panel, dock = viewer.window.add_plugin_dock_widget("napari-autostructn2v")
    opened = perf_counter() - began
    assert "torch" not in sys.modules, "its import is part of the run"
    beats: list[float] = []
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: beats.append(perf_counter()))
    timer.start(INTERVAL)

    def wait(milliseconds: int) -> np.ndarray:
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()
        return gaps()

    def gaps() -> np.ndarray:
        found = 1000 * np.diff(beats)
        beats.clear()
        return found

    def run(stop_after: float | None = None) -> None:
        """Press Denoise and wait until it has finished."""
        loop = QEventLoop()
        dock.panels.denoise.click()
        pressed.append(perf_counter())
        dock.session.finished.connect(loop.quit)
        if stop_after is not None:
            QTimer.singleShot(round(1000 * stop_after), stop)
        loop.exec()
        dock.session.finished.disconnect(loop.quit)

    def stop() -> None:
        pressed.append(perf_counter())
        dock.panels.train.stop.click()

    def note(event: object) -> None:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, StageDone):
            stages.append(event)
            answers.append(perf_counter())
        if isinstance(event, Preview):
            previews.append(perf_counter())

    stages: list[StageDone] = []
    previews: list[float] = []
    answers: list[float] = []
    pressed: list[float] = []
    dock.session.told.connect(note)
    wait(2000)
    idle = wait(3000)
    dock.panels.inputs.budget.setEditText(budget)
    run()
    busy = gaps()
    seconds = sum(stage.seconds for stage in stages)
    first = previews[0] - pressed[0]
    stages.clear()
    run(stop_after=10)
    stopped = gaps()
    answer = next(at for at in answers if at > pressed[2]) - pressed[2]
    viewer.close()
    return {
        "idle": idle,
        "training": busy,
        "stopping": stopped,
        "seconds": seconds,
        "opened": opened,
        "preview": first,
        "stop": answer,
    }


def without_viewer(budget: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "a.npy", image())
        subprocess.run(
            [sys.executable, "-m", "napari_autostructn2v", "run", str(place / "a.npy"), "-o",
             str(place / "b.tif"), "--budget", budget, "--report", str(place / "r.json")],
            check=True, capture_output=True,
        )  # fmt: skip
        report = json.loads((place / "r.json").read_text())
        return float(sum(stage["seconds"] for stage in report["stages"]))


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--budget", default="400steps")
    arguments.add_argument("--repeats", type=int, default=1)
    options = arguments.parse_args()
    head("", "beats", "p50 (ms)", "p99 (ms)", "worst (ms)")
    ratios = []
    for _ in range(options.repeats):
        alone = without_viewer(options.budget)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            found = process.submit(in_viewer, options.budget).result()
        for name in ("idle", "training", "stopping"):
            gaps = found[name]
            row(name, len(gaps), *(float(np.percentile(gaps, q)) for q in (50, 99)), gaps.max())
        ratios.append(alone / found["seconds"])
        say(f"training {found['seconds']:.1f} s in the viewer, {alone:.1f} s without")
        say(
            "dock open after {opened:.2f} s, first preview {preview:.1f} s, "
            "stop answered in {stop:.2f} s".format(**found)
        )
    say(f"speed in the viewer / without, median: {np.median(ratios):.2f}")
    keep(options)


if __name__ == "__main__":
    main()
