"""Deeply learned compositional models: joints, limbs and larger parts, up and down again.

Tang, Yu, Wu: Deeply Learned Compositional Models for Human Pose Estimation, ECCV 2018. There is no
official code; docs/networks/single-person.md says what is from memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from harness.api import Skeleton
from methods.parts.hourglass import Conv, Hourglass, Residual
from methods.single_person.hourglass import StackedHourglassPose

LEVELS = (0, 1, 2, 1, 0)
"""Semantic level of each hourglass: bottom up, then top down."""
HEADS = ("head_top", "top_head", "head", "nose")
NECKS = ("upper_neck", "neck", "head_bottom")
"""Names of a skeleton's end of the head and of its neck, the first that it has."""
SHOULDERS, HIPS = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")


def bones(skeleton: Skeleton) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the twelve parts of level 1, each from one point to another.

    A point is the mean of the named joints. Two parts in a row make one of level 2: whole arms,
    whole legs, both shoulders, head with torso.
    """

    def limb(*joints: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        return [((a,), (b,)) for a, b in pairwise(joints)]

    sides = ("left_", "right_")
    arms = [limb(*(s + j for j in ("shoulder", "elbow", "wrist"))) for s in sides]
    legs = [limb(*(s + j for j in ("hip", "knee", "ankle"))) for s in sides]
    head = next(name for name in HEADS if name in skeleton.joints)
    neck = next(((name,) for name in NECKS if name in skeleton.joints), SHOULDERS)
    shoulders = [(SHOULDERS, (shoulder,)) for shoulder in SHOULDERS]
    return [*(part for limbs in (*arms, *legs) for part in limbs), *shoulders,
            (neck, (head,)), (SHOULDERS, HIPS)]  # fmt: skip


class CompositionalNet(nn.Module):
    """Images (n, 3, h, w) to the maps of every module: joints, limbs, large parts, limbs, joints.

    Each module sees the features and the maps of the one before, and on the way down also the
    features of its own level on the way up.

    Parameters
    ----------
    joints : int
    width, depth : int
        Channels and octaves of the hourglasses.
    """

    def __init__(self, joints: int, width: int = 256, depth: int = 4) -> None:
        super().__init__()
        counts = [(joints, 12, 6)[level] for level in LEVELS]
        self.pre = nn.Sequential(
            Conv(3, width // 4, 7, stride=2, norm=True, relu=True),
            Residual(width // 4, width // 2),
            nn.MaxPool2d(2),
            Residual(width // 2, width // 2),
            Residual(width // 2, width),
        )
        self.hourglasses = nn.ModuleList(
            nn.Sequential(
                Hourglass(depth, width),
                Residual(width, width),
                Conv(width, width, 1, norm=True, relu=True),
            )
            for _ in LEVELS
        )
        self.outs = nn.ModuleList(Conv(width, count, 1) for count in counts)
        self.merge_features = nn.ModuleList(Conv(width, width, 1) for _ in LEVELS[1:])
        self.merge_maps = nn.ModuleList(Conv(count, width, 1) for count in counts[:-1])

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = self.pre(images)
        features: list[torch.Tensor] = []
        maps: list[torch.Tensor] = []
        for i, level in enumerate(LEVELS):
            if i:
                merged = self.merge_features[i - 1](features[-1])
                x = x + merged + self.merge_maps[i - 1](maps[-1])
            upward = LEVELS.index(level)
            if upward < i:
                x = x + features[upward]
            features.append(self.hourglasses[i](x))
            maps.append(self.outs[i](features[-1]))
        return maps


class Dlcm(StackedHourglassPose):
    """Crops and joints as the stacked hourglass; ``stages``: joints before and after the parts."""

    def build(self, joints: int, **options: Any) -> nn.Module:
        names = self.skeleton.joints
        self.ends = [
            [[names.index(joint) for joint in end] for end in part] for part in bones(self.skeleton)
        ]
        return CompositionalNet(joints, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        first, last = self.first_and_last(inputs)
        return {**last, "stages": torch.stack([first["points"], last["points"]], dim=1)}

    def part_targets(
        self, joints: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the maps of level 1 (n, 12, h, w) and of level 2 (n, 6, h, w).

        A limb is a strip as wide as a joint's Gaussian; a larger part is the highest of its two.
        A limb with an unlabelled end has a zero map.
        """
        places = joints / self.stride - 0.5
        starts, stops = (
            torch.stack([places[:, part[end]].mean(dim=1) for part in self.ends], dim=1)
            for end in (0, 1)
        )
        known = torch.stack(
            [weights[:, part[0] + part[1]].amin(dim=1) > 0 for part in self.ends], dim=1
        )
        limbs = strips(starts, stops, (self.grid[1], self.grid[0]), self.sigma)
        limbs = limbs * known[..., None, None]
        return limbs, limbs.unflatten(1, (6, 2)).amax(dim=2)

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum of the five modules' mean squared errors."""
        joints = self.targets(rows["joints"], rows["weights"])
        wanted = (joints, *self.part_targets(rows["joints"], rows["weights"]))
        found = self.network(self.images(rows["crops"]))
        errors = [
            (maps - wanted[level]).square().mean()
            for maps, level in zip(found, LEVELS, strict=True)
        ]
        return torch.stack(errors).sum()


def strips(
    starts: torch.Tensor, stops: torch.Tensor, size: tuple[int, int], sigma: float
) -> torch.Tensor:
    """Draw segments (n, P, 2) to (n, P, 2) as maps (n, P, h, w): exp(-d^2 / (2 sigma^2)).

    ``d`` is a pixel's distance from the segment.
    """
    y, x = torch.meshgrid(
        torch.arange(size[0], dtype=starts.dtype, device=starts.device),
        torch.arange(size[1], dtype=starts.dtype, device=starts.device),
        indexing="ij",
    )
    pixels = torch.stack([x, y], dim=-1) - starts[:, :, None, None]
    along = (stops - starts)[:, :, None, None]
    share = (pixels * along).sum(dim=-1) / along.square().sum(dim=-1).clamp(min=1e-6)
    nearest = share.clamp(0, 1)[..., None] * along
    return torch.exp(-(pixels - nearest).square().sum(dim=-1) / (2 * sigma**2))
