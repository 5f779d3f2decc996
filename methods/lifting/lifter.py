"""What the lifting methods share: 2D joints of a person in, 3D joints out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.api import Card, Method, Prepared, Rows, Sample, SampleError, Skeleton
from methods.parts.camera import from_image_space, to_image_space

Truth = Mapping[str, NDArray[Any]]


class Lifter(Method):
    """A method that never sees the image.

    Device rows are ``keypoints`` (n, 17, 2) in pixels and ``frame`` (n, 2), width and height of
    the image; the output is ``joints`` (n, 17, 3) in one of two coordinate systems:

    - ``camera``: millimetres from the pelvis, in the camera's frame;
    - ``pixel``: image space (:mod:`methods.parts.camera`), turned into the camera's frame with the
      true depth of the pelvis, which the benchmark gives.
    """

    trainable = True

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.options = dict(self.variant.options)
        self.coordinates: Literal["camera", "pixel"] = self.options.pop("coordinates", "camera")
        self.pelvis = self.skeleton.joints.index("pelvis")

    def prepare(self, sample: Sample) -> Prepared:
        return Prepared(self.network_rows(sample))

    def network_rows(self, sample: Sample) -> dict[str, NDArray[np.float32]]:
        """Return ``keypoints`` and ``frame`` of the sample's people.

        Raises
        ------
        SampleError
            If the benchmark gives no 2D joints.
        """
        if "keypoints_2d" not in sample.inputs:
            raise SampleError(sample.id, "lifting needs 2D joints, which these files do not hold")
        keypoints = sample.inputs["keypoints_2d"].astype(np.float32)
        frame = np.asarray(sample.inputs["image_size"], np.float32)
        return {"keypoints": keypoints, "frame": np.tile(frame, (len(keypoints), 1))}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        joints = outputs["joints"].astype(np.float64)
        if self.coordinates == "camera":
            return {"joints": joints}
        given = sample.inputs
        return {"joints": from_image_space(joints, given["camera"], given["root_depth"])}

    def wanted(self, sample: Sample, joints: NDArray[Any]) -> NDArray[np.float32]:
        """Turn true joints (n, 17, 3) in millimetres into the ``joints`` that are wanted."""
        if self.coordinates == "camera":
            return np.asarray(joints - joints[:, [self.pelvis]], np.float32)
        given = sample.inputs
        placed = to_image_space(joints, given["camera"], given["root_depth"])
        return placed.astype(np.float32)

    def training_rows(
        self, sample: Sample, truth: Truth, random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return the network's rows and ``joints`` (n, 17, 3), as the output shall be."""
        return {**self.network_rows(sample), "joints": self.wanted(sample, truth["joints"])}

    def stacked(self, samples: Sequence[tuple[Sample, Truth]]) -> dict[str, NDArray[np.float32]]:
        """Return the training rows of all samples, joined."""
        random = np.random.default_rng(0)
        rows = [self.training_rows(sample, truth, random) for sample, truth in samples]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
