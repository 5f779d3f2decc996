"""Distances, alignments, bones and averages against plain loops, numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from benchmarks.metrics.averages import mean, median, ratio
from benchmarks.metrics.bones import bone_errors, bone_lengths, bone_vectors
from benchmarks.metrics.joint_error import centred, distances, scaled, success
from benchmarks.metrics.procrustes import align

seeds = st.integers(0, 2**32 - 1)


def poses(seed: int, frames: int = 4, joints: int = 17, noise: float = 60.0):
    random = np.random.default_rng(seed)
    truth = random.normal(scale=300.0, size=(frames, joints, 3))
    return truth + random.normal(scale=noise, size=truth.shape), truth


def similarity(seed: int, mirror: bool = False):
    """Return a random motion of points: rotation (or reflection), scale, shift."""
    random = np.random.default_rng(seed)
    turn = Rotation.random(rng=random).as_matrix() * (-1 if mirror else 1)
    factor, shift = random.uniform(0.2, 5.0), random.normal(scale=1000.0, size=3)
    return lambda points: factor * points @ turn + shift


def error(predicted, truth):
    return distances(predicted, truth).mean(axis=1)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_rotation_is_that_of_align_vectors(seed):
    predicted, truth = poses(seed)
    for p, t, found in zip(predicted, truth, align(predicted, truth, scale=False), strict=True):
        turn, _ = Rotation.align_vectors(t - t.mean(axis=0), p - p.mean(axis=0))
        np.testing.assert_allclose(
            found, turn.apply(p - p.mean(axis=0)) + t.mean(axis=0), atol=1e-6
        )


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_reflections_are_those_of_orthogonal_procrustes(seed):
    predicted, truth = poses(seed)
    found = align(predicted, truth, reflection=True)
    for p, t, moved in zip(predicted, truth, found, strict=True):
        p, t = p - p.mean(axis=0), t - t.mean(axis=0)
        turn, strength = orthogonal_procrustes(p, t)
        np.testing.assert_allclose(
            moved - moved.mean(axis=0), strength / (p**2).sum() * p @ turn, atol=1e-8
        )


@given(seeds, st.booleans())
@settings(max_examples=25, deadline=None)
def test_no_other_motion_is_better(seed, scale):
    predicted, truth = poses(seed, frames=1, joints=6)
    best = (distances(align(predicted, truth, scale=scale), truth) ** 2).sum()
    random = np.random.default_rng(seed)
    for _ in range(20):
        turn = Rotation.from_rotvec(random.normal(scale=0.2, size=3)).as_matrix()
        factor = random.uniform(0.9, 1.1) if scale else 1.0
        near = align(predicted, truth, scale=scale)
        centre = near.mean(axis=1, keepdims=True)
        near = factor * (near - centre) @ turn + centre + random.normal(size=3)
        assert (distances(near, truth) ** 2).sum() >= best - 1e-6


@given(seeds, seeds)
@settings(max_examples=40, deadline=None)
def test_a_similarity_changes_nothing(seed, motion):
    predicted, truth = poses(seed)
    moved = similarity(motion)(predicted)
    np.testing.assert_allclose(
        error(align(moved, truth), truth), error(align(predicted, truth), truth), atol=1e-7
    )


@given(seeds, seeds)
@settings(max_examples=25, deadline=None)
def test_a_mirrored_pose_is_forgiven_only_where_reflection_is_allowed(seed, motion):
    _, truth = poses(seed)
    mirrored = similarity(motion, mirror=True)(truth)
    assert error(align(mirrored, truth, reflection=True), truth).max() < 1e-6
    assert error(align(mirrored, truth), truth).min() > 10.0


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_each_freedom_lowers_the_sum_of_squares(seed):
    predicted, truth = poses(seed, noise=200.0)
    steps = [
        centred(predicted, range(17)) + truth.mean(axis=1, keepdims=True),
        align(predicted, truth, scale=False),
        align(predicted, truth),
        align(predicted, truth, reflection=True),
    ]
    squares = np.array([(distances(step, truth) ** 2).sum(axis=1) for step in steps])
    assert (np.diff(squares, axis=0) <= 1e-6).all()


def test_many_frames_are_aligned_as_one_by_one():
    predicted, truth = poses(3, frames=4099)  # more than are aligned at once
    together = align(predicted, truth)
    for index in (0, 4095, 4096, 4098):
        rows = slice(index, index + 1)
        np.testing.assert_array_equal(together[rows], align(predicted[rows], truth[rows]))


@pytest.mark.parametrize("flat", [(1, 0, 0), (1, 1, 0)])
def test_a_flat_pose_is_found_again(flat):
    _, truth = poses(5)
    flattened = truth * flat
    moved = align(similarity(6)(flattened), flattened)
    np.testing.assert_allclose(moved, flattened, atol=1e-6)


def test_a_pose_in_one_point_comes_out_at_the_centre():
    _, truth = poses(5)
    moved = align(np.ones_like(truth), truth)
    np.testing.assert_allclose(
        moved, np.broadcast_to(truth.mean(axis=1, keepdims=True), moved.shape)
    )


def test_empty_input():
    nothing = np.zeros((0, 17, 3))
    assert align(nothing, nothing).shape == (0, 17, 3)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_scale_is_the_least_squares_factor(seed):
    predicted, truth = (centred(p, [0]) for p in poses(seed, frames=2))
    for p, t, found in zip(predicted, truth, scaled(predicted, truth), strict=True):
        factor = np.linalg.lstsq(p.reshape(-1, 1), t.ravel(), rcond=None)[0]
        np.testing.assert_allclose(found, factor * p, atol=1e-8)


def test_distances_and_bones_by_plain_loops():
    predicted, truth = poses(7, joints=5)
    parents = (-1, 0, 1, 1, 3)
    for n in range(len(truth)):
        for k in range(5):
            assert distances(predicted, truth)[n, k] == pytest.approx(
                sum((predicted[n, k, c] - truth[n, k, c]) ** 2 for c in range(3)) ** 0.5
            )
        for bone, k in enumerate(range(1, 5)):
            there, here = (
                np.array([x[n, k, c] - x[n, parents[k], c] for c in range(3)])
                for x in (truth, predicted)
            )
            np.testing.assert_allclose(bone_vectors(truth, parents)[n, bone], there)
            assert bone_lengths(truth, parents)[n, bone] == pytest.approx(np.linalg.norm(there))
            assert bone_errors(predicted, truth, parents)[n, bone] == pytest.approx(
                np.linalg.norm(here - there)
            )


def test_centre_is_the_mean_of_the_roots_and_nothing_for_none():
    predicted, _ = poses(9)
    np.testing.assert_allclose(
        centred(predicted, (2, 3)), predicted - (predicted[:, 2:3] + predicted[:, 3:4]) / 2
    )
    assert centred(predicted, ()) is predicted


@given(seeds)
@settings(max_examples=50, deadline=None)
def test_weights_are_repetition(seed):
    random = np.random.default_rng(seed)
    values = random.normal(size=random.integers(1, 9))
    weights = random.integers(0, 4, size=(3, len(values)))
    for row, times in enumerate(weights):
        repeated = np.repeat(values, times)
        if len(repeated):
            assert mean(values, weights)[row] == pytest.approx(repeated.mean())
            assert median(values, weights)[row] == np.median(repeated)
            share = [100 * (repeated <= t).mean() for t in (-0.5, 0.0, 0.5)]
            np.testing.assert_allclose(success(values, (-0.5, 0.0, 0.5), weights)[row], share)
        else:
            assert np.isnan(mean(values, weights)[row])
            assert np.isnan(median(values, weights)[row])


def test_values_may_share_a_weight():
    values, owner = np.array([5.0, 1.0, 2.0, 9.0]), np.array([0, 0, 1, 1])
    weights = np.array([[1, 1], [0, 1], [3, 0]])
    np.testing.assert_array_equal(median(values, weights, owner), [3.5, 5.5, 3.0])


def test_an_error_of_exactly_the_threshold_is_a_success():
    assert success(np.array([10.0, 10.000001]), (10.0,), np.ones((1, 2), int)) == 50.0


def test_division_by_nothing_is_nan_without_warning():
    np.testing.assert_array_equal(ratio(np.zeros(2), np.array([0.0, 2.0])), [np.nan, 0.0])
