"""What the methods share that find 3D joints in the crop of a person.

The crop is 2 m wide at the true depth of the pelvis, around the middle of the person's box; places
are shares of the crop, -0.5 to 0.5 along x and y, and of its width along z from the pelvis. So the
answer is in image space (:mod:`methods.parts.camera`), and the depth of the pelvis makes
millimetres of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Card, Method, Prepared, Rows, Sample, SampleError, Skeleton
from methods.parts.camera import from_image_space, to_image_space
from methods.parts.crop import REGION_UNIT, Regions, crops, three_point_affine, to_image
from methods.parts.crop import transform as moved
from methods.parts.initialise import seeded
from methods.top_down.heatmap_pose import IMAGENET_MEAN, IMAGENET_STD

SPAN = 2000.0
"""Width of the crop in millimetres at the pelvis, and of the volume's depth; option ``span``."""


class ImagePose3D(Method):
    """Device rows are ``crops`` uint8 (n, H, W, 3) RGB; the output is ``places`` (n, K, 3).

    Networks of the integral family have one more joint than Human3.6M's 17: the middle of the
    shoulders, which is learned and not scored.
    """

    trainable = True
    scaling: ClassVar[float] = 0.25
    rotation: ClassVar[float] = 30.0
    colour: ClassVar[float] = 0.2

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        height, width = self.variant.input_size
        self.input_size = (width, height)
        joints = self.skeleton.joints
        self.shoulders = [joints.index("left_shoulder"), joints.index("right_shoulder")]
        self.pelvis = joints.index("pelvis")
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            options = dict(self.variant.options)
            self.span = float(options.pop("span", SPAN))
            self.network = self.build(len(joints) + 1, **options)

    @abstractmethod
    def build(self, joints: int, **options: Any) -> nn.Module:
        """Return the network on images (n, 3, H, W)."""

    @abstractmethod
    def places(self, answers: torch.Tensor) -> torch.Tensor:
        """Read places (n, K + 1, 3) out of the network's answers."""

    def translate_start(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Take SimpleBaseline's trunk, which looks at BGR, and its transposed convolutions."""
        own = {}
        for name, tensor in state.items():
            if name.startswith("deconv_layers."):
                own[name.replace("deconv_layers", "head.features")] = tensor
            else:
                own[f"backbone.{name}"] = tensor.flip(1) if name == "conv1.weight" else tensor
        return own

    def regions(self, sample: Sample) -> Regions:
        """Return the people's crops.

        Raises
        ------
        SampleError
            If the benchmark gives no box or no depth of the pelvis.
        """
        if sample.boxes is None or "root_depth" not in sample.inputs:
            raise SampleError(sample.id, "a box and the depth of the pelvis are needed")
        side = self.span * sample.inputs["camera"][0, 0] / sample.inputs["root_depth"] / REGION_UNIT
        centers = sample.boxes[:, :2] + sample.boxes[:, 2:] / 2
        return Regions(
            centers.astype(np.float32), np.repeat(side[:, None], 2, 1).astype(np.float32)
        )

    def prepare(self, sample: Sample) -> Prepared:
        regions = self.regions(sample)
        if not len(regions):
            return Prepared({"crops": np.empty((0, *self.input_size[::-1], 3), np.uint8)}, regions)
        image = cv2.cvtColor(sample.read_image(), cv2.COLOR_BGR2RGB)
        return Prepared({"crops": crops(np.asarray(image), regions, self.input_size)}, regions)

    def images(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn uint8 crops (n, H, W, 3) into normalised network input (n, 3, H, W)."""
        mean = torch.tensor(IMAGENET_MEAN, device=crops.device)
        std = torch.tensor(IMAGENET_STD, device=crops.device)
        images = ((crops.float() / 255 - mean) / std).permute(0, 3, 1, 2)
        return images.contiguous().to(next(self.network.parameters()).dtype)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return {"places": self.places(self.network(self.images(inputs["crops"]))).float()}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        places = outputs["places"][:, : len(self.skeleton)].astype(np.float64)
        regions: Regions = prepared.context
        pixels = to_image((places[..., :2] + 0.5) * self.input_size, regions, self.input_size)
        side = regions.sizes[:, :1].astype(np.float64) * REGION_UNIT
        there = np.concatenate([pixels, (places[..., 2] * side)[..., None]], axis=-1)
        given = sample.inputs
        return {"joints": from_image_space(there, given["camera"], given["root_depth"])}

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return augmented ``crops`` and ``places`` (n, K + 1, 3)."""
        image = np.asarray(cv2.cvtColor(sample.read_image(), cv2.COLOR_BGR2RGB))
        regions = self.regions(sample)
        there = to_image_space(
            truth["joints"], sample.inputs["camera"], sample.inputs["root_depth"]
        )
        there = np.concatenate(
            [there, there[:, self.shoulders].mean(axis=1, keepdims=True)], axis=1
        )
        views = [
            self.view(image, center, size[0] * REGION_UNIT, joints, random)
            for center, size, joints in zip(regions.centers, regions.sizes, there, strict=True)
        ]
        return {
            "crops": np.array([view for view, _ in views]),
            "places": np.array([places for _, places in views], np.float32),
        }

    def view(
        self, image: NDArray[np.uint8], center: NDArray[Any], side: float,
        joints: NDArray[np.float64], random: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:  # fmt: skip
        """Return one person's crop, scaled, turned, mirrored and recoloured, and its places."""
        width = self.input_size[0]
        side = side * random.uniform(1 - self.scaling, 1 + self.scaling)
        angle = random.uniform(-self.rotation, self.rotation)
        matrix = three_point_affine(center, side, self.input_size, angle)
        crop = cv2.warpAffine(image, matrix, self.input_size, flags=cv2.INTER_LINEAR)
        plane = moved(joints[:, :2], matrix) / self.input_size - 0.5
        places = np.concatenate([plane, joints[:, 2:] / side], axis=1)
        if random.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
            places[:, 0] = (width - 1) / width - 1 - places[:, 0]
            places = places[np.append(self.skeleton.flip_order, len(self.skeleton))]
        tint = random.uniform(1 - self.colour, 1 + self.colour, 3)
        return np.clip(crop * tint, 0, 255).astype(np.uint8), places
