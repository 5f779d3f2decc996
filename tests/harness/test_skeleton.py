"""Skeletons against the published orders, and conversions by round trips."""

from __future__ import annotations

import numpy as np
import pytest

from harness.api.skeleton import (
    _CONVERSIONS,
    BODY_25,
    COCO_17,
    CPM_14,
    CROWDPOSE_14,
    FLIC_9,
    FLIC_11,
    H36M_14,
    H36M_16,
    H36M_17,
    H36M_17_REGRESSOR,
    LIP_16,
    LSP_14,
    MPII_16,
    OPENPOSE_18,
    POSETRACK_15,
    POSETRACK_17,
    UPPER_BODY_7,
    Skeleton,
    convert,
    skeletons,
)

# Flip pairs as the official code lists them, not as names imply them.
FLIP_PAIRS = {
    COCO_17: [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)],
    CROWDPOSE_14: [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)],
    MPII_16: [(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)],
    LIP_16: [(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)],
    LSP_14: [(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)],
    FLIC_9: [(0, 3), (1, 4), (2, 5), (6, 7)],
    FLIC_11: [(0, 3), (1, 4), (2, 5), (6, 7), (8, 9)],
    UPPER_BODY_7: [(1, 2), (3, 4), (5, 6)],
    POSETRACK_17: [(3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)],
    POSETRACK_15: [(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)],
    OPENPOSE_18: [(2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17)],
    BODY_25: [
        *[(2, 5), (3, 6), (4, 7), (9, 12), (10, 13), (11, 14), (15, 16), (17, 18)],
        *[(19, 22), (20, 23), (21, 24)],
    ],
    H36M_17: [(1, 4), (2, 5), (3, 6), (11, 14), (12, 15), (13, 16)],
}

# Index lists that official code uses to go from one order to another; None: not there.
PUBLISHED_ROWS = {
    (POSETRACK_17, POSETRACK_15): [16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9, 1, 0, 2],
    (OPENPOSE_18, COCO_17): [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10],
    (BODY_25, COCO_17): [0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11],
    (FLIC_11, FLIC_9): [0, 1, 2, 3, 4, 5, 6, 7, 10],
    (MPII_16, CPM_14): [9, 8, 12, 11, 10, 13, 14, 15, 2, 1, 0, 3, 4, 5],
    (LSP_14, CPM_14): [13, 12, 8, 7, 6, 9, 10, 11, 2, 1, 0, 3, 4, 5],
    (MPII_16, LIP_16): list(range(16)),
    (MPII_16, H36M_16): [6, 2, 1, 0, 3, 4, 5, 7, 8, 9, 13, 14, 15, 12, 11, 10],
    (H36M_17, H36M_14): [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10],
    (H36M_17_REGRESSOR, H36M_14): [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10],
    (COCO_17, MPII_16): [16, 14, 12, 11, 13, 15, None, None, None, None, 10, 8, 6, 5, 7, 9],
    (COCO_17, LSP_14): [16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9, None, None],
    (COCO_17, UPPER_BODY_7): [None, 10, 9, 8, 7, 6, 5],
}


@pytest.mark.parametrize("skeleton", FLIP_PAIRS, ids=lambda skeleton: skeleton.name)
def test_flip_pairs_are_the_published_ones(skeleton: Skeleton) -> None:
    assert sorted(skeleton.flip_pairs) == sorted(FLIP_PAIRS[skeleton])


@pytest.mark.parametrize("skeleton", skeletons().values(), ids=lambda skeleton: skeleton.name)
def test_a_double_mirror_changes_nothing_and_keeps_sigmas(skeleton: Skeleton) -> None:
    order = skeleton.flip_order
    np.testing.assert_array_equal(order[order], np.arange(len(skeleton)))
    for left, right in skeleton.flip_pairs:
        assert skeleton.joints[left].split("_")[1] == skeleton.joints[right].split("_")[1]
        if skeleton.sigmas is not None:
            assert skeleton.sigmas[left] == skeleton.sigmas[right]


@pytest.mark.parametrize(
    ("source", "target"),
    PUBLISHED_ROWS,
    ids=lambda skeleton: skeleton.name,
)
def test_conversions_are_the_published_index_lists(source: Skeleton, target: Skeleton) -> None:
    points = np.random.default_rng(0).normal(size=(3, len(source), 2))
    converted = convert(points, source, target)
    for to, row in enumerate(PUBLISHED_ROWS[source, target]):
        if row is None:
            assert np.isnan(converted[:, to]).all()
        else:
            np.testing.assert_array_equal(converted[:, to], points[:, row])


@pytest.mark.parametrize("pair", _CONVERSIONS, ids=" to ".join)
def test_round_trip_keeps_shared_joints_and_invents_none(pair: tuple[str, str]) -> None:
    source, target = (skeletons()[name] for name in pair)
    points = np.random.default_rng(1).normal(size=(2, len(source), 3))
    there = convert(points, source, target)
    assert there.shape == (2, len(target), 3)
    shared = ~np.isnan(there).any(axis=(0, 2))
    assert shared.any()
    if (target.name, source.name) not in _CONVERSIONS:
        return
    back = convert(there, target, source)
    kept = ~np.isnan(back).any(axis=(0, 2))
    assert kept.sum() == shared.sum()
    np.testing.assert_array_equal(back[:, kept], points[:, kept])


@pytest.mark.parametrize("pair", _CONVERSIONS, ids=" to ".join)
def test_conversion_and_mirror_commute(pair: tuple[str, str]) -> None:
    source, target = (skeletons()[name] for name in pair)
    points = np.random.default_rng(2).normal(size=(len(source), 2))
    np.testing.assert_array_equal(
        convert(points[source.flip_order], source, target),
        convert(points, source, target)[target.flip_order],
    )


def test_coco_has_no_neck_head_or_pelvis_to_give() -> None:
    converted = convert(np.ones((17, 2)), COCO_17, MPII_16)
    lost = {MPII_16.joints[i] for i in np.flatnonzero(np.isnan(converted[:, 0]))}
    assert lost == {"pelvis", "thorax", "upper_neck", "head_top"}


def test_a_pair_that_nobody_declared_is_refused() -> None:
    with pytest.raises(KeyError, match="no declared conversion from h36m-17 to coco-17"):
        convert(np.zeros((17, 3)), H36M_17, COCO_17)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": ("nose", "nose")}, "repeat"),
        ({"flip_pairs": ((0, 1), (1, 0))}, "two flip pairs"),
        ({"limbs": ((0, 2),)}, "outside"),
        ({"sigmas": (0.1,)}, "1 sigmas, 2 joints"),
    ],
)
def test_wrong_skeletons_are_refused(change: dict[str, object], message: str) -> None:
    right = {"joints": ("left_eye", "right_eye"), "flip_pairs": ((0, 1),), "limbs": ((0, 1),)}
    with pytest.raises(ValueError, match=message):
        Skeleton(name="test", **(right | change))  # type: ignore[arg-type]
