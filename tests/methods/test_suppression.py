"""OKS suppression against the official code's answers, and scores of people."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import COCO_17, Sample
from methods.parts.suppression import oks_nms, pose_similarity, rescored_people

CASES = ["case1", "case2", "case3", "case4"]


@pytest.mark.parametrize("threshold", [0.9, 0.5])
@pytest.mark.parametrize("case", CASES)
def test_survivors_are_the_official_ones(shared_data, case, threshold):
    folder = shared_data / "oracles" / "pose_nms" / case
    expected = json.loads((folder / "expected.json").read_text())
    poses = json.loads((folder / "results" / "poses.json").read_text())
    by_image: dict[str, list[dict]] = {}
    for pose in poses:
        by_image.setdefault(str(pose["image_id"]), []).append(pose)
    keep = expected["own_computation"]["keep"][f"nms_{threshold}"]
    assert keep.keys() >= by_image.keys()
    for image in keep:
        people = by_image.get(image, [])  # an image may have none
        kept = oks_nms(
            np.array([p["keypoints"] for p in people]).reshape(-1, 17, 3)[..., :2],
            np.array([p["score"] for p in people]),
            np.array([p["area"] for p in people]),
            COCO_17.sigmas,
            threshold,
        )
        assert kept.tolist() == keep[image], image
        assert len(kept) == expected["metrics"][f"nms_{threshold}/count/{image}"]


def slow_similarity(a, b, area):
    total = 0.0
    for (ax, ay), (bx, by), sigma in zip(a, b, COCO_17.sigmas, strict=True):
        total += np.exp(-((ax - bx) ** 2 + (ay - by) ** 2) / (2 * area * (2 * sigma) ** 2))
    return total / 17


def crowd(seed, people):
    random = np.random.default_rng(seed)
    body = random.uniform(0, 60, (17, 2))
    keypoints = body + random.normal(0, random.choice([0.5, 3, 30]), (people, 17, 2))
    return keypoints, random.permutation(people) / people, random.uniform(500, 5000, people)


@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.floats(0.1, 0.95))
def test_suppression_is_the_definition_s(seed, people, threshold):
    keypoints, scores, areas = crowd(seed, people)
    kept: list[int] = []
    for row in sorted(range(people), key=lambda i: -scores[i]):
        if all(
            slow_similarity(keypoints[row], keypoints[other], (areas[row] + areas[other]) / 2)
            <= threshold
            for other in kept
        ):
            kept.append(row)
    assert oks_nms(keypoints, scores, areas, COCO_17.sigmas, threshold).tolist() == kept


def test_similarity_of_a_pose_with_itself_is_one():
    keypoints, _, areas = crowd(5, 6)
    similarity = pose_similarity(keypoints, areas, COCO_17.sigmas)
    assert np.diag(similarity).tolist() == [1] * 6
    assert np.array_equal(similarity, similarity.T)


def test_equal_is_kept_and_ties_keep_their_order():
    keypoints, areas = np.zeros((3, 17, 2)), np.ones(3)
    scores = np.array([0.5, 0.7, 0.7])
    assert oks_nms(keypoints, scores, areas, COCO_17.sigmas, 1.0).tolist() == [1, 2, 0]
    assert oks_nms(keypoints, scores, areas, COCO_17.sigmas, 0.99).tolist() == [1]


def people_of(sample, keypoint_scores):
    keypoints = np.arange(len(keypoint_scores))[:, None, None] * 100 + np.zeros((17, 2))
    areas = np.ones(len(keypoints))
    return rescored_people(keypoints, keypoint_scores, sample, areas, COCO_17.sigmas, 0.2, 0.9)


def test_score_is_the_box_s_times_the_mean_of_the_sure_joints():
    keypoint_scores = np.zeros((3, 17))
    keypoint_scores[0, :4] = 0.2, 0.21, 0.5, 0.9  # 0.2 itself is not above 0.2
    keypoint_scores[1] = 0.1
    keypoint_scores[2] = 0.8
    sample = Sample("1", boxes=np.ones((3, 4)), box_scores=np.array([0.5, 1.0, 0.9]))
    people = people_of(sample, keypoint_scores)
    expected = [0.9 * 0.8, 0.5 * (0.21 + 0.5 + 0.9) / 3, 0.0]
    assert people["score"] == pytest.approx(expected)
    assert people["keypoints"][:, 0, 0].tolist() == [200, 0, 100]
    assert people["keypoint_scores"][0].tolist() == [0.8] * 17


def test_people_asked_for_one_by_one_all_stay_in_their_order():
    sample = Sample("1", inputs={"center": np.zeros((2, 2)), "scale": np.ones(2)})
    scores = np.stack([np.full(17, 0.3), np.full(17, 0.9)])
    same = np.zeros((2, 17, 2))
    people = rescored_people(same, scores, sample, np.ones(2), COCO_17.sigmas, 0.2, 0.9)
    assert people["score"] == pytest.approx([0.3, 0.9])


def test_nobody():
    people = people_of(Sample("1", boxes=np.empty((0, 4))), np.empty((0, 17)))
    assert {name: column.shape for name, column in people.items()} == {
        "keypoints": (0, 17, 2), "keypoint_scores": (0, 17), "score": (0,),
    }  # fmt: skip
