"""Residual networks (He et al., CVPR 2016), with torchvision's key names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Bottlenecks in layer1 to layer4 by the number of layers."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = projection(inputs, planes * self.expansion, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(y + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the 3x3 one carries the stride."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(y + shortcut)


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Return the shortcut's 1x1 convolution and norm, or None where the identity fits."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def residual_layer(
    block: type[BasicBlock | Bottleneck], inputs: int, planes: int, blocks: int, stride: int = 1
) -> nn.Sequential:
    """Return ``blocks`` residual blocks; the first carries the stride."""
    outputs = planes * block.expansion
    first = block(inputs, planes, stride)
    return nn.Sequential(first, *(block(outputs, planes) for _ in range(blocks - 1)))


class ResNet(nn.Module):
    """A residual network up to the last block: images (n, 3, h, w) to (n, channels, h/32, w/32).

    Parameters
    ----------
    blocks : sequence of int
        Blocks in layer1 to layer4.
    block : type
        :class:`Bottleneck`, or :class:`BasicBlock` in thin networks.
    planes : sequence of int
        Width of layer1 to layer4; a bottleneck puts out four times that.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        block: type[BasicBlock | Bottleneck] = Bottleneck,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, planes[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        outputs = [width * block.expansion for width in planes]
        self.layer1 = residual_layer(block, planes[0], planes[0], blocks[0])
        self.layer2 = residual_layer(block, outputs[0], planes[1], blocks[1], stride=2)
        self.layer3 = residual_layer(block, outputs[1], planes[2], blocks[2], stride=2)
        self.layer4 = residual_layer(block, outputs[2], planes[3], blocks[3], stride=2)
        self.channels = outputs[3]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
