"""The network of DensePose-RCNN: Mask R-CNN's trunk with a head for the body's surface.

Key names are those of detectron2's DensePose project, the trunk's torchvision's. Facts from that
project: ``DensePoseV1ConvXHead``, ``DensePoseChartPredictor`` and ``Decoder``; of the heads for
joints and masks beside it, from facebookresearch/DensePose @ 0bb343e
(``DensePoseKeyPointsMask_ResNet50_FPN_s1x-e2e.yaml``).

The cascade was never published as code. The paper says that the first stage's predictions of all
tasks are combined and fed to a refinement unit of each branch. Built here: the logits, u and v of
all branches, averaged over 2x2 cells to the size of the pooled features and put beside these, go
to a second head of each branch, which is as the first but for its inputs. Gradients pass through.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from methods.detection.keypoint_rcnn_net import RegionNet, add_keypoint_head, keypoint_logits

PARTS = 24


class Decoder(nn.Module):
    """The pyramid's four finest levels, brought to stride 4 and added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for level in range(2, 6):
            layers: list[nn.Module] = []
            for _ in range(max(1, level - 2)):
                layers += [nn.Conv2d(width, width, 3, padding=1), nn.Identity()]
            self.add_module(f"p{level}", nn.Sequential(*layers))
        self.predictor = nn.Conv2d(width, width, 1)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        total = torch.zeros_like(features[0])
        for level, x in zip(range(2, 6), features, strict=False):
            for conv in self.get_submodule(f"p{level}")[::2]:
                x = torch.relu(conv(x))
                if level > 2:
                    x = functional.interpolate(
                        x, scale_factor=2, mode="bilinear", align_corners=False
                    )
            total = total + x
        return self.predictor(total)


class DensePoseNet(RegionNet):
    """With a head for the body's surface, and for joints and masks beside it if wanted.

    :meth:`surface_maps` is what is answered, :meth:`stage_maps` what is learnt.

    Parameters
    ----------
    width : int
        Of the pyramid.
    dense_width, dense_layers : int
        Of the surface head's convolutions, and their number.
    coarse : int
        Kinds of pixel of the coarse segmentation: 2 for body or not, 15 for 14 masks and none.
    decoder : bool
        Whether the levels of the pyramid are merged for the surface head.
    joints : int
        Of the keypoint head; 0 for none.
    masks : bool
        Whether there is a head for the person's mask: one map, of the person.
    keypoint_width, mask_width : int
        Of the eight convolutions of the keypoint head, and of the four of the mask head.
    cascade : bool
        Whether a second stage of heads, ``roi_heads.refinement``, refines the first one's answers.
    arguments
        Of :class:`RegionNet`.
    """

    def __init__(
        self,
        width: int = 256,
        dense_width: int = 512,
        dense_layers: int = 8,
        coarse: int = 2,
        decoder: bool = True,
        joints: int = 0,
        masks: bool = False,
        keypoint_width: int = 512,
        mask_width: int = 256,
        cascade: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(width=width, **arguments)
        heads = self.roi_heads
        self.decoder, self.joints, self.cascade = decoder, joints, cascade
        if decoder:
            heads.decoder = Decoder(width)
        stages = [(heads, width)]
        if cascade:
            heads.refinement = nn.Module()
            first = coarse + 3 * (PARTS + 1) + joints + masks
            stages.append((heads.refinement, width + first))
        for stage, inputs in stages:
            add_surface_head(stage, inputs, dense_width, dense_layers, coarse)
            if joints:
                add_keypoint_head(stage, inputs, keypoint_width, joints)
            if masks:
                add_mask_head(stage, inputs, mask_width)
        self.initialise()
        for stage, _ in stages:
            for layer in stage.densepose_predictor.values():  # as the other answers: near 0
                nn.init.normal_(layer.weight, std=0.01)

    def surface_maps(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the last stage's maps of features (n, C, s, s) in boxes: (n, channels, 4 s, 4 s).

        ``coarse`` and ``fine`` are logits, of the coarse kinds and of background and 24 parts;
        ``u`` and ``v`` are numbers for each of these.
        """
        stage, x = self.roi_heads, pooled
        if self.cascade:
            stage, x = stage.refinement, combined(pooled, answers(stage, pooled))
        return grown(surface_answers(stage, x))

    def stage_maps(self, pooled: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """Return the maps of each stage: :meth:`surface_maps`, and those of the other tasks.

        ``joints`` (n, joints, 4 s, 4 s) and ``mask`` (n, 1, 2 s, 2 s) are logits.
        """
        heads = self.roi_heads
        stages = [answers(heads, pooled)]
        if self.cascade:
            stages.append(answers(heads.refinement, combined(pooled, stages[0])))
        return [grown(own) for own in stages]


def add_surface_head(heads: nn.Module, inputs: int, width: int, layers: int, coarse: int) -> None:
    """Add convolutions of a width and transposed ones for coarse kinds, parts, u and v."""
    heads.densepose_head = nn.ModuleDict(
        {
            f"body_conv_fcn{i}": nn.Conv2d(inputs if i == 1 else width, width, 3, padding=1)
            for i in range(1, layers + 1)
        }
    )
    outputs = OrderedDict(ann_index=coarse, index_uv=PARTS + 1, u=PARTS + 1, v=PARTS + 1)
    heads.densepose_predictor = nn.ModuleDict(
        {
            f"{name}_lowres": nn.ConvTranspose2d(width, channels, 4, 2, 1)
            for name, channels in outputs.items()
        }
    )


def add_mask_head(heads: nn.Module, inputs: int, width: int) -> None:
    """Add four convolutions of a width, a transposed one and the mask's logits (torchvision)."""
    heads.mask_head = nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(inputs if i == 0 else width, width, 3, padding=1), nn.ReLU())
            for i in range(4)
        )
    )
    heads.mask_predictor = nn.Sequential(
        OrderedDict(
            conv5_mask=nn.ConvTranspose2d(width, width, 2, 2),
            relu=nn.ReLU(),
            mask_fcn_logits=nn.Conv2d(width, 1, 1),
        )
    )


def surface_answers(heads: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return ``coarse``, ``fine``, ``u`` and ``v`` (n, channels, 2 s, 2 s) of features."""
    for conv in heads.densepose_head.values():
        x = torch.relu(conv(x))
    names = {"coarse": "ann_index", "fine": "index_uv", "u": "u", "v": "v"}
    return {name: heads.densepose_predictor[f"{key}_lowres"](x) for name, key in names.items()}


def answers(heads: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the maps (n, channels, 2 s, 2 s) of all heads of a stage, of features (n, C, s, s)."""
    found = surface_answers(heads, x)
    if hasattr(heads, "keypoint_head"):
        found["joints"] = keypoint_logits(heads, x)
    if hasattr(heads, "mask_head"):
        found["mask"] = heads.mask_predictor(heads.mask_head(x))
    return found


def combined(pooled: torch.Tensor, found: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return features (n, C, s, s) with a stage's answers (n, channels, 2 s, 2 s) beside them."""
    return torch.cat([pooled, *(functional.avg_pool2d(maps, 2) for maps in found.values())], dim=1)


def grown(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bring answers to twice their size; a mask stays what it is, as in Mask R-CNN."""
    return {
        name: maps
        if name == "mask"
        else functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
        for name, maps in found.items()
    }
