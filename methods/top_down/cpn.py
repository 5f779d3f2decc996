"""CPN: a pyramid finds the easy joints, a second network over all its levels the hard ones.

Chen, Wang, Peng, Zhang, Yu, Sun: Cascaded Pyramid Network for Multi-Person Pose Estimation,
CVPR 2018. Facts from GengDavid/pytorch-cpn @ 48696a9, the public PyTorch network, and from the
authors' chenyilun95/tf-cpn @ 48ea10d; docs/networks/top-down.md says where the two differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import PrerequisiteError, Sample
from methods.parts.augment import Augmentation
from methods.parts.blurred import hard_joints_mse
from methods.parts.crop import REGION_UNIT, Regions
from methods.parts.integer_crop import cut_corners
from methods.parts.resnet import RESNET_BLOCKS, BasicBlock, Bottleneck, ResNet
from methods.top_down.second_peak_pose import SecondPeakPose

MEAN = (122.7717, 115.9465, 102.9801)
"""Of RGB, grey levels; also the colour outside the image."""


def upsample(factor: int) -> nn.Module:
    """Return a bilinear resize that keeps the corner pixels' centres in place."""
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=True)


class Trunk(ResNet):
    """A residual network that puts out C5 to C2."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        features = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.insert(0, x)
        return features


class GlobalNet(nn.Module):
    """A feature pyramid from C5 down to C2, with a head per level."""

    def __init__(self, inputs: Sequence[int], width: int, joints: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            )
            for channels in inputs
        )
        self.upsamples = nn.ModuleList(
            nn.Sequential(
                upsample(2), nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)
            )
            for _ in inputs[1:]
        )
        self.predict = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, joints, 3, padding=1, bias=False),
                upsample(8 >> level),
                nn.BatchNorm2d(joints),
            )
            for level in range(len(inputs))
        )

    def forward(
        self, features: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the fused features and the heads' maps, both from coarse to fine."""
        fused = [self.laterals[0](features[0])]
        for lateral, up, x in zip(self.laterals[1:], self.upsamples, features[1:], strict=True):
            fused.append(lateral(x) + up(fused[-1]))
        return fused, [head(x) for head, x in zip(self.predict, fused, strict=True)]


class RefineBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to twice the planes; the shortcut is always projected."""

    def __init__(self, inputs: int, planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 2 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * planes)
        self.downsample = nn.Sequential(
            nn.Conv2d(inputs, 2 * planes, 1, bias=False), nn.BatchNorm2d(2 * planes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class RefineNet(nn.Module):
    """All levels of the pyramid, the coarser ones longer processed, joined at the finest size."""

    def __init__(self, width: int, joints: int) -> None:
        super().__init__()
        planes = width // 2
        self.cascade = nn.ModuleList(
            nn.Sequential(
                *(RefineBottleneck(width, planes) for _ in range(blocks)), upsample(1 << blocks)
            )
            for blocks in (3, 2, 1, 0)
        )
        self.final_predict = nn.Sequential(
            RefineBottleneck(4 * width, planes),
            nn.Conv2d(width, joints, 3, padding=1, bias=False),
            nn.BatchNorm2d(joints),
        )

    def forward(self, fused: Sequence[torch.Tensor]) -> torch.Tensor:
        levels = [blocks(x) for blocks, x in zip(self.cascade, fused, strict=True)]
        return self.final_predict(torch.cat(levels, dim=1))


class CascadedPyramid(nn.Module):
    """Images (n, 3, h, w) to maps (n, joints, h / 4, w / 4): four global ones, then the refined.

    Parameters
    ----------
    joints : int
    layers : int
        50 or 101.
    width : int
        Channels of the pyramid.
    blocks, planes : sequence of int, optional
        A thin trunk of basic blocks instead of ``layers``.
    """

    def __init__(
        self,
        joints: int,
        layers: int = 50,
        width: int = 256,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        block = Bottleneck if blocks is None else BasicBlock
        self.resnet = Trunk(RESNET_BLOCKS[layers] if blocks is None else blocks, block, planes)
        channels = [outputs * block.expansion for outputs in reversed(planes)]
        self.global_net = GlobalNet(channels, width, joints)
        self.refine_net = RefineNet(width, joints)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        fused, maps = self.global_net(self.resnet(images))
        return [*maps, self.refine_net(fused)]


class CPN(SecondPeakPose):
    """RGB crops with whole-pixel corners, less the mean colour, which also fills the border.

    Options beside the network's: ``kernels``, the labels' blurs from coarse to fine, and
    ``ohkm``, the number of hardest joints that the refined maps learn from (0 for all joints).
    """

    mean, std = tuple(level / 255 for level in MEAN), (1.0, 1.0, 1.0)
    growth = (1.2, 1.3)
    """Factors of a box's width and height, before it grows to the input's aspect."""
    kernel = 21
    augmentation = Augmentation(scaling=0.3, rotation=45)

    def build(self, joints: int, kernels: Sequence[int] = (15, 11, 9, 7), ohkm: int = 8,
              **options: Any) -> nn.Module:  # fmt: skip
        self.label_kernels, self.hardest = tuple(kernels), ohkm
        return CascadedPyramid(joints, **options)

    def regions(self, sample: Sample) -> Regions:
        """Return boxes, grown to the aspect, whose corners are whole pixels, rounded down.

        Computed in float32 as in the official code, which cuts from a picture with a frame wide
        enough for any box inside it.
        """
        if sample.boxes is None:
            return super().regions(sample)
        super().regions(sample)  # a box without area is no region
        boxes = sample.boxes.astype(np.float32)
        centers = boxes[:, :2] + boxes[:, 2:] / 2
        size = boxes[:, 2:] * np.array(self.growth, np.float32)
        grid = np.array(self.input_size, np.float32)
        half = (size / grid).max(axis=1, keepdims=True) * grid / 2
        low, high = np.floor(centers - half), np.floor(centers + half)
        return Regions((low + high) / 2, (high - low) / np.float32(REGION_UNIT))

    def cut(self, image: NDArray[np.uint8], regions: Regions) -> NDArray[np.uint8]:
        half = regions.sizes * np.float32(REGION_UNIT / 2)
        corners = np.concatenate([regions.centers - half, regions.centers + half], axis=1)
        border = [round(level) for level in MEAN]
        return cut_corners(image, np.rint(corners).astype(np.int64), self.input_size, border)

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the global heads' errors over all joints, and the refined one's hardest joints.

        Each global head counts half, coarse heads with coarse labels, and a joint without label
        wants a zero map; the refined maps have the finest label.
        """
        seen = rows["weights"]
        labels = self.labels(rows["joints"])
        *heads, refined = self.network(self.images(rows["crops"]))
        loss = hard_joints_mse(refined, labels[-1], seen, self.hardest)
        for maps, label in zip(heads, labels, strict=True):
            loss = loss + (maps - label * seen[..., None, None]).square().mean() / 2
        return loss

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Take pytorch-cpn's names, which are the network's.

        Raises
        ------
        PrerequisiteError
            If the names are those of another implementation.
        """
        if not any(name.startswith("global_net.") for name in state):
            raise PrerequisiteError(
                "The checkpoint is not of pytorch-cpn's network: it has no tensor 'global_net.*'. "
                "The authors' TensorFlow network (tf-cpn) has other shortcuts and another "
                "upsampling grid, so its weights give other maps here.",
                "Give weights trained with GengDavid/pytorch-cpn.",
            )
        return state
