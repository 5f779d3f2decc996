"""HMR: the parameters of a body model, corrected three times by one small network.

Kanazawa, Black, Jacobs, Malik: End-to-end Recovery of Human Shape and Pose, CVPR 2018. Facts from
the official code, akanazawa/hmr @ f149abe (TensorFlow), and for the variant with ResNet-v1 from
MandyMo/pytorch_HMR @ 7bf18d6, another network whose weights do not convert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.api import Card, Skeleton
from methods.mesh.picture_mesh import PictureMesh, View, project
from methods.parts.initialise import seeded
from methods.parts.resnet import RESNET_BLOCKS, BasicBlock, ResNet
from methods.parts.resnet_v2 import ResNetV2
from methods.parts.rotation import matrix_of_axis_angle

SCALE = 0.9
"""Of the weak-perspective camera at the start."""
JITTER, SCALES = 20 / 224, (0.8, 1.23)
"""Of training: shift of a crop in its sides, and scales of a person."""


class Regressor(nn.Module):
    """Features (n, F) to the parameters after each step (n, T, 3 + 3 J + B).

    Parameters are the camera's scale and shift, an axis-angle per joint, and the shape. The first
    ones are the mean of the training data, facing the camera.
    """

    def __init__(
        self, features: int, joints: int, shapes: int, width: int, steps: int, dropout: float
    ) -> None:
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
                self.fc_blocks.add_module(f"regressor_fc_dropout_{number}", nn.Dropout(dropout))
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
    width, steps, dropout : int, int, float
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
        dropout: float = 0.5,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        if blocks is not None:
            self.encoder: nn.Module = ResNet(blocks, BasicBlock, planes)
        else:
            self.encoder = ResNetV2() if encoder == "v2" else ResNet(RESNET_BLOCKS[50])
        self.regressor = Regressor(self.encoder.channels, joints, shapes, width, steps, dropout)

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


class HMR(PictureMesh):
    """The crop shows a person as high as 150 of 224 pixels, with its border repeated."""

    network: HMRNet
    grown = 224 / 150
    border = cv2.BORDER_REPLICATE

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            self.network = HMRNet(self.bones, self.shapes, **self.options)

    @property
    def encoder(self) -> nn.Module:
        return self.network.encoder

    def images(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn uint8 crops (n, H, W, 3) into network input (n, 3, H, W) in -1..1."""
        images = (crops.float() / 127.5 - 1).permute(0, 3, 1, 2)
        return images.contiguous().to(next(self.network.parameters()).dtype)

    def split(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return camera (n, 3), rotations (n, J, 3, 3) and shape (n, B) of parameters."""
        camera, pose = theta[:, :3], theta[:, 3 : 3 + 3 * self.bones]
        rotations = matrix_of_axis_angle(pose.unflatten(1, (self.bones, 3)))
        return camera, rotations, theta[:, 3 + 3 * self.bones :]

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        theta = self.network(self.images(inputs["crops"]))[:, -1].float()
        camera, rotations, shape = self.split(theta)
        vertices, joints = self.mesh(rotations, shape)
        return {"vertices": vertices, "joints": joints, "camera": camera}

    def view(self, random: np.random.Generator) -> View:
        """Up to 20 of 224 pixels aside, a scale of 0.8 to 1.23, a mirror for every second."""
        share = self.augmentation
        x, y = (share * random.uniform(-JITTER, JITTER, 2)).tolist()
        scale = float(random.uniform(*SCALES)) ** share
        return View(scale=1 / scale, mirrored=bool(random.random() < share / 2), shift=(x, y))

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return 60 times the L1 of visible keypoints plus 30 times the squared errors in space.

        Those are of the joints, and of rotations and shape together where they are known. The last
        step alone counts, as in the official code. The adversarial prior (:class:`Discriminator`)
        needs motion capture and is not part of this loss.
        """
        theta = self.network(self.images(rows["crops"]))[:, -1]
        camera, rotations, shape = self.split(theta)
        _, joints = self.mesh(rotations, shape)
        visible = rows["visible"][..., None]
        apart = visible * (project(joints, camera) - rows["keypoints"]).abs()
        loss = 60 * apart.sum() / (2 * visible.sum()).clamp(min=1)
        loss = loss + 30 * functional.mse_loss(joints - joints[:, :1], rows["joints"])
        if "rotations" in rows:
            found = torch.cat([rotations.flatten(1), shape], dim=1)
            known = torch.cat([rows["rotations"].flatten(1), rows["shape"]], dim=1)
            loss = loss + 30 * functional.mse_loss(found, known)
        return loss
