"""GraphCMR: a graph network moves the vertices of a template, a second one finds the body in them.

Kolotouros, Pavlakos, Daniilidis: Convolutional Mesh Regression for Single-Image Human Shape
Reconstruction, CVPR 2019. Facts from the official code, nkolot/GraphCMR @ b0ee54f.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harness.api import Card, Skeleton
from methods.mesh.coarse import CoarseMesh, coarsen, smpl_coarse
from methods.mesh.graph import GraphCMRNet
from methods.mesh.picture_mesh import PictureMesh, View, project
from methods.parts.initialise import seeded
from methods.top_down.heatmap_pose import IMAGENET_MEAN, IMAGENET_STD

ROTATION, SCALING, NOISE = 30.0, 0.25, 0.4
"""Of training: degrees, share of the region's size, and share of a colour."""
ROTATED = 0.4
"""Share of the training views that are turned at all."""


class GraphCMR(PictureMesh):
    """The crop is 1.2 times the box, black outside the picture.

    Options ``vertices``: of the coarse template (SMPL's has 1,723); ``answer``: ``graph`` for the
    graph's vertices, ``body`` for the mesh of the body model's parameters that are found in them;
    and arguments of :class:`methods.mesh.graph.GraphCMRNet`.
    """

    network: GraphCMRNet
    grown = 1.2
    border = cv2.BORDER_CONSTANT

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.answer = self.options.pop("answer", "graph")
        self.vertices = self.options.pop("vertices", 1723)
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            self.network = GraphCMRNet(self.vertices, self.bones, self.shapes, **self.options)

    @property
    def encoder(self) -> nn.Module:
        return self.network.graph_cnn.resnet

    @cached_property
    def coarse(self) -> CoarseMesh:
        """The template that the graph convolutions work on."""
        model = self.body[0]
        template = model.v_template.cpu().numpy()
        if self.body_name == "smpl":
            return smpl_coarse(template)
        return coarsen(template, model.faces, self.vertices)

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        """Images, and any graph: its product counts as one of dense matrices."""
        graph = torch.zeros(self.vertices, self.vertices), torch.zeros(self.vertices, 3)
        return (*super().example_inputs(rows), *graph)

    def images(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn uint8 crops (n, H, W, 3) into network input (n, 3, H, W), ImageNet's mean away."""
        mean, std = (torch.tensor(v, device=crops.device) for v in (IMAGENET_MEAN, IMAGENET_STD))
        images = ((crops.float() / 255 - mean) / std).permute(0, 3, 1, 2)
        return images.contiguous().to(next(self.network.parameters()).dtype)

    def run(self, crops: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return fine vertices (n, V, 3), camera (n, 3), rotations (n, J, 3, 3), shape (n, B)."""
        coarse = self.coarse.to(crops.device)
        found = self.network(self.images(crops), coarse.adjacency, coarse.template)
        vertices, *rest = (values.float() for values in found)
        return coarse.refine(vertices), *rest

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        vertices, camera, rotations, shape = self.run(inputs["crops"])
        if self.answer == "body":
            vertices, _ = self.mesh(rotations, shape)
        return {"vertices": vertices, "joints": self.joints_of(vertices), "camera": camera}

    def view(self, random: np.random.Generator) -> View:
        """Draw what the official code draws: turns, scales, colours, and a mirror every second."""
        share = self.augmentation
        angle = share * ROTATION * float(np.clip(random.normal(), -2, 2))
        scale = 1 + share * float(np.clip(random.normal(0, SCALING), -SCALING, SCALING))
        red, green, blue = (1 + share * random.uniform(-NOISE, NOISE, 3)).tolist()
        return View(
            scale=scale,
            angle=angle if random.random() < ROTATED else 0.0,
            mirrored=bool(random.random() < share / 2),
            gains=(red, green, blue),
        )

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum of the official losses, for the graph's mesh and for the body model's.

        Of both the mean L1 of the vertices and the mean squared errors of visible keypoints and of
        joints from the middle of the hips; of the parameters the squared error of the rotations,
        and a tenth of that of the shape. Without known parameters only keypoints and joints count.
        The true vertices are the body model's with the true parameters, as in the official code.
        """
        vertices, camera, rotations, shape = self.run(rows["crops"])
        body, _ = self.mesh(rotations, shape)
        loss = self._joint_loss(vertices, camera, rows)
        loss = loss + self._joint_loss(body, camera.detach(), rows)
        if "rotations" in rows:
            true, _ = self.mesh(rows["rotations"], rows["shape"])
            loss = loss + functional.l1_loss(vertices, true) + functional.l1_loss(body, true)
            loss = loss + functional.mse_loss(rotations, rows["rotations"])
            loss = loss + 0.1 * functional.mse_loss(shape, rows["shape"])
        return loss

    def _joint_loss(
        self, vertices: torch.Tensor, camera: torch.Tensor, rows: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        joints, visible = self.joints_of(vertices), rows["visible"][..., None]
        plane = visible * (project(joints, camera) - rows["keypoints"]) ** 2
        hips = [self.skeleton.joints.index(f"{side}_hip") for side in ("left", "right")]
        found, true = (p - p[:, hips].mean(dim=1, keepdim=True) for p in (joints, rows["joints"]))
        return plane.mean() + (visible * (found - true) ** 2).mean()
