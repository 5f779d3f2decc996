"""SimpleBaseline: a residual network and three transposed convolutions.

Xiao, Wu, Wei: Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018.
Facts from the official code, microsoft/human-pose-estimation.pytorch @ 49f3f44.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from methods.parts.augment import Augmentation
from methods.parts.initialise import normal_weights
from methods.parts.resnet import RESNET_BLOCKS, BasicBlock, ResNet
from methods.top_down.heatmap_pose import HeatmapPose


class DeconvResNet(ResNet):
    """Images (n, 3, h, w) to heatmaps (n, joints, h / 4, w / 4).

    Parameters
    ----------
    joints : int
    layers : int
        50, 101 or 152.
    filters : int
        Width of the transposed convolutions.
    blocks, planes : sequence of int, optional
        A thin trunk of basic blocks instead of ``layers``.
    """

    def __init__(
        self,
        joints: int,
        layers: int = 50,
        filters: int = 256,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        if blocks is None:
            super().__init__(RESNET_BLOCKS[layers])
        else:
            super().__init__(blocks, BasicBlock, planes)
        head: list[nn.Module] = []
        for width in (self.channels, filters, filters):
            head += [
                nn.ConvTranspose2d(width, filters, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(),
            ]
        self.deconv_layers = nn.Sequential(*head)
        self.final_layer = nn.Conv2d(filters, joints, 1)
        normal_weights(self.deconv_layers)
        normal_weights(self.final_layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.final_layer(self.deconv_layers(super().forward(x)))


class SimpleBaseline(HeatmapPose):
    """The official network sees BGR crops, normalised with the constants of RGB."""

    channel_order = "bgr"
    augmentation = Augmentation(scaling=0.3, rotation=40)

    def build(self, joints: int, **options: Any) -> nn.Module:
        return DeconvResNet(joints, **options)

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Map mmpose's key names to the official ones.

        mmpose trained the same network on RGB crops, so a checkpoint of its own switches the
        method to RGB.
        """
        if any(name.startswith("backbone.") for name in state):
            self.channel_order = "rgb"
        return super().translate_weights(state)
