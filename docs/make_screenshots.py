"""Takes the pictures of the plugin's window: a real run on the synthetic sample, in both themes.

    xvfb-run -s "-screen 0 1280x800x24" python docs/make_screenshots.py

A window manager is not needed. Writes docs/images/window.png and window-light.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import napari
from napari.settings import get_settings
from qtpy.QtWidgets import QApplication

from napari_autostructn2v.plugin import dock, sample_data

IMAGES = Path(__file__).parent / "images"
SIZE = 1280, 720
THEMES = {"dark": "window.png", "light": "window-light.png"}


def shoot(theme: str, path: Path, budget: str, make_engine: Callable[..., dock.Engine]) -> None:
    """Open a sample, press Denoise, wait, and save the whole window."""
    get_settings().appearance.theme = theme
    viewer = napari.Viewer()
    viewer.window.resize(*SIZE)
    _truth, noisy = sample_data.horizontal()
    viewer.add_image(noisy[0], **noisy[1], scale=(0.1, 0.1), units=("um", "um"))
    panel = dock.DenoiseDock(viewer, make_engine)
    viewer.window.add_dock_widget(panel, name="Denoise (napari-autostructn2v)")
    panel.budget.setEditText(budget)
    settle(0.5)
    viewer.reset_view()
    panel.denoise.click()
    while panel.is_running:
        settle(0.1)
    settle(0.5)
    viewer.window.screenshot(str(path), canvas_only=False, flash=False)
    viewer.close()
    settle(0.5)


def settle(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="1 min", help="time for each of the two runs")
    budget = parser.parse_args().budget
    IMAGES.mkdir(exist_ok=True)
    for theme, name in THEMES.items():
        shoot(theme, IMAGES / name, budget, dock.engine)


if __name__ == "__main__":
    main()
