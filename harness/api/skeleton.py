"""Skeletons: the named joints of a body or hand, and declared conversions between them.

Left and right are the person's own unless a skeleton's name says otherwise. Index base 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Skeleton:
    """The joints of one annotation standard, in their order.

    Parameters
    ----------
    name : str
        Stable name, such as ``coco-17``.
    joints : tuple of str
        Joint names; a joint's index is its row in every array.
    flip_pairs : tuple of (int, int)
        Rows that change places in a horizontally mirrored image.
    limbs : tuple of (int, int)
        Pairs of joints to draw as a line.
    sigmas : tuple of float, optional
        Per-joint standard deviations of the OKS, where the benchmark defines them.
    """

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.joints)
        if len(set(self.joints)) != count:
            raise ValueError(f"skeleton {self.name}: joint names repeat")
        paired = [joint for pair in self.flip_pairs for joint in pair]
        if len(set(paired)) != len(paired):
            raise ValueError(f"skeleton {self.name}: a joint is in two flip pairs")
        if any(not 0 <= joint < count for pair in self.flip_pairs + self.limbs for joint in pair):
            raise ValueError(f"skeleton {self.name}: an index is outside 0..{count - 1}")
        if self.sigmas is not None and len(self.sigmas) != count:
            raise ValueError(f"skeleton {self.name}: {len(self.sigmas)} sigmas, {count} joints")

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def flip_order(self) -> NDArray[np.int64]:
        """Row permutation (K,) that undoes a horizontal mirror; its own inverse."""
        order = np.arange(len(self.joints))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order


_COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
    0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip

COCO_17 = Skeleton(
    name="coco-17",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
        "left_wrist", "right_wrist", "left_hip", "right_hip",
        "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7),
        (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    sigmas=_COCO_SIGMAS,
)  # fmt: skip

_SKELETONS: dict[str, Skeleton] = {COCO_17.name: COCO_17}

# (source, target) -> for each target joint the source row, or None where the source lacks it.
_CONVERSIONS: dict[tuple[str, str], tuple[int | None, ...]] = {}


def skeletons() -> Mapping[str, Skeleton]:
    """Return every known skeleton by name."""
    return _SKELETONS


def convert(
    keypoints: NDArray[np.float64], source: Skeleton, target: Skeleton
) -> NDArray[np.float64]:
    """Reorder keypoints (..., K_source, D) into another skeleton: (..., K_target, D).

    A joint that the source lacks comes out as NaN (not predicted), never as a guess.

    Raises
    ------
    KeyError
        If no conversion between the two skeletons is declared: joints of two standards that
        share a word may still be different physical points.
    """
    if source.name == target.name:
        return keypoints
    try:
        rows = _CONVERSIONS[source.name, target.name]
    except KeyError:
        raise KeyError(f"no declared conversion from {source.name} to {target.name}") from None
    result = np.full((*keypoints.shape[:-2], len(target), keypoints.shape[-1]), np.nan)
    for to, row in enumerate(rows):
        if row is not None:
            result[..., to, :] = keypoints[..., row, :]
    return result
