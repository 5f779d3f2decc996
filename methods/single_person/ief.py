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
    """Draw points (n, K, 2) as maps (n, K, height, width), channels last: 100 exp(-0.001 d^2) - 50.

    The centre is ``round(x + 1)``, one pixel to the right and below, as in the official code.
    Distances are in pixels of an input 224 wide.
    """
    center = torch.round(points + 1)
    unit = DRAWN_AT / size[1]

    def profile(length: int, at: torch.Tensor) -> torch.Tensor:
        offset = torch.arange(length, dtype=at.dtype, device=at.device)[:, None] - at[:, None]
        return torch.exp(-0.001 * (offset * unit).square())

    rows, columns = profile(size[0], center[..., 1]), profile(size[1], center[..., 0])
    maps = (100 * rows[:, :, None] * columns[:, None]).sub_(50)
    return maps.permute(0, 3, 1, 2)


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
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))  # trained with so far

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
        images = images.contiguous(memory_format=torch.channels_last)  # as the maps are
        answers = self.backbone(torch.cat([images, drawn(points, self.size)], dim=1))
        return self.longest * answers.unflatten(1, (2, -1)).transpose(1, 2)


class IterativeErrorFeedback(CoordinatePose):
    """``stages`` of the outputs (n, T, K, 2) holds the pose after every step.

    Options beside those of :class:`FeedbackNet`: without ``fixed_path`` training follows the
    network's own path; ``add_step_every`` is the number of batches after which training takes one
    step more, from one to all (the paper: three epochs); by default it takes all from the start.
    """

    mean = (117.38 / 255, 117.64 / 255, 110.18 / 255)
    std = (1 / 255, 1 / 255, 1 / 255)  # only the mean goes: values stay on the scale of 0 to 255

    def build(
        self,
        joints: int,
        fixed_path: bool = True,
        add_step_every: int | None = None,
        **options: Any,
    ) -> nn.Module:
        self.fixed_path, self.add_step_every = fixed_path, add_step_every
        return FeedbackNet(joints, self.variant.input_size, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        stages = self.network(self.images(inputs["crops"])).float()
        return {**self.peaks(stages[:, -1]), "stages": stages}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the squared error of all bounded corrections, in longest steps.

        Fixed path consolidation: first the poses on the way are gathered, then the network learns
        what to answer to each. A joint without label stays where it is.
        """
        network, weights = self.network, rows["weights"]
        images = self.images(rows["crops"])
        steps = self.next_steps()
        if network.training:
            self.learn_mean_pose(rows)
        truth = torch.where(weights[..., None] > 0, rows["joints"], network.start(images))
        poses = self.path(images, truth, steps)
        wanted = bounded(truth - poses, network.longest).flatten(0, 1)
        found = network.correction(images.repeat(steps, 1, 1, 1), poses.flatten(0, 1))
        one_step = joint_loss(
            found / network.longest, wanted / network.longest, weights.repeat(steps, 1)
        )
        return steps * one_step

    def next_steps(self) -> int:
        """Return how many steps the next batch learns, and count the batch."""
        network = self.network
        if not (network.training and self.add_step_every):
            return network.steps
        steps = min(network.steps, 1 + int(network.batches) // self.add_step_every)
        network.batches += 1
        return steps

    @torch.no_grad()
    def path(self, images: torch.Tensor, truth: torch.Tensor, steps: int) -> torch.Tensor:
        """Return the poses that are to be corrected, (steps, n, K, 2).

        The fixed path runs straight from the mean pose to the truth in bounded steps, whatever the
        network answers; the other is the one that the network would take.
        """
        network, training = self.network, self.network.training
        poses = [network.start(images)]
        network.eval()
        for _ in range(steps - 1):
            pose = poses[-1]
            move = (
                bounded(truth - pose, network.longest)
                if self.fixed_path
                else network.correction(images, pose)
            )
            poses.append(pose + move)
        network.train(training)
        return torch.stack(poses)

    @torch.no_grad()
    def learn_mean_pose(self, rows: Mapping[str, torch.Tensor], rate: float = 0.05) -> None:
        """Move the mean pose towards that of a batch."""
        weights = rows["weights"]
        mean = self.network.mean_pose
        shares = self.normalised(rows["joints"]).to(mean.dtype)
        difference = ((shares - mean) * weights[..., None]).sum(dim=0)
        mean += rate * difference / weights.sum(dim=0).clamp(min=1)[:, None]
