"""HeatmapNet with spatial fusion layers, on single frames.

Pfister, Charles, Zisserman: Flowing ConvNets for Human Pose Estimation in Videos, ICCV 2015.
Facts from the official code, tpfister/caffe-heatmap @ 4db69ef.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from methods.parts.gaussian import euclidean_loss, gaussian_maps
from methods.parts.heatmap import argmax_2d
from methods.single_person.person import PersonPose

MAP_STRIDE = 4
"""Input pixels per heatmap pixel."""


def layers(inputs: int, *kernels_and_widths: tuple[int, int], pooled: int = 0) -> nn.Sequential:
    """Return same-size convolutions with ReLU, the first ``pooled`` of them with 2x2 pooling."""
    parts: list[nn.Module] = []
    for i, (kernel, width) in enumerate(kernels_and_widths):
        parts += [nn.Conv2d(inputs, width, kernel, padding=kernel // 2), nn.ReLU()]
        if i < pooled:
            parts.append(nn.MaxPool2d(2))
        inputs = width
    return nn.Sequential(*parts)


class FusionNet(nn.Module):
    """Images (n, 3, h, w) to heatmaps of HeatmapNet and of the fusion, each (n, K, h/4, w/4).

    HeatmapNet's own maps go through a ReLU, those of the fusion do not.

    Parameters
    ----------
    joints : int
    widths : sequence of int
        Of conv1 to conv7.
    fusion : sequence of int
        Of the first four fusion convolutions.
    std, bias : float, optional
        Initial weights N(0, std) and biases. Without ``std`` He's (ICCV 2015), and N(0, 0.01)
        where maps come out: a thin network learns faster that way.
    """

    def __init__(
        self,
        joints: int,
        widths: Sequence[int] = (128, 128, 128, 256, 512, 256, 256),
        fusion: Sequence[int] = (64, 64, 128, 256),
        std: float | None = 0.01,
        bias: float = 1.0,
    ) -> None:
        super().__init__()
        one, two, three, four, five, six, seven = widths
        self.early = layers(3, (5, one), (5, two), (5, three), pooled=2)
        self.late = layers(three, (9, four), (9, five), (1, six), (1, seven))
        self.heatmap = layers(seven, (1, joints))
        kernels = zip((7, 13, 13, 1), fusion, strict=True)
        self.fusion = layers(three + seven, *kernels)
        self.fused = nn.Conv2d(fusion[-1], joints, 1)
        for layer in self.modules():
            if not isinstance(layer, nn.Conv2d):
                continue
            if std is None and layer not in (self.heatmap[0], self.fused):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=std or 0.01)
            nn.init.constant_(layer.bias, bias)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        early = self.early(images)
        late = self.late(early)
        fused = self.fused(self.fusion(torch.cat([early, late], dim=1)))
        return self.heatmap(late), fused


class Pfister(PersonPose):
    """The fused maps are enlarged to the input, and their highest pixels are the joints.

    ``stages`` of the outputs holds the joints of HeatmapNet's own maps, then the fused ones.
    """

    stride = 1
    flip_tested = False
    quantisation = 1.0

    def build(self, joints: int, **options: Any) -> nn.Module:
        return FusionNet(joints, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        maps = self.network(self.images(inputs["crops"]))
        first, fused = (self.peaks(heatmaps.float()) for heatmaps in maps)
        return {**fused, "stages": torch.stack([first["points"], fused["points"]], dim=1)}

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Enlarge the maps to the crop and find their highest pixels."""
        enlarged = functional.interpolate(heatmaps, scale_factor=MAP_STRIDE, mode="bicubic")
        points, scores = argmax_2d(enlarged)
        return {"points": points, "scores": scores}

    def encode(self, joints: torch.Tensor) -> torch.Tensor:
        """Draw joints with the height of a one-dimensional normal density, 0.266 for sigma 1.5.

        Centres follow the enlargement of :meth:`peaks`: pixel edges on pixel edges.
        """
        centers = (joints + 0.5) / MAP_STRIDE - 0.5
        size = (self.input_size[1] // MAP_STRIDE, self.input_size[0] // MAP_STRIDE)
        maps = gaussian_maps(centers, size, self.sigma)
        return maps / (self.sigma * math.sqrt(2 * math.pi))

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum of both outputs' Euclidean losses."""
        targets = self.encode(rows["joints"])
        found = self.network(self.images(rows["crops"]))
        first, fused = (euclidean_loss(maps, targets, rows["weights"]) for maps in found)
        return first + fused
