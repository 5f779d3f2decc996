"""Training augmentation of the top-down methods: half bodies, scale, rotation, mirror."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api import Skeleton
from methods.parts.crop import REGION_UNIT, three_point_affine, transform, warp


@dataclass(frozen=True)
class Augmentation:
    """Random views of one person, drawn as SimpleBaseline and HRNet draw them.

    Parameters
    ----------
    scaling : float
        Standard deviation of the region's factor around 1, which stays within 1 +- ``scaling``.
    rotation : float
        Standard deviation of the angle in degrees, which stays within +-2 ``rotation``.
    rotated : float
        Share of the views that are rotated at all.
    mirrored : float
    half_body : float
        Probability that the view covers only the upper or the lower body, for people with more
        than ``half_body_joints`` labelled joints.
    """

    scaling: float
    rotation: float
    rotated: float = 0.6
    mirrored: float = 0.5
    half_body: float = 0.0
    half_body_joints: int = 8

    def draw(
        self,
        image: NDArray[np.uint8],
        center: NDArray[Any],
        size: NDArray[Any],
        joints: NDArray[np.float64],
        visible: NDArray[np.bool_],
        skeleton: Skeleton,
        output: tuple[int, int],
        random: np.random.Generator,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
        """Draw one view of a person.

        Parameters
        ----------
        image : array (h, w, 3)
        center, size : (2,)
            The person's region, as in :class:`methods.parts.crop.Regions`.
        joints, visible : arrays (K, 2) and (K,)
            Image pixels, and whether a joint is labelled.
        output : (int, int)
            Width, height of the crop.

        Returns
        -------
        crop : array (H, W, 3)
        joints : array (K, 2)
            Pixels of the crop; 0 where not labelled.
        visible : array (K,)
        """
        if visible.sum() > self.half_body_joints and random.random() < self.half_body:
            center, size = half_body(joints, visible, skeleton, output, random) or (center, size)
        factor = np.clip(random.normal(1, self.scaling), 1 - self.scaling, 1 + self.scaling)
        angle = 0.0
        if random.random() <= self.rotated:
            limit = 2 * self.rotation
            angle = float(np.clip(random.normal(0, self.rotation), -limit, limit))
        if random.random() <= self.mirrored:
            image = image[:, ::-1]
            last = image.shape[1] - 1
            joints = np.stack([last - joints[:, 0], joints[:, 1]], axis=1)[skeleton.flip_order]
            visible = visible[skeleton.flip_order]
            center = np.array([last - center[0], center[1]])
        width = size[0] * factor * REGION_UNIT
        matrix = three_point_affine(center, width, output, angle)
        placed = np.where(visible[:, None], transform(joints, matrix), 0)
        return warp(np.ascontiguousarray(image), matrix, output), placed, visible


LOWER_BODY = ("hip", "knee", "ankle")


def half_body(
    joints: NDArray[np.float64],
    visible: NDArray[np.bool_],
    skeleton: Skeleton,
    output: tuple[int, int],
    random: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return a region (center, size) around the labelled upper or lower body, grown by 1.5.

    The upper body is drawn with the probability that a standard normal number is below 0.5, as
    in HRNet's code; a half with fewer than three joints gives way to the other. None if too few
    joints are labelled.
    """
    lower = np.array([name.endswith(LOWER_BODY) for name in skeleton.joints])
    halves = joints[visible & ~lower], joints[visible & lower]
    chosen = halves[0] if random.normal() < 0.5 and len(halves[0]) > 2 else halves[1]
    if len(chosen) <= 2:
        chosen = halves[0]
    if len(chosen) < 2:
        return None
    width, height = np.ptp(chosen, axis=0)
    aspect = output[0] / output[1]
    grown = np.array([max(width, height * aspect), max(height, width / aspect)])
    if grown[0] == 0:
        return None
    return chosen.mean(axis=0), grown * 1.5 / REGION_UNIT
