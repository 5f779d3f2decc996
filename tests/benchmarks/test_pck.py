"""Rates, areas and strict PCP against plain loops over their definitions."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.metrics.pck import Rate, distances, grid, in_units, per_sample, rates, trapezoid
from benchmarks.metrics.pcp import stick_errors

Array = NDArray[np.float64]

# Errors on a coarse grid hit thresholds exactly; NaN has no label, infinity no prediction.
ERRORS = st.sampled_from([*(k / 100 for k in range(60)), math.inf, math.nan])
MATRICES = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(ERRORS, min_size=3, max_size=3), min_size=n, max_size=n)
)


def slow_rate(rows: list[list[float]], rate: Rate, times: list[int]) -> float:
    """Count hits one by one; an area is the weighted mean of the rates at its thresholds."""
    total = 0.0
    for threshold, mark in zip(rate.thresholds, rate.marks, strict=True):
        per_joint, hits, labels = [], 0, 0
        for joint in rate.joints:
            joint_hits = joint_labels = 0
            for row, count in zip(rows, times, strict=True):
                error = row[joint]
                if math.isnan(error):
                    continue
                joint_labels += count
                if error < threshold or (not rate.strict and error == threshold):
                    joint_hits += count
            per_joint.append(100 * joint_hits / joint_labels if joint_labels else math.nan)
            hits, labels = hits + joint_hits, labels + joint_labels
        if rate.pooled:
            total += mark * (100 * hits / labels if labels else math.nan)
        else:
            total += mark * sum(per_joint) / len(per_joint)
    return total / sum(rate.marks)


@settings(max_examples=200, deadline=None)
@given(MATRICES, st.booleans(), st.booleans(), st.sampled_from([1, 2, 11]), st.data())
def test_rates_are_those_of_a_plain_count(rows, strict, pooled, points, data) -> None:
    marks = {1: (1,), 2: (1, 1), 11: trapezoid(11)}[points]
    rate = Rate("r", (0, 2), grid(10, 9 + points), marks, strict=strict, pooled=pooled)
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    errors = np.array(rows)
    got = rates({"joint": errors}, [rate], np.array([times, [1] * len(rows)]))["r"]
    for value, draw in zip(got, (times, [1] * len(rows)), strict=True):
        np.testing.assert_allclose(value, slow_rate(rows, rate, draw), rtol=1e-12)


@settings(max_examples=100, deadline=None)
@given(MATRICES, st.booleans())
def test_per_sample_is_the_pooled_rate_of_each_row(rows, strict) -> None:
    rate = Rate("r", (0, 1, 2), (0.2,), strict=strict, pooled=True)
    want = [slow_rate([row], rate, [1]) for row in rows]
    np.testing.assert_allclose(per_sample(np.array(rows), rate), want, rtol=1e-12)


@settings(max_examples=100, deadline=None)
@given(MATRICES, st.randoms(use_true_random=False))
def test_the_order_of_samples_changes_no_bit(rows, random) -> None:
    plan = [
        Rate("a", (0, 1), grid(0, 50), trapezoid(51)),
        Rate("b", (0, 1, 2), (0.3,), pooled=True),
    ]
    shuffled = random.sample(rows, len(rows))
    once = np.ones((1, len(rows)), dtype=np.int64)
    np.testing.assert_equal(
        rates({"joint": np.array(rows)}, plan, once),
        rates({"joint": np.array(shuffled)}, plan, once),
    )


def test_the_trapezoid_is_the_area_over_an_axis_scaled_to_one() -> None:
    errors = np.random.default_rng(0).uniform(0, 0.3, size=(50, 1))
    x = np.array(grid(0, 20))
    curve = [100 * np.mean(errors <= t) for t in x]
    rate = Rate("auc", (0,), grid(0, 20), trapezoid(21))
    got = rates({"joint": errors}, [rate], np.ones((1, 50), dtype=np.int64))["auc"][0]
    assert abs(got - np.trapezoid(curve, x) / 0.2) < 1e-10


def test_a_joint_at_the_threshold_is_right_unless_the_rate_is_strict() -> None:
    # 3 pixels at a unit of 15 are 0.2 in decimals; 0.2 * 15 is not 3 in every arithmetic.
    errors = in_units(np.array([[3.0], [30.0]]), np.array([15.0, 150.0]))
    both = [Rate("within", (0,), (0.2,)), Rate("below", (0,), (0.2,), strict=True)]
    values = rates({"joint": errors}, both, np.ones((1, 2), dtype=np.int64))
    assert (values["within"][0], values["below"][0]) == (100.0, 0.0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_strict_pcp_needs_both_ends(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 20, size=(4, 4, 2)).astype(float)
    predicted = truth + random.integers(-6, 7, size=truth.shape)
    predicted[0, 0] = np.nan
    truth[1, 3] = np.nan
    truth[2, 0] = np.nan
    sticks = (((0,), (1,)), ((0, 1), (2, 3)))
    got = stick_errors(predicted, truth, sticks)
    for i in range(4):
        for s, ends in enumerate(sticks):
            points = [[p[i][list(end)].mean(axis=0) for end in ends] for p in (predicted, truth)]
            length = math.dist(*points[1])
            off = [math.dist(points[0][e], points[1][e]) for e in (0, 1)]
            if np.isnan(points[1]).any():
                assert np.isnan(got[i, s])
            elif np.isnan(points[0]).any() or length == 0:
                assert np.isinf(got[i, s])
            else:
                assert (got[i, s] <= 0.5) == all(o / length <= 0.5 for o in off)


def test_missing_predictions_are_misses_and_missing_labels_do_not_count() -> None:
    truth = np.array([[[0.0, 0.0], [0.0, 0.0], [np.nan, np.nan], [np.nan, np.nan]]])
    predicted = np.array([[[3.0, 4.0], [np.nan, np.nan], [1.0, 1.0], [np.nan, np.nan]]])
    np.testing.assert_array_equal(distances(predicted, truth), [[5.0, np.inf, np.nan, np.nan]])
