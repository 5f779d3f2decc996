"""DeeperCut's part detector: ResNet with a dilated last layer; maps, offsets, and ways to others.

Facts from eldar/pose-tensorflow @ 6a8f5ee (TensorFlow-Slim's ResNet v1, output stride 16).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from methods.parts.initialise import normal_weights
from methods.parts.resnet import BasicBlock, Bottleneck, ResNet

PRIOR = 0.01
"""Probability of a joint at a cell before anything is learnt."""

OFFSET_UNIT = 7.2801
"""Pixels: the deviation of the offsets in the authors' training data."""

SLIM = (
    (r"^resnet_v1_\d+/", ""),
    (r"^block(\d)/unit_(\d+)/bottleneck_v1", r"layer\1/unit\2"),
    (r"^pose/(\w+)/block4", r"\1"),
    (r"shortcut/BatchNorm", "downsample/1"),
    (r"shortcut", "downsample/0"),
    (r"conv(\d)/BatchNorm", r"bn\1"),
    (r"(weights|gamma)$", "weight"),
    (r"(biases|beta)$", "bias"),
    (r"moving_mean$", "running_mean"),
    (r"moving_variance$", "running_var"),
)
"""Parts of TensorFlow-Slim's names and what stands for them here; a unit's number is one less."""


class Grow(nn.ConvTranspose2d):
    """A 3x3 convolution that doubles height and width, aligned as TensorFlow's "same" is."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x)[..., :-1, :-1]


class PartDetector(ResNet):
    """Images (n, 3, h, w), multiples of 16, to answers at stride 8.

    ``parts`` (n, K, h / 8, w / 8): logits. ``offsets`` (n, K, 2, ...): x, y in pixels from a cell
    to its joint. ``pairs`` (n, P, 2, ...): x, y in pixels from a cell of one joint to another
    joint. In training ``early`` (n, K, ...): logits from the middle of layer 3.

    Parameters
    ----------
    joints : int
    pairs : int
        Ways from one joint to another.
    edges : int
        Kinds of pairs of detections that :class:`PairTerms` knows.
    near : float
        See :class:`PairTerms`.
    blocks, planes : sequence of int
        Of the residual network's layers.
    bottleneck : bool
    early : int
        The block of layer 3, counted from 1, whose output is supervised in training.
    """

    def __init__(
        self,
        joints: int,
        pairs: int,
        edges: int,
        near: float,
        blocks: Sequence[int] = (3, 4, 23, 3),
        planes: Sequence[int] = (64, 128, 256, 512),
        bottleneck: bool = True,
        early: int = 12,
    ) -> None:
        block = Bottleneck if bottleneck else BasicBlock
        super().__init__(blocks, block, planes)
        self.maxpool = nn.MaxPool2d(3, stride=2)
        for layer, stride in ((self.layer1, 2), (self.layer2, 2), (self.layer3, 1)):
            restride(layer, stride)
        restride(self.layer4, 1)
        for module in self.layer4.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)
        self.early_block = early
        self.part_pred = Grow(self.channels, joints)
        self.locref_pred = Grow(self.channels, 2 * joints)
        self.pairwise_pred = Grow(self.channels, 2 * pairs)
        self.intermediate_supervision = Grow(planes[2] * block.expansion, joints)
        normal_weights(self.part_pred)
        normal_weights(self.intermediate_supervision)
        for head in (self.part_pred, self.intermediate_supervision):
            nn.init.constant_(head.bias, math.log(PRIOR / (1 - PRIOR)))
        self.pair_terms = PairTerms(edges, near)
        self.register_buffer("pair_mean", torch.zeros(pairs, 2))
        self.register_buffer("pair_std", torch.ones(pairs, 2))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        x = torch.relu(self.bn1(self.conv1(x)))
        # TensorFlow's "same" pads an even length at its end.
        x = self.maxpool(functional.pad(x, (0, 1, 0, 1)))
        x = self.layer3[: self.early_block](self.layer2(self.layer1(x)))
        answers = {"early": self.intermediate_supervision(x)} if self.training else {}
        x = self.layer4(self.layer3[self.early_block :](x))
        pairs = self.pairwise_pred(x).unflatten(1, (-1, 2))
        return {
            "parts": self.part_pred(x),
            "offsets": self.locref_pred(x).unflatten(1, (-1, 2)) * OFFSET_UNIT,
            "pairs": pairs * self.pair_std[..., None, None] + self.pair_mean[..., None, None],
            **answers,
        }


def restride(layer: nn.Module, stride: int) -> None:
    """Move a residual layer's stride from its first to its last block, as Slim has it."""
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    last = layer[-1]
    (last.conv2 if isinstance(last, Bottleneck) else last.conv1).stride = (stride, stride)
    if last.downsample is not None:
        last.downsample[0].stride = (stride, stride)
    elif stride > 1:
        last.downsample = nn.MaxPool2d(1, stride)


class PairTerms(nn.Module):
    """Are two detections one person? Logistic regression, one for each kind of pair.

    Detection a sees b where the network says, from a's cell, or so many pixels and radians off it;
    so does b see a. These four numbers, their exp(-x), scaled to 0..1, and 1 are the features.

    Parameters
    ----------
    edges : int
        Kinds of pairs.
    near : float
        Pixels. Before anything is learnt, detections that see each other this far off are two
        people.
    """

    def __init__(self, edges: int, near: float) -> None:
        super().__init__()
        start = torch.tensor([-2.0, -1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 0.0, 3.0])
        self.weight = nn.Parameter(start.repeat(edges, 1))
        high = torch.tensor([near, math.pi, near, math.pi, 1.0, 1.0, 1.0, 1.0])
        self.register_buffer("low", torch.zeros(edges, 8))
        self.register_buffer("high", high.repeat(edges, 1))

    def forward(
        self, edge: torch.Tensor, real: torch.Tensor, predicted: torch.Tensor
    ) -> torch.Tensor:
        """Return logits (...) of being one person.

        Parameters
        ----------
        edge : int tensor (...)
            Kind of pair.
        real, predicted : tensors (..., 2, 2)
            x, y from a's cell to b and from b's cell to a.
        """
        distance = (real - predicted).norm(dim=-1)
        turn = torch.atan2(real[..., 1], real[..., 0])
        turn = turn - torch.atan2(predicted[..., 1], predicted[..., 0])
        angle = torch.remainder(turn + math.pi, 2 * math.pi).sub(math.pi).abs()
        features = torch.stack([distance, angle], dim=-1).flatten(-2)
        features = torch.cat([features, torch.exp(-features)], dim=-1)
        features = (features - self.low[edge]) / (self.high[edge] - self.low[edge])
        weight = self.weight[edge]
        return (features * weight[..., :-1]).sum(dim=-1) + weight[..., -1]


def of_slim(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bring tensors of a TensorFlow checkpoint to :class:`PartDetector`'s names and layouts.

    Kernels lie as height, width, inputs, outputs there, those of transposed convolutions as
    height, width, outputs, inputs. The optimiser's tensors are left out.
    """
    tensors = {}
    for name, tensor in state.items():
        if name.endswith("/Momentum") or name == "global_step":
            continue
        for pattern, own in SLIM:
            name = re.sub(pattern, own, name)
        blocks = re.sub(r"unit(\d+)", lambda unit: str(int(unit[1]) - 1), name)
        tensors[blocks.replace("/", ".")] = (
            tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor
        )
    return tensors
