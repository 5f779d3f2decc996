"""SMPLR: a volumetric hourglass finds joints and landmarks, and networks the body that has them.

Madadi, Bertiche, Escalera: SMPLR: Deep learning based SMPL reverse for 3D human pose and shape
recovery, Pattern Recognition 2020. Facts from the official code, meysam-madadi/SMPLR @ 2851e57
(TensorFlow, for non-commercial use: read, nothing taken). It has no file for Human3.6M, and the
tree of its points lies beside SMPL's files; what was chosen for them is said where it stands.
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
from methods.mesh.landmarks import LIMBS, PointTree, point_tree
from methods.mesh.picture_mesh import PictureMesh, View
from methods.mesh.smplr_net import SMPLRNet
from methods.parts.initialise import seeded
from methods.parts.procrustes import procrustes
from methods.parts.rotation import matrix_of_axis_angle
from methods.parts.volume import gaussian_volumes, segment_volumes

PEAK = (2 * np.pi) ** -1.5
"""Of the targets: the density of a normal distribution of deviation 1 voxel."""
NOISE = 0.05
"""Metres by which the coordinates of training points are off at most, evenly distributed."""
COPIES = 4
"""Turned bodies without pictures for each picture."""
ANGLE, SCALING, SHIFT, GAIN = 5.0, 0.05, 0.03, 0.1
"""Of training: degrees, share of the crop's side, and share of a colour."""


class SMPLR(PictureMesh):
    """The crop's side is 2.5 m for a person of 1.75 m, as high as the box.

    Options ``answer``: ``body`` for the mesh of the parameters that were found, ``procrustes`` for
    that mesh moved, turned and scaled to the points of the hourglass (the paper's "ALL" and
    "ALL_Proc"); and arguments of :class:`methods.mesh.smplr_net.SMPLRNet`.

    The official crop is 2.5 m wide around the root joint, for which its depth must be known. Boxes
    are what is known here: the volume is the crop, the root is found from the points that hang on
    it, and all bones together are as long as the body's at rest. SMPL's eleventh number, the score
    of the gender, is answered and unused: there is one body for all.
    """

    network: SMPLRNet
    grown = 2.5 / 1.75
    border = cv2.BORDER_CONSTANT

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.answer = self.options.pop("answer", "body")
        numbers = self.shapes + (self.body_name == "smpl")
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            self.network = SMPLRNet(self.bones, numbers, **self.options)

    @property
    def encoder(self) -> nn.Module:
        return self.network.hourglass

    @cached_property
    def tree(self) -> PointTree:
        """The points of the body model."""
        return point_tree(self.body[0], self.body_name)

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        """Images, and any tree of points."""
        points = self.network.points
        tree = torch.zeros(points, dtype=torch.long), torch.ones(points), torch.ones(points)
        return (*super().example_inputs(rows), *tree)

    def images(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn uint8 crops (n, H, W, 3) into network input (n, 3, H, W).

        Each image has mean 0 and deviation 1, or what TensorFlow allows at least: one over the
        root of its count of numbers.
        """
        images = crops.float().permute(0, 3, 1, 2).contiguous()
        images = images - images.mean(dim=(1, 2, 3), keepdim=True)
        deviation = images.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        images = images / deviation.clamp(min=crops.shape[1:].numel() ** -0.5)
        return images.to(next(self.network.parameters()).dtype)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        tree = self.tree.to(inputs["crops"].device)
        found = self.network(self.images(inputs["crops"]), tree.parents, tree.lengths, tree.root)
        camera, points, rotations, shape = (values.float() for values in found)
        shape = shape[:, : self.shapes]
        vertices, joints = self.body[0].to(camera.device)(rotations, shape)
        root = joints[:, :1]
        if self.answer == "procrustes":
            move = procrustes(tree.points(rotations, shape), points)
            vertices = move(vertices - root) + root
        shift = camera[:, 1:] / camera[:, :1] - root[:, 0, :2]
        return {
            "vertices": vertices,
            "joints": self.joints_of(vertices),
            "camera": torch.cat([camera[:, :1], shift], dim=1),
        }

    def view(self, random: np.random.Generator) -> View:
        """Draw a turn, scale, shift and colours, and a mirror for every second."""
        x, y = random.uniform(-SHIFT, SHIFT, 2).tolist()
        red, green, blue = random.uniform(1 - GAIN, 1 + GAIN, 3).tolist()
        return View(
            scale=float(random.uniform(1 - SCALING, 1 + SCALING)),
            angle=float(random.uniform(-ANGLE, ANGLE)),
            mirrored=bool(random.random() < 0.5),
            shift=(x, y),
            gains=(red, green, blue),
        )

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the losses of the hourglass and of the networks behind it.

        Of each stack of the hourglass the mean cross entropy of the voxels, and the mean L1 of the
        places that its volumes give, in shares of their sides. Of the others the mean L1 of the
        denoised points, of the rotations' numbers, of the shape, and of the joints and landmarks
        that these give the body. They learn from the points that the hourglass finds, and from
        true points, off by noise, of bodies turned about the vertical, which need no picture.
        None of it reaches back into the part before. Without known parameters, which all of this
        needs, the joints of the mesh alone count.

        The official code trains the parts one after the other, without the L1 of the places.
        """
        tree = self.tree.to(rows["crops"].device)
        volumes = self.network.hourglass(self.images(rows["crops"]))
        found = [self.network.places(stack) for stack in volumes]
        _, points = self.network.measure(found[-1], tree.parents, tree.lengths, tree.root)
        if "rotations" not in rows:
            denoised = self.network.denoiser(points)
            rotations, shape = self.network.reverse(denoised, tree.parents, tree.lengths)
            _, joints = self.mesh(rotations, shape[:, : self.shapes])
            return functional.l1_loss(joints - joints[:, :1], rows["joints"])
        places = self.true_places(rows) / 2
        targets = self.volumes(places, tuple(volumes[0].shape[2:]))
        loss = places.new_zeros(())
        for stack, answer in zip(volumes, found, strict=True):
            # Binary cross entropy with logits in few passes over all voxels.
            match = torch.dot(targets.flatten(), stack.flatten()) / stack.numel()
            loss = loss + functional.softplus(stack).mean() - match
            loss = loss + functional.l1_loss(answer / 2, places)
        return loss + self.reverse_loss(points.detach(), rows["rotations"], rows["shape"])

    def volumes(self, places: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
        """Draw what volumes should show of places (n, P, 3) of -0.5 .. 0.5.

        A point is the density of a normal distribution, and so is the distance to a limb's nearest
        bone. The official code draws limbs as the softmax of ``1 / (1 + distance^2)``.
        """
        limbs = []
        for limb in LIMBS[self.body_name]:
            ends = torch.tensor(limb, device=places.device) - 1
            starts = self.tree.to(places.device).parents[ends] - 1
            bones = segment_volumes(places[:, starts], places[:, ends], size, 1.0)
            limbs.append(bones.amax(dim=1))
        points = gaussian_volumes(places, size, 1.0)
        return torch.cat([points, torch.stack(limbs, dim=1)], dim=1).mul_(PEAK)

    def true_places(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return where the true points (n, P, 3) are in the volume, -1..1.

        Scale and shift are those that bring the true joints closest to the keypoints.
        """
        rotations, shape = rows["rotations"], rows["shape"]
        vertices, joints = self.body[0].to(rotations.device)(rotations, shape)
        there, seen = (self.joints_of(vertices) - joints[:, :1])[..., :2], rows["keypoints"]
        share = (rows["visible"] / rows["visible"].sum(dim=1, keepdim=True).clamp(min=1))[..., None]
        middle, aim = ((share * p).sum(dim=1, keepdim=True) for p in (there, seen))
        there = there - middle
        scale = (share * there * seen).sum(dim=(1, 2)) / (share * there**2).sum(dim=(1, 2))
        scale = scale[:, None, None]
        places = scale * self.tree.to(rotations.device).points(rotations, shape)
        return torch.cat([places[..., :2] + aim - scale * middle, places[..., 2:]], dim=-1)

    def reverse_loss(
        self, points: torch.Tensor, rotations: torch.Tensor, shape: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of all that comes behind found points (n, P, 3) of known bodies."""
        tree = self.tree.to(points.device)
        turned, shape = rotations.repeat(1 + COPIES, 1, 1, 1), shape.repeat(1 + COPIES, 1)
        vectors = torch.zeros(COPIES * len(points), 3, device=points.device)
        vectors[:, 1] = 2 * np.pi * torch.rand(len(vectors), device=points.device)
        turns = matrix_of_axis_angle(vectors)
        turned[len(points) :, 0] = turns @ turned[len(points) :, 0]
        true = tree.points(turned, shape)
        copies = true[len(points) :]
        noisy = copies + NOISE * (2 * torch.rand_like(copies) - 1)
        denoised = self.network.denoiser(torch.cat([points, noisy]))
        found, sizes = self.network.reverse(denoised.detach(), tree.parents, tree.lengths)
        sizes = sizes[:, : self.shapes]
        again, joints = tree.points(found, sizes), self.bones - 1
        pairs = (
            (denoised, true), (found, turned), (sizes, shape),
            (again[:, :joints], true[:, :joints]), (again[:, joints:], true[:, joints:]),
        )  # fmt: skip
        return torch.stack([functional.l1_loss(*pair) for pair in pairs]).sum()
