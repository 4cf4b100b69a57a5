"""The viewer's heartbeat while it trains, and training beside the same training without a viewer.

A 10 ms timer on the event loop of an open viewer notes when it fires. A gap is the time between
two beats. Needs a display (xvfb-run will do).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from common import head, row
from napari_autostructn2v.engine.synthetic import sample

INTERVAL = 10  # ms


def image() -> np.ndarray:
    return sample("nuclei", "horizontal", size=512, dtype=np.uint16).noisy


def in_viewer(budget: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Gaps in ms of an idle viewer and of one that trains, and the seconds of training."""
    import napari
    from qtpy.QtCore import QEventLoop, Qt, QTimer

    from napari_autostructn2v.engine.events import Failed, StageDone
    from napari_autostructn2v.plugin.dock import DenoiseDock

    viewer = napari.Viewer()
    viewer.add_image(image(), name="cells")
    dock = DenoiseDock(viewer)
    viewer.window.add_dock_widget(dock, name="Denoise")
    beats: list[float] = []
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: beats.append(perf_counter()))
    timer.start(INTERVAL)

    def wait(milliseconds: int) -> np.ndarray:
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()
        gaps = 1000 * np.diff(beats)
        beats.clear()
        return gaps

    wait(2000)
    idle = wait(3000)
    seconds = []

    def note(event: object) -> None:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, StageDone):
            seconds.append(event.seconds)

    dock.budget.setEditText(budget)
    dock.denoise.click()
    dock._run.event.connect(note)
    loop = QEventLoop()
    dock._run.finished.connect(loop.quit)
    loop.exec()
    busy = wait(200)
    viewer.close()
    return idle, busy, sum(seconds)


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="400steps")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    head("", "beats", "p50 (ms)", "p99 (ms)", "worst (ms)")
    ratios = []
    for _ in range(options.repeats):
        alone = without_viewer(options.budget)
        idle, busy, seconds = in_viewer(options.budget)
        for name, gaps in (("idle", idle), ("training", busy)):
            row(name, len(gaps), *(float(np.percentile(gaps, q)) for q in (50, 99)), gaps.max())
        ratios.append(alone / seconds)
        print(f"training {seconds:.1f} s in the viewer, {alone:.1f} s without", flush=True)
    print(f"speed in the viewer / without, median: {np.median(ratios):.2f}")


if __name__ == "__main__":
    main()
