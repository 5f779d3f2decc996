"""Part heatmap regression: parts are detected one by one, then all are regressed together.

Bulat, Tzimiropoulos: Human Pose Estimation via Convolutional Part Heatmap Regression, ECCV 2016.
Steps before and after the network are facts of the official demo, 1adrianb/human-pose-estimation;
the network is from memory: docs/networks/single-person.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from methods.parts.gaussian import euclidean_loss, gaussian_maps
from methods.parts.heatmap import argmax_2d
from methods.parts.hourglass import Conv, Hourglass, Residual
from methods.parts.resnet import RESNET_BLOCKS, BasicBlock, Bottleneck, ResNet
from methods.single_person.hourglass import StackedHourglassPose

DISC = 2.5
"""Radius of a part in heatmap pixels: 10 pixels of the input."""


class PartDetector(ResNet):
    """Images (n, 3, h, w) to part logits (n, K, h/4, w/4): scores of all four layers, summed."""

    def __init__(
        self,
        joints: int,
        layers: int = 152,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        block = Bottleneck if blocks is None else BasicBlock
        super().__init__(RESNET_BLOCKS[layers] if blocks is None else blocks, block, planes)
        self.scores = nn.ModuleList(
            nn.Conv2d(width * block.expansion, joints, 1) for width in planes
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        size, total = x.shape[2:], 0
        for layer, score in zip(
            (self.layer1, self.layer2, self.layer3, self.layer4), self.scores, strict=True
        ):
            x = layer(x)
            total = total + functional.interpolate(score(x), size, mode="bilinear")
        return total


class PartRegression(nn.Module):
    """Images (n, 3, h, w) to part probabilities and to heatmap regression, each (n, K, h/4, w/4).

    Parameters
    ----------
    joints : int
    width, depth : int
        Channels and octaves of the regressor's hourglass.
    detector
        Of :class:`PartDetector`.
    """

    def __init__(self, joints: int, width: int = 256, depth: int = 4, **detector: Any) -> None:
        super().__init__()
        self.detector = PartDetector(joints, **detector)
        self.regressor = nn.Sequential(
            Conv(joints + 3, width, 7, norm=True, relu=True),
            Hourglass(depth, width),
            Residual(width, width),
            Conv(width, width, 1, norm=True, relu=True),
            Conv(width, joints, 1),
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = self.detector(images).sigmoid()
        small = functional.interpolate(images, parts.shape[2:], mode="area")
        return parts, self.regressor(torch.cat([small, parts], dim=1))


class PartHeatmapRegression(StackedHourglassPose):
    """The highest pixel's middle, in whole image pixels; ``stages``: detector, then regressor."""

    quantisation = 2.0

    def build(self, joints: int, **options: Any) -> nn.Module:
        return PartRegression(joints, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        detected, regressed = self.first_and_last(inputs)
        stages = torch.stack([detected["points"], regressed["points"]], dim=1)
        return {**regressed, "stages": stages}

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the highest pixel's middle; maps are cut off at 0, nothing moves by a quarter."""
        points, scores = argmax_2d(heatmaps.clamp(min=0))
        return {"points": points + 0.5, "scores": scores}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the detector's cross entropy plus the regressor's Euclidean loss.

        A part is a disc around its joint. Both losses are summed over pixels and labelled joints.
        """
        weights = rows["weights"]
        parts, heatmaps = self.network(self.images(rows["crops"]))
        centers = rows["joints"] / self.stride - 0.5
        targets = gaussian_maps(centers, (self.grid[1], self.grid[0]), self.sigma)
        # A Gaussian's value at the disc's edge says which pixels are inside.
        edge = torch.exp(torch.tensor(-(DISC**2) / (2 * self.sigma**2)))
        discs = (targets >= edge).to(parts.dtype)
        entropy = functional.binary_cross_entropy(parts, discs, reduction="none")
        detection = (entropy.sum(dim=(2, 3)) * weights).sum(dim=1).mean()
        return detection + euclidean_loss(heatmaps, targets, weights)
