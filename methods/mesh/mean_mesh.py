"""The floor of body meshes: everybody has the mean mesh of the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Card, Method, Prepared, Rows, Sample, Skeleton


class Mesh(nn.Module):
    """One mesh for all: a row each (n, 1) to vertices (n, V, 3) and joints (n, K, 3), mm."""

    def __init__(self, vertices: int, joints: int) -> None:
        super().__init__()
        self.register_buffer("vertices", torch.zeros(vertices, 3))
        self.register_buffer("joints", torch.zeros(joints, 3))

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ones = torch.ones_like(rows)[..., None]
        return ones * self.vertices, ones * self.joints


class MeanMesh(Method):
    """A baseline that looks at nothing: what any real method must beat."""

    trainable = True

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.network = Mesh(self.variant.options["vertices"], len(self.skeleton))

    def prepare(self, sample: Sample) -> Prepared:
        return Prepared({"rows": np.zeros((len(sample.boxes), 1), np.float32)})

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        vertices, joints = self.network(inputs["rows"])
        return {"vertices": vertices, "joints": joints}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        return {name: values.astype(np.float64) for name, values in outputs.items()}

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(rows, 1),)

    def fit(self, samples: Sequence[tuple[Sample, Mapping[str, NDArray[Any]]]]) -> None:
        """Take the means of the training meshes and of their joints."""
        for name in ("vertices", "joints"):
            every = (truth[name].mean(axis=0) for _, truth in samples)
            getattr(self.network, name).copy_(torch.from_numpy(sum(every) / len(samples)))
