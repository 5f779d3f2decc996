"""Intervals, p-values and tie groups: proven by simulation and on constructed tables."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.api import Column, Statistics
from harness.evaluation import bootstrap, percentile_intervals
from harness.ranking import Rank, holm, p_values, rank, tie_groups


class Means:
    """Many data sets at once: the metric of each is the mean of its column of ``score``."""

    name = "means"
    columns: ClassVar = (Column("mean", "Mean", 100.0),)

    def ranked_by(self, protocol):
        return self.columns[0]

    def resample(self, statistics, protocol, weights):
        means = weights @ statistics.dense("score") / weights.sum(axis=1, keepdims=True)
        return {str(i): column for i, column in enumerate(means.T)}


def draws_of(scores: np.ndarray) -> np.ndarray:
    """Return the bootstrap draws (m, B) of the means of m columns (n, m)."""
    found = bootstrap(Means(), Statistics(np.arange(len(scores)), {"score": scores}), None)
    return np.stack(list(found.values()))


def coverage(scores: np.ndarray, true: float) -> float:
    intervals = percentile_intervals(dict(enumerate(draws_of(scores))))
    low, high = np.array(list(intervals.values())).T
    return float(((low <= true) & (true <= high)).mean())


@pytest.mark.parametrize(
    ("draw", "true"),
    [
        (lambda r, size: (r.random(size) < 0.7).astype(float), 0.7),
        (lambda r, size: r.gamma(2.0, 20.0, size), 40.0),
        (lambda r, size: r.beta(5, 2, size), 5 / 7),
    ],
    ids=["share of hits", "error in mm, skewed", "similarity"],
)
def test_95_percent_intervals_cover_the_truth_that_often(draw, true):
    scores = draw(np.random.default_rng(11), (250, 4000))
    assert 0.93 <= coverage(scores, true) <= 0.97


def test_intervals_of_paired_differences_cover_too():
    """Two methods on the same samples: hard samples are hard for both."""
    random = np.random.default_rng(5)
    hard = random.normal(size=(250, 4000))
    first = hard + random.normal(0.1, 0.3, hard.shape)
    second = hard + random.normal(0.0, 0.3, hard.shape)
    difference = draws_of(first) - draws_of(second)
    low, high = np.percentile(difference, [2.5, 97.5], axis=1)
    assert 0.93 <= ((low <= 0.1) & (high >= 0.1)).mean() <= 0.97


def test_equal_methods_are_told_apart_in_5_percent_of_tables_at_most():
    random = np.random.default_rng(7)
    tables, methods = 600, 6
    hard = random.normal(size=(300, tables, 1))
    scores = hard + random.normal(0, 0.5, (300, tables, methods))
    draws = draws_of(scores.reshape(300, -1)).reshape(tables, methods, -1)
    values = scores.mean(axis=0)
    split = [
        max(own.group for own in tie_groups(values[t], draws[t], 300)) > 1 for t in range(tables)
    ]
    # Three standard errors above 5 %; below 1 % the test would have no power.
    assert 0.01 <= np.mean(split) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / tables)


def test_a_real_difference_is_found_although_the_intervals_overlap():
    """What pairing is for: samples differ far more than the methods do."""
    random = np.random.default_rng(2)
    hard = random.normal(size=(400, 1))
    scores = hard + random.normal(0, 0.1, (400, 3)) + [0.0, 0.05, 0.0]
    draws = draws_of(scores)
    (low, high), *_ = percentile_intervals({0: draws[1]}).values()
    assert low < scores.mean(axis=0)[0] < high
    assert [own.group for own in tie_groups(scores.mean(axis=0), draws, 400)] == [2, 1, 2]


def test_p_values_of_means_are_those_of_the_paired_t_test():
    random = np.random.default_rng(3)
    for shift in (0.0, 0.02, 0.05, 0.1):
        first, second = random.normal(size=(2, 60)) * 0.3 + [[shift], [0.0]]
        weights = random.multinomial(60, np.full(60, 1 / 60), size=40_000)
        error = (weights @ (first - second) / 60).std(ddof=1)
        ours = p_values(np.array([first.mean() - second.mean()]), np.array([error]), 60)
        theirs = stats.ttest_rel(first, second)
        t = stats.t.isf(ours[0] / 2, 59)
        # 40,000 draws know a standard error to 0.35 %.
        assert t == pytest.approx(abs(theirs.statistic), rel=0.015)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_textbook_procedure(p):
    """Reject the smallest while p <= alpha / (number left), stop at the first that is not."""
    adjusted = holm(np.array(p))
    for alpha in (0.01, 0.05, 0.2):
        rejected = 0
        for i, value in enumerate(sorted(p)):
            if value * (len(p) - i) > alpha:
                break
            rejected += 1
        assert (adjusted <= alpha).sum() == rejected
    assert (adjusted >= np.array(p)).all()


def noise(results: int, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, spread, (results, 1000))


def test_constructed_groups():
    values = np.array([50.0, 90.0, 70.2, 89.5, 70.0])
    found = tie_groups(values, values[:, None] + noise(5), 1000)
    assert [own.group for own in found] == [3, 1, 2, 1, 2]
    assert [(own.best, own.worst) for own in found] == [(5, 5), (1, 2), (3, 4), (1, 2), (3, 4)]


def test_of_an_error_the_smallest_is_best():
    values = np.array([50.0, 90.0, 51.0])
    found = tie_groups(values, values[:, None] + noise(3), 1000, higher_is_better=False)
    assert [own.group for own in found] == [1, 2, 1]


def test_a_group_is_tied_with_its_leader_not_all_with_each_other():
    """A chain: each is tied with its neighbour, the ends are not."""
    values = np.array([10.0, 7.0, 4.0])
    found = tie_groups(values, values[:, None] + noise(3), 1000)
    assert [own.group for own in found] == [1, 1, 2]
    assert found[1] == Rank(1, 1, 3)


def test_the_same_predictions_twice_are_tied():
    draws = np.repeat(noise(1), 2, axis=0)
    assert [r.group for r in tie_groups(np.array([1.0, 1.0]), draws, 100)] == [1, 1]


def test_a_difference_that_never_varies_needs_enough_samples():
    """Five samples cannot give a p-value below 1/16, however alike they are."""
    draws = np.stack([noise(1)[0], noise(1)[0] + 0.5])
    groups = [
        [r.group for r in tie_groups(np.array([1.0, 1.5]), draws, samples)] for samples in (5, 6)
    ]
    assert groups == [[1, 1], [2, 1]]


def test_one_sample_tells_nothing():
    assert [r.group for r in tie_groups(np.array([1.0, 9.0]), np.zeros((2, 0)), 1)] == [1, 1]


def test_draws_without_a_value_are_left_out():
    values = np.array([9.0, 1.0])
    draws = values[:, None] + noise(2)
    draws[0, ::3] = np.nan
    assert [r.group for r in tie_groups(values, draws, 100)] == [1, 2]
    draws[1] = np.nan
    assert [r.group for r in tie_groups(values, draws, 100)] == [1, 1]


@given(st.permutations(range(7)))
def test_the_order_of_the_results_does_not_matter(order):
    values = np.array([0.9, 0.1, 0.89, 0.5, 0.52, 0.88, 0.3])
    draws = values[:, None] + noise(7, 0.01)
    found = tie_groups(values, draws, 500)
    again = tie_groups(values[list(order)], draws[list(order)], 500)
    assert again == [found[i] for i in order]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a record has that ranking asks for."""

    id: str
    value: float | None
    status: str = "done"
    protocol: str = "p"
    protocol_digest: str = "p"
    dataset_digest: str = "d"
    limit: int | None = None
    benchmark: str = "means"
    split: str = "val"

    @property
    def metrics(self):
        return {"mean": self.value}

    @property
    def counts(self):
        return {"samples": 400}


def ranks(*results: Result) -> dict[str, Rank]:
    table = dict(zip((r.id for r in results), noise(len(results), 0.01), strict=True))

    def evidence(record):
        if record.id == "gone":
            return SimpleNamespace(draws=lambda: open("/does/not/exist"))
        return SimpleNamespace(draws=lambda: {"mean": table[record.id] + record.value})

    return rank(results, evidence, Means())


def test_only_comparable_results_are_ranked_together():
    found = ranks(
        Result("a", 0.9),
        Result("b", 0.5),
        Result("other protocol", 0.99, protocol_digest="q"),
        Result("other data", 0.99, dataset_digest="e"),
        Result("part of the data", 0.99, limit=10),
    )
    assert found["a"] == Rank(1, 1, 1)
    assert found["b"] == Rank(2, 2, 2)
    assert {found[name] for name in ("other protocol", "other data", "part of the data")} == {
        Rank(1, 1, 1)
    }


def test_what_has_no_value_has_no_rank():
    found = ranks(
        Result("a", 0.9), Result("b", None), Result("c", 0.7, status="failed"), Result("gone", 0.8)
    )
    assert list(found) == ["a"]


def test_a_thousand_results_are_ranked_exactly():
    values = np.repeat([0.9, 0.5, 0.1], [400, 300, 300])
    found = tie_groups(values, values[:, None] + noise(1000, 0.01), 5000)
    assert [own.group for own in found] == np.repeat([1, 2, 3], [400, 300, 300]).tolist()
