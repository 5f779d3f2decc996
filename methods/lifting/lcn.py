"""LCN: a lifting network in which a joint hears only of joints nearby.

Ci, Wang, Ma, Wang: Optimizing Network Structure for 3D Human Pose Estimation, ICCV 2019.
Facts from the official code, CHUNYUWANG/lcn-pose @ 3705e83 (TensorFlow).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Card, Skeleton
from methods.lifting.lifter import Lifter
from methods.lifting.martinez import clipped
from methods.parts.initialise import seeded

# Of h36m-17, as published: hips and shoulders are neighbours of the spine, and not all mutually.
NEIGHBOURS = (
    (1, 4, 7), (0, 7, 2), (1, 3), (2,), (0, 7, 5), (4, 6), (5,), (1, 0, 4, 14, 8, 11),
    (7, 9, 11, 14), (8, 10), (9,), (8, 7, 12), (11, 13), (12,), (8, 7, 15), (14, 16), (15,),
)  # fmt: skip


def within(hops: int) -> NDArray[np.bool_]:
    """Return which joint (row) is at most so many hops from which (column), (17, 17)."""
    near = np.eye(len(NEIGHBOURS), dtype=np.int64)
    for joint, others in enumerate(NEIGHBOURS):
        near[joint, list(others)] = 1
    return np.linalg.matrix_power(near, hops) > 0


class LocalLinear(nn.Module):
    """A dense matrix between the features of all joints, of which the mask keeps some blocks.

    Parameters
    ----------
    inputs, outputs : int
        Features of a joint.
    mask : bool array (K, K)
        Row: the joint that hears; column: the joint that is heard.
    max_norm : bool
        Whether the whole matrix, masked blocks included, is clipped to norm 1 in every pass.
    """

    def __init__(self, inputs: int, outputs: int, mask: NDArray[np.bool_], max_norm: bool) -> None:
        super().__init__()
        joints = len(mask)
        self.weight = nn.Parameter(torch.empty(joints * outputs, joints * inputs))
        self.bias = nn.Parameter(torch.zeros(joints * outputs))
        self.max_norm = max_norm
        blocks = np.kron(mask, np.ones((outputs, inputs)))
        self.register_buffer("mask", torch.tensor(blocks, dtype=torch.float32), persistent=False)
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = clipped(self.weight) if self.max_norm else self.weight
        return functional.linear(x, weight * self.mask, self.bias)


class Hidden(nn.Module):
    """Local linear, norm of each feature over all joints, leaky ReLU, dropout."""

    def __init__(
        self, inputs: int, features: int, mask: NDArray[np.bool_], max_norm: bool, dropout: float
    ) -> None:
        super().__init__()
        self.joints = len(mask)
        self.linear = LocalLinear(inputs, features, mask, max_norm)
        self.norm = nn.BatchNorm1d(features, eps=1e-3, momentum=0.01)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x).unflatten(1, (self.joints, -1)).transpose(1, 2)
        y = functional.leaky_relu(self.norm(y), 0.2).transpose(1, 2).flatten(1)
        return self.dropout(y)


class LocallyConnectedNet(nn.Module):
    """2D joints (n, 34) to joints (n, 51), x and y as a correction of the input's.

    Parameters
    ----------
    features : int
        Of a joint.
    blocks : int
        Of two hidden layers each.
    hops : int
        How near a joint must be to be heard.
    max_norm : bool
    dropout : float
    """

    def __init__(
        self,
        features: int = 64,
        blocks: int = 3,
        hops: int = 3,
        max_norm: bool = True,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        mask = within(hops)
        self.first = Hidden(2, features, mask, max_norm, dropout)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Hidden(features, features, mask, max_norm, dropout) for _ in range(2)))
            for _ in range(blocks)
        )
        self.last = LocalLinear(features, 3, mask, max_norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        for block in self.blocks:
            y = y + block(y)
        found = self.last(y).unflatten(1, (-1, 3))
        plane = found[..., :2] + x.unflatten(1, (-1, 2))
        return torch.cat([plane, found[..., 2:]], dim=-1).flatten(1)


class LCN(Lifter):
    """Image space, x and y from -1 to 1 over the image's width."""

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.coordinates = "pixel"
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            self.network = LocallyConnectedNet(**self.options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        frame = inputs["frame"][:, None]
        half = frame[..., :1] / 2
        found = self.network(self.shares(inputs)).unflatten(1, (-1, 3)).float() * half
        return {"joints": found + functional.pad(frame / 2, (0, 1))}

    def shares(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the network's input (n, 34)."""
        frame = rows["frame"][:, None]
        return ((rows["keypoints"] - frame / 2) / (frame[..., :1] / 2)).flatten(1)

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(rows, 2 * len(self.skeleton)),)

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean squared error of the 51 numbers."""
        frame = rows["frame"][:, None]
        wanted = (rows["joints"] - functional.pad(frame / 2, (0, 1))) / (frame[..., :1] / 2)
        return functional.mse_loss(self.network(self.shares(rows)), wanted.flatten(1))
