"""Hides pixels from the network, and says which of them may be learned from.

A pixel counts in the loss only if its whole neighbourhood, the mask centred on it, is hidden;
so no hidden pixel's noise can be told from a correlated neighbour (structN2V, Broaddus et al.
2020; a single pixel is Noise2Void, Krull et al. 2019). All work is on whole batches, on the
device, with masks drawn afresh at every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_autostructn2v.engine.config import Replacement

_UNIFORM_RADIUS = 5  # px; n2v's neighbourhood for `uniform`
_MEDIAN_RADIUS = 2  # px; N2V2's
_DRAWS = 3
_NOISE_RANGE = 2.0  # standard deviations; structN2V's


@dataclass(frozen=True, eq=False)
class Masking:
    """How a batch of patches is hidden.

    Attributes
    ----------
    mask
        (h, w) bool, odd sides, centre set: what is hidden around each predicted pixel.
    percentage
        Share of a patch's pixels that is hidden, in percent.
    replacement
        What hidden pixels become: the mean of visible neighbours, 0 (the mean of normalised
        data), a visible pixel of the patch, a visible neighbour (n2v's uniform), the median of
        the visible neighbours (N2V2), or uniform noise (structN2V). None depends on any hidden
        pixel's value, or the network could learn to undo it.
    """

    mask: Tensor
    percentage: float
    replacement: Replacement

    def draw(self, batch: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw what is hidden: (batch, H, W) bool.

        Patterns are placed at stratified centres; where their overlap leaves the share of hidden
        pixels short, single pixels are added, so that the percentage is met on average.
        """
        target = self.percentage / 100
        offsets = self._offsets(shape)
        covered = _mean_coverage(offsets, shape)
        count = max(1, int(target / covered))
        hidden = _place(_centres(batch, count, shape, generator, offsets.device), offsets, shape)
        share = hidden.float().mean((1, 2), keepdim=True)
        extra = ((target - share) / (1 - share).clamp_min(1e-6)).clamp(0, 1)
        return hidden | (_rand((batch, *shape), generator, offsets.device) < extra)

    def loss_mask(self, hidden: Tensor) -> Tensor:
        """Pixels whose whole neighbourhood is hidden: (batch, H, W) bool.

        What lies outside the patch is not seen by the network, so it counts as hidden.
        """
        height, width = hidden.shape[-2:]
        offsets = self._offsets((height, width))
        reach = int(offsets.abs().max())
        padded = F.pad(hidden, (reach,) * 4, value=True)
        result = hidden
        for dy, dx in offsets.tolist():
            y, x = reach + dy, reach + dx
            result = result & padded[:, y : y + height, x : x + width]
        return result

    def replace(self, patches: Tensor, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Replace the hidden pixels of normalised patches: (batch, H, W) float."""
        match self.replacement:
            case "zeros":
                value = torch.zeros_like(patches)
            case "noise":
                value = (_rand(patches.shape, generator, patches.device) * 2 - 1) * _NOISE_RANGE
            case "local_mean":
                value = _visible_mean(patches, ~hidden, self._radius())
            case "random_visible":
                value = _random_visible(patches, ~hidden, generator)
            case "uniform":
                value = _visible_neighbour(
                    patches, ~hidden, max(_UNIFORM_RADIUS, self._radius()), generator
                )
            case "median":
                value = _visible_median(patches, ~hidden, max(_MEDIAN_RADIUS, self._radius()))
        return torch.where(hidden, value, patches)

    def _offsets(self, shape: tuple[int, int]) -> Tensor:
        """(K, 2) lags of the mask; those longer than the patch are never both inside it."""
        half = torch.tensor(self.mask.shape, device=self.mask.device) // 2
        offsets = self.mask.nonzero() - half
        inside = offsets.abs() < torch.tensor(shape, device=self.mask.device)
        return offsets[inside.all(1)]

    def _radius(self) -> int:
        """A window of this radius around a hidden pixel sees past the mask's short side."""
        return min(self.mask.shape) // 2 + 1


def _rand(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=device)


def _mean_coverage(offsets: Tensor, shape: tuple[int, int]) -> float:
    """Mean share of a patch that one pattern at a random centre covers."""
    size = torch.tensor(shape, device=offsets.device)
    return float(((size - offsets.abs()).prod(1) / size.prod() ** 2).sum())


def _centres(
    batch: int, count: int, shape: tuple[int, int], generator: torch.Generator, device: torch.device
) -> Tensor:
    """Stratified random centres: (batch, count, 2). One falls into each cell of a jittered grid.

    The patch is cut into `count` cells of equal area, as nearly square as the count allows.
    """
    height, width = shape
    rows = min(max(1, round(math.sqrt(count * height / width))), count)
    per_row = torch.full((rows,), count // rows, device=device)
    per_row[: count % rows] += 1
    row = torch.repeat_interleave(torch.arange(rows, device=device), per_row)
    first = torch.cumsum(per_row, 0) - per_row
    column = torch.arange(count, device=device) - first[row]
    jitter = _rand((batch, count, 2), generator, device)
    # A random cyclic shift, so that no cell border is always a border.
    shift = _rand((batch, 1, 2), generator, device)
    y = ((row + jitter[..., 0]) / rows + shift[..., 0]) % 1
    x = ((column + jitter[..., 1]) / per_row[row] + shift[..., 1]) % 1
    centres = torch.stack([y * height, x * width], -1).long()
    return centres.clamp_max(torch.tensor([height - 1, width - 1], device=device))


def _place(centres: Tensor, offsets: Tensor, shape: tuple[int, int]) -> Tensor:
    """The union of the pattern at all centres: (batch, H, W) bool."""
    batch = len(centres)
    height, width = shape
    points = (centres[:, :, None] + offsets).flatten(1, 2)
    inside = (points >= 0).all(-1) & (points < torch.tensor(shape, device=points.device)).all(-1)
    flat = torch.where(inside, points[..., 0] * width + points[..., 1], height * width)
    hidden = torch.zeros(batch, height * width + 1, dtype=torch.bool, device=points.device)
    hidden.scatter_(1, flat, True)
    return hidden[:, :-1].view(batch, height, width)


def _visible_mean(patches: Tensor, visible: Tensor, radius: int) -> Tensor:
    """Mean of the visible pixels within a window; the patch's visible mean where there are none."""
    weight = visible.to(patches.dtype)
    side = 2 * radius + 1

    def window_sum(image: Tensor) -> Tensor:
        return F.avg_pool2d(image[:, None], side, 1, radius, divisor_override=1)[:, 0]

    seen = window_sum(weight)
    everywhere = (patches * weight).sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True)
    mean = window_sum(patches * weight) / seen.clamp_min(1)
    return torch.where(seen > 0, mean, everywhere.nan_to_num(0.0))


def _random_visible(patches: Tensor, visible: Tensor, generator: torch.Generator) -> Tensor:
    """For each pixel, the value of a random visible pixel of its patch."""
    batch, height, width = patches.shape
    flat = visible.flatten(1)
    # Visible pixels first; then a random rank among them.
    order = torch.argsort(flat.to(torch.uint8), dim=1, descending=True, stable=True)
    number = flat.sum(1, keepdim=True).clamp_min(1)
    rank = (_rand((batch, height * width), generator, patches.device) * number).long()
    return patches.flatten(1).gather(1, order.gather(1, rank)).view_as(patches)


def _visible_neighbour(
    patches: Tensor, visible: Tensor, radius: int, generator: torch.Generator
) -> Tensor:
    """For each pixel, a random visible pixel of its window; their mean if a few draws find none."""
    height, width = patches.shape[1:]
    value = _visible_mean(patches, visible, radius)
    y = torch.arange(height, device=patches.device)[:, None]
    x = torch.arange(width, device=patches.device)[None, :]
    for _ in range(_DRAWS):
        lag = _rand((2, *patches.shape), generator, patches.device) * (2 * radius + 1)
        dy, dx = lag.long() - radius
        flat = (_mirrored(y, dy, height) * width + _mirrored(x, dx, width)).flatten(1)
        seen = visible.flatten(1).gather(1, flat).view_as(visible)
        value = torch.where(seen, patches.flatten(1).gather(1, flat).view_as(patches), value)
    return value


def _mirrored(position: Tensor, lag: Tensor, size: int) -> Tensor:
    moved = position + lag
    outside = (moved < 0) | (moved >= size)
    return torch.where(outside, position - lag, moved).clamp(0, size - 1)


def _visible_median(patches: Tensor, visible: Tensor, radius: int) -> Tensor:
    """Median of the visible pixels of the window; their mean where there are none."""
    side = 2 * radius + 1
    seen = torch.where(visible, patches, torch.nan)
    padded = F.pad(seen[:, None], (radius,) * 4, value=math.nan)
    windows = F.unfold(padded, side).view(len(patches), side * side, *patches.shape[-2:])
    median = windows.nanmedian(1).values
    return torch.where(median.isnan(), _visible_mean(patches, visible, radius), median)
