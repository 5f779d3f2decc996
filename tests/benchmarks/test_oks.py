"""OKS against the definition, joint by joint in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.matching import best_rows, match, outcomes, pairs_within
from benchmarks.metrics.oks import (
    keypoint_extent,
    keypoint_similarity,
    object_keypoint_similarity,
)

SIGMAS = (0.026, 0.079, 0.107)


def plain_oks(detected, annotated, labelled, area, box):
    x, y, w, h = box
    total, count = 0.0, 0
    for joint, sigma in enumerate(SIGMAS):
        if any(labelled):
            if not labelled[joint]:
                continue
            dx, dy = detected[joint] - annotated[joint]
        else:
            dx = max(0, x - w - detected[joint][0], detected[joint][0] - (x + 2 * w))
            dy = max(0, y - h - detected[joint][1], detected[joint][1] - (y + 2 * h))
        if not math.isnan(dx):
            total += math.exp(-(dx * dx + dy * dy) / (2 * area * (2 * sigma) ** 2))
        count += 1
    return total / count


@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_definition(seed):
    random = np.random.default_rng(seed)
    detected, annotated = random.random((4, 3, 2)) * 50, random.random((3, 3, 2)) * 50
    detected[0, 1] = np.nan
    labelled = random.random((3, 3)) < 0.5
    area, box = random.random(3) * 900 + 1, random.random((3, 4)) * 20
    pairs = (np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4))
    result = object_keypoint_similarity(detected, annotated, labelled, area, box, SIGMAS, pairs)
    for value, d, g in zip(result, *pairs, strict=True):
        if not labelled[g].any() and d == 0:
            continue  # below
        expected = plain_oks(detected[d], annotated[g], labelled[g], area[g], box[g])
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_missing_joint_is_far_from_everything():
    detected = np.array([[[np.nan, np.nan], [5.0, 5.0], [5.0, 5.0]]])
    arguments = (np.zeros((1, 3, 2)), np.zeros((1, 3), bool), np.ones(1), np.full((1, 4), 5.0))
    pairs = (np.array([0]), np.array([0]))
    assert object_keypoint_similarity(detected, *arguments, SIGMAS, pairs) == pytest.approx(2 / 3)


def test_one_sigma_of_distance_gives_the_gaussian_value():
    area = np.array([400.0])
    for joint, sigma in enumerate(SIGMAS):
        detected = np.zeros((1, 3, 2))
        detected[0, joint, 0] = 2 * sigma * 20
        similarity = keypoint_similarity(detected, np.zeros((1, 3, 2)), area, SIGMAS)
        expected = np.ones(3)
        expected[joint] = math.exp(-0.5)
        assert similarity[0] == pytest.approx(expected)


def test_extent_spans_the_predicted_joints():
    joints = np.array([[[1.0, 2.0], [4.0, 7.0], [np.nan, np.nan]], np.full((3, 2), np.nan)])
    assert keypoint_extent(joints).tolist() == [15.0, 0.0]


def test_best_rows_keep_the_order_of_equal_scores():
    score = np.array([0.5, 0.9, 0.5, 0.5, 0.1, 0.2])
    rows, offsets = best_rows(score, np.array([0, 4, 4, 6]), 3)
    assert rows.tolist() == [1, 0, 2, 5, 4]
    assert offsets.tolist() == [0, 3, 3, 5]


def test_pairs_stay_within_a_sample():
    left, right = pairs_within(np.array([0, 2, 2, 3]), np.array([0, 1, 3, 5]))
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 0), (1, 0), (2, 3), (2, 4)]


def one_image(similarity, ignored, crowd, thresholds=(0.5,)):
    """Match all detections (rows) with all truth (columns) of one image."""
    detections, people = np.shape(similarity)
    pairs = (np.repeat(np.arange(detections), people), np.tile(np.arange(people), detections))
    values, rank = np.ravel(similarity), np.arange(detections)
    ignored = np.array(ignored)[:, None]
    winner = match(values, pairs, rank, ignored, np.array(crowd), thresholds, 1e-10)
    return winner, outcomes(winner, ignored, np.zeros((detections, 1), bool))


def test_of_equal_similarity_the_later_truth_is_matched():
    winner, _ = one_image([[0.7, 0.7, 0.6]], [False] * 3, [False] * 3)
    assert winner.tolist() == [[[1]]]


def test_ignored_truth_is_matched_only_where_nothing_else_will_do():
    winner, outcome = one_image([[0.6, 0.9], [0.6, 0.9], [0.6, 0.9]], [False, True], [False, False])
    assert winner.ravel().tolist() == [0, 1, -1]
    assert outcome.ravel().tolist() == [1, -1, 0]


def test_a_crowd_is_matched_again_and_again():
    _, outcome = one_image([[0.9], [0.8], [0.2]], [True], [True])
    assert outcome.ravel().tolist() == [-1, -1, 0]


def test_the_limit_itself_matches():
    winner, _ = one_image([[0.75]], [False], [False], (0.5, 0.75, 0.8))
    assert winner.ravel().tolist() == [0, 0, -1]
