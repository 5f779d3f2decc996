"""Skeletons: the named joints of a body or hand, and declared conversions between them.

Left and right are the person's own unless a comment says otherwise. Index base 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
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


def _skeleton(
    name: str,
    joints: str,
    limbs: tuple[tuple[int, int], ...],
    sigmas: tuple[float, ...] | None = None,
) -> Skeleton:
    """Build a skeleton in which ``left_x`` and ``right_x`` mirror each other."""
    names = tuple(joints.split())
    pairs = tuple(
        (min(i, j), max(i, j))
        for i, left in enumerate(names)
        for j, right in enumerate(names)
        if left.startswith("left_") and right == "right_" + left.removeprefix("left_")
    )
    return Skeleton(name, names, pairs, limbs, sigmas)


# --- bodies annotated by hand in images -----------------------------------------------------------

_COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072,
    0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip

COCO_17 = _skeleton(
    "coco-17",
    """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow
    right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle
    right_ankle""",
    (
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7),
        (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    _COCO_SIGMAS,
)  # fmt: skip

CROWDPOSE_14 = _skeleton(
    "crowdpose-14",
    """left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip
    left_knee right_knee left_ankle right_ankle top_head neck""",
    (
        (10, 8), (8, 6), (11, 9), (9, 7), (6, 7), (0, 6), (1, 7), (0, 1), (0, 2), (1, 3),
        (2, 4), (3, 5), (12, 13), (1, 13), (0, 13),
    ),
    (
        0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
        0.087, 0.087, 0.089, 0.089, 0.079, 0.079,
    ),
)  # fmt: skip

_MPII_LIMBS = (
    (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
    (8, 12), (12, 11), (11, 10), (8, 13), (13, 14), (14, 15),
)  # fmt: skip

MPII_16 = _skeleton(
    "mpii-16",
    """right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck
    head_top right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist""",
    _MPII_LIMBS,
)

# The official files call the middle four b_pelvis, b_spine, b_neck, b_head.
LIP_16 = _skeleton(
    "lip-16",
    """right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis spine neck
    head right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist""",
    _MPII_LIMBS,
)

# The embedded world's people: COCO's points, and the four of MPII that COCO lacks.
COCO_MPII_21 = _skeleton(
    "coco-mpii-21",
    " ".join(COCO_17.joints) + " pelvis thorax upper_neck head_top",
    (*COCO_17.limbs[:4], (17, 11), (17, 12), (17, 18), (18, 5), (18, 6), *COCO_17.limbs[8:12],
     (18, 19), (19, 0), (0, 20)),
    # MPII has no sigmas: the pelvis has those of the hips, the others that of CrowdPose's necks.
    (*_COCO_SIGMAS, 0.107, 0.079, 0.079, 0.079),
)  # fmt: skip

LSP_14 = _skeleton(
    "lsp-14",
    """right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow
    right_shoulder left_shoulder left_elbow left_wrist neck head_top""",
    (
        (0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10), (10, 11), (12, 13),
        (8, 12), (9, 12), (2, 12), (3, 12),
    ),
)  # fmt: skip

# Channel order of Convolutional Pose Machines on MPII and LSP.
CPM_14 = _skeleton(
    "cpm-14",
    """head neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
    right_hip right_knee right_ankle left_hip left_knee left_ankle""",
    (
        (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7),
        (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    ),
)  # fmt: skip

_ARMS_OF_FLIC = ((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (0, 6), (3, 7), (6, 7))

# Channel order of Convolutional Pose Machines on FLIC.
FLIC_9 = _skeleton(
    "flic-9",
    """left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist
    left_hip right_hip nose""",
    _ARMS_OF_FLIC,
)

# Which side is "left" (the person's or the observer's) depends on the annotation file.
FLIC_11 = _skeleton(
    "flic-11",
    """left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist
    left_hip right_hip left_eye right_eye nose""",
    (*_ARMS_OF_FLIC, (8, 10), (9, 10)),
)

# BBC Pose, ChaLearn, Poses in the Wild.
UPPER_BODY_7 = _skeleton(
    "upper-body-7",
    "head right_wrist left_wrist right_elbow left_elbow right_shoulder left_shoulder",
    ((1, 3), (3, 5), (2, 4), (4, 6), (5, 6)),
)

# The ears are in the files but never labelled.
POSETRACK_17 = _skeleton(
    "posetrack-17",
    """nose head_bottom head_top left_ear right_ear left_shoulder right_shoulder left_elbow
    right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle
    right_ankle""",
    (
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7),
        (6, 8), (7, 9), (8, 10), (0, 1), (0, 2), (1, 5), (1, 6),
    ),
)  # fmt: skip

# The order of poseval, the official evaluator.
POSETRACK_15 = _skeleton(
    "posetrack-15",
    """right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow
    right_shoulder left_shoulder left_elbow left_wrist head_bottom nose head_top""",
    (
        (0, 1), (1, 2), (3, 4), (4, 5), (2, 3), (6, 7), (7, 8), (9, 10), (10, 11), (8, 9),
        (2, 8), (3, 9), (8, 12), (9, 12), (12, 13), (13, 14),
    ),
)  # fmt: skip

# OpenPose trains its neck on the middle of the shoulders.
OPENPOSE_18 = _skeleton(
    "openpose-18",
    """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
    right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear
    left_ear""",
    (
        (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11),
        (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
    ),
)  # fmt: skip

BODY_25 = _skeleton(
    "body-25",
    """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
    mid_hip right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye
    right_ear left_ear left_big_toe left_small_toe left_heel right_big_toe right_small_toe
    right_heel""",
    (
        (1, 8), (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11),
        (8, 12), (12, 13), (13, 14), (1, 0), (0, 15), (15, 17), (0, 16), (16, 18), (2, 17),
        (5, 18), (14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24),
    ),
)  # fmt: skip

# --- bodies from motion capture and body models ---------------------------------------------------

H36M_17 = _skeleton(
    "h36m-17",
    """pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck_nose
    head left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist""",
    (
        (0, 4), (4, 5), (5, 6), (0, 1), (1, 2), (2, 3), (0, 7), (7, 8), (8, 9), (9, 10),
        (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
    ),
)  # fmt: skip

# Regressors of body models (HMR, SPIN, GraphCMR) list the left leg first.
H36M_17_REGRESSOR = _skeleton(
    "h36m-17-regressor",
    """pelvis left_hip left_knee left_ankle right_hip right_knee right_ankle spine thorax neck_nose
    head left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist""",
    H36M_17.limbs,
)

# 2D input of Martinez et al.: the 17 without neck/nose, which the stacked hourglass has not.
H36M_16 = _skeleton(
    "h36m-16",
    """pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax head
    left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist""",
    (
        (0, 4), (4, 5), (5, 6), (0, 1), (1, 2), (2, 3), (0, 7), (7, 8), (8, 9),
        (8, 10), (10, 11), (11, 12), (8, 13), (13, 14), (14, 15),
    ),
)  # fmt: skip

# The 14-joint protocols: motion-capture joints in the order of LSP, the thorax at LSP's neck.
H36M_14 = _skeleton(
    "h36m-14",
    """right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow
    right_shoulder left_shoulder left_elbow left_wrist thorax head""",
    LSP_14.limbs,
)

SMPL_24 = _skeleton(
    "smpl-24",
    """pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3
    left_foot right_foot neck left_collar right_collar head left_shoulder right_shoulder
    left_elbow right_elbow left_wrist right_wrist left_hand right_hand""",
    (
        (0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9), (7, 10),
        (8, 11), (9, 12), (9, 13), (9, 14), (12, 15), (13, 16), (14, 17), (16, 18), (17, 19),
        (18, 20), (19, 21), (20, 22), (21, 23),
    ),
)  # fmt: skip

# --- hands in depth images ------------------------------------------------------------------------

NYU_14 = _skeleton(
    "nyu-14",
    """pinky_tip pinky_mid ring_tip ring_mid middle_tip middle_mid index_tip index_mid thumb_tip
    thumb_mid thumb_root wrist_back wrist palm""",
    (
        (0, 1), (1, 13), (2, 3), (3, 13), (4, 5), (5, 13), (6, 7), (7, 13),
        (8, 9), (9, 10), (10, 13), (11, 13), (12, 13),
    ),
)  # fmt: skip

ICVL_16 = _skeleton(
    "icvl-16",
    """palm thumb_root thumb_mid thumb_tip index_root index_mid index_tip middle_root middle_mid
    middle_tip ring_root ring_mid ring_tip pinky_root pinky_mid pinky_tip""",
    tuple((0 if joint % 3 == 1 else joint - 1, joint) for joint in range(1, 16)),
)

MSRA_21 = _skeleton(
    "msra-21",
    """wrist index_mcp index_pip index_dip index_tip middle_mcp middle_pip middle_dip middle_tip
    ring_mcp ring_pip ring_dip ring_tip little_mcp little_pip little_dip little_tip
    thumb_mcp thumb_pip thumb_dip thumb_tip""",
    tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21)),
)

# --- bodies in depth images -----------------------------------------------------------------------

ITOP_15 = _skeleton(
    "itop-15",
    """head neck right_shoulder left_shoulder right_elbow left_elbow right_hand left_hand torso
    right_hip left_hip right_knee left_knee right_foot left_foot""",
    (
        (0, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7), (1, 8), (8, 9), (8, 10),
        (9, 11), (10, 12), (11, 13), (12, 14),
    ),
)  # fmt: skip

# --- conversions ----------------------------------------------------------------------------------

_ANNOTATED = (
    COCO_17, COCO_MPII_21, CROWDPOSE_14, MPII_16, LIP_16, LSP_14, CPM_14, FLIC_9, FLIC_11,
    UPPER_BODY_7, POSETRACK_17, POSETRACK_15, OPENPOSE_18, BODY_25,
)  # fmt: skip
_CAPTURED = (H36M_17, H36M_17_REGRESSOR, H36M_16, H36M_14)

_SKELETONS: dict[str, Skeleton] = {
    skeleton.name: skeleton
    for skeleton in (*_ANNOTATED, *_CAPTURED, SMPL_24, NYU_14, ICVL_16, MSRA_21, ITOP_15)
}

# Joints that are one physical point in every standard annotated by hand. Necks, heads, the thorax
# and the pelvis are not among them: five standards mean five points by "neck".
_SAME_EVERYWHERE = frozenset(
    side + joint
    for side in ("left_", "right_")
    for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
) | {"nose"}

# Further joints that two standards share, by their names in the first and in the second.
_SAME_IN_TWO: dict[tuple[Skeleton, Skeleton], dict[str, str]] = {
    # LIP annotates MPII's sixteen points.
    (MPII_16, LIP_16): {
        "pelvis": "pelvis", "thorax": "spine", "upper_neck": "neck", "head_top": "head",
    },
    # CPM is trained on MPII and LSP together with one channel each for neck and head.
    (MPII_16, LSP_14): {"upper_neck": "neck", "head_top": "head_top"},
    (MPII_16, CPM_14): {"upper_neck": "neck", "head_top": "head"},
    (LSP_14, CPM_14): {"neck": "neck", "head_top": "head"},
    # The embedded world's four are placed as MPII defines them.
    (COCO_MPII_21, MPII_16): {
        joint: joint for joint in ("pelvis", "thorax", "upper_neck", "head_top")
    },
    (COCO_MPII_21, LSP_14): {"upper_neck": "neck", "head_top": "head_top"},
    (COCO_MPII_21, LIP_16): {
        "pelvis": "pelvis", "thorax": "spine", "upper_neck": "neck", "head_top": "head",
    },
    (POSETRACK_17, POSETRACK_15): {"head_bottom": "head_bottom", "head_top": "head_top"},
    (OPENPOSE_18, BODY_25): {"neck": "neck"},
}  # fmt: skip

# 3d-pose-baseline (Martinez et al.) reads stacked-hourglass joints as Human3.6M's by this rule.
_HOURGLASS_TO_H36M = {
    "pelvis": "pelvis", "thorax": "spine", "upper_neck": "thorax", "head_top": "head",
}  # fmt: skip


def _declared() -> Iterator[tuple[Skeleton, Skeleton, dict[str, str]]]:
    """Yield source, target and which source joint is which target joint."""
    for source, target in itertools.permutations(_ANNOTATED, 2):
        same = {joint: joint for joint in source.joints if joint in _SAME_EVERYWHERE}
        same |= _SAME_IN_TWO.get((source, target), {})
        same |= {here: there for there, here in _SAME_IN_TWO.get((target, source), {}).items()}
        yield source, target, same
    for source, target in itertools.permutations(_CAPTURED, 2):
        yield source, target, {joint: joint for joint in source.joints}
    for target in (H36M_17, H36M_16):
        same = {joint: joint for joint in MPII_16.joints if joint in _SAME_EVERYWHERE}
        yield MPII_16, target, same | _HOURGLASS_TO_H36M


def _rows(source: Skeleton, target: Skeleton, same: dict[str, str]) -> tuple[int | None, ...]:
    origin = {there: source.joints.index(here) for here, there in same.items()}
    return tuple(origin.get(joint) for joint in target.joints)


# (source, target) -> for each target joint the source row, or None where the source lacks it.
_CONVERSIONS: dict[tuple[str, str], tuple[int | None, ...]] = {
    (source.name, target.name): _rows(source, target, same) for source, target, same in _declared()
}


def skeletons() -> Mapping[str, Skeleton]:
    """Return every known skeleton by name."""
    return _SKELETONS


def missing_joints(source: Skeleton, target: Skeleton) -> tuple[str, ...] | None:
    """Return the target's joints that the source lacks; None if no conversion is declared."""
    if source.name == target.name:
        return ()
    rows = _CONVERSIONS.get((source.name, target.name))
    if rows is None:
        return None
    return tuple(joint for joint, row in zip(target.joints, rows, strict=True) if row is None)


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
