"""Integral regression: the joint's place is the expectation over a volume of likelihood.

Sun, Xiao, Wei, Liang, Wei: Integral Human Pose Regression, ECCV 2018. Facts from the official
code, JimmySuen/integral-human-pose @ ad3f875.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from harness.api.skeleton import COCO_MPII_21
from methods.image_to_3d.image_pose import ImagePose3D
from methods.parts.initialise import normal_weights
from methods.parts.resnet import RESNET_BLOCKS, BasicBlock, ResNet
from methods.parts.volume import argmax_3d, gaussian_volumes, soft_argmax_3d

DEPTH = 64
"""Voxels from front to back."""

SIGMA = 2.0
"""Of the heat maps of H1 and I1, in voxels."""

STRATEGIES = {
    "H1": (False, "gaussian"), "H2": (False, "one-hot"), "I*": (True, None),
    "I1": (True, "gaussian"), "I2": (True, "one-hot"),
}  # fmt: skip
"""The paper's ablation: whether the expectation is the answer and is learned, and the loss on the
volume itself. Without the expectation the highest voxel is the answer."""

ALIKE = {
    "spine": ("pelvis", "thorax"), "neck_nose": ("nose",), "head": ("head_top",),
    "shoulders": ("left_shoulder", "right_shoulder"),
}  # fmt: skip
"""Joints of COCO and MPII that are near one of another name, or around it."""

SHARPNESS = 20.0
"""By which a heat map of peak 1 becomes a likelihood's logarithm with a peak as narrow."""


def trunk(layers: int, blocks: Sequence[int] | None, planes: Sequence[int]) -> ResNet:
    """Return a residual network of so many layers, or a thin one of basic blocks."""
    if blocks is None:
        return ResNet(RESNET_BLOCKS[layers])
    return ResNet(blocks, BasicBlock, planes)


class DeconvHead(nn.Module):
    """Three transposed convolutions and one map per joint and depth."""

    def __init__(self, inputs: int, filters: int, outputs: int) -> None:
        super().__init__()
        self.features = nn.ModuleList()
        for width in (inputs, filters, filters):
            self.features.append(nn.ConvTranspose2d(width, filters, 4, 2, 1, bias=False))
            self.features.append(nn.BatchNorm2d(filters))
            self.features.append(nn.ReLU())
        self.features.append(nn.Conv2d(filters, outputs, 1))
        normal_weights(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.features:
            x = layer(x)
        return x


class VolumeNet(nn.Module):
    """Images (n, 3, h, w) to maps (n, joints x depth, h / 4, w / 4), joint by joint.

    Parameters
    ----------
    joints, depth : int
    layers : int
        50 or 152.
    filters : int
    blocks, planes : sequence of int, optional
        A thin trunk of basic blocks instead of ``layers``.
    """

    def __init__(
        self,
        joints: int,
        depth: int = DEPTH,
        layers: int = 50,
        filters: int = 256,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        self.backbone = trunk(layers, blocks, planes)
        self.head = DeconvHead(self.backbone.channels, filters, joints * depth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


class Integral(ImagePose3D):
    """Options: ``strategy`` of :data:`STRATEGIES`, and those of :class:`VolumeNet`."""

    def build(self, joints: int, strategy: str = "I*", **options: Any) -> nn.Module:
        self.expected, self.volume_loss = STRATEGIES[strategy]
        self.joints, self.depth = joints, options.get("depth", DEPTH)
        return VolumeNet(joints, **options)

    def translate_start(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Take SimpleBaseline's maps of the 21 joints too, at all depths alike.

        So joints are found in the picture from the start, and depth is left to be learned.
        """
        own = dict(super().translate_start(state))
        known = COCO_MPII_21.joints
        joints = [ALIKE.get(joint, (joint,)) for joint in (*self.skeleton.joints, "shoulders")]
        heat_maps = self.volume_loss == "gaussian" and not self.expected
        for part in ("weight", "bias"):
            maps = state[f"final_layer.{part}"] * (1 if heat_maps else SHARPNESS)
            rows = [maps[[known.index(name) for name in names]].mean(dim=0) for names in joints]
            own[f"head.features.9.{part}"] = torch.stack(rows).repeat_interleave(self.depth, dim=0)
        return own

    def volumes(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps (n, K D, H, W) as volumes (n, K, D, H, W)."""
        return maps.unflatten(1, (self.joints, -1))

    def places(self, answers: torch.Tensor) -> torch.Tensor:
        read = soft_argmax_3d if self.expected else argmax_3d
        return read(self.volumes(answers))

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the L1 distance summed over the joints, the loss on the volume, or both."""
        volumes, wanted = self.volumes(self.network(self.images(rows["crops"]))), rows["places"]
        loss = volumes.new_zeros(())
        if self.expected:
            loss = loss + (soft_argmax_3d(volumes) - wanted).abs().sum() / len(wanted)
        size = tuple(volumes.shape[2:])
        if self.volume_loss == "gaussian":
            loss = loss + functional.mse_loss(volumes, gaussian_volumes(wanted, size, SIGMA))
        if self.volume_loss == "one-hot":
            depth, height, width = size
            sizes = wanted.new_tensor([width, height, depth])
            x, y, z = ((wanted + 0.5) * sizes).round().long().unbind(dim=-1)
            x, y, z = x.clamp(0, width - 1), y.clamp(0, height - 1), z.clamp(0, depth - 1)
            index = (z * height + y) * width + x
            loss = loss + functional.cross_entropy(
                volumes.flatten(2).flatten(0, 1), index.flatten()
            )
        return loss
