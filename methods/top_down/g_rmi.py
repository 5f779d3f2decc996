"""G-RMI: a disk around each joint and, inside it, the way to the joint; pixels vote for its place.

Papandreou, Zhu, Kanazawa, Toshev, Tompson, Bregler, Murphy: Towards Accurate Multi-Person Pose
Estimation in the Wild, CVPR 2017. There is no official code: from the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Prepared, Rows, Sample
from methods.parts.augment import Augmentation
from methods.parts.heatmap import argmax_2d
from methods.parts.initialise import normal_weights
from methods.parts.resnet import BasicBlock, Bottleneck, ResNet
from methods.parts.suppression import oks_nms
from methods.top_down.heatmap_pose import HeatmapPose

MAP_WEIGHT = 4.0
"""Of the maps' logistic loss, beside the offsets' Huber loss."""


class DiskNet(nn.Module):
    """Images (n, 3, h, w) to logits of disks and offsets in pixels: (n, 3 joints, h, w).

    A residual network whose last two layers are dilated instead of strided (stride 8), a 1x1
    convolution, and bilinear growth to the input's size.

    Parameters
    ----------
    joints : int
    blocks, planes : sequence of int
        Of the residual network's layers.
    bottleneck : bool
    radius : float
        Of the disks: one unit of an offset.
    """

    def __init__(
        self,
        joints: int,
        blocks: Sequence[int] = (3, 4, 23, 3),
        planes: Sequence[int] = (64, 128, 256, 512),
        bottleneck: bool = True,
        radius: float = 25.0,
    ) -> None:
        super().__init__()
        self.body = ResNet(blocks, Bottleneck if bottleneck else BasicBlock, planes)
        for layer, dilation in ((self.body.layer3, 2), (self.body.layer4, 4)):
            dilate(layer, dilation)
        self.head = nn.Conv2d(self.body.channels, 3 * joints, 1)
        normal_weights(self)
        self.joints, self.radius = joints, radius

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answers = self.head(self.body(images))
        grown = functional.interpolate(
            answers, size=images.shape[-2:], mode="bilinear", align_corners=False
        )
        return torch.cat([grown[:, : self.joints], grown[:, self.joints :] * self.radius], dim=1)


def dilate(layer: nn.Module, dilation: int) -> None:
    """Take a residual layer's stride away and dilate its 3x3 convolutions instead."""
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)


class GRmi(HeatmapPose):
    """RGB crops of 353x257, boxes grown by 1.25; people are scored by their joints alone.

    Doubled people are told by OKS. Options: the network's, and ``sigma``, which is not used.
    """

    stride = 1
    flip_tested = False
    nms_threshold = 0.5
    quantisation = 1.0
    augmentation = Augmentation(scaling=0.25, rotation=0)

    def build(self, joints: int, **options: Any) -> nn.Module:
        self.radius = float(options.get("radius", 25.0))
        return DiskNet(joints, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        answers = self.network(self.images(inputs["crops"])).float()
        joints = len(self.skeleton)
        return self.peaks(torch.cat([answers[:, :joints].sigmoid(), answers[:, joints:]], dim=1))

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Read joints out of disks (n, K, h, w) and offsets x, y of each, (n, 3 K, h, w)."""
        joints = len(self.skeleton)
        disks, offsets = heatmaps[:, :joints], heatmaps[:, joints:].unflatten(1, (joints, 2))
        points, scores = argmax_2d(votes(disks, offsets, self.radius))
        return {"points": points, "scores": scores}

    def encode(self, joints: torch.Tensor) -> torch.Tensor:
        disks, offsets = self.disks(joints)
        return torch.cat([disks, (offsets * disks[:, :, None]).flatten(1, 2)], dim=1)

    def disks(self, joints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return disks (n, K, h, w) of joints (n, K, 2), and offsets to them (n, K, 2, h, w)."""
        width, height = self.grid
        x = joints[..., 0, None, None] - torch.arange(width, device=joints.device)
        y = joints[..., 1, None, None] - torch.arange(height, device=joints.device)[:, None]
        offsets = torch.stack(torch.broadcast_tensors(x, y), dim=2)
        return (offsets.square().sum(dim=2) <= self.radius**2).float(), offsets

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        keypoints = self.to_image(outputs["points"], prepared.context, self.grid)
        values = outputs["scores"].astype(np.float64)
        scores = values.mean(axis=1)
        kept = np.arange(len(scores))
        if sample.boxes is not None:
            areas = prepared.context.areas
            kept = oks_nms(keypoints, scores, areas, self.skeleton.sigmas, self.nms_threshold)
        return {
            "keypoints": keypoints[kept],
            "keypoint_scores": values[kept],
            "score": scores[kept],
        }

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logistic loss of the disks and the Huber loss of the offsets inside them."""
        joints = len(self.skeleton)
        answers = self.network(self.images(rows["crops"]))
        disks, offsets = self.disks(rows["joints"])
        weights = rows["weights"][..., None, None]
        maps = functional.binary_cross_entropy_with_logits(answers[:, :joints], disks, weights)
        miss = (answers[:, joints:].unflatten(1, (joints, 2)) - offsets) / self.radius
        inside = (disks * weights)[:, :, None]
        way = (functional.huber_loss(miss, torch.zeros_like(miss), reduction="none") * inside).sum()
        return MAP_WEIGHT * maps + way / inside.sum().clamp(min=1)


def votes(disks: torch.Tensor, offsets: torch.Tensor, radius: float) -> torch.Tensor:
    """Return where pixels say that the joints are: (n, K, h, w).

    Each pixel gives its probability to the place that its offset (n, K, 2, h, w) points to, shared
    bilinearly by four pixels, divided by the disk's area. Votes for places outside are lost.
    """
    height, width = disks.shape[-2:]
    x = torch.arange(width, device=disks.device) + offsets[:, :, 0]
    y = torch.arange(height, device=disks.device)[:, None] + offsets[:, :, 1]
    total = torch.zeros_like(disks).flatten(2)
    for right in (0, 1):
        for below in (0, 1):
            column, row = x.floor() + right, y.floor() + below
            share = (1 - (x - column).abs()) * (1 - (y - row).abs()) * disks
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            total.scatter_add_(2, place.long().flatten(2), (share * inside).flatten(2))
    return total.view(disks.shape) / (math.pi * radius**2)
