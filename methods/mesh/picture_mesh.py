"""What methods that turn a picture of one person into a mesh share: crop, targets and answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Card, Method, Prepared, Rows, Sample, Skeleton
from harness.api.skeleton import H36M_17
from methods.mesh.body_model import BODIES, BodyModel
from methods.parts.crop import REGION_UNIT, Regions, three_point_affine, transform
from methods.parts.rotation import matrix_of_axis_angle

BODY_SIZES = {"smpl": (24, 10), "embedded": (19, 7)}
"""Joints and shapes of the body models."""


@dataclass(frozen=True)
class View:
    """How a training picture is looked at.

    Parameters
    ----------
    scale : float
        Factor on the region's size.
    angle : float
        Degrees by which the region is turned.
    mirrored : bool
    shift : (float, float)
        Of the region's centre, in region sizes.
    gains : (float, float, float)
        Factors on the colours.
    """

    scale: float = 1.0
    angle: float = 0.0
    mirrored: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)


def project(points: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Return points (n, K, 3) in the crop (n, K, 2), -1 to 1; camera (n, 3): s, tx, ty."""
    return camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])


class PictureMesh(Method):
    """A square crop around a person's box, and a body model that says what its mesh is.

    Device rows are ``crops`` uint8 (n, H, W, 3) RGB. Outputs are ``vertices`` (n, V, 3) and
    ``joints`` (n, 17, 3) in metres, model space in the camera's axes, and the weak-perspective
    ``camera`` (n, 3) of :func:`project`. Options ``body``: which body model, ``smpl`` or
    ``embedded``; ``augmentation``, the share of the official augmentation that training draws.
    """

    grown: ClassVar[float]
    """Side of the crop in longer sides of the box."""
    border: ClassVar[int]
    """How OpenCV fills what is outside the picture."""
    trainable = True
    options: dict[str, Any]
    """The variant's own, for the network."""

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.options = dict(self.variant.options)
        self.body_name = self.options.pop("body", "smpl")
        self.augmentation = float(self.options.pop("augmentation", 1.0))
        height, width = self.variant.input_size
        self.input_size = (width, height)
        self.bones, self.shapes = BODY_SIZES[self.body_name]

    @cached_property
    def body(self) -> tuple[BodyModel, torch.Tensor]:
        """The body model and its regressor of the skeleton's joints (17, V)."""
        arrays = BODIES[self.body_name]()
        rows = np.asarray(arrays["h36m_regressor"], np.float32)
        if self.body_name == "embedded":  # SMPL's regressor is in the skeleton's order
            rows = rows[[H36M_17.joints.index(joint) for joint in self.skeleton.joints]]
        return BodyModel(arrays), torch.from_numpy(rows)

    @cached_property
    def mirrored_bones(self) -> NDArray[np.int64]:
        """Which joint of the body model each of its joints (J,) becomes in a mirror."""
        model = self.body[0]
        rest = (model.J_regressor @ model.v_template).cpu().numpy()
        apart = np.linalg.norm(rest[:, None] * [-1, 1, 1] - rest, axis=-1)
        return np.asarray(apart.argmin(axis=1))

    def regions(self, sample: Sample) -> Regions:
        """Return the square regions around a sample's boxes."""
        boxes = np.asarray(sample.boxes, np.float64).reshape(-1, 4)
        side = boxes[:, 2:].max(axis=1, initial=1.0) * self.grown / REGION_UNIT
        centers = boxes[:, :2] + boxes[:, 2:] / 2
        return Regions(centers.astype(np.float32), np.repeat(side[:, None], 2, 1).astype("f4"))

    def cut(self, image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the crop (H, W, 3) that an affine matrix (2, 3) cuts out of a picture."""
        crop = cv2.warpAffine(image, matrix, self.input_size, flags=cv2.INTER_LINEAR,
                              borderMode=self.border)  # fmt: skip
        return np.asarray(crop, np.uint8)

    def prepare(self, sample: Sample) -> Prepared:
        regions = self.regions(sample)
        crops = np.empty((len(regions), *self.input_size[::-1], 3), np.uint8)
        if len(regions):
            image = _rgb(sample)
        for row, (center, size) in enumerate(zip(regions.centers, regions.sizes, strict=True)):
            matrix = three_point_affine(center, size[0] * REGION_UNIT, self.input_size)
            crops[row] = self.cut(image, matrix)
        return Prepared({"crops": crops}, regions)

    def mesh(
        self, rotations: torch.Tensor, shape: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vertices (n, V, 3) and the skeleton's joints (n, 17, 3) of parameters, metres."""
        vertices, _ = self.body[0].to(rotations.device)(rotations, shape)
        return vertices, self.joints_of(vertices)

    def joints_of(self, vertices: torch.Tensor) -> torch.Tensor:
        """Return the skeleton's joints (n, 17, 3) of vertices (n, V, 3)."""
        regressor = self.body[1].to(vertices.device)
        return torch.einsum("kv,nvc->nkc", regressor, vertices)

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        """Turn metres into millimetres, and the crop's camera into the picture's."""
        found = {name: values.astype(np.float64) for name, values in outputs.items()}
        regions: Regions = prepared.context
        scale, shift = found["camera"][:, :1], found["camera"][:, 1:]
        pixels = scale * regions.sizes[:, :1].astype(np.float64) * REGION_UNIT / 2  # of a metre
        shift = shift + regions.centers / pixels
        return {
            "vertices": 1000.0 * found["vertices"],
            "joints": 1000.0 * found["joints"],
            "camera": np.concatenate([pixels / 1000.0, 1000.0 * shift], axis=1),
        }

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The part of the network that looks at the picture."""

    def translate_start(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Take another network's trunk as the encoder."""
        (own,) = (name for name, part in self.network.named_modules() if part is self.encoder)
        return {f"{own}.{name}": tensor for name, tensor in state.items()}

    @abstractmethod
    def view(self, random: np.random.Generator) -> View:
        """Draw the augmentation of one training picture."""

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return ``crops`` and their targets.

        ``keypoints`` (n, 17, 2) in -1..1 of the crop, ``visible`` (n, 17), ``joints`` (n, 17, 3)
        from the pelvis in metres, and where the truth has a body's parameters its ``rotations``
        (n, J, 3, 3) and ``shape`` (n, B).
        """
        regions, image = self.regions(sample), _rgb(sample)
        people = [
            self._target(image, regions, row, {k: v[row] for k, v in truth.items()},
                         self.view(random))
            for row in range(len(regions))
        ]  # fmt: skip
        return {name: np.stack([person[name] for person in people]) for name in people[0]}

    def _target(
        self, image: NDArray[np.uint8], regions: Regions, row: int,
        truth: Mapping[str, NDArray[Any]], view: View,
    ) -> dict[str, NDArray[Any]]:  # fmt: skip
        """Return one person's crop and targets as a view shows them."""
        pelvis = self.skeleton.joints.index("pelvis")
        center, width = regions.centers[row].astype(np.float64), regions.sizes[row, 0] * REGION_UNIT
        keypoints, joints = truth["keypoints"], truth["joints"] - truth["joints"][pelvis]
        visible = truth["visible"]
        if view.mirrored:
            image, last = image[:, ::-1], image.shape[1] - 1
            center = np.array([last - center[0], center[1]])
            order = self.skeleton.flip_order
            keypoints = np.stack([last - keypoints[:, 0], keypoints[:, 1]], axis=1)[order]
            joints, visible = (joints * [-1, 1, 1])[order], visible[order]
        matrix = three_point_affine(center + width * np.array(view.shift), width * view.scale,
                                    self.input_size, view.angle)  # fmt: skip
        turn = np.eye(3)  # what the crop does to the picture's plane, in space
        turn[:2, :2] = matrix[:, :2] / np.sqrt(np.linalg.det(matrix[:, :2]))
        crop = self.cut(np.ascontiguousarray(image), matrix)
        half = np.array(self.input_size) / 2
        return {
            "crops": np.clip(crop * np.array(view.gains), 0, 255).astype(np.uint8),
            "keypoints": (transform(keypoints, matrix) / half - 1).astype(np.float32),
            "visible": visible.astype(np.float32),
            "joints": (joints @ turn.T / 1000.0).astype(np.float32),
            **(self._parameters(truth, view.mirrored, turn) if "pose" in truth else {}),
        }

    def _parameters(
        self, truth: Mapping[str, NDArray[Any]], mirrored: bool, turn: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        rotations = matrix_of_axis_angle(torch.from_numpy(truth["pose"])).numpy()
        if mirrored:
            mirror = np.diag([-1.0, 1.0, 1.0])
            rotations = mirror @ rotations[self.mirrored_bones] @ mirror
        rotations = np.concatenate([turn @ rotations[:1], rotations[1:]])
        shape = truth["shape"].astype(np.float32)
        return {"rotations": rotations.astype(np.float32), "shape": shape}


def _rgb(sample: Sample) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(sample.read_image(), cv2.COLOR_BGR2RGB), np.uint8)
