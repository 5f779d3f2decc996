"""The simple baseline of 3D lifting: a residual network of linear layers.

Martinez, Hossain, Romero, Little: A simple yet effective baseline for 3d human pose estimation,
ICCV 2017. Facts from una-dinosauria/3d-pose-baseline @ 666080d (TensorFlow); key names of
weigq/3d_pose_baseline_pytorch @ a03094b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from harness.api import Card, Sample, Skeleton
from methods.lifting.lifter import Lifter, Truth
from methods.parts.initialise import seeded


def clipped(weight: torch.Tensor) -> torch.Tensor:
    """Scale a weight matrix down to the Frobenius norm 1, as the official code does at all times.

    Not the norm of each row, as the paper's word "max-norm" suggests.
    """
    return weight / weight.norm().clamp(min=1)


class Linear(nn.Linear):
    """A linear layer whose weights may be clipped on the way."""

    def __init__(self, inputs: int, outputs: int, max_norm: bool) -> None:
        super().__init__(inputs, outputs)
        self.max_norm = max_norm
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = clipped(self.weight) if self.max_norm else self.weight
        return functional.linear(x, weight, self.bias)


class Block(nn.Module):
    """Two layers of linear, norm, ReLU, dropout, and a shortcut without anything behind it."""

    def __init__(
        self, width: int, dropout: float, batch_norm: bool, residual: bool, max_norm: bool
    ) -> None:
        super().__init__()
        self.w1 = Linear(width, width, max_norm)
        self.batch_norm1 = norm(width, batch_norm)
        self.w2 = Linear(width, width, max_norm)
        self.batch_norm2 = norm(width, batch_norm)
        self.dropout = nn.Dropout(dropout)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dropout(torch.relu(self.batch_norm1(self.w1(x))))
        y = self.dropout(torch.relu(self.batch_norm2(self.w2(y))))
        return x + y if self.residual else y


def norm(width: int, used: bool) -> nn.Module:
    """Return a batch norm, or nothing."""
    return nn.BatchNorm1d(width) if used else nn.Identity()


class LinearModel(nn.Module):
    """Standardised 2D joints (n, 2 K) to standardised 3D joints (n, 3 L), flattened.

    Parameters
    ----------
    inputs, outputs : int
        2 K and 3 L.
    width : int
        Of the hidden layers.
    blocks : int
    dropout : float
    batch_norm, residual : bool
        The paper's ablations.
    max_norm : bool
        Whether weights are clipped in every pass, as in the official TensorFlow code; the PyTorch
        port does not, and a converted checkpoint has the clipped weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 1024,
        blocks: int = 2,
        dropout: float = 0.5,
        batch_norm: bool = True,
        residual: bool = True,
        max_norm: bool = False,
    ) -> None:
        super().__init__()
        self.w1 = Linear(inputs, width, max_norm)
        self.batch_norm1 = norm(width, batch_norm)
        self.linear_stages = nn.ModuleList(
            Block(width, dropout, batch_norm, residual, max_norm) for _ in range(blocks)
        )
        self.w2 = Linear(width, outputs, max_norm)
        self.dropout = nn.Dropout(dropout)
        for name, size in (("2d", inputs), ("3d", outputs)):  # of the training data
            self.register_buffer(f"mean_{name}", torch.zeros(size))
            self.register_buffer(f"std_{name}", torch.ones(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dropout(torch.relu(self.batch_norm1(self.w1(x))))
        for block in self.linear_stages:
            y = block(y)
        return self.w2(y)


class Martinez(Lifter):
    """Sixteen joints in (without neck/nose, which the stacked hourglass lacks), sixteen out
    (without the pelvis, which is 0).

    In pixel coordinates the network predicts image space relative to the pelvis' pixel.
    """

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        joints = self.skeleton.joints
        self.used = [i for i, joint in enumerate(joints) if joint != "neck_nose"]
        self.found = [i for i in range(len(joints)) if i != self.pelvis]
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            self.network = LinearModel(2 * len(self.used), 3 * len(self.found), **self.options)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        network, keypoints = self.network, inputs["keypoints"].to(self.network.std_2d.dtype)
        found = network(self.standardised(keypoints)) * network.std_3d + network.mean_3d
        joints = found.new_zeros(len(found), len(self.skeleton), 3)
        joints[:, self.found] = found.unflatten(1, (-1, 3))
        if self.coordinates == "pixel":
            joints[..., :2] += keypoints[:, [self.pelvis]]
        return {"joints": joints.float()}

    def standardised(self, keypoints: torch.Tensor) -> torch.Tensor:
        """Return the network's input (n, 32) for keypoints (n, 17, 2) in pixels."""
        flat = keypoints[:, self.used].flatten(1)
        return (flat - self.network.mean_2d) / self.network.std_2d

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(rows, 2 * len(self.used)),)

    def fit(self, samples: Sequence[tuple[Sample, Truth]]) -> None:
        """Take means and deviations of the training data, coordinate by coordinate."""
        rows = self.stacked(samples)
        flat = {
            "2d": rows["keypoints"][:, self.used],
            "3d": self.relative(rows["joints"])[:, self.found],
        }
        state = self.network.state_dict()
        for name, points in flat.items():
            values = torch.from_numpy(points.reshape(len(points), -1))
            state[f"mean_{name}"].copy_(values.mean(dim=0))
            state[f"std_{name}"].copy_(values.std(dim=0).clamp(min=1e-6))

    def relative(self, joints: Any) -> Any:
        """Return joints (n, 17, 3) from the pelvis, in pixel coordinates too."""
        return joints - joints[:, [self.pelvis]]

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean squared error of the standardised coordinates."""
        network = self.network
        wanted = self.relative(rows["joints"])[:, self.found].flatten(1)
        wanted = (wanted - network.mean_3d) / network.std_3d
        return functional.mse_loss(network(self.standardised(rows["keypoints"])), wanted)

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Strip ``module.``; means and deviations of the port lie in files of their own."""
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
