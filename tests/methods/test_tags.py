"""Grouping by tags against the official algorithm written out; its losses against loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from harness.loading import load_method
from methods.bottom_up.associative_embedding import tag_loss, toward_neighbours
from methods.parts.tags import blocks_of, fill_missing, group_by_tags


def slow_groups(scores, tags, order, threshold, tag_threshold, max_people, closed):
    """The official algorithm with lists of people; the assignment by trying all of them."""
    people = []  # (joint -> peak, tags so far)
    for joint in order:
        peaks = [i for i in range(scores.shape[1]) if scores[joint, i] > threshold]
        known = people[:max_people]
        if closed and known and len(known) == max_people:
            continue
        matched = {}
        if known and peaks:
            means = [np.mean(own, axis=0) for _, own in known]
            distance = np.array(
                [[np.sqrt(np.mean((tags[joint, i] - m) ** 2)) for m in means] for i in peaks]
            )
            cost = np.round(distance) * 100 - scores[joint, peaks][:, None]
            for row, column in best_assignment(cost):
                if distance[row, column] < tag_threshold:
                    matched[row] = column
        fresh = []
        for row, i in enumerate(peaks):
            if row in matched:
                people[matched[row]][0][joint] = i
                people[matched[row]][1].append(tags[joint, i])
            else:
                fresh.append(({joint: i}, [tags[joint, i]]))
        people += fresh
    table = np.full((len(people), len(scores)), -1)
    for row, (own, _) in enumerate(people):
        for joint, i in own.items():
            table[row, joint] = i
    return table


def best_assignment(cost):
    rows, columns = cost.shape
    if rows > columns:
        return [(r, c) for c, r in best_assignment(cost.T)]
    choices = itertools.permutations(range(columns), rows)
    best = min(choices, key=lambda choice: sum(cost[r, c] for r, c in enumerate(choice)))
    return list(enumerate(best))


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_groups_are_those_of_the_official_algorithm(seed, closed):
    random = np.random.default_rng(seed)
    joints, peaks, size = 6, 4, 2
    # In a plane and far apart: on a line several assignments are often equally cheap.
    people = random.uniform(-40, 40, (peaks, size))
    tags = people[np.stack([random.permutation(peaks) for _ in range(joints)])]
    tags = tags + random.normal(0, 0.3, tags.shape)
    strange = random.random((joints, peaks)) < 0.15
    tags[strange] += random.uniform(-40, 40, (strange.sum(), size))
    scores = random.uniform(0, 1, (joints, peaks))
    arguments = (scores, tags, random.permutation(joints), 0.1, 1.0, 3 + seed % 3, closed)
    np.testing.assert_array_equal(group_by_tags(*arguments), slow_groups(*arguments))


def test_people_beyond_the_most_are_dropped_or_opened_anew():
    scores, tags = np.full((2, 3), 0.9), np.arange(3.0)[None, :, None].repeat(2, 0) * 10
    for closed, people in ((True, 3), (False, 4)):
        found = group_by_tags(scores, tags, [0, 1], 0.1, 1.0, 2 if not closed else 3, closed)
        assert len(found) == people


def test_nobody():
    found = group_by_tags(np.zeros((4, 5)), np.zeros((4, 5, 1)), range(4), 0.1, 1.0, 30, True)
    assert found.shape == (0, 4)


@pytest.mark.parametrize("seed", range(24))
def test_missing_joints_are_the_best_of_all_pixels(seed):
    random = np.random.default_rng(seed)
    joints, height, width, size = 5, 20 + seed, 30, 1 + seed % 2
    maps = random.normal(-0.05 * seed, 0.3, (joints, height, width)).astype(np.float32)
    maps = np.round(maps, seed % 3)  # with equal scores too, of which the first counts
    side = (1, 9)[seed // 2 % 2]  # each pixel has its own tag, or squares of pixels have one
    tags = random.uniform(-4, 4, (joints, -(-height // side), -(-width // side), size))
    tags = tags.repeat(side, 1).repeat(side, 2)[:, :height, :width].astype(np.float32)
    people = np.where(random.random((7, joints)) < 0.5, -1, 3)
    means = random.uniform(-4, 4, (7, size)).astype(np.float32)
    (blocks,) = blocks_of(torch.from_numpy(maps)[None], torch.from_numpy(tags)[None]).numpy()
    found = fill_missing(people, means, maps, tags, blocks)
    for person, joint in np.ndindex(*people.shape):
        distance = np.sqrt(np.square(tags[joint] - means[person]).sum(axis=2))
        best = (maps[joint] - np.round(distance)).argmax()
        missing = people[person, joint] < 0 and maps[joint].flat[best] > 0
        assert found[person, joint] == (best if missing else -1)


def slow_tag_loss(tags, places):
    pulls, pushes = [], []
    for own, people in zip(tags.flatten(2), places, strict=True):
        means, pull = [], 0.0
        for person in people:
            values = [own[k, place] for k, place in enumerate(person) if place >= 0]
            if values:
                values = torch.stack(values)
                means.append(values.mean())
                pull = pull + ((values - means[-1]) ** 2).mean()
        pulls.append(pull / max(len(means), 1))
        pairs = [torch.exp(-((a - b) ** 2)) for a, b in itertools.permutations(means, 2)]
        pushes.append(0.5 * sum(pairs) / len(pairs) if pairs else 0.0)
    return sum(pulls) / len(tags) + sum(pushes) / len(tags)


def test_tag_loss_equals_plain_loops():
    random = torch.Generator().manual_seed(0)
    tags = torch.randn((3, 4, 5, 6), generator=random, dtype=torch.float64, requires_grad=True)
    places = torch.randint(-8, 30, (3, 6, 4), generator=random).clamp(min=-1)
    places[1, 1:] = -1  # one person
    places[2] = -1  # nobody
    fast, slow = tag_loss(tags, places), slow_tag_loss(tags, places)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)
    gradients = [torch.autograd.grad(loss, tags, retain_graph=True)[0] for loss in (fast, slow)]
    torch.testing.assert_close(*gradients)


def test_targets_stand_on_the_joints_pixels():
    method = load_method("associative-embedding:nano")
    joints = np.full((2, 17, 2), 50.9)
    joints[1] = 90.0
    joints[0, 1] = (-0.5, 3)
    visible = np.ones((2, 17), bool)
    visible[1, 2] = False
    targets = method.targets(joints, visible)
    assert targets["maps"][0, 12, 12] == targets["maps"][0, 22, 22] == 1
    assert targets["maps"][2, 22, 22] == 0
    assert targets["maps"][0, 12, 13] == pytest.approx(np.exp(-1 / (2 * method.sigma**2)))
    assert targets["places"][0, 0] == 12 * 80 + 12
    assert targets["places"][0, 1] == targets["places"][1, 2] == -1
    assert (targets["places"][2:] == -1).all()


def test_pixels_move_a_quarter_towards_the_higher_neighbour():
    maps = np.zeros((1, 4, 5))
    maps[0, 1, 3] = maps[0, 2, 2] = 1
    places = np.array([[1 * 5 + 2], [0], [19]])
    found = toward_neighbours(maps, places)[:, 0]
    assert found.tolist() == [[2.25, 1.25], [-0.25, -0.25], [3.75, 2.75]]
