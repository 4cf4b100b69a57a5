"""Building blocks of the pages with pictures: a page laid out in inches, and its plots."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from napari_autostructn2v.engine.data.files import beside
from napari_autostructn2v.engine.data.io.mark import SOFTWARE
from napari_autostructn2v.engine.types import Array

INK, SOFT, RULE = "#1b1f24", "#5c6672", "#c9ced6"
# Safe for colour-blind readers (Okabe and Ito 2008), as are the ends of the colour map
ALONG_X, ALONG_Y, SHADE = "#0072b2", "#d55e00", "#e4ebf1"
DIVERGING = "RdBu_r"

_DPI = 100
_MARGIN = 0.35  # inches
_LINE = 0.25  # inches from line to line of a paragraph
_FAINT = 0.1  # the colour range of a correlation reaches at least this far
_ZOOM = 4  # an enlarged part has the image's side divided by this


class Page:
    """A white page with a heading; positions are in inches, from the left and from the heading."""

    def __init__(self, width: float, height: float, title: str, lines: Sequence[str] = ()) -> None:
        wrapped = [part for line in lines for part in wrap(line, width - 2 * _MARGIN, 12)]
        head = 0.85 + _LINE * len(wrapped)
        self._size = width, head + height
        self._head = head
        self.figure = Figure(figsize=self._size, dpi=_DPI, facecolor="white")
        self.text(_MARGIN, 0.42 - head, title, size=17, weight="bold")
        for number, line in enumerate(wrapped):
            self.text(_MARGIN, 0.8 + _LINE * number - head, line, size=12)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        full = self._size
        bottom = full[1] - self._head - top - height
        return self.figure.add_axes(
            (left / full[0], bottom / full[1], width / full[0], height / full[1])
        )

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write a line centred vertically at `top`."""
        y = 1 - (self._head + top) / self._size[1]
        style = {"color": INK, "va": "center", "parse_math": False, **style}
        self.figure.text(left / self._size[0], y, text, **style)

    def rule(self, left: float, top: float, width: float) -> None:
        axes = self.axes(left, top, width, 0.01)
        axes.set_axis_off()
        axes.axhline(0.5, color=RULE, lw=1)

    def save(self, path: Path) -> None:
        with beside(path) as file:
            self.figure.savefig(file, format="png", metadata={"Software": SOFTWARE})


def wrap(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines of at most `width` inches at a font size in points."""
    return textwrap.wrap(text, max(10, int(width * 72 / (0.55 * size))))


def grey_limits(image: Array) -> tuple[float, float]:
    finite = image[np.isfinite(image)].astype(np.float64)
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.2, 99.8))
    return float(low), float(high)


def show(axes: Axes, image: Array, limits: tuple[float, float], title: str = "") -> None:
    """Draw an image in grey; NaN is left white."""
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="antialiased")
    frame(axes, title)
    axes.set_xticks([])
    axes.set_yticks([])


def frame(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=12, color=INK, pad=7, loc="left", y=1.0, parse_math=False)
    axes.tick_params(labelsize=10, colors=SOFT, length=3)
    for spine in axes.spines.values():
        spine.set_color(RULE)


def plot_frame(axes: Axes, title: str, x: str, y: str) -> None:
    frame(axes, title)
    axes.set_xlabel(x, fontsize=11, color=SOFT)
    axes.set_ylabel(y, fontsize=11, color=SOFT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def zoom(image: Array) -> tuple[slice, slice]:
    """Choose a detailed part of an image: the window of largest variance on a coarse grid."""
    side = min(*image.shape, max(32, max(image.shape) // _ZOOM))
    starts = [range(0, n - side + 1, max(1, side // 2)) for n in image.shape]
    windows = [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]
    return max(windows, key=lambda window: float(np.var(np.nan_to_num(image[window]))))


def mark(axes: Axes, window: tuple[slice, slice]) -> None:
    """Draw a frame around a part of an image."""
    y, x = window
    box = (x.start - 0.5, y.start - 0.5), x.stop - x.start, y.stop - y.start
    axes.add_patch(Rectangle(*box, fill=False, ec=ALONG_Y, lw=1.5))


def outline(axes: Axes, cells: Array, origin: tuple[float, float], **style: Any) -> None:
    """Draw the edges of the True cells; `origin` is the (y, x) of the first cell's middle."""
    padded = np.pad(cells.astype(bool), 1)
    y0, x0 = (n - 1.5 for n in origin)
    lines = [
        [(x + x0, y + y0 + 1), (x + x0 + 1, y + y0 + 1)]
        for y, x in np.argwhere(padded[1:] != padded[:-1])
    ]
    lines += [
        [(x + x0 + 1, y + y0), (x + x0 + 1, y + y0 + 1)]
        for y, x in np.argwhere(padded[:, 1:] != padded[:, :-1])
    ]
    axes.add_collection(LineCollection(lines, capstyle="projecting", **style))


def heat_map(axes: Axes, bar: Axes, rho: Array, mask: Array) -> None:
    """Draw the correlation at the lags around the mask, with the mask outlined.

    The outline of a mask that reaches beyond the measured lags is left open.
    """
    centre = rho.shape[0] // 2
    reach = min(centre, max(5, *(n // 2 + 2 for n in mask.shape)))
    shown = rho[centre - reach : centre + reach + 1, centre - reach : centre + reach + 1].copy()
    shown[reach, reach] = 0  # 1 by definition
    strongest = max(float(np.abs(shown).max()), _FAINT)
    shown[reach, reach] = np.nan
    edge = reach + 0.5
    axes.imshow(
        shown,
        cmap=DIVERGING,
        vmin=-strongest,
        vmax=strongest,
        extent=(-edge, edge, edge, -edge),
        interpolation="nearest",
    )
    axes.text(0, 0, "1", ha="center", va="center", fontsize=9 if reach < 12 else 6, color=INK)
    half = [n // 2 for n in mask.shape]
    beyond = reach + 1  # one cell beyond the axes' limits, which leaves such an outline open
    cells = np.zeros((2 * beyond + 1,) * 2, bool)
    for y, x in np.argwhere(mask) - half:
        if max(abs(y), abs(x)) <= beyond:
            cells[y + beyond, x + beyond] = True
    outline(axes, cells, (-beyond, -beyond), colors=INK, linewidths=2 if reach < 13 else 1.4)
    axes.set_xlim(-edge, edge)
    axes.set_ylim(edge, -edge)
    step = 2 if reach < 8 else 5 if reach < 13 else 10
    ticks = [n for n in range(-reach, reach + 1) if n % step == 0]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    frame(axes, "Correlation; outlined: hidden")
    axes.set_xlabel("px to the right", fontsize=11, color=SOFT)
    axes.set_ylabel("px down", fontsize=11, color=SOFT)
    colour_bar(axes, bar)


def colour_bar(axes: Axes, bar: Axes) -> None:
    mappable: ScalarMappable = axes.images[0]
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(mappable, cax=bar, ticks=MaxNLocator(6))
    bar.tick_params(labelsize=9, colors=SOFT, length=2)
    for spine in bar.spines.values():
        spine.set_color(RULE)


def profile(
    axes: Axes, rho: Array, error: Array | None, hidden: Array, colour: str, label: str
) -> None:
    """Draw a correlation along one axis from lag 0 on, with the lags in `hidden` shaded."""
    lags = np.arange(len(rho))
    for lag in np.flatnonzero(hidden[: len(rho)]):
        axes.axvspan(max(lag - 0.5, 0), lag + 0.5, color=SHADE, lw=0)
    axes.axhline(0, color=RULE, lw=1)
    style: dict[str, Any] = {"fmt": "o-", "ms": 4, "lw": 1.4, "elinewidth": 1.2, "capsize": 2}
    axes.errorbar(
        lags, rho, None if error is None else 2 * error, color=colour, label=label, **style
    )
    axes.set_xlim(-0.3, len(rho) - 0.5)


def along(mask: Array) -> tuple[Array, Array]:
    """Return which lags a mask hides, from 0 on: along x, and along y."""
    y, x = (n // 2 for n in mask.shape)
    return mask[y, x:].astype(bool), mask[y:, x].astype(bool)
