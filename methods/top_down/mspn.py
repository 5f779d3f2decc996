"""MSPN: pyramid networks in a row that hand on their features, supervised from coarse to fine.

Li, Wang, Yin, Peng, Du, Xiao, Yu, Lu, Wei, Sun: Rethinking on Multi-Stage Networks for Human Pose
Estimation, arXiv 1901.00148. Facts from the official code, megvii-detection/MSPN @ a84f750.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.api import Sample
from methods.parts.augment import Augmentation
from methods.parts.blurred import hard_joints_mse
from methods.parts.crop import Regions, regions_of
from methods.top_down.second_peak_pose import SecondPeakPose

Maps = list[torch.Tensor]
Pairs = list[tuple[torch.Tensor, torch.Tensor]]


class ConvNorm(nn.Module):
    """A convolution *with bias*, a norm and, unless told otherwise, a ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return torch.relu(x) if self.relu else x


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions and a shortcut."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * planes
        self.conv_bn_relu1 = ConvNorm(inputs, planes, 1)
        self.conv_bn_relu2 = ConvNorm(planes, planes, 3, stride)
        self.conv_bn_relu3 = ConvNorm(planes, outputs, 1, relu=False)
        projects = stride != 1 or inputs != outputs
        self.downsample = ConvNorm(inputs, outputs, 1, stride, relu=False) if projects else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv_bn_relu3(self.conv_bn_relu2(self.conv_bn_relu1(x)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Downsample(nn.Module):
    """The way down, a residual network without stem: C2 to C5, finest first."""

    def __init__(self, inputs: int, planes: int, blocks: Sequence[int]) -> None:
        super().__init__()
        for i, count in enumerate(blocks):
            width = planes << i
            layers = [Bottleneck(inputs, width, 1 if i == 0 else 2)]
            layers += [Bottleneck(4 * width, width, 1) for _ in range(count - 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*layers))
            inputs = 4 * width

    def forward(self, x: torch.Tensor, aggregated: Pairs | None) -> Maps:
        """``aggregated``: what the stage before adds to C2 to C5, after the blocks' last ReLU."""
        features = []
        for i, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4)):
            x = layer(x)
            if aggregated is not None:
                x = x + aggregated[i][0] + aggregated[i][1]
            features.append(x)
        return features


class UpsampleUnit(nn.Module):
    """One level of the way up; ``hands_on`` to the next stage at all but the last stage."""

    def __init__(
        self, inputs: int, width: int, joints: int, coarsest: bool, hands_on: bool, cross: int
    ) -> None:
        super().__init__()
        self.u_skip = ConvNorm(inputs, width, 1, relu=False)
        self.up_conv = None if coarsest else ConvNorm(width, width, 1, relu=False)
        self.skip1 = ConvNorm(inputs, inputs, 1) if hands_on else None
        self.skip2 = ConvNorm(width, inputs, 1) if hands_on else None
        self.cross_conv = ConvNorm(width, cross, 1) if hands_on and cross else None
        self.res_conv1 = ConvNorm(width, width, 1)
        self.res_conv2 = ConvNorm(width, joints, 3, relu=False)

    def forward(self, x: torch.Tensor, above: torch.Tensor | None) -> torch.Tensor:
        y = self.u_skip(x)
        if self.up_conv is not None:
            y = y + self.up_conv(resized(above, y.shape[-2:]))
        return torch.relu(y)


def resized(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resize maps bilinearly with their corner pixels' centres in place."""
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=True)


class Upsample(nn.Module):
    """The way up from C5 to C2, with a head per level."""

    def __init__(self, planes: int, width: int, joints: int, hands_on: bool) -> None:
        super().__init__()
        for i in range(4):
            cross = planes if i == 3 else 0
            unit = UpsampleUnit(4 * planes << (3 - i), width, joints, i == 0, hands_on, cross)
            setattr(self, f"up{i + 1}", unit)

    def forward(self, features: Maps) -> tuple[Maps, Pairs | None, torch.Tensor | None]:
        """Return the heads' maps, coarse to fine; what is added to C2 to C5; the next input."""
        size = features[0].shape[-2:]
        maps, aggregated, y = [], [], None
        units = (self.up1, self.up2, self.up3, self.up4)
        for unit, x in zip(units, reversed(features), strict=True):
            y = unit(x, y)
            maps.append(resized(unit.res_conv2(unit.res_conv1(y)), size))
            if unit.skip1 is not None:
                aggregated.insert(0, (unit.skip1(x), unit.skip2(y)))
        if self.up4.cross_conv is None:
            return maps, None, None
        return maps, aggregated, self.up4.cross_conv(y)


class Stage(nn.Module):
    """One pyramid: down and up."""

    def __init__(
        self, planes: int, blocks: Sequence[int], width: int, joints: int, hands_on: bool
    ) -> None:
        super().__init__()
        self.downsample = Downsample(planes, planes, blocks)
        self.upsample = Upsample(planes, width, joints, hands_on)


class Top(nn.Module):
    """The stem: stride 4."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.conv = ConvNorm(3, planes, 7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.maxpool(self.conv(images))


class MultiStagePyramid(nn.Module):
    """Images (n, 3, h, w) to maps (n, joints, h / 4, w / 4) of four heads per stage.

    Parameters
    ----------
    joints, stages : int
    planes : int
        Width of the stem and of the first bottlenecks.
    blocks : sequence of int
        Bottlenecks per level.
    width : int
        Channels of the way up.
    """

    def __init__(
        self,
        joints: int,
        stages: int = 4,
        planes: int = 64,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width: int = 256,
    ) -> None:
        super().__init__()
        self.top = Top(planes)
        for i in range(stages):
            setattr(self, f"stage{i}", Stage(planes, blocks, width, joints, i < stages - 1))
        self.stages = stages
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> Maps:
        """Return the maps stage by stage, within a stage from coarse to fine."""
        x, aggregated = self.top(images), None
        maps: Maps = []
        for i in range(self.stages):
            stage = getattr(self, f"stage{i}")
            heads, aggregated, x = stage.upsample(stage.downsample(x, aggregated))
            maps += heads
        return maps


class MSPN(SecondPeakPose):
    """BGR crops, each channel with its own constants."""

    channel_order = "bgr"
    mean, std = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)
    growth = (1.09, 1.135)
    """Factors of a box's width and height, before it grows to the input's aspect."""
    kernel = 5
    label_kernels = (15, 11, 9, 7, 5)
    hardest = 8
    """Joints that the finest heads of a stage learn from."""
    augmentation = Augmentation(scaling=0.25, rotation=45, rotated=0.5, half_body=0.3,
                                half_body_joints=3)  # fmt: skip

    def build(self, joints: int, **options: Any) -> nn.Module:
        return MultiStagePyramid(joints, **options)

    def regions(self, sample: Sample) -> Regions:
        if sample.boxes is None:
            return super().regions(sample)
        growth = np.array(self.growth)
        boxes = np.concatenate(
            [sample.boxes[:, :2] - sample.boxes[:, 2:] * (growth - 1) / 2,
             sample.boxes[:, 2:] * growth], axis=1)  # fmt: skip
        grown = Sample(sample.id, sample.images, boxes)
        return regions_of(grown, self.input_size[0] / self.input_size[1], padding=1.0)

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum over all heads, each with the label of its coarseness.

        Within a stage the labels get finer; the last stage's are one finer than the others'. The
        finest head of a stage learns from its hardest joints; the others from all joints, a
        quarter as much, and a joint without label wants a zero map.
        """
        seen = rows["weights"]
        labels = self.labels(rows["joints"])
        heads = self.network(self.images(rows["crops"]))
        loss = heads[0].new_zeros(())
        for i, maps in enumerate(heads):
            stage, level = divmod(i, 4)
            label = labels[level + (stage == self.network.stages - 1)]
            if level == 3:
                loss = loss + hard_joints_mse(maps, label, seen, self.hardest)
            else:
                loss = loss + (maps - label * seen[..., None, None]).square().mean() / 4
        return loss

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Map mmpose's key names to the official ones.

        mmpose's network has no biases beside its norms: they become 0. It sees RGB crops with the
        same constants per colour: the first layer's input channels are turned round.
        """
        if not any(name.startswith("backbone.multi_stage_mspn.") for name in state):
            return state
        translated = {}
        for name, tensor in state.items():
            if name.startswith("data_preprocessor."):
                continue
            for pattern, replacement in MMPOSE_NAMES:
                name = re.sub(pattern, replacement, name)
            if name == "top.conv.conv.weight":
                tensor = tensor.flip(1)
            translated[name] = tensor
            if name.endswith("conv.weight"):
                translated[name.replace(".weight", ".bias")] = tensor.new_zeros(len(tensor))
        return translated


def _head(found: re.Match[str]) -> str:
    """Name a head of mmpose, numbered over all stages, by its stage and level."""
    stage, level = divmod(int(found[1]), 4)
    return f"stage{stage}.upsample.up{level + 1}.res_conv{int(found[2]) + 1}."


MMPOSE_NAMES: tuple[tuple[str, Any], ...] = (
    (r"^backbone\.top\.top\.0\.", "top.conv."),
    (r"^backbone\.multi_stage_mspn\.(\d)\.", r"stage\1."),
    (r"\.layer(\d)\.(\d)\.conv(\d)\.", r".layer\1.\2.conv_bn_relu\3."),
    (r"\.in_skip\.", ".u_skip."),
    (r"\.out_skip([12])\.", r".skip\1."),
    (r"^(?:keypoint_)?head\.predict_layers\.(\d+)\.conv_layers\.(\d)\.", _head),
)
