"""The floor in space: everybody has the mean pose of the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Card, Method, Prepared, Rows, Sample, Skeleton


class Pose(nn.Module):
    """One pose for all: origins (n, 3) to joints (n, K, 3), millimetres."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.register_buffer("joints", torch.zeros(joints, 3))

    def forward(self, origins: torch.Tensor) -> torch.Tensor:
        return origins[:, None] + self.joints


class MeanPose3D(Method):
    """A baseline that looks at nothing: what any real method must beat.

    A pose is placed where the benchmark says that the hand is (``hand_center``); a body's place
    does not count, its pelvis is the origin.
    """

    trainable = True

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.network = Pose(len(self.skeleton))

    def prepare(self, sample: Sample) -> Prepared:
        if "hand_center" in sample.inputs:
            origins = sample.inputs["hand_center"]
        else:
            count = 1 if sample.boxes is None else len(sample.boxes)
            origins = np.zeros((count, 3))
        return Prepared({"origins": origins.astype(np.float32)})

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return {"joints": self.network(inputs["origins"])}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        return {"joints": outputs["joints"].astype(np.float64)}

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(rows, 3),)

    def fit(self, samples: Sequence[tuple[Sample, Mapping[str, NDArray[Any]]]]) -> None:
        """Take the mean of the training poses, each from its origin."""
        total, count = np.zeros((len(self.skeleton), 3)), 0
        for sample, truth in samples:
            origins = sample.inputs.get("hand_center")
            if origins is None:
                origins = truth["joints"][:, self.skeleton.joints.index("pelvis")]
            total += (truth["joints"] - origins[:, None]).sum(axis=0)
            count += len(truth["joints"])
        self.network.joints.copy_(torch.from_numpy(total / count))
