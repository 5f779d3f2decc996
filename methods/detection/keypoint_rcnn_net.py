"""The networks of Mask R-CNN: feature pyramid, proposals and box head, and a head for keypoints.

Key names are torchvision's. Facts from torchvision and detectron2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from methods.parts.resnet import BasicBlock, Bottleneck, ResNet

ANCHORS = 3
"""Shapes at each place: aspects (height / width) of 1/2, 1 and 2."""


class Pyramid(nn.Module):
    """A residual network's four layers, brought to one width and added from coarse to fine."""

    def __init__(self, body: ResNet, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = nn.Module()
        self.fpn.inner_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, 1)) for inputs in widths
        )
        self.fpn.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1)) for _ in widths
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return features at strides 4, 8, 16, 32 and 64; the last is every second pixel."""
        body = self.body
        x = body.maxpool(torch.relu(body.bn1(body.conv1(images))))
        layers = []
        for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
            x = layer(x)
            layers.append(x)
        inner, outer = self.fpn.inner_blocks, self.fpn.layer_blocks
        above = inner[3](layers[3])
        features = [outer[3](above)]
        for level in (2, 1, 0):
            grown = functional.interpolate(above, size=layers[level].shape[-2:], mode="nearest")
            above = inner[level](layers[level]) + grown
            features.insert(0, outer[level](above))
        return [*features, features[-1][..., ::2, ::2]]


class ProposalHead(nn.Module):
    """Objectness and four deltas for every anchor of a level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layer = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.conv = nn.Sequential(layer)
        self.cls_logits = nn.Conv2d(width, ANCHORS, 1)
        self.bbox_pred = nn.Conv2d(width, 4 * ANCHORS, 1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (n, h w A) and deltas (n, h w A, 4)."""
        x = self.conv(features)
        logits = self.cls_logits(x).permute(0, 2, 3, 1).flatten(1)
        deltas = self.bbox_pred(x).permute(0, 2, 3, 1)
        return logits, deltas.reshape(len(x), -1, 4)


class RegionNet(nn.Module):
    """Called with images, it gives what depends on the whole image: features and proposals.

    The heads (:meth:`box_answers` and those of subclasses) are called with features pooled in
    boxes. A subclass adds its head to ``roi_heads`` and then calls :meth:`initialise`.

    Parameters
    ----------
    blocks : sequence of int
        Blocks of the residual network's layers.
    planes : sequence of int
        Their widths.
    bottleneck : bool
        Whether blocks are bottlenecks.
    width : int
        Of the pyramid.
    hidden : int
        Of the box head.
    box_outputs : int
        Deltas of the box head: torchvision has 8 (background's are unused), detectron2 4.
    first_stride : bool
        Whether a bottleneck's first convolution carries the stride (detectron2).
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 4, 6, 3),
        planes: Sequence[int] = (64, 128, 256, 512),
        bottleneck: bool = True,
        width: int = 256,
        hidden: int = 1024,
        box_outputs: int = 8,
        first_stride: bool = False,
    ) -> None:
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        body = ResNet(blocks, block, planes)
        if first_stride:
            for layer in (body.layer2, body.layer3, body.layer4):
                layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
        self.backbone = Pyramid(body, [plane * block.expansion for plane in planes], width)
        self.rpn = nn.Module()
        self.rpn.head = ProposalHead(width)
        self.roi_heads = nn.Module()
        self.roi_heads.box_head = nn.Sequential(
            OrderedDict(fc6=nn.Linear(width * 49, hidden), fc7=nn.Linear(hidden, hidden))
        )
        self.roi_heads.box_predictor = nn.ModuleDict(
            {"cls_score": nn.Linear(hidden, 2), "bbox_pred": nn.Linear(hidden, box_outputs)}
        )

    def initialise(self) -> None:
        """Keep the signal's variance where there are no norms; anchors and boxes start near 0."""
        heads = self.roi_heads
        for part in (self.backbone.fpn, self.rpn, heads):
            for layer in part.modules():
                if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    nn.init.zeros_(layer.bias)
        answers = heads.box_predictor.values()
        for layer in (self.rpn.head.cls_logits, self.rpn.head.bbox_pred, *answers):
            nn.init.normal_(layer.weight, std=0.01)

    def forward(
        self, images: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
        features = self.backbone(images)
        return features, [self.rpn.head(level) for level in features]

    def box_answers(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits of background and person (n, 2) and the person's deltas (n, 4)."""
        heads = self.roi_heads
        x = torch.relu(heads.box_head.fc6(pooled.flatten(1)))
        x = torch.relu(heads.box_head.fc7(x))
        return heads.box_predictor["cls_score"](x), heads.box_predictor["bbox_pred"](x)[:, -4:]


class KeypointRcnn(RegionNet):
    """With a head for keypoints, :meth:`keypoint_maps`.

    Parameters
    ----------
    joints : int
    width : int
        Of the pyramid.
    keypoint_width : int
        Of the keypoint head's eight convolutions.
    arguments
        Of :class:`RegionNet`.
    """

    def __init__(
        self, joints: int, width: int = 256, keypoint_width: int = 512, **arguments: Any
    ) -> None:
        super().__init__(width=width, **arguments)
        add_keypoint_head(self.roi_heads, width, keypoint_width, joints)
        self.initialise()

    def keypoint_maps(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return logits (n, joints, 56, 56) of features (n, C, 14, 14)."""
        x = keypoint_logits(self.roi_heads, pooled)
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def add_keypoint_head(heads: nn.Module, inputs: int, width: int, joints: int) -> None:
    """Add eight convolutions of a width and a transposed one that gives the joints' logits."""
    layers: list[nn.Module] = []
    for i in range(8):
        layers += [nn.Conv2d(inputs if i == 0 else width, width, 3, padding=1), nn.ReLU()]
    heads.keypoint_head = nn.Sequential(*layers)
    heads.keypoint_predictor = nn.ModuleDict(
        {"kps_score_lowres": nn.ConvTranspose2d(width, joints, 4, 2, 1)}
    )


def keypoint_logits(heads: nn.Module, pooled: torch.Tensor) -> torch.Tensor:
    """Return logits (n, joints, 2 s, 2 s) of features (n, C, s, s)."""
    return heads.keypoint_predictor["kps_score_lowres"](heads.keypoint_head(pooled))


DETECTRON2 = (
    ("backbone.bottom_up.stem.", "backbone.body."),
    *((f"backbone.bottom_up.res{i + 1}.", f"backbone.body.layer{i}.") for i in range(1, 5)),
    *((f"backbone.fpn_lateral{i + 2}.", f"backbone.fpn.inner_blocks.{i}.0.") for i in range(4)),
    *((f"backbone.fpn_output{i + 2}.", f"backbone.fpn.layer_blocks.{i}.0.") for i in range(4)),
    ("proposal_generator.rpn_head.conv.", "rpn.head.conv.0.0."),
    ("proposal_generator.rpn_head.objectness_logits.", "rpn.head.cls_logits."),
    ("proposal_generator.rpn_head.anchor_deltas.", "rpn.head.bbox_pred."),
    ("roi_heads.box_head.fc1.", "roi_heads.box_head.fc6."),
    ("roi_heads.box_head.fc2.", "roi_heads.box_head.fc7."),
    *(
        (f"roi_heads.keypoint_head.conv_fcn{i + 1}.", f"roi_heads.keypoint_head.{2 * i}.")
        for i in range(8)
    ),
    (
        "roi_heads.keypoint_head.score_lowres.",
        "roi_heads.keypoint_predictor.kps_score_lowres.",
    ),
)
"""detectron2's name prefixes and torchvision's."""


def torchvision_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename detectron2's tensors, and those of torchvision's older files.

    detectron2 has the background last: its two class scores change places.
    """
    renamed = {}
    for name, tensor in state.items():
        for old, new in DETECTRON2:
            if name.startswith(old):
                name = new + name.removeprefix(old)
                if "bottom_up" in old:
                    for i in (1, 2, 3):
                        name = name.replace(f"conv{i}.norm.", f"bn{i}.")
                    name = name.replace("shortcut.norm.", "downsample.1.")
                    name = name.replace("shortcut.", "downsample.0.")
                break
        renamed[name] = tensor
    if any(name.startswith("proposal_generator.") for name in state):
        for kind in ("weight", "bias"):
            name = f"roi_heads.box_predictor.cls_score.{kind}"
            renamed[name] = renamed[name].flip(0)
    for name in list(renamed):
        parts = name.split(".")
        if parts[:2] == ["backbone", "fpn"] and len(parts) == 5:  # inner_blocks.0.weight
            renamed[".".join([*parts[:4], "0", parts[4]])] = renamed.pop(name)
        elif parts[:3] == ["rpn", "head", "conv"] and len(parts) == 4:
            renamed[f"rpn.head.conv.0.0.{parts[3]}"] = renamed.pop(name)
    return renamed
