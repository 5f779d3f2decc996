"""Stacked Hourglass: hourglasses in a row, each corrects the one before, all are supervised.

Newell, Yang, Deng: Stacked Hourglass Networks for Human Pose Estimation, ECCV 2016.
Facts from the official PyTorch code, princeton-vl/pytorch_stacked_hourglass @ ceedc14.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Prepared, PrerequisiteError, Rows, Sample
from methods.parts.crop import Regions, regions_of_centers
from methods.parts.heatmap import argmax_2d
from methods.parts.hourglass import Conv, Hourglass, Residual
from methods.parts.integer_crop import cut_corners, linear_to_image, truncated_corners
from methods.single_person.person import PersonPose, person_rows


class Merge(nn.Module):
    """A 1x1 convolution that brings features or heatmaps back to the trunk's width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Conv(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class StackedHourglass(nn.Module):
    """Images (n, 3, h, w) to one set of heatmaps (n, joints, h / 4, w / 4) per stack.

    Parameters
    ----------
    joints : int
    stacks : int
        1 to 8 in the paper.
    width : int
        Channels of the hourglasses; the stem has a quarter and a half of them.
    depth : int
        Octaves of an hourglass.
    """

    def __init__(self, joints: int, stacks: int = 8, width: int = 256, depth: int = 4) -> None:
        super().__init__()
        self.pre = nn.Sequential(
            Conv(3, width // 4, 7, stride=2, norm=True, relu=True),
            Residual(width // 4, width // 2),
            nn.MaxPool2d(2),
            Residual(width // 2, width // 2),
            Residual(width // 2, width),
        )
        self.hgs = nn.ModuleList(nn.Sequential(Hourglass(depth, width)) for _ in range(stacks))
        self.features = nn.ModuleList(
            nn.Sequential(Residual(width, width), Conv(width, width, 1, norm=True, relu=True))
            for _ in range(stacks)
        )
        self.outs = nn.ModuleList(Conv(width, joints, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(Merge(width, width) for _ in range(stacks - 1))
        self.merge_preds = nn.ModuleList(Merge(joints, width) for _ in range(stacks - 1))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = self.pre(images)
        maps = []
        for i, (hourglass, feature, out) in enumerate(
            zip(self.hgs, self.features, self.outs, strict=True)
        ):
            features = feature(hourglass(x))
            maps.append(out(features))
            if i < len(self.merge_preds):
                x = x + self.merge_preds[i](maps[-1]) + self.merge_features[i](features)
        return maps


class StackedHourglassPose(PersonPose):
    """RGB in 0..1 without mean; corners and final joints in whole pixels, truncated.

    The official crop is resized in floating point, this one in whole grey levels (a difference of
    at most half a level). People that come in boxes are cut as squares of 1.25 times the box.
    """

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    flip_tested, flip_shift = True, False
    quantisation = 3.0

    def build(self, joints: int, **options: Any) -> nn.Module:
        return StackedHourglass(joints, **options)

    def regions(self, sample: Sample) -> Regions:
        """Return MPII's regions by centre and scale where the sample has them, else by box."""
        if "scale" not in sample.inputs:
            return super().regions(sample)
        regions = regions_of_centers(sample.inputs["center"], sample.inputs["scale"])
        aspect = np.array([self.input_size[0] / self.input_size[1], 1], np.float32)
        return Regions(regions.centers, regions.sizes * aspect)

    def cut(self, image: NDArray[np.uint8], regions: Regions) -> NDArray[np.uint8]:
        return cut_corners(image, truncated_corners(regions, self.input_size), self.input_size)

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the highest pixel's middle, moved a quarter towards the higher neighbour.

        Values are clipped at 1. Equal neighbours move it towards smaller x and y; at the border
        the pixel itself stands in for the missing neighbour.
        """
        heatmaps = heatmaps.clamp(max=1)
        points, scores = argmax_2d(heatmaps)
        height, width = heatmaps.shape[-2:]
        x, y = points.long().unbind(dim=-1)

        def value(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
            return heatmaps.flatten(2).gather(-1, index[..., None])[..., 0]

        right, below = value(x + 1, y) > value(x - 1, y), value(x, y + 1) > value(x, y - 1)
        toward = torch.stack([right, below], dim=-1).to(points.dtype) * 0.5 - 0.25
        return {"points": points + 0.5 + toward, "scores": scores}

    def to_image(
        self, points: NDArray[Any], regions: Regions, grid: tuple[int, int]
    ) -> NDArray[np.float64]:
        return linear_to_image(points, regions, grid)

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        keypoints = np.trunc(self.to_image(outputs["points"], prepared.context, self.grid))
        return person_rows(keypoints, outputs["scores"].astype(np.float64), sample)

    def encode(self, joints: torch.Tensor) -> torch.Tensor:
        return self.targets(joints, torch.ones(joints.shape[:2]))

    def targets(self, joints: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Draw joints (n, K, 2) as Gaussians of peak 1 around the heatmap pixel they lie in.

        Patches reach 3 sigma + 1 pixels; a joint outside the map or without label has a zero map.
        """
        width, height = self.grid
        cells = torch.trunc(joints / self.stride)
        inside = (cells >= 0).all(dim=-1) & (cells[..., 0] < width) & (cells[..., 1] < height)
        radius = int(3 * self.sigma) + 1

        def profile(length: int, center: torch.Tensor) -> torch.Tensor:
            offset = torch.arange(length, dtype=center.dtype, device=center.device)
            offset = offset - center[..., None]
            return torch.exp(-(offset**2) / (2 * self.sigma**2)) * (offset.abs() <= radius)

        maps = (
            profile(height, cells[..., 1])[..., None] * profile(width, cells[..., 0])[..., None, :]
        )
        return maps * (inside & (weights > 0))[..., None, None]

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean squared error of every stack's maps; a joint without label has zeros."""
        targets = self.targets(rows["joints"], rows["weights"])
        maps = self.network(self.images(rows["crops"]))
        return torch.stack([(stack - targets).square().mean() for stack in maps]).mean()

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Strip the official trainer's wrappers.

        Raises
        ------
        PrerequisiteError
            If the checkpoint is of another network of the same name.
        """
        for sign, whose in (
            ("backbone.hourglass_modules.0", "mmpose's hourglass52 (CornerNet's layers, 1 stack)"),
            ("hg.0.hg.0.0.0.conv1.weight", "bearpaw/pytorch-pose (another stem and other layers)"),
        ):
            if any(name.startswith(sign) for name in state):
                raise PrerequisiteError(
                    f"The checkpoint is of {whose}, which is not Newell's network.",
                    "Give weights trained with princeton-vl/pytorch_stacked_hourglass.",
                )
        return {
            name.removeprefix("model.").removeprefix("module."): tensor
            for name, tensor in state.items()
        }
