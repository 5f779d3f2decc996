"""A residual network that regresses joint coordinates: mmpose's substitute for DeepPose.

It is a single stage and not the paper's network, hence a name of its own. Facts from mmpose's
top-down regression (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from methods.parts.resnet import RESNET_BLOCKS, BasicBlock, ResNet
from methods.single_person.person import CoordinatePose


class RegressionResNet(ResNet):
    """Images (n, 3, h, w) to coordinates (n, K, 2) in shares of the image, 0 to 1.

    Parameters
    ----------
    joints : int
    layers : int
        50, 101 or 152.
    blocks, planes : sequence of int, optional
        A thin trunk of basic blocks instead of ``layers``.
    """

    def __init__(
        self,
        joints: int,
        layers: int = 50,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        if blocks is None:
            super().__init__(RESNET_BLOCKS[layers])
        else:
            super().__init__(blocks, BasicBlock, planes)
        self.joints = joints
        self.fc = nn.Linear(self.channels, 2 * joints)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = super().forward(x).mean(dim=(2, 3))
        return self.fc(pooled).unflatten(1, (self.joints, 2))


class DeepPoseResNet(CoordinatePose):
    """The flip test averages coordinates."""

    flip_tested = True

    def build(self, joints: int, **options: Any) -> nn.Module:
        return RegressionResNet(joints, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        images = self.images(inputs["crops"])
        order = torch.as_tensor(self.skeleton.flip_order, device=images.device)
        mirrored = self.network(images.flip(-1))[:, order]
        mirrored = torch.stack([1 - mirrored[..., 0], mirrored[..., 1]], dim=-1)
        return self.peaks(self.pixels((self.network(images) + mirrored) * 0.5 - 0.5))

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean smooth L1 distance; a joint without label counts as a hit."""
        found = self.network(self.images(rows["crops"]))
        weights = rows["weights"][..., None]
        wanted = self.normalised(rows["joints"]) + 0.5
        return functional.smooth_l1_loss(found * weights, wanted * weights)
