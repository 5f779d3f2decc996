"""Volumetric soft-argmax on a fully convolutional network, trained with synthetic occlusion.

Sarandi, Linder, Arras, Leibe: Synthetic Occlusion Augmentation with Volumetric Heatmaps for the
2018 ECCV PoseTrack Challenge on 3D Human Pose Estimation. The network of 2018 is not public: its
sizes are from memory, docs/networks/three-dimensions.md says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from methods.image_to_3d.image_pose import ImagePose3D
from methods.image_to_3d.integral import trunk
from methods.image_to_3d.occlusion import blobs, occlude
from methods.parts.resnet import ResNet
from methods.parts.volume import soft_argmax_3d


def dilate_last_stage(network: ResNet) -> None:
    """Let layer4 keep the resolution (stride 16) and look twice as far instead."""
    for block in network.layer4:
        for layer in (block.conv1, block.conv2):
            if layer.kernel_size == (3, 3):
                layer.stride, layer.dilation, layer.padding = (1, 1), (2, 2), (2, 2)
        if block.downsample is not None:
            block.downsample[0].stride = (1, 1)


class StrideNet(nn.Module):
    """Images (n, 3, h, w) to maps (n, joints x depth, h / 16, w / 16).

    Parameters
    ----------
    joints, depth : int
    layers : int
    blocks, planes : sequence of int, optional
        A thin trunk of basic blocks instead of ``layers``.
    """

    def __init__(
        self,
        joints: int,
        depth: int = 16,
        layers: int = 50,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        self.backbone = trunk(layers, blocks, planes)
        dilate_last_stage(self.backbone)
        self.head = nn.Conv2d(self.backbone.channels, joints * depth, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


class Sarandi(ImagePose3D):
    """Half of the training views are hidden in part by :func:`occlude`."""

    objects = blobs(40, np.random.default_rng(0))

    def build(self, joints: int, occluded: float = 0.5, **options: Any) -> nn.Module:
        self.occluded, self.joints = occluded, joints
        return StrideNet(joints, **options)

    def places(self, answers: torch.Tensor) -> torch.Tensor:
        return soft_argmax_3d(answers.unflatten(1, (self.joints, -1)))

    def view(
        self, image: NDArray[np.uint8], center: NDArray[Any], side: float,
        joints: NDArray[np.float64], random: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:  # fmt: skip
        crop, places = super().view(image, center, side, joints, random)
        if random.random() < self.occluded:
            crop = occlude(crop, self.objects, random)
        return crop, places

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean L1 distance."""
        found = self.places(self.network(self.images(rows["crops"])))
        return (found - rows["places"]).abs().mean()
