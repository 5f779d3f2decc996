"""Part affinity fields: targets, limb scores and assembly against plain loops."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from harness.api.skeleton import OPENPOSE_18
from methods.parts.affinity import RELEASES, Candidates, Rules, assemble, candidates, connections
from methods.parts.affinity_targets import affinity_targets
from methods.parts.peaks import centroids, highest, is_peak, smoothed

LIMBS = OPENPOSE_18.limbs
JOINTS = len(OPENPOSE_18)


def crowd(count, random, size=(400, 600)):
    """Return people (n, 18, 2) of the same shape on a grid, jittered, all of them visible."""
    pose = random.uniform(0, 1, (JOINTS, 2)) * (34, 60) + 5
    columns = int(np.ceil(np.sqrt(count * 1.5)))
    corners = [(size[1] // columns * (i % columns), 75 * (i // columns)) for i in range(count)]
    joints = pose + np.array(corners)[:, None] + random.uniform(-2, 2, (count, JOINTS, 2))
    return joints, np.ones((count, JOINTS), bool)


def as_candidates(joints, random, doubled=0.0, values=None):
    """Return the people's joints as shuffled peaks, and who each peak belongs to."""
    points, scores, owner, offsets = [], [], [], [0]
    for k in range(joints.shape[1]):
        order = random.permutation(len(joints))
        points += [joints[i, k] for i in order]
        owner += order.tolist()
        offsets.append(len(points))
    points = np.array(points).reshape(-1, 2)
    scores = random.uniform(0.3, 1, len(points))
    return Candidates(points, scores, np.array(offsets)), np.array(owner)


@pytest.mark.parametrize("seed", range(3))
def test_targets_equal_plain_loops(seed):
    random = np.random.default_rng(seed)
    joints = random.uniform(-10, 100, (3, JOINTS, 2))
    visible = random.random((3, JOINTS)) < 0.8
    height, width, stride, sigma = 9, 12, 8, 7.0
    maps, fields = affinity_targets(joints, visible, LIMBS, (height, width), stride, sigma)
    wanted = np.zeros_like(maps)
    vectors = np.zeros((len(LIMBS), 2, height, width))
    for y in range(height):
        for x in range(width):
            pixel = np.array([8 * x + 3.5, 8 * y + 3.5])
            for k in range(JOINTS):
                for person in range(3):
                    value = math.exp(-np.square(pixel - joints[person, k]).sum() / (2 * sigma**2))
                    if visible[person, k] and value >= 0.01:
                        wanted[k, y, x] = max(wanted[k, y, x], value)
            wanted[-1, y, x] = 1 - wanted[:-1, y, x].max()
            for limb, (a, b) in enumerate(LIMBS):
                near = []
                for person in np.flatnonzero(visible[:, a] & visible[:, b]):
                    start, end = (joints[person, [a, b]] + 0.5) / 8 - 0.5
                    unit = (end - start) / np.linalg.norm(end - start)
                    rel = np.array([x, y]) - start
                    box = (np.minimum(start, end) - 1 <= (x, y)) & ((x, y) <= np.maximum(start, end) + 1)  # fmt: skip  # noqa: E501
                    if abs(rel[0] * unit[1] - rel[1] * unit[0]) <= 1 and box.all():
                        near.append(unit)
                if near:
                    vectors[limb, :, y, x] = np.mean(near, axis=0)
    np.testing.assert_allclose(maps, wanted, atol=1e-6)
    np.testing.assert_allclose(fields, vectors.reshape(fields.shape), atol=1e-6)


def slow_connections(found, fields, rules):
    """Score every pair of every limb, one sample at a time."""
    result = []
    height, width = fields.shape[1:]
    for limb, (a, b) in enumerate(LIMBS):
        rows = []
        for i in range(*found.offsets[[a, a + 1]]):
            for j in range(*found.offsets[[b, b + 1]]):
                start, end = found.points[i], found.points[j]
                length = math.dist(start, end)
                if length <= 1e-6:
                    continue
                unit = (end - start) / length
                if rules.samples:
                    shares = [s / (rules.samples - 1) for s in range(rules.samples)]
                else:
                    longest = max(abs(end - start))
                    number = min(25, max(5, math.floor(math.sqrt(5 * longest) + 0.5)))
                    shares = [s / number for s in range(number)]
                values = []
                for share in shares:
                    x, y = np.rint(start + share * (end - start)).astype(int)
                    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
                    values.append(float(fields[2 * limb : 2 * limb + 2, y, x] @ unit))
                agreeing = [v for v in values if v > rules.sample_threshold]
                used = agreeing if rules.mean_of_agreeing else values
                score = sum(used) / len(used) if used else 0.0
                if rules.long_limbs:
                    score += min(rules.long_limbs * height / length - 1, 0)
                if len(agreeing) / len(values) > rules.agreeing and score > 0:
                    rows.append((i, j, score))
        result.append(rows)
    return result


@pytest.mark.parametrize("release", RELEASES)
def test_limb_scores_equal_plain_loops(release):
    random = np.random.default_rng(1)
    joints, visible = crowd(4, random, (160, 200))
    _, fields = affinity_targets(joints, visible, LIMBS, (160, 200), 1, 7.0, reach=4)
    fields += random.normal(0, 0.05, fields.shape).astype(np.float32)
    found, _ = as_candidates(joints, random)
    rules = RELEASES[release]
    for fast, slow in zip(
        connections(found, fields, LIMBS, rules),
        slow_connections(found, fields, rules),
        strict=True,
    ):
        assert [(int(i), int(j)) for i, j in zip(*fast[:2], strict=True)] == [r[:2] for r in slow]
        np.testing.assert_allclose(fast[2], [r[2] for r in slow], rtol=1e-5)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("count", [1, 20, 100])
def test_a_crowd_is_told_apart(release, count):
    random = np.random.default_rng(count)
    joints, visible = crowd(count, random, (800, 1000))
    joints /= 2
    _, fields = affinity_targets(joints, visible, LIMBS, (400, 500), 1, 2.0)
    found, owner = as_candidates(joints, random)
    people, scores = assemble(found, fields, OPENPOSE_18, LIMBS, RELEASES[release], 2)
    assert len(people) == len(scores) == count
    assert (people >= 0).all()
    assert (owner[people] == owner[people[:, :1]]).all()


@pytest.mark.parametrize("order", ["by limb", "by score"])
def test_two_halves_of_a_person_merge_and_ears_open_nobody(order):
    """Arms are found before the neck joins them; an ear with a shoulder alone is no person."""
    random = np.random.default_rng(0)
    joints, visible = crowd(2, random, (100, 140))
    visible[1] = False
    visible[1, [2, 16]] = True  # right shoulder and right ear
    _, fields = affinity_targets(joints, visible, LIMBS, (100, 140), 1, 7.0, reach=3)
    offsets = np.cumsum([0, *visible.sum(axis=0)])
    points = np.concatenate([joints[visible[:, k], k] for k in range(JOINTS)])
    found = Candidates(points, np.ones(len(points)), offsets)
    rules = Rules(order=order, least_parts=2, least_score=0.0, long_limbs=0.0)
    people, _ = assemble(found, fields, OPENPOSE_18, LIMBS, rules, 2)
    whole = people[(people >= 0).all(axis=1)]
    assert len(whole) == 1
    if order == "by limb":
        assert len(people) == 1


@pytest.mark.parametrize("order", ["by limb", "by score"])
def test_no_peak_has_two_owners_where_everything_is_noise(order):
    random = np.random.default_rng(3)
    found = candidates(
        np.concatenate(
            [random.uniform(0, 60, (JOINTS, 6, 2)), random.random((JOINTS, 6, 1))], axis=-1
        )
    )
    fields = random.normal(0.4, 0.6, (2 * len(LIMBS), 60, 60)).astype(np.float32)
    rules = Rules(order=order, agreeing=0.3, least_parts=2, least_score=0.0)
    people, scores = assemble(found, fields, OPENPOSE_18, LIMBS, rules, 2)
    assert len(people) > 3
    assert np.isfinite(scores).all()
    for joint, own in enumerate(people.T):
        own = own[own >= 0]
        assert ((own >= found.offsets[joint]) & (own < found.offsets[joint + 1])).all()
        if order == "by score":
            assert len(set(own.tolist())) == len(own)


def test_nobody_and_single_peaks_are_no_people():
    nothing = candidates(np.full((JOINTS, 5, 3), -np.inf))
    fields = np.zeros((2 * len(LIMBS), 20, 20), np.float32)
    lonely = candidates(np.concatenate([np.full((JOINTS, 1, 2), 4.0), np.ones((JOINTS, 1, 1))], -1))
    for rules in RELEASES.values():
        for found in (nothing, lonely):
            people, scores = assemble(found, fields, OPENPOSE_18, LIMBS, rules, 2)
            assert people.shape == (0, JOINTS)
            assert scores.shape == (0,)


def test_the_releases_keep_different_people():
    """Three parts are a person for Matlab and C++, not for Python; feet do not count in C++."""
    random = np.random.default_rng(0)
    joints, visible = crowd(1, random, (100, 100))
    visible[0, 3:] = False
    visible[0, 0] = False
    visible[0, [2, 3, 4]] = True  # right arm
    _, fields = affinity_targets(joints, visible, LIMBS, (100, 100), 1, 7.0, reach=3)
    visible[0, 1] = False
    offsets = np.cumsum([0, *visible.sum(axis=0)])
    found = Candidates(joints[0][visible[0]], np.ones(3), offsets)
    sizes = {
        release: len(assemble(found, fields, OPENPOSE_18, LIMBS, rules, 2)[0])
        for release, rules in RELEASES.items()
    }
    assert sizes == {"python": 0, "matlab": 1, "tf-pose": 0, "c++": 1, "lightweight": 1}


def test_close_peaks_are_suppressed_from_left_to_right():
    row = np.array([[10.0, 5, 0.2], [4.0, 5, 0.9], [7.0, 5, 0.5], [30, 5, 0.1], [0, 0, -np.inf]])
    found = candidates(row[None], apart=6.0)
    assert found.points[:, 0].tolist() == [4, 10, 30]
    assert found.scores.tolist() == [0.9, 0.2, 0.1]


def test_smoothing_is_scipys():
    maps = torch.rand((1, 2, 23, 17), generator=torch.Generator().manual_seed(0))
    for sigma in (1.0, 3.0):
        expected = [gaussian_filter(m.numpy().astype(np.float64), sigma) for m in maps[0]]
        np.testing.assert_allclose(smoothed(maps, sigma)[0], expected, atol=1e-6)


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("strict", [True, False])
def test_peaks_equal_plain_loops(neighbours, strict):
    random = np.random.default_rng(0)
    maps = random.integers(0, 6, (1, 3, 12, 14)).astype(np.float32) / 5
    found = is_peak(torch.from_numpy(maps), 0.3, neighbours, strict)[0].numpy()
    framed = np.pad(maps[0], [(0, 0), (1, 1), (1, 1)])
    steps = [(0, 1), (0, -1), (1, 0), (-1, 0)]
    if neighbours == 8:
        steps += [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    for k, y, x in np.ndindex(*found.shape):
        value = maps[0, k, y, x]
        others = [framed[k, y + 1 + dy, x + 1 + dx] for dy, dx in steps]
        higher = all(value > o for o in others) if strict else all(value >= o for o in others)
        assert found[k, y, x] == (value > np.float32(0.3) and higher)


def test_highest_peaks_come_first_and_the_rest_is_marked():
    maps = torch.tensor([[[[0.0, 3.0, 1.0], [2.0, 0.0, 5.0]]]])
    index, values = highest(maps, maps > 1.5, 4)
    assert index[0, 0, :3].tolist() == [5, 1, 3]
    assert values[0, 0].tolist() == [5, 3, 2, -math.inf]


def test_centroid_is_the_windows_centre_of_mass():
    y, x = np.mgrid[:30, :40]
    blob = np.exp(-((x - 17.3) ** 2 + (y - 11.6) ** 2) / (2 * 2.0**2)).astype(np.float32)
    maps = torch.from_numpy(blob)[None, None]
    place = torch.tensor([[[12 * 40 + 17, 0]]])
    found = centroids(maps, place, 3)[0, 0]
    window = blob[9:16, 14:21]
    expected = [(window * x[9:16, 14:21]).sum(), (window * y[9:16, 14:21]).sum()] / window.sum()
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    assert (found[1] >= 0).all()  # at the corner only what is inside the map weighs


def test_releases_are_the_published_numbers():
    python, matlab, cpp = (RELEASES[name] for name in ("python", "matlab", "c++"))
    assert (python.peak_threshold, python.sample_threshold, python.agreeing) == (0.1, 0.05, 0.8)
    assert (python.least_parts, python.least_score) == (4, 0.4)
    assert dataclasses.replace(matlab, least_parts=4, least_score=0.4) == python
    assert (cpp.peak_threshold, cpp.sample_threshold, cpp.agreeing) == (0.05, 0.05, 0.95)
    assert (cpp.least_parts, cpp.least_score, cpp.smoothing) == (3, 0.4, 0)
