"""Heatmaps from several resolutions, and positions refined by features of the early layers.

Tompson, Goroshin, Jain, LeCun, Bregler: Efficient Object Localization Using Convolutional Networks,
CVPR 2015. There is no official code; docs/networks/single-person.md says what is from memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Sample
from methods.parts.gaussian import euclidean_loss, gaussian_maps
from methods.parts.heatmap import argmax_2d
from methods.parts.windows import windows
from methods.single_person.person import PersonPose

MAP_STRIDE = 4
"""Input pixels per coarse heatmap pixel."""
RESOLUTIONS = (1, 2, 4)
"""Input pixels per pixel of each bank's own image."""


def local_contrast(images: torch.Tensor, window: int = 9) -> torch.Tensor:
    """Subtract the local mean and divide by the local deviation, or the image's where that is more.

    Both are taken over all channels and a square window of ``images`` (n, 3, h, w).
    """

    def blur(x: torch.Tensor) -> torch.Tensor:
        x = x.mean(dim=1, keepdim=True)
        return functional.avg_pool2d(x, window, 1, window // 2, count_include_pad=False)

    centred = images - blur(images)
    deviation = blur(centred.square()).sqrt()
    typical = deviation.mean(dim=(2, 3), keepdim=True)
    return centred / torch.maximum(deviation, typical).clamp(min=1e-4)


class Bank(nn.Module):
    """One resolution: images (n, 3, h, w) to features (n, last, h/4, w/4) and the early ones."""

    def __init__(self, width: int, last: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 5, padding=2)
        self.conv2 = nn.Conv2d(width, width, 5, padding=2)
        self.conv3 = nn.Conv2d(width, width, 5, padding=2)
        self.conv4 = nn.Conv2d(width, last, 9, padding=4)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        first = torch.relu(self.conv1(images))
        second = torch.relu(self.conv2(functional.max_pool2d(first, 2)))
        third = torch.relu(self.conv3(functional.max_pool2d(second, 2)))
        return torch.relu(self.conv4(third)), [first, second]


class MultiResolutionNet(nn.Module):
    """Images (n, 3, h, w) to coarse maps, fine maps and the places that these are centred on.

    Parameters
    ----------
    joints : int
    width, last : int
        Of a bank's first three convolutions and of its fourth.
    middle : int
        Of the 1x1 convolution behind the banks.
    window : int
        Side of the fine maps, in pixels of the image and of the map.
    dropout : float
        Share of whole maps that are dropped ("SpatialDropout").
    """

    def __init__(
        self,
        joints: int,
        width: int = 128,
        last: int = 512,
        middle: int = 256,
        window: int = 36,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.joints, self.window = joints, window
        self.banks = nn.ModuleList(Bank(width, last) for _ in RESOLUTIONS)
        self.head = nn.Sequential(
            *(nn.Dropout2d(dropout), nn.Conv2d(last, middle, 1), nn.ReLU()),
            nn.Conv2d(middle, joints, 1),
        )
        self.fine_banks = nn.ModuleList(
            nn.Conv2d(2 * width, width, 5, padding=2) for _ in RESOLUTIONS
        )
        self.fine = nn.Conv2d(width, width, 1)
        self.fine_joints = nn.Conv2d(joints * width, joints, 1, groups=joints)  # one each

    def forward(
        self, images: torch.Tensor, centers: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run both nets.

        Parameters
        ----------
        centers : tensor (n, K, 2), optional
            Where to refine, in pixels of the image; by default the peaks of the coarse maps.

        Returns
        -------
        coarse : tensor (n, K, h / 4, w / 4)
        fine : tensor (n, K, window, window)
            Pixel ``window / 2`` lies on the centre.
        centers : tensor (n, K, 2)
        """
        total, early = None, []
        for resolution, bank in zip(RESOLUTIONS, self.banks, strict=True):
            features, first = bank(local_contrast(functional.avg_pool2d(images, resolution)))
            features = enlarged(features, resolution)
            total = features if total is None else total + features
            early.append(first)
        coarse = self.head(total)
        if centers is None:
            centers = (argmax_2d(coarse)[0] + 0.5) * MAP_STRIDE - 0.5
        return coarse, self.refine(early, centers), centers

    def refine(self, early: list[list[torch.Tensor]], centers: torch.Tensor) -> torch.Tensor:
        """Return the fine maps from every bank's early features; joints share all but the last."""
        total = None
        for resolution, convolution, features in zip(
            RESOLUTIONS, self.fine_banks, early, strict=True
        ):
            cuts = []
            for maps, stride in zip(features, (resolution, 2 * resolution), strict=True):
                sides = torch.full_like(centers[..., 0], self.window / stride)
                places = (centers + 0.5) / stride - 0.5
                cuts.append(windows(maps, places, sides, self.window // resolution))
            seen = enlarged(torch.relu(convolution(torch.cat(cuts, dim=1))), resolution)
            total = seen if total is None else total + seen
        shared = torch.relu(self.fine(total))
        return self.fine_joints(shared.unflatten(0, (-1, self.joints)).flatten(1, 2))


def enlarged(features: torch.Tensor, factor: int) -> torch.Tensor:
    """Repeat pixels: features of a lower bank at the resolution of the first."""
    return functional.interpolate(features, scale_factor=factor, mode="nearest")


class Tompson(PersonPose):
    """Peak of the coarse map plus offset of the fine map's; ``stages`` holds both positions."""

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # local contrast is normalised instead
    stride = 1
    flip_tested = False
    quantisation = 2.0  # of the coarse map alone
    fine_weight = 0.1
    """Weight of the refinement's loss."""

    def build(self, joints: int, **options: Any) -> nn.Module:
        return MultiResolutionNet(joints, **options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        coarse, fine, centers = self.network(self.images(inputs["crops"]))
        offsets, _ = argmax_2d(fine.float())
        points = centers + offsets - self.network.window / 2
        scores = coarse.float().flatten(2).amax(dim=-1)
        stages = torch.stack([centers.float(), points.float()], dim=1)
        return {"points": points.float(), "scores": scores, "stages": stages}

    def encode(self, joints: torch.Tensor) -> torch.Tensor:
        """Draw the coarse maps."""
        size = (self.input_size[1] // MAP_STRIDE, self.input_size[0] // MAP_STRIDE)
        return gaussian_maps((joints + 0.5) / MAP_STRIDE - 0.5, size, self.sigma)

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Read the coarse maps: middles of the highest pixels."""
        points, scores = argmax_2d(heatmaps)
        return {"points": (points + 0.5) * MAP_STRIDE - 0.5, "scores": scores}

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return ``crops``, ``joints``, ``weights``, and ``noise`` (n, K, 2), N(0, 1)."""
        rows = super().training_rows(sample, truth, random)
        return {**rows, "noise": random.standard_normal(rows["joints"].shape, np.float32)}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the coarse maps' Euclidean loss plus a tenth of the fine maps'.

        Fine windows lie around displaced truth: N(0, window / 6) on each axis, so that nearly all
        windows hold their joint.
        """
        joints, weights = rows["joints"], rows["weights"]
        window = self.network.window
        places = torch.round(joints + rows["noise"] * (window / 6))
        coarse, fine, _ = self.network(self.images(rows["crops"]), places)
        loss = euclidean_loss(coarse, self.encode(joints), weights)
        wanted = joints - places + window / 2
        inside = ((wanted >= 0) & (wanted <= window - 1)).all(dim=-1)
        targets = gaussian_maps(wanted, (window, window), self.sigma)
        return loss + self.fine_weight * euclidean_loss(fine, targets, weights * inside)
