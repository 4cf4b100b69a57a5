"""Takes the pictures of the plugin's window: real runs on the synthetic sample, in both themes.

    xvfb-run -s "-screen 0 1280x800x24" python docs/make_screenshots.py

A window manager is not needed, and no settings of the user's are read or changed. Writes PNG files
into docs/images; takes twice the budget, and a minute or so more.
"""

# ruff: noqa: E402 - napari reads its settings when it is imported

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

TEMPORARY = Path(tempfile.mkdtemp())
os.environ["NAPARI_CONFIG"] = str(TEMPORARY / "napari.yaml")

import napari
import numpy as np
from napari.settings import get_settings
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_autostructn2v.engine.events import Progress
from napari_autostructn2v.plugin import sample_data
from napari_autostructn2v.plugin.dock import DenoiseDock
from napari_autostructn2v.plugin.runs import settings

IMAGES = Path(__file__).parent / "images"
SIZE, SMALL = (1280, 720), (1024, 600)
SHORT = "20 s"
WATCHED = 0.4  # how far Stage 2 is when it is photographed
EDITS = (0, 5), (1, 0)  # lags that are clicked


class Scene:
    """A napari window with the sample and the dock, to be photographed."""

    def __init__(self, theme: str, budget: str, size: tuple[int, int] = SIZE) -> None:
        get_settings().appearance.theme = theme
        settings.settings_file = lambda: TEMPORARY / f"{time.monotonic_ns()}.json"
        self.viewer = napari.Viewer()
        self.viewer.window.resize(*size)
        _truth, (pixels, look, _kind) = sample_data.horizontal()
        self.viewer.add_image(pixels, **look, scale=(0.1, 0.1), units=("um", "um"))
        self.dock = DenoiseDock(self.viewer)
        self.viewer.window.add_dock_widget(self.dock, name="Denoise (napari-autostructn2v)")
        self.panels = self.dock.panels
        self.panels.inputs.budget.setEditText(budget)
        settle(0.5)

    def wait(self) -> None:
        settle(0.2)
        while self.dock.is_running:
            settle(0.1)
        settle(0.5)

    def turn_to(self, part: str = "") -> None:
        """Scroll to a part of the dock, or to its top."""
        settle(0.5)
        self.panels.verticalScrollBar().setValue(0)
        if part:
            self.panels.ensureWidgetVisible(self.panels.folds[part])

    def shoot(self, name: str) -> None:
        settle(0.5)
        pixels = self.viewer.window.screenshot(canvas_only=False, flash=False)
        Image.fromarray(pixels).convert("RGB").save(IMAGES / f"{name}.png", optimize=True)

    def close(self) -> None:
        self.viewer.close()
        settle(0.5)


def watch(budget: str) -> None:
    """While it trains, with the split preview."""
    scene = Scene("dark", budget)
    scene.panels.train.split.setChecked(True)
    stage2 = []
    scene.dock.session.told.connect(
        lambda event: (
            stage2.append(event.step / event.total)
            if isinstance(event, Progress) and event.stage == "stage2"
            else None
        )
    )
    scene.panels.denoise.click()
    while scene.dock.is_running and (not stage2 or stage2[-1] < WATCHED):
        settle(0.1)
    scene.turn_to()
    scene.shoot("training")
    scene.wait()
    scene.turn_to()
    scene.shoot("window")
    scene.close()


def judge(budget: str) -> None:
    """The result, and the curtain over it."""
    scene = Scene("light", budget)
    scene.panels.denoise.click()
    scene.wait()
    scene.turn_to()
    scene.shoot("window-light")
    scene.panels.result.curtain.click()
    scene.turn_to("result")
    scene.shoot("curtain")
    scene.close()


def edit_mask() -> None:
    """Analyse, and click on cells of the grid; then an image that can't be denoised."""
    scene = Scene("dark", SHORT)
    scene.panels.noise.analyse.click()
    scene.wait()
    grid = scene.panels.editor.grid
    for lag in EDITS:
        centre = grid.cell(lag).center().toPoint()
        QTest.mouseClick(grid, Qt.MouseButton.LeftButton, pos=centre)
    scene.turn_to("mask")
    settle(1)
    scene.shoot("mask")
    scene.panels.folds["mask"].expand(False)
    where = {"scale": (0.1, 0.1), "units": ("um", "um")}
    scene.viewer.add_image(np.full((512, 512), 100, np.uint16), name="dark", **where)
    scene.panels.denoise.click()
    scene.wait()
    scene.turn_to()
    scene.shoot("error")
    scene.close()


def all_settings() -> None:
    """A small window with the settings open."""
    scene = Scene("dark", SHORT, SMALL)
    for name, fold in scene.panels.folds.items():
        fold.expand(name in ("model", "advanced"))
    scene.viewer.reset_view()
    scene.turn_to("advanced")
    scene.shoot("settings")
    scene.close()


def settle(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="1 min", help="time for each of the two long runs")
    budget = parser.parse_args().budget
    IMAGES.mkdir(exist_ok=True)
    watch(budget)
    judge(budget)
    edit_mask()
    all_settings()


if __name__ == "__main__":
    main()
