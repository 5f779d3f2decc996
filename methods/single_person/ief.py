"""Iterative Error Feedback: a pose is drawn over the image, and the network says how to move it.

Carreira, Agrawal, Fragkiadaki, Malik: Human Pose Estimation with Iterative Error Feedback,
CVPR 2016. The drawing and the loop are facts of the official code, pulkitag/ief, which holds no
network; docs/networks/single-person.md says what is from memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from methods.parts.googlenet import GoogLeNet
from methods.single_person.person import CoordinatePose, joint_loss

DRAWN_AT = 224
"""Side of the input for which the drawing's constants and the longest step are given."""


def drawn(points: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Draw points (n, K, 2) as maps (n, K, height, width): 100 exp(-0.001 d^2) - 50.

    The centre is ``round(x + 1)``, one pixel to the right and below, as in the official code.
    Distances are in pixels of an input 224 wide.
    """
    center = torch.round(points + 1)
    unit = DRAWN_AT / size[1]

    def profile(length: int, at: torch.Tensor) -> torch.Tensor:
        offset = torch.arange(length, dtype=at.dtype, device=at.device) - at[..., None]
        return torch.exp(-0.001 * (offset * unit).square())

    rows, columns = profile(size[0], center[..., 1]), profile(size[1], center[..., 0])
    return 100 * rows[..., :, None] * columns[..., None, :] - 50


def bounded(moves: torch.Tensor, longest: float) -> torch.Tensor:
    """Shorten moves (..., 2) to the longest one allowed."""
    length = moves.norm(dim=-1, keepdim=True)
    return moves * (longest / length.clamp(min=longest))


class FeedbackNet(nn.Module):
    """Images (n, 3, H, W) to the pose after every step (n, T, K, 2), in pixels of the image.

    The first pose is the mean pose of the training data, kept with the weights; the image's
    centre is drawn as one more point, which never moves.

    Parameters
    ----------
    joints : int
    input_size : (int, int)
        Height, width.
    steps : int
    longest : float
        Longest step in pixels of an input 224 wide.
    width, dropout, batch_norm
        Of :class:`GoogLeNet`.
    """

    def __init__(
        self,
        joints: int,
        input_size: tuple[int, int],
        steps: int = 4,
        longest: float = 20.0,
        width: float = 1.0,
        dropout: float = 0.4,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.steps = input_size, steps
        self.longest = longest * input_size[1] / DRAWN_AT
        self.backbone = GoogLeNet(3 + joints + 1, 2 * joints, width, dropout, batch_norm)
        self.register_buffer("mean_pose", torch.zeros(joints, 2))  # shares of the image, centred

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        poses = [self.start(images)]
        for _ in range(self.steps):
            poses.append(poses[-1] + self.correction(images, poses[-1]))
        return torch.stack(poses[1:], dim=1)

    def start(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mean pose in pixels for every image, (n, K, 2)."""
        pose = (self.mean_pose + 0.5) * self.mean_pose.new_tensor((self.size[1], self.size[0]))
        return pose.expand(len(images), -1, -1)

    def correction(self, images: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """Return how far to move each joint (n, K, 2); the network lists all x, then all y."""
        marking = pose.new_tensor((self.size[1] / 2, self.size[0] / 2))
        points = torch.cat([pose, marking.expand(len(pose), 1, 2)], dim=1)
        answers = self.backbone(torch.cat([images, drawn(points, self.size)], dim=1))
        return self.longest * answers.unflatten(1, (2, -1)).transpose(1, 2)


class IterativeErrorFeedback(CoordinatePose):
    """``stages`` of the outputs (n, T, K, 2) holds the pose after every step."""

    mean = (117.38 / 255, 117.64 / 255, 110.18 / 255)
    std = (1 / 255, 1 / 255, 1 / 255)  # only the mean goes: values stay on the scale of 0 to 255

    def build(self, joints: int, fixed_path: bool = True, **options: Any) -> nn.Module:
        self.fixed_path = fixed_path
        return FeedbackNet(joints, self.variant.input_size, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        stages = self.network(self.images(inputs["crops"])).float()
        return {**self.peaks(stages[:, -1]), "stages": stages}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the squared error of all bounded corrections, in longest steps.

        Fixed path consolidation: the path runs straight from the mean pose to the truth in
        bounded steps, whatever the network answers. Without ``fixed_path`` it is the network's
        own. A joint without label stays where it is.
        """
        network, weights = self.network, rows["weights"]
        images = self.images(rows["crops"])
        if network.training:
            self.learn_mean_pose(rows)
        pose = network.start(images)
        truth = torch.where(weights[..., None] > 0, rows["joints"], pose)
        loss = images.new_zeros(())
        for _ in range(network.steps):
            wanted = bounded(truth - pose, network.longest)
            found = network.correction(images, pose)
            loss = loss + joint_loss(found / network.longest, wanted / network.longest, weights)
            pose = pose + (wanted if self.fixed_path else found.detach())
        return loss

    @torch.no_grad()
    def learn_mean_pose(self, rows: Mapping[str, torch.Tensor], rate: float = 0.05) -> None:
        """Move the mean pose towards that of a batch."""
        weights = rows["weights"]
        mean = self.network.mean_pose
        shares = self.normalised(rows["joints"]).to(mean.dtype)
        difference = ((shares - mean) * weights[..., None]).sum(dim=0)
        mean += rate * difference / weights.sum(dim=0).clamp(min=1)[:, None]
