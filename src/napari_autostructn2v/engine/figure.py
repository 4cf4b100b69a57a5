"""Draws the page that shows what was done: noisy image, noise correlation with mask, results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from napari_autostructn2v.engine.files import beside
from napari_autostructn2v.engine.synthetic import psnr

Array = npt.NDArray[Any]

_DPI = 100
_COLUMN, _HEIGHT = 4.0, 8.8  # inches
_INK, _ACCENT = "#1b1f24", "#d97706"
_ZOOM = 4  # the lower row shows this much less of the image
LONGEST = 1024  # px: more of an image is not shown


def page(
    path: Path,
    noisy: Array,
    rho: Array,
    mask: Array,
    results: Mapping[str, Array] | None = None,
    *,
    title: str = "",
    truth: Array | None = None,
) -> None:
    """Write a PNG: the noisy image, the noise's autocorrelation with the mask, then the results.

    The upper row shows the whole image, the lower a part of it, and the autocorrelation along x
    and y.

    Parameters
    ----------
    noisy, results, truth
        (H, W), all of one shape, on one grey scale; `results` by name. With `truth` the titles
        give the PSNR.
    rho, mask
        Lag (0, 0) in the centre of both; they may differ in size.
    """
    results = results or {}
    columns = 2 + len(results)
    figure = Figure(figsize=(_COLUMN * columns, _HEIGHT), dpi=_DPI, facecolor="white")
    grid = figure.add_gridspec(
        2, columns, left=0.02, right=0.98, top=0.87, bottom=0.06, wspace=0.06, hspace=0.13
    )
    figure.text(0.02, 0.945, title, fontsize=17, color=_INK, weight="bold", va="center")

    limits = _limits(list(results.values())[-1] if results else noisy)
    zoom = _zoom(truth if truth is not None else noisy)
    columns_of = [0, *range(2, columns)]
    for column, (name, image) in zip(columns_of, {"Noisy": noisy, **results}.items(), strict=True):
        score = "" if truth is None else f"   {psnr(truth, image):.1f} dB"
        whole, part = (figure.add_subplot(grid[row, column]) for row in range(2))
        _show(whole, image[:LONGEST, :LONGEST], limits, name + score)
        _show(part, image[zoom], limits)
        y, x = (side.start for side in zoom)
        height, width = image[zoom].shape
        whole.add_patch(
            Rectangle((x - 0.5, y - 0.5), width, height, fill=False, ec=_ACCENT, lw=1.5)
        )
    _heat_map(figure.add_subplot(grid[0, 1]), rho, mask)
    profiles = figure.add_subplot(grid[1, 1])
    x0, y0, width, height = profiles.get_position().bounds
    room = 0.35 / figure.get_figwidth()  # for the numbers of the axis
    profiles.set_position((x0 + room, y0, width - room, height))
    _profiles(profiles, rho, mask)

    with beside(path) as file:
        figure.savefig(file, format="png")


def _limits(image: Array) -> tuple[float, float]:
    low, high = np.nanpercentile(np.asarray(image, np.float64), (0.2, 99.8))
    return float(low), float(high)


def _zoom(image: Array) -> tuple[slice, slice]:
    """Find a part with much to see: the window of largest variance of a coarse grid."""
    shown = [min(n, LONGEST) for n in image.shape]
    side = min(*shown, max(32, max(shown) // _ZOOM))
    starts = [range(0, n - side + 1, max(1, side // 2)) for n in shown]
    windows = [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]
    return max(windows, key=lambda window: float(np.nanvar(image[window])))


def _show(axes: Axes, image: Array, limits: tuple[float, float], title: str = "") -> None:
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="antialiased")
    _frame(axes, title)


def _frame(axes: Axes, title: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=13, color=_INK, pad=7)
    for spine in axes.spines.values():
        spine.set_color("#c9ced6")


def _heat_map(axes: Axes, rho: Array, mask: Array) -> None:
    """Draw the lags around the mask, each a cell; the mask's cells are outlined."""
    reach = min(rho.shape[0] // 2, max(5, *(n // 2 + 2 for n in mask.shape)))
    centre = rho.shape[0] // 2
    shown = rho[centre - reach : centre + reach + 1, centre - reach : centre + reach + 1]
    strongest = _strongest(shown)
    axes.imshow(
        shown,
        cmap="RdBu_r",
        vmin=-strongest,
        vmax=strongest,
        extent=(-reach - 0.5, reach + 0.5, reach + 0.5, -reach - 0.5),
        interpolation="nearest",
    )
    axes.add_collection(LineCollection(_outline(mask, reach), colors=_INK, linewidths=2))
    pixels = int(np.count_nonzero(mask))
    _frame(axes, f"Noise correlation, mask of {pixels} px")


def _strongest(rho: Array) -> float:
    others = np.abs(rho)
    others[tuple(n // 2 for n in rho.shape)] = 0
    return max(float(others.max()), 0.05)


def _outline(mask: Array, reach: int) -> list[list[tuple[float, float]]]:
    """Edges between the mask's cells and the rest, as lines in lag coordinates (x, y)."""
    cells = np.zeros((2 * reach + 3,) * 2, bool)
    half = [n // 2 for n in mask.shape]
    for y, x in np.argwhere(mask) - half:
        if max(abs(y), abs(x)) <= reach:
            cells[y + reach + 1, x + reach + 1] = True
    lines = [
        [(x - reach - 1.5, y - reach - 0.5), (x - reach - 0.5, y - reach - 0.5)]
        for y, x in np.argwhere(cells[1:] != cells[:-1])
    ]
    lines += [
        [(x - reach - 0.5, y - reach - 1.5), (x - reach - 0.5, y - reach - 0.5)]
        for y, x in np.argwhere(cells[:, 1:] != cells[:, :-1])
    ]
    return lines


def _profiles(axes: Axes, rho: Array, mask: Array) -> None:
    centre = rho.shape[0] // 2
    lags = np.arange(-centre, centre + 1)
    half = mask.shape[1] // 2
    hidden = [lag for lag in lags if abs(lag) <= half and mask[mask.shape[0] // 2, half + lag]]
    for lag in hidden:
        axes.axvspan(lag - 0.5, lag + 0.5, color="#fde7c7", lw=0)
    axes.axhline(0, color="#c9ced6", lw=1)
    axes.plot(lags, rho[:, centre], "o-", color="#8fa3b8", ms=3, lw=1.2, label="along y")
    axes.plot(lags, rho[centre], "o-", color=_ACCENT, ms=4, lw=1.6, label="along x")
    axes.set_ylim(min(-0.15, float(rho.min()) - 0.05), 1.05)
    axes.set_xlim(-centre, centre)
    axes.set_xlabel("lag (px); shaded: hidden along x", fontsize=11, color=_INK)
    axes.tick_params(labelsize=10, colors=_INK)
    axes.legend(frameon=False, fontsize=11, loc="upper right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
