"""DeepPose: joint coordinates regressed from the person, then refined joint by joint.

Toshev, Szegedy: DeepPose: Human Pose Estimation via Deep Neural Networks, CVPR 2014. There is no
official code; docs/networks/single-person.md says which choices are from memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Sample
from methods.parts.alexnet import ConvRegressor, alexnet_layers
from methods.parts.windows import windows
from methods.single_person.person import CoordinatePose, joint_loss

SMALLEST_WINDOW = 0.1
"""Side of a refinement window in crop sizes, where the predicted torso has almost no length."""


class Cascade(nn.Module):
    """Images (n, 3, H, W), H = W, to poses of every stage (n, S, K, 2) in pixels of the image.

    Stage 1 sees the whole image. A later stage sees, for each joint, a square window around its
    present place, ``window`` times as wide as the torso is long, and moves the joint; of all the
    joints that the network answers for a window only that one is used.

    Parameters
    ----------
    joints : int
    torso : (int, int)
        Joints whose distance is the person's diameter: left shoulder and right hip.
    stages, window : int, float
    input_size : int
        H and W.
    widths, hidden, dropout, batch_norm
        Of :class:`ConvRegressor`, the same in every stage; the weights are not shared.
    """

    def __init__(
        self,
        joints: int,
        torso: tuple[int, int],
        input_size: int,
        stages: int = 3,
        window: float = 2.0,
        widths: Sequence[int] = (96, 256, 384, 384, 256),
        hidden: int = 4096,
        dropout: float = 0.6,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.joints, self.torso, self.size, self.window = joints, torso, input_size, window
        layers, size = alexnet_layers(widths), (input_size, input_size)
        self.stages = nn.ModuleList(
            ConvRegressor(layers, hidden, 2 * joints, size, dropout, batch_norm)
            for _ in range(stages)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        poses = [self.first(images)]
        for stage in self.stages[1:]:
            centers = poses[-1]
            moved, sides = self.displacements(stage, images, centers, centers)
            poses.append(centers + moved * sides[..., None])
        return torch.stack(poses, dim=1)

    def first(self, images: torch.Tensor) -> torch.Tensor:
        """Return stage 1's pose (n, K, 2)."""
        shares = self.stages[0](images).unflatten(1, (self.joints, 2))
        return (shares + 0.5) * self.size

    def displacements(
        self, stage: nn.Module, images: torch.Tensor, centers: torch.Tensor, pose: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each joint's displacement (n, K, 2) in window sides, and the sides (n, K).

        Windows lie around ``centers`` (n, K, 2); ``pose`` (n, K, 2) has the torso.
        """
        left_shoulder, right_hip = (pose[:, joint] for joint in self.torso)
        diameter = (left_shoulder - right_hip).norm(dim=-1)
        side = (diameter * self.window).clamp(min=SMALLEST_WINDOW * self.size)
        sides = side[:, None].expand(-1, self.joints)
        answers = stage(windows(images, centers, sides, self.size))
        answers = answers.unflatten(1, (self.joints, 2)).unflatten(0, (-1, self.joints))
        return answers.diagonal(dim1=1, dim2=2).transpose(1, 2), sides


class DeepPose(CoordinatePose):
    """``stages`` of the outputs (n, S, K, 2) holds the pose of every stage."""

    def build(self, joints: int, **options: Any) -> nn.Module:
        names = self.skeleton.joints
        torso = names.index("left_shoulder"), names.index("right_hip")
        return Cascade(joints, torso, self.input_size[0], **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        stages = self.network(self.images(inputs["crops"])).float()
        return {**self.peaks(stages[:, -1]), "stages": stages}

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return ``crops``, ``joints``, ``weights``, and ``noise`` (n, S - 1, K, 2), N(0, 1)."""
        rows = super().training_rows(sample, truth, random)
        count, joints, _ = rows["joints"].shape
        shape = (count, len(self.network.stages) - 1, joints, 2)
        return {**rows, "noise": random.standard_normal(shape, np.float32)}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the squared error of all stages, each in sizes of its own window.

        A later stage learns from displaced truth: around each joint, places drawn from a Gaussian
        fitted to the errors that the stage before makes on this batch. A joint whose truth lies
        outside its window teaches that stage nothing.
        """
        images, truth, weights = self.images(rows["crops"]), rows["joints"], rows["weights"]
        network, size = self.network, self.network.size
        pose = network.first(images)
        loss = joint_loss(pose / size, truth / size, weights)
        for stage, noise in zip(network.stages[1:], rows["noise"].unbind(dim=1), strict=True):
            pose = pose.detach()
            displaced = truth + like(pose - truth, weights, noise)
            centers = torch.where(weights[..., None] > 0, displaced, pose)
            moved, sides = network.displacements(stage, images, centers, pose)
            wanted = (truth - centers) / sides[..., None]
            inside = (wanted.abs() <= 0.5).all(dim=-1)
            loss = loss + joint_loss(moved, wanted, weights * inside)
            pose = centers + moved * sides[..., None]
        return loss


def like(errors: torch.Tensor, weights: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Shape noise (n, K, 2) after each joint's errors (n, K, 2) where it is labelled (n, K)."""
    count = weights.sum(dim=0).clamp(min=1)[:, None]
    shown = weights[..., None]
    mean = (errors * shown).sum(dim=0) / count
    variance = ((errors - mean).square() * shown).sum(dim=0) / count
    return mean + variance.sqrt() * noise
