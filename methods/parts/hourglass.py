"""Hourglasses of pre-activation residual blocks (Newell, Yang, Deng, ECCV 2016).

Key names are those of princeton-vl/pytorch_stacked_hourglass @ ceedc14.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class Conv(nn.Module):
    """A convolution, by default with bias, optionally with norm, optionally with ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        norm: bool = False,
        relu: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, bias=bias)
        self.bn = nn.BatchNorm2d(outputs) if norm else None
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return torch.relu(x) if self.relu else x


class Residual(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each *after* its norm and ReLU, and a shortcut.

    The 1x1 convolution of the shortcut is always registered, as in the official code, but used
    only where the widths differ: elsewhere its parameters are dead.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = Conv(inputs, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = Conv(half, half, 3)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv3 = Conv(half, outputs, 1)
        self.skip_layer = Conv(inputs, outputs, 1)
        self.projects = inputs != outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(torch.relu(self.bn1(x)))
        y = self.conv2(torch.relu(self.bn2(y)))
        y = self.conv3(torch.relu(self.bn3(y)))
        return y + (self.skip_layer(x) if self.projects else x)


class Hourglass(nn.Module):
    """Features (n, width, h, w) down ``depth`` octaves and up again; h and w divide by 2^depth.

    ``block`` makes a residual block of its numbers of input and output channels.
    """

    def __init__(
        self, depth: int, width: int, block: Callable[[int, int], nn.Module] = Residual
    ) -> None:
        super().__init__()
        self.up1 = block(width, width)
        self.low1 = block(width, width)
        self.low2 = Hourglass(depth - 1, width, block) if depth > 1 else block(width, width)
        self.low3 = block(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.low3(self.low2(self.low1(functional.max_pool2d(x, 2))))
        return self.up1(x) + functional.interpolate(low, scale_factor=2, mode="nearest")
