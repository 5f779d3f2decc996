"""HRNet: parallel branches of several resolutions that exchange what they know.

Sun, Xiao, Liu, Wang: Deep High-Resolution Representation Learning for Human Pose Estimation,
CVPR 2019. Facts from the official code, leoxiaobin/deep-high-resolution-net.pytorch @ 6f69e46.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from methods.parts.augment import Augmentation
from methods.parts.initialise import normal_weights
from methods.parts.resnet import BasicBlock, Bottleneck, residual_layer
from methods.top_down.heatmap_pose import HeatmapPose


def convolution(inputs: int, outputs: int, stride: int, relu: bool = True) -> nn.Sequential:
    """Return a 3x3 convolution with norm and, unless told otherwise, a ReLU."""
    layers = [
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


class Module(nn.Module):
    """One exchange unit: residual blocks on every branch, then each output sums all branches.

    Parameters
    ----------
    widths : sequence of int
        Channels of the branches, from the highest resolution down.
    blocks : int
        Basic blocks on each branch.
    outputs : int
        Branches that are put out, from the highest resolution down.
    """

    def __init__(self, widths: Sequence[int], blocks: int, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            residual_layer(BasicBlock, width, width, blocks) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self.exchange(widths, source, to) for source in range(len(widths)))
            for to in range(outputs)
        )

    @staticmethod
    def exchange(widths: Sequence[int], source: int, to: int) -> nn.Module:
        """Return what carries branch ``source`` to the resolution and width of branch ``to``."""
        if source == to:
            return nn.Identity()
        if source > to:
            return nn.Sequential(
                nn.Conv2d(widths[source], widths[to], 1, bias=False),
                nn.BatchNorm2d(widths[to]),
                nn.Upsample(scale_factor=2 ** (source - to), mode="nearest"),
            )
        halvings = [convolution(widths[source], widths[source], 2) for _ in range(to - source - 1)]
        return nn.Sequential(*halvings, convolution(widths[source], widths[to], 2, relu=False))

    def forward(self, branches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        refined = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        fused = []
        for exchanges in self.fuse_layers:
            carried = (exchange(x) for exchange, x in zip(exchanges, refined, strict=True))
            fused.append(torch.relu(sum(carried, start=next(carried))))
        return fused


class HighResolutionNet(nn.Module):
    """Images (n, 3, h, w) to heatmaps (n, joints, h / 4, w / 4).

    Parameters
    ----------
    joints : int
    widths : sequence of int (4)
        Channels of the four branches.
    modules : sequence of int (3)
        Exchange units in stage 2, 3 and 4.
    blocks : int
        Basic blocks on each branch of a unit.
    stem : int
        Channels of the stem; layer 1 puts out four times that.
    stem_blocks : int
        Bottlenecks in layer 1.
    """

    def __init__(
        self,
        joints: int,
        widths: Sequence[int],
        modules: Sequence[int] = (1, 4, 3),
        blocks: int = 4,
        stem: int = 64,
        stem_blocks: int = 4,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = nn.Conv2d(stem, stem, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem)
        self.layer1 = residual_layer(Bottleneck, stem, stem, stem_blocks)
        first = stem * Bottleneck.expansion
        self.transition1 = nn.ModuleList(
            [convolution(first, widths[0], 1), nn.Sequential(convolution(first, widths[1], 2))]
        )
        self.stage2 = self.stage(widths[:2], modules[0], blocks)
        self.transition2 = self.transition(widths[:3])
        self.stage3 = self.stage(widths[:3], modules[1], blocks)
        self.transition3 = self.transition(widths)
        self.stage4 = self.stage(widths, modules[2], blocks, last_outputs=1)
        self.final_layer = nn.Conv2d(widths[0], joints, 1)
        normal_weights(self)

    @staticmethod
    def stage(
        widths: Sequence[int], modules: int, blocks: int, last_outputs: int | None = None
    ) -> nn.Sequential:
        """Return exchange units in a row; the last may put out fewer branches."""
        outputs = [len(widths)] * (modules - 1) + [last_outputs or len(widths)]
        return nn.Sequential(*(Module(widths, blocks, count) for count in outputs))

    @staticmethod
    def transition(widths: Sequence[int]) -> nn.ModuleList:
        """Return what adds a branch: the lowest resolution so far, halved once more."""
        kept = [nn.Identity() for _ in widths[:-1]]
        return nn.ModuleList([*kept, nn.Sequential(convolution(widths[-2], widths[-1], 2))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        branches = self.stage2([step(x) for step in self.transition1])
        branches = self.stage3([*branches, self.transition2[-1](branches[-1])])
        branches = self.stage4([*branches, self.transition3[-1](branches[-1])])
        return self.final_layer(branches[0])


class HRNet(HeatmapPose):
    """Trained and run on RGB crops; the rest as SimpleBaseline, plus half bodies in training."""

    augmentation = Augmentation(scaling=0.35, rotation=45, half_body=0.3)

    def build(self, joints: int, **options: Any) -> nn.Module:
        return HighResolutionNet(joints, **options)
