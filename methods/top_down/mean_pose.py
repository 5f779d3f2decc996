"""The floor: everybody stands in the mean pose of the training data, scaled to the box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Card, Method, Prepared, Rows, Sample, Skeleton
from methods.parts.crop import REGION_UNIT, regions_of
from methods.parts.suppression import rescored_people


class Pose(nn.Module):
    """One pose for all: regions x, y, w, h (n, 4) of centre and size to joints (n, K, 2)."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(joints, 2))  # from the centre, in region sizes

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        return regions[:, None, :2] + self.positions * regions[:, None, 2:]


class MeanPose(Method):
    """A baseline that never looks at the image: what any real method must beat."""

    trainable = True
    padding = 1.25
    visible_score = 0.2
    nms_threshold = 0.9

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.network = Pose(len(self.skeleton))

    def prepare(self, sample: Sample) -> Prepared:
        height, width = self.variant.input_size
        regions = regions_of(sample, width / height, self.padding)
        rows = np.concatenate([regions.centers, regions.sizes * np.float32(REGION_UNIT)], axis=1)
        return Prepared({"regions": rows}, context=regions.areas)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return {"keypoints": self.network(inputs["regions"])}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        keypoints = outputs["keypoints"].astype(np.float64)
        return rescored_people(
            keypoints,
            np.ones(keypoints.shape[:2]),
            sample,
            prepared.context,
            self.skeleton.sigmas,
            self.visible_score,
            self.nms_threshold,
        )

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.ones(rows, 4),)

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return ``regions`` (n, 4), ``joints`` (n, K, 2) in image pixels, ``weights`` (n, K)."""
        return {
            "regions": self.prepare(sample).rows["regions"],
            "joints": truth["keypoints"].astype(np.float32),
            "weights": truth["visible"].astype(np.float32),
        }

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean squared distance in region sizes over the labelled joints."""
        distance = (self.network(rows["regions"]) - rows["joints"]) / rows["regions"][:, None, 2:]
        weights = rows["weights"]
        return (distance.square().sum(dim=-1) * weights).sum() / weights.sum().clamp(min=1)
