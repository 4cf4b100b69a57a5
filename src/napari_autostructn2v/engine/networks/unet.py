"""The U-Net both stages use, with the switches of N2V2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from napari_autostructn2v.engine.config import UNetConfig
from napari_autostructn2v.engine.networks.network import Footprint, Network

# Activations alive at once where a U-Net is widest, at its first level, in multiples of its
# features: upsampled 2, skip 1, joined 3, result 1, and 1 for the skips of all deeper levels.
_ALIVE = 8


class UNet(Network):
    """Encoder and decoder of 3x3 convolutions with ELU; upsampling by resizing, then convolving.

    Parameters
    ----------
    options
        Architecture. N2V2 (Hoeck et al. 2022) is `blur_pool=True, top_skip=False`.

    Notes
    -----
    Any size is accepted, (B, 1, H, W): the image is continued by its last row and column to a
    multiple of the stride, and the result is cut back.
    """

    options: UNetConfig

    def __init__(self, options: UNetConfig) -> None:
        super().__init__()
        self.options = options
        widths = [options.features * 2**level for level in range(options.depth + 1)]
        self.encoder = nn.ModuleList(
            _Block(before, width, options.batch_norm)
            for before, width in zip([1, *widths], widths, strict=False)
        )
        self.decoder = nn.ModuleList(
            _Block(
                widths[level + 1] + (widths[level] if level or options.top_skip else 0),
                widths[level],
                options.batch_norm,
            )
            for level in range(options.depth)
        )
        self.head = nn.Conv2d(options.features, 1, 1)

    @property
    def footprint(self) -> Footprint:
        depth, blur = self.options.depth, self.options.blur_pool
        # Two 3x3 convolutions: 2 pixels of their level, on the way down and on the way up. Halving
        # by a 2x2 maximum reaches 1 pixel of the finer level; N2V2's max and blur reach 1 + 1.
        # Nearest upsampling reads the coarse pixel: 1 of the finer level at most.
        down = sum((2 + (2 if blur else 1)) * 2**level for level in range(depth))
        up = sum((2 + 1) * 2**level for level in range(depth))
        halo = down + up + 2 * 2**depth
        return Footprint(halo, self._stride, 4 * _ALIVE * self.options.features)

    @property
    def _stride(self) -> int:
        """Sides must be multiples of this for the levels to line up."""
        return 1 << self.options.depth

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        pad = (0, -width % self._stride, 0, -height % self._stride)
        x = F.pad(image, pad, mode="replicate") if any(pad) else image
        padded = x
        skips = []
        for block in self.encoder[:-1]:
            x = self._apply_block(block, x)
            skips.append(x)
            x = _blur_pool(x) if self.options.blur_pool else F.max_pool2d(x, 2)
        x = self._apply_block(self.encoder[-1], x)
        for level in reversed(range(self.options.depth)):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            if level or self.options.top_skip:
                x = torch.cat([x, skips[level]], 1)
            x = self._apply_block(self.decoder[level], x)
        x = self.head(x)
        if self.options.residual:
            x = x + padded
        cut: Tensor = x[..., :height, :width]
        return cut

    def _apply_block(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.options.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)  # type: ignore[no-any-return]
        return block(x)  # type: ignore[no-any-return]


class _Block(nn.Sequential):
    """Two 3x3 convolutions, each followed by ELU."""

    def __init__(self, before: int, after: int, batch_norm: bool) -> None:
        layers: list[nn.Module] = []
        for channels in (before, after):
            convolution = nn.Conv2d(channels, after, 3, padding=1, bias=not batch_norm)
            if not convolution.weight.is_meta:  # which takes torch seconds of imports
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
            layers += [convolution, *([_Norm(after)] if batch_norm else [])]
            layers.append(nn.ELU(inplace=True))
        super().__init__(*layers)


class _Norm(nn.BatchNorm2d):
    """Batch normalisation that bears a single value, as small patches have at the lowest level."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            # One value has no spread: it is normalised by what was seen before.
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


def _blur_pool(x: Tensor) -> Tensor:
    """Max-pool without stride, then halve after a [1 2 1] blur (Zhang 2019)."""
    # Padded on the far side, so that a pixel pools with the next one, as without the blur.
    x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, 1)
    taps = torch.tensor([1.0, 2.0, 1.0], device=x.device, dtype=x.dtype) / 4
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel, stride=2, groups=x.shape[1])
