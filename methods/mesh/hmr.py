"""HMR: the parameters of a body model, corrected three times by one small network.

Kanazawa, Black, Jacobs, Malik: End-to-end Recovery of Human Shape and Pose, CVPR 2018. Facts from
the official code, akanazawa/hmr @ f149abe (TensorFlow), and for the variant with ResNet-v1 from
MandyMo/pytorch_HMR @ 7bf18d6, another network whose weights do not convert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Card, Method, Prepared, Rows, Sample, Skeleton
from harness.api.skeleton import H36M_17
from methods.mesh.body_model import BODIES, BodyModel
from methods.parts.crop import REGION_UNIT, Regions, three_point_affine
from methods.parts.initialise import seeded
from methods.parts.resnet import RESNET_BLOCKS, BasicBlock, ResNet
from methods.parts.resnet_v2 import ResNetV2
from methods.parts.rotation import matrix_of_axis_angle

PERSON = 150 / 224
"""Share of the crop's height that a person fills."""

BODY_SIZES = {"smpl": (24, 10), "embedded": (19, 7)}
"""Joints and shapes of the body models."""

SCALE = 0.9
"""Of the weak-perspective camera at the start."""


class Regressor(nn.Module):
    """Features (n, F) to the parameters after each step (n, T, 3 + 3 J + B).

    Parameters are the camera's scale and shift, an axis-angle per joint, and the shape. The first
    ones are the mean of the training data, facing the camera.
    """

    def __init__(self, features: int, joints: int, shapes: int, width: int, steps: int) -> None:
        super().__init__()
        count = 3 + 3 * joints + shapes
        self.steps = steps
        self.fc_blocks = nn.Sequential()
        for number, (inputs, outputs) in enumerate(
            ((features + count, width), (width, width), (width, count))
        ):
            self.fc_blocks.add_module(f"regressor_fc_{number}", nn.Linear(inputs, outputs))
            if number < 2:
                self.fc_blocks.add_module(f"regressor_af_{number}", nn.ReLU())
                self.fc_blocks.add_module(f"regressor_fc_dropout_{number}", nn.Dropout(0.5))
        nn.init.xavier_uniform_(self.fc_blocks[-1].weight, gain=0.01)
        start = torch.zeros(count)
        start[0], start[3] = SCALE, np.pi  # y of the body up, of the image down
        self.register_buffer("mean_theta", start)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        theta = self.mean_theta.expand(len(features), -1)
        steps = []
        for _ in range(self.steps):
            theta = theta + self.fc_blocks(torch.cat([features, theta], dim=1))
            steps.append(theta)
        return torch.stack(steps, dim=1)


class HMRNet(nn.Module):
    """Images (n, 3, H, W) in -1..1 to the parameters after each step.

    Parameters
    ----------
    joints, shapes : int
        Of the body model.
    encoder : str
        ``v1`` or ``v2``: a residual network of 50 layers.
    width, steps : int
        Of the regressor.
    blocks, planes : sequence of int, optional
        A thin encoder of basic blocks.
    """

    def __init__(
        self,
        joints: int,
        shapes: int,
        encoder: str = "v1",
        width: int = 1024,
        steps: int = 3,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        if blocks is not None:
            self.encoder: nn.Module = ResNet(blocks, BasicBlock, planes)
        else:
            self.encoder = ResNetV2() if encoder == "v2" else ResNet(RESNET_BLOCKS[50])
        self.regressor = Regressor(self.encoder.channels, joints, shapes, width, steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.regressor(self.encoder(x).mean(dim=(2, 3)))


class Discriminator(nn.Module):
    """The adversarial prior: rotations (n, 23, 3, 3) and shapes (n, 10) to 25 scores.

    One score per joint, one for the shape, one for the whole pose; least-squares GAN.
    """

    def __init__(self, joints: int = 23, shapes: int = 10) -> None:
        super().__init__()
        self.pose = nn.Sequential(nn.Conv2d(9, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU())
        self.each = nn.ModuleList(nn.Linear(32, 1) for _ in range(joints))
        self.shape = nn.Sequential(
            nn.Linear(shapes, 10), nn.ReLU(), nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 1)
        )
        self.all = nn.Sequential(
            nn.Linear(32 * joints, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(),
            nn.Linear(1024, 1),
        )  # fmt: skip

    def forward(self, rotations: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        features = self.pose(rotations.flatten(2).transpose(1, 2)[..., None])[..., 0]
        each = [score(features[..., joint]) for joint, score in enumerate(self.each)]
        return torch.cat([*each, self.shape(shape), self.all(features.flatten(1))], dim=1)


def project(points: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Return points (n, K, 3) in the crop (n, K, 2), -1 to 1; camera (n, 3): s, tx, ty."""
    return camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])


class HMR(Method):
    """Device rows are ``crops`` uint8 (n, H, W, 3) RGB.

    Outputs are ``vertices`` (n, V, 3) and ``joints`` (n, 17, 3) in metres, the camera's frame, and
    ``camera`` (n, 3). Option ``body``: which body model, ``smpl`` or ``embedded``.
    """

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        options = dict(self.variant.options)
        self.body_name = options.pop("body", "smpl")
        height, width = self.variant.input_size
        self.input_size = (width, height)
        self.order = [H36M_17.joints.index(joint) for joint in self.skeleton.joints]
        self.bones, shapes = BODY_SIZES[self.body_name]
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            self.network = HMRNet(self.bones, shapes, **options)

    @cached_property
    def body(self) -> tuple[BodyModel, torch.Tensor]:
        """The body model and its regressor of the skeleton's joints (17, V)."""
        arrays = BODIES[self.body_name]()
        rows = np.asarray(arrays["h36m_regressor"], np.float32)
        if self.body_name == "embedded":  # SMPL's regressor is in the skeleton's order
            rows = rows[self.order]
        return BodyModel(arrays), torch.from_numpy(rows)

    def prepare(self, sample: Sample) -> Prepared:
        boxes = np.asarray(sample.boxes, np.float64).reshape(-1, 4)
        side = boxes[:, 2:].max(axis=1, initial=1.0) / PERSON / REGION_UNIT
        centers = boxes[:, :2] + boxes[:, 2:] / 2
        regions = Regions(centers.astype(np.float32), np.repeat(side[:, None], 2, 1).astype("f4"))
        crops = np.empty((len(boxes), *self.input_size[::-1], 3), np.uint8)
        if len(boxes):
            image = cv2.cvtColor(sample.read_image(), cv2.COLOR_BGR2RGB)
        for row, center in enumerate(regions.centers):
            width = regions.sizes[row, 0] * REGION_UNIT
            matrix = three_point_affine(center, width, self.input_size)
            crops[row] = cv2.warpAffine(image, matrix, self.input_size, flags=cv2.INTER_LINEAR,
                                        borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        return Prepared({"crops": crops}, regions)

    def images(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn uint8 crops (n, H, W, 3) into network input (n, 3, H, W) in -1..1."""
        images = (crops.float() / 127.5 - 1).permute(0, 3, 1, 2)
        return images.contiguous().to(next(self.network.parameters()).dtype)

    def split(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return camera (n, 3), rotations (n, J, 3, 3) and shape (n, B) of parameters."""
        camera, pose = theta[:, :3], theta[:, 3 : 3 + 3 * self.bones]
        rotations = matrix_of_axis_angle(pose.unflatten(1, (self.bones, 3)))
        return camera, rotations, theta[:, 3 + 3 * self.bones :]

    def mesh(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vertices (n, V, 3) and the skeleton's joints (n, 17, 3) of parameters, metres."""
        model, regressor = self.body
        _, rotations, shape = self.split(theta)
        vertices, _ = model.to(theta.device)(rotations, shape)
        return vertices, torch.einsum("kv,nvc->nkc", regressor.to(theta.device), vertices)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        theta = self.network(self.images(inputs["crops"]))[:, -1].float()
        vertices, joints = self.mesh(theta)
        return {"vertices": vertices, "joints": joints, "camera": theta[:, :3]}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        found = {name: values.astype(np.float64) for name, values in outputs.items()}
        return {
            "vertices": 1000.0 * found["vertices"],
            "joints": 1000.0 * found["joints"],
            "camera": found["camera"],
        }

    trainable = True

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return ``crops``, ``keypoints`` (n, 17, 2) in -1..1 of the crop and ``joints`` (m)."""
        prepared = self.prepare(sample)
        regions: Regions = prepared.context
        width = regions.sizes[:, :1].astype(np.float64) * REGION_UNIT
        keypoints = (truth["keypoints"] - regions.centers[:, None]) / (width[:, None] / 2)
        joints = (truth["joints"] - truth["joints"][:, :1]) / 1000.0
        return {
            **prepared.rows,
            "keypoints": keypoints[:, self.order].astype(np.float32),
            "joints": joints[:, self.order].astype(np.float32),
        }

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return 60 times the L1 of the keypoints plus 30 times the squared error of the joints.

        Of the last step alone, as in the official code. The adversarial prior
        (:class:`Discriminator`) needs motion capture and is not part of this loss.
        """
        theta = self.network(self.images(rows["crops"]))[:, -1]
        _, joints = self.mesh(theta)
        plane = functional.l1_loss(project(joints, theta[:, :3]), rows["keypoints"])
        away = joints - joints[:, :1]
        return 60 * plane + 30 * functional.mse_loss(away, rows["joints"])
