"""ResNet-v2 of 50 layers (He et al., ECCV 2016): norm and ReLU come before each convolution.

The layout of TensorFlow-Slim, which HMR's encoder has: the stride is in the *last* block of a
stage, convolutions without a norm behind them have a bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class PreActivation(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the 3x3 one carries the stride.

    The shortcut of a stage's first block is a convolution of the activated input, elsewhere the
    input itself, subsampled where there is a stride.
    """

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * planes
        self.preact = nn.BatchNorm2d(inputs, eps=1e-5)
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else None
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = torch.relu(self.preact(x))
        if self.shortcut is not None:
            short = self.shortcut(active)
        else:
            short = x[:, :, :: self.stride, :: self.stride]
        y = torch.relu(self.bn1(self.conv1(active)))
        return self.conv3(torch.relu(self.bn2(self.conv2(y)))) + short


class ResNetV2(nn.Module):
    """Images (n, 3, h, w) to activated features (n, channels, h / 32, w / 32).

    Parameters
    ----------
    blocks, planes : sequence of int
        Blocks and width of the four stages; a block puts out four times the width.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 4, 6, 3),
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, planes[0], 7, stride=2, padding=3)
        stages: list[nn.Module] = []
        inputs = planes[0]
        for stage, (count, width) in enumerate(zip(blocks, planes, strict=True)):
            for block in range(count):
                last = block == count - 1 and stage < len(blocks) - 1
                stages.append(PreActivation(inputs, width, 2 if last else 1))
                inputs = 4 * width
        self.stages = nn.Sequential(*stages)
        self.postnorm = nn.BatchNorm2d(inputs)
        self.channels = inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.conv1(x), 3, stride=2, padding=1)
        return torch.relu(self.postnorm(self.stages(x)))
