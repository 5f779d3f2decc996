"""GNet: two hourglasses of Inception-ResNet blocks, and non-maximum suppression across heatmaps.

Ning, Zhang, He: Knowledge-Guided Deep Fractal Neural Networks for Human Pose Estimation, IEEE TMM
2018. Facts from the official code, Guanghan/GNet-pose @ c70e0fc.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Prepared, Rows, Sample
from methods.parts.cross_heatmap import cross_heatmap_nms
from methods.parts.flip import flip_test
from methods.parts.gaussian import euclidean_loss, gaussian_maps
from methods.single_person.person import PersonPose

MAP_STRIDE = 4
"""Input pixels per heatmap pixel."""


def before(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Return a convolution behind its norm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), convolution)


class Plain(nn.Module):
    """Pre-activation bottleneck; the shortcut is a convolution even where the widths agree."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.branch = nn.Sequential(
            before(inputs, half, 1), before(half, half, 3), before(half, outputs, 1)
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branch(x) + self.shortcut(x)


class Inception(nn.Module):
    """A deep and a shallow branch side by side, joined by a linear convolution with norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.deep = nn.Sequential(
            before(inputs, half, 1), before(half, half, 3), before(half, half, 3)
        )
        self.shallow = nn.Sequential(before(inputs, half, 1), before(half, half, 3))
        self.join = nn.Sequential(nn.Conv2d(2 * half, outputs, 1), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined = self.join(torch.cat([self.deep(x), self.shallow(x)], dim=1))
        return joined + self.shortcut(x)


class Fractal(nn.Module):
    """An hourglass (n, inputs, h, w) to (n, outputs, h, w); lower ones inside are of plain blocks.

    Enlarging is a fixed transposed convolution with the weights of bilinear interpolation, one
    per channel.
    """

    def __init__(
        self, inputs: int, outputs: int, depth: int, block: type[Plain | Inception] = Inception
    ) -> None:
        super().__init__()
        half = outputs // 2
        core: nn.Module = (
            Fractal(half, outputs, depth - 1, Plain) if depth > 1 else block(half, outputs)
        )
        self.low = nn.Sequential(
            nn.MaxPool2d(2),
            *(block(inputs, half), block(half, half), block(half, half)),
            *(core, block(outputs, outputs)),
        )
        self.high = nn.Sequential(block(inputs, half), block(half, half), block(half, outputs))
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        weights = torch.outer(line, line).repeat(outputs, 1, 1, 1)
        self.register_buffer("bilinear", weights, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.low(x)
        low = functional.conv_transpose2d(
            low, self.bilinear, stride=2, padding=1, groups=low.shape[1]
        )
        return self.high(x) + low


class GNet(nn.Module):
    """Images (n, 3, h, w) to the maps of both stages, each (n, K + 1, h/4, w/4), background last.

    Parameters
    ----------
    joints : int
    width : int
        Channels of the hourglasses' output; the rest is in proportion.
    depth : int
        Octaves of an hourglass.
    """

    def __init__(self, joints: int, width: int = 512, depth: int = 4) -> None:
        super().__init__()
        eighth, quarter, half = width // 8, width // 4, width // 2
        merged = quarter + half
        self.stem = nn.Sequential(
            nn.Conv2d(3, eighth, 7, stride=2, padding=3),
            nn.BatchNorm2d(eighth),
            Plain(eighth, quarter),
            nn.MaxPool2d(2),
        )
        self.features = nn.Sequential(
            Plain(quarter, quarter), Plain(quarter, quarter), Plain(quarter, half)
        )
        self.hourglasses = nn.ModuleList(
            nn.Sequential(
                Fractal(inputs, width, depth),
                nn.Conv2d(width, width, 1),
                nn.Conv2d(width, half, 1),
            )
            for inputs in (half, merged)
        )
        self.heatmaps = nn.ModuleList(nn.Conv2d(half, joints + 1, 1) for _ in range(2))
        self.from_maps = nn.Conv2d(joints + 1, merged, 1)
        self.from_features = nn.Conv2d(quarter + half, merged, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        stem = self.stem(images)
        features = self.hourglasses[0](self.features(stem))
        first = self.heatmaps[0](features)
        joined = self.from_maps(first) + self.from_features(torch.cat([stem, features], dim=1))
        return first, self.heatmaps[1](self.hourglasses[1](joined))


class Ning(PersonPose):
    """Flip average of the second stage's maps; joints by 3D-NMS, in whole pixels of the crop."""

    mean, std = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)
    channel_order = "bgr"
    stride = 1
    quantisation = 2.0
    background_weight = 0.05

    def build(self, joints: int, **options: Any) -> nn.Module:
        return GNet(joints, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        images = self.images(inputs["crops"])
        order = torch.as_tensor(self.skeleton.flip_order, device=images.device)

        def joint_maps(images: torch.Tensor) -> torch.Tensor:
            return self.network(images)[-1][:, :-1]

        return {"heatmaps": flip_test(joint_maps, images, order, shift=False).float()}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        found = self.peaks(torch.from_numpy(outputs["heatmaps"]))
        return super().decode({k: v.numpy() for k, v in found.items()}, prepared, sample)

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        joints = len(self.skeleton)
        found = [cross_heatmap_nms(maps, self.input_size) for maps in heatmaps.numpy()]
        points = np.array([points for points, _ in found]).reshape(-1, joints, 2)
        scores = np.array([scores for _, scores in found]).reshape(-1, joints)
        return {"points": torch.from_numpy(points), "scores": torch.from_numpy(scores)}

    def encode(self, joints: torch.Tensor) -> torch.Tensor:
        size = (self.input_size[1] // MAP_STRIDE, self.input_size[0] // MAP_STRIDE)
        return gaussian_maps((joints + 0.5) / MAP_STRIDE - 0.5, size, self.sigma)

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the Euclidean losses of both stages; the background counts a twentieth.

        The background is one minus the highest joint map; it is no target where a joint of the
        person has no label.
        """
        joints = self.encode(rows["joints"])
        targets = torch.cat([joints, 1 - joints.amax(dim=1, keepdim=True)], dim=1)
        all_labelled = rows["weights"].amin(dim=1, keepdim=True)
        weights = torch.cat([rows["weights"], self.background_weight * all_labelled], dim=1)
        first, second = self.network(self.images(rows["crops"]))
        return euclidean_loss(first, targets, weights) + euclidean_loss(second, targets, weights)
