"""Draws the page about the noise of one channel: where it was measured, and the results."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from napari_autostructn2v.engine.config import Structure
from napari_autostructn2v.engine.data.levels import levelled
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.sampling import read_blocks
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.labels import mask_words
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.noise.flat_tiles import FlatTiles, Surface, all_tiles, flat_tiles
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.reporting.figure import (
    ALONG_X,
    ALONG_Y,
    DIVERGING,
    INK,
    SOFT,
    Page,
    along,
    colour_bar,
    frame,
    grey_limits,
    heat_map,
    outline,
    plot_frame,
    profile,
    show,
)
from napari_autostructn2v.engine.types import Array, Box

_WIDTH, _HEIGHT = 16.0, 9.4  # inches
_TILES = "#f0a000"  # readable on black and on white
_LONGEST = 1024  # px: side of the part of the image that is shown
_FREQUENCIES = 65
_WEAKEST = 0.01  # of white noise's power; the colour scale ends here
_CARDS = 6


def noise_page(source: Source, finding: NoiseAnalysis, how: Structure) -> Page:
    """Draw the analysis of one channel; `how` is the setting it was measured with.

    Only the blocks that were measured are read again.
    """
    (source,) = levelled([source])
    channel = f", channel {finding.channel}" if source.channels > 1 else ""
    title = f"Noise of {finding.name}{channel}: {finding.verdict.name}"
    page = Page(_WIDTH, _HEIGHT, title, [finding.verdict.sentence, *finding.remarks()])
    shown, tiles = _measured(source, finding, how)
    _image(page.axes(0.35, 0.45, 7.1, 7.1), shown, tiles, how)
    _cards(page, finding)

    noise, mask = finding.noise, finding.mask
    heat_map(page.axes(8.2, 0.45, 2.85, 2.85), page.axes(11.12, 0.45, 0.1, 2.85), noise.rho, mask)
    _spectrum(page.axes(12.45, 0.45, 2.85, 2.85), page.axes(15.37, 0.45, 0.1, 2.85), noise)
    _profiles(page.axes(8.2, 4.45, 3.3, 1.25), page.axes(8.2, 6.3, 3.3, 1.25), noise, mask)
    _variance(page.axes(12.6, 4.45, 3.05, 3.1), noise, tiles, source.offset)
    return page


def _measured(
    source: Source, finding: NoiseAnalysis, how: Structure
) -> tuple[Piece, FlatTiles | None]:
    """Return the part of the image to show, and the measured tiles if they lie in the image."""
    pieces = [Piece(source, place.plane, place.region) for place in finding.blocks]
    if how.mask_source == "region":
        assert how.region is not None
        planes = sorted({piece.plane for piece in pieces})
        y0, y1, x0, x1 = how.region
        empty = [Piece(source, plane, ((y0, y1), (x0, x1))) for plane in planes]
        tiles = all_tiles([Surface.of(block) for block in read_blocks(empty)[0]])
        return Piece(source, planes[0], _around(how.region, source.size)), tiles
    if how.mask_source in ("dark", "frames"):
        return pieces[0], None
    blocks, _ = read_blocks(pieces)
    return pieces[0], flat_tiles([Surface.of(block) for block in blocks])


def _around(region: tuple[int, int, int, int], size: tuple[int, int]) -> Box:
    """Return a rectangle around the region, moved or cut to stay within the image."""
    spans = []
    for start, stop, length in zip(region[::2], region[1::2], size, strict=True):
        side = min(_LONGEST, length)
        first = min(max((start + stop - side) // 2, 0), length - side)
        spans.append((first, first + side))
    return tuple(spans)


def _image(
    axes: Axes,
    shown: Piece,
    tiles: FlatTiles | None,
    how: Structure,
) -> None:
    image = shown.read()
    (y0, _), (x0, _) = shown.region
    size = "{} x {} px".format(*shown.shape)
    what = f"The image, {size}" if shown.shape == shown.source.size else f"A block of {size}"
    note = {
        "region": "outlined: the empty region that was measured",
        "dark": f"the noise was measured on {how.dark_file and how.dark_file.name}",
        "frames": "measured all over, by frame differences",
    }.get(how.mask_source, "outlined: the flat places that were measured")
    show(axes, image, grey_limits(image), f"{what}; {note}")
    if tiles is None:
        return
    covered = np.zeros(image.shape, bool)
    shift = (0, 0) if how.region is None else (how.region[0] - y0, how.region[2] - x0)
    height, width = tiles.values.shape[1:]
    for block, y, x in tiles.places:
        if block == 0:
            top, left = y + shift[0], x + shift[1]
            covered[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
    outline(axes, covered, (0, 0), colors=_TILES, linewidths=1.6)


def _spectrum(axes: Axes, bar: Axes, noise: Noise) -> None:
    """Draw the noise's power relative to white noise, in dB, with its wave marked."""
    lags = noise.rho.shape[0]
    window = np.hanning(lags + 2)[1:-1]
    pad = (_FREQUENCIES - lags % 2 + 1 - lags) // 2
    rho = np.pad(noise.rho * np.multiply.outer(window, window), max(pad, 0))
    power = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(rho)).real)
    decibels = 10 * np.log10(np.maximum(power, _WEAKEST))
    strongest = max(float(decibels.max()), 3.0)
    axes.imshow(
        decibels,
        cmap=DIVERGING,
        vmin=-strongest,
        vmax=strongest,
        extent=(-0.5, 0.5, 0.5, -0.5),
        interpolation="nearest",
    )
    if noise.wave is not None:
        y, x = 1 / noise.wave.y, 1 / noise.wave.x * noise.wave.slant
        axes.plot([x, -x], [y, -y], "o", ms=13, mfc="none", mec=INK, mew=1.6)
    ticks = (-0.5, -0.25, 0, 0.25, 0.5)
    axes.set_xticks(ticks, ["-1/2", "-1/4", "0", "1/4", "1/2"])
    axes.set_yticks(ticks, ["-1/2", "-1/4", "0", "1/4", "1/2"])
    frame(axes, "Spectrum, dB over white noise")
    wave = "" if noise.wave is None else f"; circled: {noise.wave.length:.3g} px"
    axes.set_xlabel(f"cycles per px along x{wave}", fontsize=11, color=SOFT)
    axes.set_ylabel("along y", fontsize=11, color=SOFT, labelpad=-2)
    colour_bar(axes, bar)


def _profiles(upper: Axes, lower: Axes, noise: Noise, mask: Array) -> None:
    rho, error = noise.rho, noise.error
    centre = rho.shape[0] // 2
    hidden = along(mask)
    lines = (rho[centre], error[centre]), (rho[:, centre], error[:, centre])
    lowest = min(float((values - 2 * errors).min()) for values, errors in lines) - 0.05
    names = "along a row", "along a column"
    for axes, (values, errors), where, colour, name in zip(
        (upper, lower), lines, hidden, (ALONG_X, ALONG_Y), names, strict=True
    ):
        profile(axes, values[centre:], errors[centre:], where, colour, name)
        axes.set_ylim(min(max(lowest, -1.05), -0.12), 1.08)
        axes.set_yticks([0, 0.5, 1])
        plot_frame(axes, f"Correlation {name}", "", "")
    lower.set_xlabel("px apart; shaded: hidden; bars: 95 %", fontsize=11, color=SOFT)


def _variance(axes: Axes, noise: Noise, tiles: FlatTiles | None, offset: float) -> None:
    """Draw the variance of each tile against its mean grey value, with the fitted line."""
    model = noise.variance
    low, high = model.signal
    top = model.read
    means = variances = np.zeros(0)
    if tiles is not None:
        means = tiles.means
        variances = (tiles.levelled**2).sum((1, 2)) / tiles.valid.sum((1, 2))
        low, high = float(means.min()), float(means.max())
        top = max(top, float(np.quantile(variances, 0.98)))
    elif not np.isfinite([low, high]).all():
        frame(axes, "Noise against signal")
        axes.set_axis_off()
        axes.text(0, 0.9, f"variance {model.read:.4g} at any signal", fontsize=11, color=INK)
        return
    signal = np.linspace(low, high, 50) if high > low else np.array([low - 0.5, low + 0.5])
    fitted = model.at(signal)
    top = 1.15 * max(top, float(fitted.max()))
    x, x_unit = _power(max(abs(low), abs(high)))
    y, y_unit = _power(top)
    axes.plot(means / x, variances / y, "o", ms=4, color=ALONG_X, alpha=0.6, mew=0)
    axes.plot(signal / x, fitted / y, color=ALONG_Y, lw=2)
    axes.set_ylim(0, top / y)
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(useOffset=False)
    title = "Noise grows with the signal" if model.gain > 0 else "Noise against signal"
    value = f"grey value less {offset:.10g}" if offset else "grey value of a flat place"
    x_label = f"{value}{x_unit}"
    plot_frame(axes, title, x_label, f"variance, grey values squared{y_unit}")


def _power(value: float) -> tuple[float, str]:
    """Return the power of ten to divide an axis by, and its label."""
    exponent = math.floor(math.log10(value)) if value > 0 else 0
    return (1.0, "") if -3 <= exponent <= 4 else (10.0**exponent, rf" / $10^{{{exponent}}}$")


def _cards(page: Page, finding: NoiseAnalysis) -> None:
    """Write the figures in a row of cards, each with its name, value and meaning."""
    page.rule(0.35, 8.2, _WIDTH - 0.7)
    room = (_WIDTH - 0.7) / _CARDS
    for number, (name, value, meaning) in enumerate(_numbers(finding)):
        left = 0.35 + number * room
        page.text(left, 8.42, name, size=10, color=SOFT)
        page.text(left, 8.74, value, size=14, weight="bold")
        page.text(left, 9.05, meaning, size=10, color=SOFT)


def _numbers(finding: NoiseAnalysis) -> Iterator[tuple[str, str, str]]:
    noise, verdict = finding.noise, finding.verdict
    yield "Noise", f"{noise.sigma:.4g}", "grey values, standard deviation"
    yield (
        "Predicted by neighbours",
        f"{verdict.leak:.1%}",
        f"the leak; at most {verdict.leak_bound:.1%}",
    )
    shares = {"row": noise.row_offset, "column": noise.column_offset}
    found = [f"{line}s {share:.1%}" for line, share in shares.items() if share > 0]
    yield "Offsets of whole lines", ", ".join(found) or "none", "share of the variance"
    yield "Hidden", mask_words(finding.mask), "the mask"
    yield "Area used", f"{noise.share:.1%}", f"{noise.tiles} places"
    removed = f"; {noise.removed:.0%} removed" if noise.removed else ""
    yield "Structure in these places", f"{noise.doubt:.2g}", f"too much above 1{removed}"
