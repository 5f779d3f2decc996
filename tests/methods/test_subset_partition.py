"""The integer programme of DeepCut against trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from methods.parts.subset_partition import incremental, partition


def partitions(items):
    """Yield every way to divide a list into sets."""
    if not items:
        yield []
        return
    first, *rest = items
    for smaller in partitions(rest):
        yield [[first], *smaller]
        for i, group in enumerate(smaller):
            yield [*smaller[:i], [first, *group], *smaller[i + 1 :]]


def cost_of(unary, pairwise, label, groups):
    total = sum(unary[d, c] for d, c in label.items())
    for group in groups:
        for d, e in itertools.combinations(sorted(group), 2):
            total += pairwise[d, e, label[d], label[e]]
    return total


def brute_force(unary, pairwise):
    """Try every choice of labels (or none) and every partition."""
    detections, labels = unary.shape
    best = 0.0
    for choice in itertools.product(range(-1, labels), repeat=detections):
        label = {d: c for d, c in enumerate(choice) if c >= 0}
        if any(np.isinf(unary[d, c]) for d, c in label.items()):
            continue
        for groups in partitions(list(label)):
            best = min(best, cost_of(unary, pairwise, label, groups))
    return best


def groups_of(solved):
    return [np.flatnonzero(solved.cluster == c).tolist() for c in range(solved.cluster.max() + 1)]


@pytest.mark.parametrize("seed", range(8))
def test_solution_is_the_best_of_all(seed):
    random = np.random.default_rng(seed)
    detections, labels = (4, 2) if seed % 2 else (3, 3)
    unary = random.normal(-0.3, 1, (detections, labels))
    if seed > 4:
        unary[0, 1] = np.inf
    pairwise = random.normal(0, 1.5, (detections, detections, labels, labels))
    solved = partition(unary, pairwise)
    assert solved.objective == pytest.approx(brute_force(unary, pairwise), abs=1e-6)
    assert solved.gap == 0
    label = {d: c for d, c in enumerate(solved.label.tolist()) if c >= 0}
    recomputed = cost_of(unary, pairwise, label, groups_of(solved)) if label else 0.0
    assert recomputed == pytest.approx(solved.objective, abs=1e-6)
    assert ((solved.cluster >= 0) == (solved.label >= 0)).all()


@pytest.mark.parametrize("seed", range(6))
def test_detections_of_one_kind_each(seed):
    """As detectors of one joint give them: there the pairs' variables alone carry the cost."""
    random = np.random.default_rng(seed)
    unary = np.full((6, 3), np.inf)
    unary[np.arange(6), random.integers(0, 3, 6)] = random.normal(-0.5, 1, 6)
    pairwise = random.normal(0, 1.5, (6, 6, 3, 3))
    solved = partition(unary, pairwise)
    assert solved.objective == pytest.approx(brute_force(unary, pairwise), abs=1e-6)
    assert solved.gap == 0
    label = {d: c for d, c in enumerate(solved.label.tolist()) if c >= 0}
    recomputed = cost_of(unary, pairwise, label, groups_of(solved)) if label else 0.0
    assert recomputed == pytest.approx(solved.objective, abs=1e-6)


def test_pairs_without_a_cost_join_nobody():
    unary = np.full((4, 1), -1.0)
    pairwise = np.zeros((4, 4, 1, 1))
    pairwise[0, 2] = pairwise[1, 3] = -1
    assert partition(unary, pairwise).cluster.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("seed", range(4))
def test_without_time_detections_still_find_someone(seed):
    """The gap never promises too much: the best of all is not below it."""
    random = np.random.default_rng(seed)
    unary, pairwise = random.normal(-1, 1, (5, 1)), random.normal(0, 1.5, (5, 5, 1, 1))
    solved = partition(unary, pairwise, seconds=0)
    best = brute_force(unary, pairwise)
    assert best <= solved.objective < 0
    assert solved.objective - best <= solved.gap * abs(solved.objective) + 1e-9
    np.testing.assert_array_equal(solved.label >= 0, unary[:, 0] < 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_stage_is_the_best_with_the_earlier_people_kept(seed):
    random = np.random.default_rng(seed)
    joint = np.array([0, 0, 0, 1, 1, 1])
    unary = np.full((6, 2), np.inf)
    unary[np.arange(6), joint] = random.normal(-1, 1, 6)
    pairwise = random.normal(0, 1.5, (6, 6, 2, 2))
    first = partition(unary[:3], pairwise[:3, :3])
    solved, _ = incremental(unary, pairwise, ((0,), (1,)))
    np.testing.assert_array_equal(solved.label[:3], first.label)
    earlier = [d for d in range(3) if first.label[d] >= 0]
    best = np.inf
    for later in itertools.chain.from_iterable(
        itertools.combinations([3, 4, 5], n) for n in range(4)
    ):
        label = {d: int(joint[d]) for d in [*earlier, *later]}
        for groups in partitions(list(label)):
            whose = {d: i for i, group in enumerate(groups) for d in group}
            pairs = itertools.combinations(earlier, 2)
            if all(whose[d] == whose[e] for d, e in pairs if first.cluster[d] == first.cluster[e]):
                best = min(best, cost_of(unary, pairwise, label, groups))
    assert solved.objective == pytest.approx(best, abs=1e-6)
    label = {d: c for d, c in enumerate(solved.label.tolist()) if c >= 0}
    assert cost_of(unary, pairwise, label, groups_of(solved)) == pytest.approx(best, abs=1e-6)


def two_people():
    """Return two people of three joints and a false detection, far apart."""
    owner = np.array([0, 0, 0, 1, 1, 1, 0])
    joint = np.array([0, 1, 2, 0, 1, 2, 1])
    unary = np.full((7, 3), 3.0)
    unary[np.arange(7), joint] = -2.0
    unary[6] = 4.0
    pairwise = np.where(owner[:, None] == owner[None], -1.0, 2.0)[..., None, None]
    return unary, np.broadcast_to(pairwise, (7, 7, 3, 3)).copy(), owner


@pytest.mark.parametrize("stages", [((0, 1, 2),), ((0,), (1,), (2,)), ((0, 1), (2,))])
def test_stages_find_the_same_people(stages):
    unary, pairwise, owner = two_people()
    solved, told = incremental(unary, pairwise, stages)
    assert solved.label.tolist() == [0, 1, 2, 0, 1, 2, -1]
    assert solved.cluster[6] == -1
    same = solved.cluster[:6, None] == solved.cluster[None, :6]
    np.testing.assert_array_equal(same, owner[:6, None] == owner[None, :6])
    assert [stage.joints for stage in told] == list(stages)
    assert all(stage.seconds > 0 and stage.gap == 0 for stage in told)


def test_what_was_found_stays():
    """A stage's later evidence cannot tear apart what an earlier one has joined."""
    unary, pairwise, _ = two_people()
    solved, _ = incremental(unary, pairwise, ((0, 1), (2,)))
    pairwise[:, :, 2, :] = pairwise[:, :, :, 2] = 9.0
    torn, _ = incremental(unary, pairwise, ((0, 1), (2,)))
    first = [0, 1, 3, 4]
    np.testing.assert_array_equal(torn.label[first], solved.label[first])
    together = torn.cluster[first][:, None] == torn.cluster[first][None]
    np.testing.assert_array_equal(together, np.kron(np.eye(2, dtype=bool), np.ones((2, 2), bool)))


def test_no_detections():
    solved = partition(np.empty((0, 3)), np.empty((0, 0, 3, 3)))
    assert len(solved.label) == len(solved.cluster) == 0
