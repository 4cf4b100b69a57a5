"""Training objectives: the input, the target and the loss weights of a batch of patches.

`BlindSpots` hides pixels. A pixel counts in the loss only if its whole neighbourhood, the mask
centred on it, is hidden, so that the network can't predict its noise from a correlated neighbour
(structN2V, Broaddus et al. 2020; with a single pixel: Noise2Void, Krull et al. 2019). New masks
are drawn at every step, for the whole batch at once and on the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_autostructn2v.engine.config import Replacement, Stage
from napari_autostructn2v.engine.types import Array

_UNIFORM_RADIUS = 5  # px; n2v's neighbourhood for `uniform`
_MEDIAN_RADIUS = 2  # px; N2V2's
_DRAWS = 3
_NOISE_RANGE = 2.0  # standard deviations; structN2V's


class Batch(NamedTuple):
    """Input, target and loss weight of a batch, (B, H, W) each."""

    input: Tensor
    target: Tensor
    weight: Tensor


class Objective(Protocol):
    """Makes batches from patches.

    Attributes
    ----------
    pattern
        (h, w), odd sides. With `augmentation` = "symmetric", only flips and rotations that leave
        it unchanged are used.
    """

    @property
    def pattern(self) -> Array: ...
    def batch(self, patches: Tensor, generator: torch.Generator) -> Batch:
        """Make a batch from (B, H, W) normalised patches; NaN for pixels without data."""
        ...


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # prediction, target, weight -> scalar


def mean_squared_error(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    mean: Tensor = ((prediction - target) ** 2 * weight).sum() / weight.sum().clamp_min(1)
    return mean


LOSSES: dict[str, Loss] = {"mse": mean_squared_error}


@dataclass(frozen=True, eq=False)
class BlindSpots:
    """Hides the mask around random pixels, whose values the network must predict.

    Attributes
    ----------
    mask
        (h, w) bool, odd sides, centre set: the pixels to hide around each predicted pixel.
    percentage
        Percentage of a patch's pixels to hide.
    replacement
        Value of hidden pixels: the mean of visible neighbours, 0 (the mean of normalised data), a
        visible pixel of the patch, a visible neighbour (n2v's uniform), the median of the visible
        neighbours (N2V2), or uniform noise (structN2V). None of these uses a hidden pixel's
        value; otherwise the network could learn to recover it.
    """

    mask: Tensor
    percentage: float
    replacement: Replacement
    _placements: dict[tuple[int, int], _Placement] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, mask: Array, stage: Stage, device: torch.device) -> BlindSpots:
        """Hide a (h, w) mask of 0 and 1 with the settings of a stage."""
        hidden = torch.from_numpy(mask.astype(bool)).to(device)
        return cls(hidden, stage.mask_percentage, stage.replacement)

    @property
    def pattern(self) -> Array:
        return self.mask.cpu().numpy()

    def batch(self, patches: Tensor, generator: torch.Generator) -> Batch:
        valid = ~patches.isnan()
        target = patches.nan_to_num(0.0)
        hidden = self.draw(len(patches), (patches.shape[1], patches.shape[2]), generator)
        weight = (self.loss_mask(hidden) & valid).to(target.dtype)
        return Batch(self.replace(target, hidden, generator), target, weight)

    def draw(self, batch: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw the hidden pixels, (batch, H, W) bool.

        Masks are placed at stratified centres. If their overlap leaves too few pixels hidden,
        single pixels are added, so that the percentage is met on average.
        """
        placement = self._placement(shape)
        hidden = placement.place(placement.centres(batch, generator))
        share = hidden.float().mean((1, 2), keepdim=True)
        extra = ((self.percentage / 100 - share) / (1 - share).clamp_min(1e-6)).clamp(0, 1)
        return hidden | (_rand((batch, *shape), generator, hidden.device) < extra)

    def loss_mask(self, hidden: Tensor) -> Tensor:
        """Return the pixels whose whole neighbourhood is hidden, (batch, H, W) bool.

        Pixels outside the patch count as hidden, since the network doesn't see them.
        """
        height, width = hidden.shape[-2:]
        placement = self._placement((height, width))
        padded = F.pad(hidden, (placement.reach,) * 4, value=True)
        result = hidden
        for dy, dx in placement.lags:
            y, x = placement.reach + dy, placement.reach + dx
            result = result & padded[:, y : y + height, x : x + width]
        return result

    def replace(self, patches: Tensor, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Replace the hidden pixels of normalised patches, (batch, H, W) float."""
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

    def _placement(self, shape: tuple[int, int]) -> _Placement:
        if shape not in self._placements:
            self._placements[shape] = _Placement.of(self.mask, self.percentage / 100, shape)
        return self._placements[shape]

    def _radius(self) -> int:
        """Return a window radius that reaches beyond the mask along its short side."""
        return min(self.mask.shape) // 2 + 1


def _rand(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=device)


@dataclass(frozen=True, eq=False)
class _Placement:
    """Where to place copies of a mask in patches of one shape.

    Computed once per shape, since reading values back from a GPU at each step would stall it.

    Attributes
    ----------
    lags, offsets
        The mask's lags from its centre, as a list and as a (K, 2) tensor, without those longer
        than the patch, which can't lie in it together with their centre.
    reach
        The largest lag along any axis, in pixels.
    rows
        Number of rows of the jittered grid.
    row, column, columns
        (count,) the grid row and column of each copy, and the number of columns in its row.
    corner
        (2,) the last pixel of the patch.
    """

    shape: tuple[int, int]
    lags: list[tuple[int, int]]
    offsets: Tensor
    reach: int
    rows: int
    row: Tensor
    column: Tensor
    columns: Tensor
    corner: Tensor

    @classmethod
    def of(cls, mask: Tensor, share: float, shape: tuple[int, int]) -> _Placement:
        """Place enough copies to hide `share` of the patch if they don't overlap."""
        height, width = shape
        offsets = mask.cpu().nonzero() - torch.tensor(mask.shape) // 2
        offsets = offsets[(offsets.abs() < torch.tensor(shape)).all(1)]
        size = torch.tensor(shape)
        covered = float(((size - offsets.abs()).prod(1) / size.prod() ** 2).sum())
        count = max(1, int(share / covered))
        # `count` cells of about equal area, as close to square as possible
        rows = min(max(1, round(math.sqrt(count * height / width))), count)
        per_row = torch.full((rows,), count // rows)
        per_row[: count % rows] += 1
        row = torch.repeat_interleave(torch.arange(rows), per_row)
        column = torch.arange(count) - (torch.cumsum(per_row, 0) - per_row)[row]
        corner = torch.tensor([height - 1, width - 1])
        return cls(
            shape, [(y, x) for y, x in offsets.tolist()], offsets.to(mask.device),
            int(offsets.abs().max()), rows,
            *(part.to(mask.device) for part in (row, column, per_row[row], corner)),
        )  # fmt: skip

    def centres(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draw a random centre in each cell, (batch, count, 2)."""
        height, width = self.shape
        jitter = _rand((batch, len(self.row), 2), generator, self.row.device)
        # A random cyclic shift, so that cell borders are not always in the same place.
        shift = _rand((batch, 1, 2), generator, self.row.device)
        y = ((self.row + jitter[..., 0]) / self.rows + shift[..., 0]) % 1
        x = ((self.column + jitter[..., 1]) / self.columns + shift[..., 1]) % 1
        return torch.stack([y * height, x * width], -1).long().minimum(self.corner)

    def place(self, centres: Tensor) -> Tensor:
        """Return the union of the masks at all centres, (batch, H, W) bool."""
        batch = len(centres)
        height, width = self.shape
        points = (centres[:, :, None] + self.offsets).flatten(1, 2)
        inside = ((points >= 0) & (points <= self.corner)).all(-1)
        flat = torch.where(inside, points[..., 0] * width + points[..., 1], height * width)
        hidden = torch.zeros(batch, height * width + 1, dtype=torch.bool, device=points.device)
        hidden.scatter_(1, flat, True)
        return hidden[:, :-1].view(batch, height, width)


def _visible_mean(patches: Tensor, visible: Tensor, radius: int) -> Tensor:
    """Return the mean of the visible pixels in a window, or in the patch if there are none."""
    weight = visible.to(patches.dtype)
    side = 2 * radius + 1

    def window_sum(image: Tensor) -> Tensor:
        return F.avg_pool2d(image[:, None], side, 1, radius, divisor_override=1)[:, 0]

    seen = window_sum(weight)
    everywhere = (patches * weight).sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True)
    mean = window_sum(patches * weight) / seen.clamp_min(1)
    return torch.where(seen > 0, mean, everywhere.nan_to_num(0.0))


def _random_visible(patches: Tensor, visible: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each pixel the value of a random visible pixel of its patch."""
    batch, height, width = patches.shape
    flat = visible.flatten(1)
    # Sort visible pixels first, then pick one at random.
    order = torch.argsort(flat.to(torch.uint8), dim=1, descending=True, stable=True)
    number = flat.sum(1, keepdim=True).clamp_min(1)
    rank = (_rand((batch, height * width), generator, patches.device) * number).long()
    return patches.flatten(1).gather(1, order.gather(1, rank)).view_as(patches)


def _visible_neighbour(
    patches: Tensor, visible: Tensor, radius: int, generator: torch.Generator
) -> Tensor:
    """Return a random visible pixel of each window, or their mean if a few draws find none."""
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
    """Return the median of the visible pixels in a window, or else the patch mean."""
    side = 2 * radius + 1
    seen = torch.where(visible, patches, torch.nan)
    padded = F.pad(seen[:, None], (radius,) * 4, value=math.nan)
    windows = F.unfold(padded, side).view(len(patches), side * side, *patches.shape[-2:])
    median = windows.nanmedian(1).values
    return torch.where(median.isnan(), _visible_mean(patches, visible, radius), median)
