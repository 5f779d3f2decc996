"""Pose matching, joint AP and polygons against slow references."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.metrics.overlap import inside, iou_matrix, pixel_iou
from benchmarks.metrics.pose_matching import (
    JointRanking,
    head_distances,
    joint_columns,
    match_poses,
)
from harness.api import Statistics

seeds = st.integers(0, 2**32 - 1)


def slow_match(hits, labelled):
    """The rules, one at a time."""
    people, truths, _ = hits.shape
    share = np.zeros((people, truths))
    for p in range(people):
        for t in range(truths):
            if labelled[t].sum() > 0:
                share[p, t] = hits[p, t].sum() / labelled[t].sum()
    for p in range(people):
        favourite = max(range(truths), key=lambda t: (share[p, t], -t))
        for t in range(truths):
            if t != favourite:
                share[p, t] = 0
    result = [-1] * people
    for t in range(truths):
        winner = max(range(people), key=lambda p: (share[p, t], -p))
        if share[winner, t] > 0:
            result[winner] = t
    return result


@given(seed=seeds, people=st.integers(1, 6), truths=st.integers(1, 6))
def test_matching_follows_the_rules(seed, people, truths):
    random = np.random.default_rng(seed)
    labelled = random.random((truths, 4)) < 0.7
    hits = (random.random((people, truths, 4)) < 0.5) & labelled
    assert match_poses(hits, labelled).tolist() == slow_match(hits, labelled)


def test_matching_of_nobody_is_nothing():
    assert match_poses(np.zeros((0, 3, 4), bool), np.ones((3, 4), bool)).tolist() == []
    assert match_poses(np.zeros((2, 0, 4), bool), np.ones((0, 4), bool)).tolist() == [-1, -1]


def test_distance_is_in_heads_and_infinite_where_a_joint_is_absent():
    truth = np.array([[[10.0, 10], [np.nan, np.nan]]])
    predicted = np.array([[[13.0, 14], [5, 5]], [[np.nan, np.nan], [5, 5]]])
    distance = head_distances(predicted, truth, np.array([10.0]))
    assert distance.tolist() == [[[0.5, np.inf]], [[np.inf, np.inf]]]
    assert np.isinf(head_distances(predicted, truth, np.array([0.0]))).all()


def slow_average_precision(entries, positives):
    """Area under the monotone precision curve from (score, hit) in reading order."""
    ordered = [entry for _, entry in sorted(enumerate(entries), key=lambda e: (-e[1][0], e[0]))]
    if not ordered:
        return 0.0
    if positives == 0:
        return float("nan")
    points, found = [], 0
    for number, (_, hit) in enumerate(ordered, 1):
        found += hit
        points.append((found / positives, found / number))
    area, last = 0.0, 0.0
    for index, (recall, _) in enumerate(points):
        area += (recall - last) * max(precision for _, precision in points[index:])
        last = recall
    return area


def random_statistics(random, samples, joints, levels):
    outcomes, labelled = [], []
    for _ in range(samples):
        count = int(random.integers(0, 8))
        joint = random.integers(0, joints, count)
        score = random.integers(0, levels, count) / levels
        outcomes.append((joint, score, random.random(count) < 0.5))
        hits = np.bincount(joint[outcomes[-1][2]], minlength=joints)
        labelled.append(hits + random.integers(0, 3, joints))
    return Statistics(np.arange(samples), joint_columns(outcomes, labelled))


def slow_entries(statistics, joint, weights):
    entries = []
    column = statistics.ragged("joint")
    for sample, times in enumerate(weights):
        rows = slice(column.offsets[sample], column.offsets[sample + 1])
        own = [
            (score, hit)
            for j, score, hit in zip(
                column.values[rows],
                statistics.ragged("score").values[rows],
                statistics.ragged("hit").values[rows],
                strict=True,
            )
            if j == joint
        ]
        entries += own * int(times)
    return entries


@given(seed=seeds, samples=st.integers(1, 8), levels=st.sampled_from([2, 5, 10**6]))
def test_average_precision_of_weighted_samples(seed, samples, levels):
    random = np.random.default_rng(seed)
    statistics = random_statistics(random, samples, 3, levels)
    weights = random.integers(0, 4, samples)
    ranking = JointRanking.of(statistics, int(weights.max()))
    ap = ranking.average_precision(weights)[0]
    for joint in range(3):
        positives = int(weights @ statistics.dense("labelled")[:, joint])
        expected = slow_average_precision(slow_entries(statistics, joint, weights), positives)
        assert ap[joint] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_no_prediction_is_zero_and_no_truth_is_no_value():
    outcomes = [(np.array([1]), np.array([0.5]), np.array([False]))]
    statistics = Statistics(np.arange(1), joint_columns(outcomes, [np.array([2, 0])]))
    ap, precision, recall = JointRanking.of(statistics).average_precision()
    assert ap[0] == precision[0] == recall[0] == 0
    assert np.isnan(ap[1])
    assert precision[1] == 0
    assert np.isnan(recall[1])


@given(seed=seeds, corners=st.integers(3, 8))
def test_inside_agrees_with_opencv(seed, corners):
    """Whole numbers, so that points fall on edges and corners; outlines may cross themselves."""
    random = np.random.default_rng(seed)
    polygon = random.integers(0, 9, (corners, 2))
    points = np.stack(np.meshgrid(np.arange(-1, 10), np.arange(-1, 10)), axis=-1).reshape(-1, 2)
    contour = polygon.astype(np.float32).reshape(-1, 1, 2)
    theirs = [cv2.pointPolygonTest(contour, (float(x), float(y)), False) > 0 for x, y in points]
    assert inside(points.astype(float), polygon.astype(float)).tolist() == theirs


def test_nan_is_not_inside():
    assert not inside(np.array([[np.nan, np.nan]]), np.array([[0.0, 0], [9, 0], [9, 9]]))[0]


def test_overlaps_of_boxes():
    a = np.array([[0.0, 0, 10, 10]])
    b = np.array([[5.0, 0, 10, 10]])
    assert iou_matrix(a, b)[0, 0] == pytest.approx(50 / 150)
    # The same shift in pixels leaves columns 5 to 9 in common: the last one of a is 9.
    assert pixel_iou(a, b)[0] == pytest.approx(50 / 150)
    half = np.array([[9.5, 0, 10, 10]])
    assert iou_matrix(a, half)[0, 0] == pytest.approx(5 / 195)
    assert pixel_iou(a, half)[0] == pytest.approx(5 / 195)
    assert iou_matrix(np.zeros((0, 4)), a).shape == (0, 1)
    assert np.isnan(pixel_iou(np.full((1, 4), np.nan), a)[0])
