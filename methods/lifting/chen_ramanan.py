"""Exemplar matching: the nearest known 2D pose lends its depths.

Chen, Ramanan: 3D Human Pose Estimation = 2D Pose Estimation + Matching, CVPR 2017. Facts from the
official demo, flyawaychase/3DHumanPose @ ef2d085 (Matlab).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import nn

from harness.api import Card, Sample, Skeleton
from methods.lifting.lifter import Lifter, Truth

# The 14 that are matched, in the order of the library's vectors.
MATCHED = (
    "head", "thorax", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
    "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee",
    "left_ankle",
)  # fmt: skip
_HIPS = (MATCHED.index("right_hip"), MATCHED.index("left_hip"))

Floats = NDArray[np.float64]


def normalised(poses: Floats) -> Floats:
    """Return 2D poses (n, 14, 2) as vectors (n, 28): from between the hips, in vertical extents."""
    away = poses - poses[:, _HIPS].mean(axis=1, keepdims=True)
    return np.asarray((away / extent(poses)[:, None, None]).reshape(len(poses), 2 * len(MATCHED)))


def extent(poses: Floats) -> Floats:
    """Return the vertical extents (n,) of poses (n, 14, D)."""
    return np.asarray(np.ptp(poses[..., 1], axis=1))


def rigid_error(exemplars: Floats, pose: Floats) -> Floats:
    """Return how far exemplars (k, 14, 3), rotated and moved, stay from a 2D pose (14, 2).

    The rotation is fitted to the pose with each exemplar's own depths, without scale and
    reflection; the distance is measured in x and y alone.
    """
    targets = np.concatenate(
        [np.broadcast_to(pose, (len(exemplars), *pose.shape)), exemplars[..., 2:]], axis=-1
    )
    away, there = (p - p.mean(axis=1, keepdims=True) for p in (exemplars, targets))
    left, _, right = np.linalg.svd(away.transpose(0, 2, 1) @ there)
    left[np.linalg.det(left @ right) < 0, :, 2] *= -1
    moved = away @ (left @ right)
    return np.asarray(np.linalg.norm((moved - there)[..., :2], axis=-1).mean(axis=1))


class Library(nn.Module):
    """Known poses: index (n,) to joints (n, 17, 3), millimetres from between the hips.

    Parameters
    ----------
    exemplars : int
    joints : int
    """

    def __init__(self, exemplars: int, joints: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(exemplars, 2 * len(MATCHED)))
        self.register_buffer("joints", torch.zeros(exemplars, joints, 3))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.joints[index]


class ChenRamanan(Lifter):
    """The answer has the exemplar's depths, and x and y of the 2D joints ("warping").

    Options: ``exemplars`` in the library, ``warp`` (False: the exemplar itself is the answer),
    ``neighbours`` (more than one: the one that fits best after a rotation is taken) and
    ``hip_shift`` (pixels by which the author's demo moves MPII's hips up).
    """

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        self.neighbours = int(self.options.get("neighbours", 1))
        self.warp = bool(self.options.get("warp", True))
        self.hip_shift = float(self.options.get("hip_shift", 0))
        self.matched = [self.skeleton.joints.index(joint) for joint in MATCHED]
        self.network = Library(int(self.options["exemplars"]), len(self.skeleton))

    @cached_property
    def tree(self) -> KDTree:
        """The library's search tree."""
        return KDTree(self.network.vectors.double().cpu().numpy())

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        keypoints = inputs["keypoints"].double().cpu().numpy().copy()
        hips = [self.matched[hip] for hip in _HIPS]
        keypoints[:, hips, 1] -= self.hip_shift
        pose = keypoints[:, self.matched]
        index = self.search(pose)
        device = inputs["keypoints"].device
        exemplars = self.network(torch.from_numpy(index).to(device))
        if not self.warp:
            return {"joints": exemplars.float()}
        # Millimetres per pixel: the exemplar is as high as the person.
        known = exemplars.double().cpu().numpy()
        scale = (extent(known[:, self.matched]) / extent(pose))[:, None, None]
        plane = (keypoints - pose[:, _HIPS].mean(axis=1, keepdims=True)) * scale
        joints = np.concatenate([plane, known[..., 2:]], axis=-1)
        return {"joints": torch.from_numpy(joints).float().to(device)}

    def search(self, poses: Floats) -> NDArray[np.int64]:
        """Return the exemplar (n,) of each 2D pose (n, 14, 2)."""
        _, index = self.tree.query(normalised(poses), k=range(1, self.neighbours + 1))
        if self.neighbours == 1:
            return np.asarray(index[:, 0], np.int64)
        joints = self.network.joints.double().cpu().numpy()[:, self.matched]
        best = []
        for pose, candidates in zip(poses, index, strict=True):
            scale = extent(joints[candidates]) / extent(pose[None])
            errors = [
                rigid_error(joints[[c]], pose * s)[0]
                for c, s in zip(candidates, scale, strict=True)
            ]
            best.append(candidates[int(np.argmin(errors))])
        return np.array(best, np.int64).reshape(-1)

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(rows, dtype=torch.int64),)

    def fit(self, samples: Sequence[tuple[Sample, Truth]]) -> None:
        """Fill the library with training poses, evenly spread over the data."""
        chosen = np.linspace(0, len(samples) - 1, len(self.network.vectors)).round().astype(int)
        rows = self.stacked([samples[i] for i in chosen.tolist()])
        vectors = normalised(rows["keypoints"][:, self.matched].astype(np.float64))
        hips = [self.matched[hip] for hip in _HIPS]
        joints = rows["joints"] - rows["joints"][:, hips].mean(axis=1, keepdims=True)
        self.network.vectors.copy_(torch.from_numpy(vectors))
        self.network.joints.copy_(torch.from_numpy(joints))
        self.__dict__.pop("tree", None)
