"""Draws the page of a run: the noisy image, the results, what was removed, the quality card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.labels import STAGE_TITLES, quality_rows
from napari_autostructn2v.engine.reporting.figure import (
    ALONG_X,
    ALONG_Y,
    INK,
    SOFT,
    Page,
    along,
    grey_limits,
    heat_map,
    mark,
    plot_frame,
    profile,
    show,
    wrap,
    zoom,
)
from napari_autostructn2v.engine.synthetic import psnr
from napari_autostructn2v.engine.types import Array

_WIDTH = 16.0  # inches
_LARGEST = 4.0  # inches: side of a picture
_GAP = 0.2
_REMOVED = 4.0  # standard deviations of what was removed, from black to white, each way


def result_page(
    title: str,
    noisy: Array,
    results: Mapping[StageName, Array],
    report: Mapping[str, Any],
    truth: Array | None = None,
) -> Page:
    """Draw the images with an enlarged part of each, the correlation and the quality card.

    Parameters
    ----------
    noisy, results, truth
        (H, W), all of one shape and in the same grey values; `results` by stage, the final one
        last. With `truth` the titles give the PSNR.
    report
        The report of a run; items that it lacks are left out.
    """
    quality = report.get("quality") or {}
    trusted = next((s for s in results if s == quality.get("recommended")), list(results)[-1])
    removed = noisy - results[trusted]
    shown = [("Noisy", noisy), *((STAGE_TITLES[stage], image) for stage, image in results.items())]
    if truth is not None:
        shown = [(f"{name}   {psnr(truth, image):.1f} dB", image) for name, image in shown]
    columns = len(shown) + 1
    width = min(_LARGEST, (_WIDTH - 0.7 - _GAP * (columns - 1)) / columns)
    part = zoom(noisy if truth is None else truth)
    heights = [
        max(0.6, width * min(1, rows / side)) for rows, side in (noisy.shape, noisy[part].shape)
    ]
    below = 0.45 + sum(heights) + _GAP + 0.6

    table = _Table(report, quality, list(results))
    page = Page(_WIDTH, below + max(3.5, table.height) + 0.3, title, _sentences(report, quality))
    limits = grey_limits(results[trusted])
    spread = _REMOVED * float(np.nanstd(removed))
    images = [(name, image, limits) for name, image in shown]
    images.append((f"Removed by {STAGE_TITLES[trusted]}", removed, (-spread, spread)))
    for column, (name, image, grey) in enumerate(images):
        left = 0.35 + column * (width + _GAP)
        whole = page.axes(left, 0.45, width, heights[0])
        show(whole, image, grey, name)
        mark(whole, part)
        show(page.axes(left, 0.45 + heights[0] + _GAP, width, heights[1]), image[part], grey)
    _noise(page, below, report, quality)
    table.draw(page, below)
    return page


def _sentences(report: Mapping[str, Any], quality: Mapping[str, Any]) -> list[str]:
    """Return the sentences about the noise and about the check of the residual."""
    found = (report.get("noise") or {}, quality.get("check") or {})
    return [part["sentence"] for part in found if part.get("sentence")]


def _noise(page: Page, top: float, report: Mapping[str, Any], quality: Mapping[str, Any]) -> None:
    """Draw the noise's correlation with the mask, and both axes beside what was removed."""
    rho = np.array(report["autocorrelation"])
    mask = np.array(report.get("trained_mask", report["mask"]), np.uint8)
    heat_map(page.axes(1.0, top, 2.7, 2.7), page.axes(3.77, top, 0.1, 2.7), rho, mask)
    error = np.array(report.get("noise", {}).get("autocorrelation_error", np.zeros_like(rho)))
    left = (quality.get("check") or {}).get("autocorrelation")
    centre = rho.shape[0] // 2
    sides = (np.s_[centre, centre:], np.s_[centre:, centre])
    for number, (side, hidden, colour, name) in enumerate(
        zip(sides, along(mask), (ALONG_X, ALONG_Y), ("a row", "a column"), strict=True)
    ):
        axes = page.axes(5.05, top + 1.65 * number, 2.9, 1.05)
        profile(axes, rho[side], error[side], hidden, colour, "noise")
        if left is not None:
            values = np.array(left)
            middle = values.shape[0] // 2
            line = values[middle, middle:] if number == 0 else values[middle:, middle]
            axes.plot(line[: len(rho[side])], "--", color=INK, lw=1.2, label="removed")
            axes.legend(frameon=False, fontsize=10, loc="upper right", labelcolor=INK)
        axes.set_ylim(min(-0.12, float(rho[side].min()) - 0.05), 1.08)
        plot_frame(axes, f"Correlation along {name}", "px apart; shaded: hidden" * number, "")


class _Table:
    """The quality card as a table: a row per figure with its meaning, a column per stage."""

    def __init__(
        self, report: Mapping[str, Any], quality: Mapping[str, Any], stages: list[StageName]
    ) -> None:
        self._stages, self._best = stages, quality.get("recommended")
        self._left, self._right = 8.6, _WIDTH - 0.35
        self._places = [self._right - 1.8 * number for number in range(len(stages))][::-1]
        room = self._places[0] - 1.75 - self._left
        self._rows = [
            (row.title, wrap(row.meaning, room, 9.5), row.figures) for row in quality_rows(quality)
        ]
        trained = {
            stage["name"]: (f"{stage['steps']} steps, {stage['seconds']:.0f} s", "")
            for stage in reversed(report["stages"])  # of several networks, the first one's
        }
        self._rows.append(("Training", [], trained))
        self.height = sum(0.42 + 0.2 * len(meaning) for _, meaning, _ in self._rows)

    def draw(self, page: Page, top: float) -> None:
        for stage, place in zip(self._stages, self._places, strict=True):
            best = " (best)" if len(self._stages) > 1 and stage == self._best else ""
            name = STAGE_TITLES[stage] + best
            page.text(place, top - 0.2, name, size=11, weight="bold", ha="right")
        line = top + 0.15
        for name, meaning, figures in self._rows:
            page.rule(self._left, line - 0.18, self._right - self._left)
            page.text(self._left, line + 0.02, name, size=11, weight="bold")
            for stage, place in zip(self._stages, self._places, strict=True):
                value, ends = figures.get(stage, ("\N{EN DASH}", ""))
                page.text(place, line + 0.02, value, size=11, ha="right")
                page.text(place, line + 0.24, ends, size=9.5, color=SOFT, ha="right")
            for part in meaning:
                line += 0.2
                page.text(self._left, line + 0.04, part, size=9.5, color=SOFT)
            line += 0.42
