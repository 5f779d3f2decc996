"""The network of DensePose-RCNN: Mask R-CNN's trunk with a head for the body's surface.

Key names are those of detectron2's DensePose project, the trunk's torchvision's. Facts from that
project: ``DensePoseV1ConvXHead``, ``DensePoseChartPredictor`` and ``Decoder``.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from methods.detection.keypoint_rcnn_net import RegionNet

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
    """With a head for the body's surface, :meth:`surface_maps`.

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
        **arguments: Any,
    ) -> None:
        super().__init__(width=width, **arguments)
        heads = self.roi_heads
        self.decoder = decoder
        if decoder:
            heads.decoder = Decoder(width)
        heads.densepose_head = nn.ModuleDict(
            {
                f"body_conv_fcn{i}": nn.Conv2d(
                    width if i == 1 else dense_width, dense_width, 3, padding=1
                )
                for i in range(1, dense_layers + 1)
            }
        )
        outputs = OrderedDict(ann_index=coarse, index_uv=PARTS + 1, u=PARTS + 1, v=PARTS + 1)
        heads.densepose_predictor = nn.ModuleDict(
            {
                f"{name}_lowres": nn.ConvTranspose2d(dense_width, channels, 4, 2, 1)
                for name, channels in outputs.items()
            }
        )
        self.initialise()
        for layer in heads.densepose_predictor.values():  # as the other answers: near 0
            nn.init.normal_(layer.weight, std=0.01)

    def surface_maps(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return maps of features (n, C, s, s) in boxes, each (n, channels, 4 s, 4 s).

        ``coarse`` and ``fine`` are logits, of the coarse kinds and of background and 24 parts;
        ``u`` and ``v`` are numbers for each of these.
        """
        heads = self.roi_heads
        x = pooled
        for conv in heads.densepose_head.values():
            x = torch.relu(conv(x))
        names = {"coarse": "ann_index", "fine": "index_uv", "u": "u", "v": "v"}
        return {
            name: functional.interpolate(
                heads.densepose_predictor[f"{key}_lowres"](x),
                scale_factor=2,
                mode="bilinear",
                align_corners=False,
            )
            for name, key in names.items()
        }
