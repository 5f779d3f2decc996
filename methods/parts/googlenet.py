"""GoogLeNet (Szegedy et al., CVPR 2015) as trained in Caffe: biases, no batch norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from methods.parts.local_norm import LocalResponseNorm

INCEPTIONS = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip
"""Widths of modules 3a to 5b: 1x1; before and of 3x3; before and of 5x5; behind the pooling."""
POOLED_BEFORE = (2, 7)
"""Modules 4a and 5a: each halves the resolution first."""


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, batch_norm: bool
) -> nn.Sequential:
    """Return a padded convolution with its ReLU, with batch norm instead of a bias if asked."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not batch_norm)
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return nn.Sequential(layer, *norm, nn.ReLU())


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a pooling, side by side."""

    def __init__(self, inputs: int, widths: Sequence[int], *, batch_norm: bool) -> None:
        super().__init__()
        one, before_three, three, before_five, five, pooled = widths
        layer = partial(convolution, batch_norm=batch_norm)
        self.one = layer(inputs, one, 1)
        self.three = nn.Sequential(layer(inputs, before_three, 1), layer(before_three, three, 3))
        self.five = nn.Sequential(layer(inputs, before_five, 1), layer(before_five, five, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), layer(inputs, pooled, 1))
        self.outputs = one + three + five + pooled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], dim=1)


class GoogLeNet(nn.Sequential):
    """Images (n, channels, h, w) to numbers (n, outputs); no auxiliary classifiers.

    Parameters
    ----------
    channels, outputs : int
    width : float
        Factor of all widths.
    dropout : float
        Before the last layer.
    batch_norm : bool
        Behind every convolution, in place of biases and local norms, as in its second version
        (Ioffe, Szegedy, ICML 2015): for training from scratch.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        width: float = 1.0,
        dropout: float = 0.4,
        batch_norm: bool = False,
    ) -> None:
        def scaled(full: int) -> int:
            return max(2, round(full * width))

        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        layer = partial(convolution, batch_norm=batch_norm)
        norm = [] if batch_norm else [LocalResponseNorm()]
        parts: list[nn.Module] = [
            *(layer(channels, scaled(64), 7, 2), pool(), *norm),
            *(layer(scaled(64), scaled(64), 1), layer(scaled(64), scaled(192), 3)),
            *(*norm, pool()),
        ]
        features = scaled(192)
        for i, widths in enumerate(INCEPTIONS):
            if i in POOLED_BEFORE:
                parts.append(pool())
            module = Inception(features, [scaled(full) for full in widths], batch_norm=batch_norm)
            parts.append(module)
            features = module.outputs
        super().__init__(
            *parts,
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)),
            nn.Linear(features, outputs),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # Caffe's "xavier" filler, and its bias
                limit = math.sqrt(3 / layer.weight[0].numel())
                nn.init.uniform_(layer.weight, -limit, limit)
                if layer.bias is not None:
                    nn.init.constant_(layer.bias, 0.2)
