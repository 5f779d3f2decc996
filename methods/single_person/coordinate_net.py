"""CoordinateNet: joint coordinates regressed from a single frame by a network like OverFeat.

Pfister, Simonyan, Charles, Zisserman: Deep Convolutional Neural Networks for Efficient Pose
Estimation in Gesture Videos, ACCV 2014. There is no official code; the layers are from memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from methods.parts.alexnet import ConvRegressor, Layer
from methods.single_person.person import CoordinatePose, joint_loss


def overfeat_layers(widths: Sequence[int] = (96, 256, 512, 512, 512)) -> tuple[Layer, ...]:
    """Return the convolutions; kernels and strides of the pooling are OverFeat's."""
    return (
        Layer(7, 2, widths[0], norm=True, pool=(3, 3)),
        Layer(5, 1, widths[1], pool=(2, 2)),
        Layer(3, 1, widths[2]),
        Layer(3, 1, widths[3]),
        Layer(3, 1, widths[4], pool=(3, 3)),
    )


class CoordinateNet(CoordinatePose):
    """Coordinates in shares of the crop, from its centre."""

    def build(
        self,
        joints: int,
        widths: Sequence[int] = (96, 256, 512, 512, 512),
        hidden: int = 4096,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> nn.Module:
        size = self.variant.input_size
        layers = overfeat_layers(widths)
        return ConvRegressor(layers, hidden, 2 * joints, size, dropout, batch_norm)

    def shares(self, crops: torch.Tensor) -> torch.Tensor:
        """Return coordinates (n, K, 2) in shares of the crop from its centre."""
        answers: torch.Tensor = self.network(self.images(crops))
        return answers.unflatten(1, (len(self.skeleton), 2))

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return self.peaks(self.pixels(self.shares(inputs["crops"])))

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the squared distance of the labelled joints, in shares of the crop."""
        found = self.shares(rows["crops"])
        return joint_loss(found, self.normalised(rows["joints"]), rows["weights"])
