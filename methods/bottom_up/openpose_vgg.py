"""OpenPose's networks on VGG-19: COCO-18 with two branches a stage, BODY_25 with one.

Key names are the Caffe layers', below one block per stage and branch. Facts from CMU's
prototxt files and Hzzone/pytorch-openpose @ 5ee71dc.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

VGG = (
    "conv1_1", "conv1_2", "pool1_stage1",
    "conv2_1", "conv2_2", "pool2_stage1",
    "conv3_1", "conv3_2", "conv3_3", "conv3_4", "pool3_stage1",
    "conv4_1", "conv4_2", "conv4_3_CPM", "conv4_4_CPM",
)  # fmt: skip
WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 256, 128)

Layer = tuple[str, int, int]
"""Name, width, kernel."""


def layers(inputs: int, block: Sequence[Layer], last_relu: bool) -> nn.Sequential:
    """Return named convolutions in a row, each with a ReLU; a width of 0 stands for pooling."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, width, kernel in block:
        if width == 0:
            modules[name] = nn.MaxPool2d(2)
            continue
        modules[name] = nn.Conv2d(inputs, width, kernel, padding=kernel // 2)
        if last_relu or name != block[-1][0]:
            modules[f"relu_{name}"] = nn.ReLU()
        inputs = width
    return nn.Sequential(modules)


class TwoBranchNet(nn.Module):
    """Images (n, 3, h, w) to maps (n, joints + 1, h / 8, w / 8) and fields (n, 2 limbs, ...).

    One pair for each stage; every stage after the first sees the fields, maps and features
    before it. All are supervised.

    Parameters
    ----------
    joints, limbs : int
    stages : int
    """

    def __init__(self, joints: int, limbs: int, stages: int = 6) -> None:
        super().__init__()
        trunk = [(name, width, 3) for name, width in zip(VGG, WIDTHS, strict=True)]
        self.model0 = layers(3, trunk, last_relu=True)
        branches = {1: 2 * limbs, 2: joints + 1}
        for stage in range(1, stages + 1):
            for branch, outputs in branches.items():
                block = self.branch(stage, branch, outputs, sum(branches.values()))
                self.add_module(f"model{stage}_{branch}", block)
        self.stages = stages

    @staticmethod
    def branch(stage: int, branch: int, outputs: int, seen: int) -> nn.Sequential:
        """Return one branch of a stage; ``seen`` channels of the stage before come in."""
        if stage == 1:
            names = [f"conv5_{i}_CPM_L{branch}" for i in range(1, 6)]
            shapes = [(128, 3)] * 3 + [(512, 1), (outputs, 1)]
            inputs = 128
        else:
            names = [f"Mconv{i}_stage{stage}_L{branch}" for i in range(1, 8)]
            shapes = [(128, 7)] * 5 + [(128, 1), (outputs, 1)]
            inputs = 128 + seen
        block = [(name, *shape) for name, shape in zip(names, shapes, strict=True)]
        return layers(inputs, block, last_relu=False)

    def forward(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        features = self.model0(images)
        x, answers = features, []
        for stage in range(1, self.stages + 1):
            fields = self.get_submodule(f"model{stage}_1")(x)
            maps = self.get_submodule(f"model{stage}_2")(x)
            answers.append((maps, fields))
            x = torch.cat([fields, maps, features], dim=1)
        return answers


class DenseBlock(nn.Module):
    """Three 3x3 convolutions in a row; all three are put out."""

    def __init__(self, inputs: int, width: int, name: str) -> None:
        super().__init__()
        self.names = [f"{name}_{i}" for i in range(3)]
        for i, part in enumerate(self.names):
            self.add_module(part, nn.Conv2d(inputs if i == 0 else width, width, 3, padding=1))
            self.add_module(part.replace("conv", "prelu"), nn.PReLU(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for part in self.names:
            x = self.get_submodule(part.replace("conv", "prelu"))(self.get_submodule(part)(x))
            outputs.append(x)
        return torch.cat(outputs, dim=1)


class DenseStage(nn.Sequential):
    """Five dense blocks, a 1x1 convolution of some width and one of the outputs."""

    def __init__(self, name: str, inputs: int, width: int, hidden: int, outputs: int) -> None:
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(1, 6):
            modules[f"Mblock{i}"] = DenseBlock(inputs, width, f"Mconv{i}_{name}")
            inputs = 3 * width
        modules[f"Mconv6_{name}"] = nn.Conv2d(inputs, hidden, 1)
        modules[f"Mprelu6_{name}"] = nn.PReLU(hidden)
        modules[f"Mconv7_{name}"] = nn.Conv2d(hidden, outputs, 1)
        super().__init__(modules)


class DenseNet(nn.Module):
    """BODY_25: the fields in four stages, then the maps in two; outputs as TwoBranchNet."""

    def __init__(self, joints: int, limbs: int) -> None:
        super().__init__()
        fields, maps = 2 * limbs, joints + 1
        trunk = layers(3, [(n, w, 3) for n, w in zip(VGG, WIDTHS, strict=True)], last_relu=True)
        for name, width in (("conv4_2", 512), ("conv4_3_CPM", 256), ("conv4_4_CPM", 128)):
            setattr(trunk, f"relu_{name}", nn.PReLU(width))
        self.model0 = trunk
        self.fields = nn.ModuleList(
            [DenseStage("stage0_L2", 128, 96, 256, fields)]
            + [DenseStage(f"stage{i}_L2", 128 + fields, 128, 512, fields) for i in (1, 2, 3)]
        )
        self.maps = nn.ModuleList(
            [
                DenseStage("stage0_L1", 128 + fields, 96, 256, maps),
                DenseStage("stage1_L1", 128 + maps + fields, 128, 512, maps),
            ]
        )

    def forward(self, images: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        features = self.model0(images)
        fields: list[torch.Tensor] = []
        for stage in self.fields:
            fields.append(stage(torch.cat([features, *fields[-1:]], dim=1)))
        first = self.maps[0](torch.cat([features, fields[-1]], dim=1))
        last = self.maps[1](torch.cat([features, first, fields[-1]], dim=1))
        # Each answer is paired with the nearest one of the other kind.
        early = [(first, answer) for answer in fields[:-1]]
        return [*early, (first, fields[-1]), (last, fields[-1])]
