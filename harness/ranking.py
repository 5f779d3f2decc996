"""Ranks with tie groups: which results differ by more than chance.

Two results are compared on the same bootstrap draws of their samples, all pairs of a table with
Holm's correction; ``docs/statistics.md`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from harness.api import Benchmark
from harness.records.record import Evidence, Record

ALPHA = 0.05
"""Chance that any pair at all is wrongly told apart in a table of equal results."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Rank:
    """A result's place among those it may be compared with.

    Parameters
    ----------
    group : int
        Tie group, 1 for the best. A group is its best result and all that are not significantly
        worse than that one; the best of the rest opens the next group.
    best, worst : int
        Simultaneous 95 % confidence set of the rank itself: 1 + the number of results that are
        significantly better, and the number of all less those that are significantly worse.
    """

    group: int
    best: int
    worst: int


def comparable(record: Record) -> tuple[object, ...]:
    """Return what two results must share to be compared: protocol, data and number of samples."""
    data = (record.benchmark, record.split, record.dataset_digest, record.limit)
    return (*data, record.protocol_digest)


def rank(
    records: Iterable[Record], evidence: Callable[[Record], Evidence], benchmark: Benchmark
) -> dict[str, Rank]:
    """Rank results of one benchmark by its primary metric, each among its comparable ones.

    A result without rank is not among the keys: failed or skipped, without a value, or without
    bootstrap draws (a single sample; or its evidence is gone). A page that shows only a method's
    newest result passes only those: every record given counts as a competitor.

    The cost is that of reading one small file per result and one matrix product per table: 20
    results take milliseconds, 1,000 less than a second. Nothing is approximated for many results,
    but Holm's correction grows with the number of pairs: among 20 results a difference of 3.7
    standard errors counts, among 1,000 one of 5.5.

    Parameters
    ----------
    records : iterable of Record
        Of any protocols and splits of the benchmark; only comparable ones are ranked together.
    evidence : callable
        Gives the files behind a record.
    benchmark : Benchmark
        Names the metric and its direction.

    Returns
    -------
    dict of str to Rank
        By the id of the record.
    """
    tables: dict[tuple[object, ...], list[tuple[Record, float, Floats]]] = {}
    for record in records:
        metric = benchmark.ranked_by(record.protocol).metric
        value = record.metrics.get(metric)
        if record.status == "done" and value is not None:
            draws = _draws(evidence(record), metric)
            if len(draws):
                tables.setdefault(comparable(record), []).append((record, value, draws))
    ranks: dict[str, Rank] = {}
    for table in tables.values():
        column = benchmark.ranked_by(table[0][0].protocol)
        found = tie_groups(
            np.array([value for _, value, _ in table]),
            np.stack([draws for _, _, draws in table]),
            samples=min(units(record) for record, _, _ in table),
            higher_is_better=column.higher_is_better,
        )
        ranks |= {record.id: own for (record, _, _), own in zip(table, found, strict=True)}
    return ranks


def units(record: Record) -> int:
    """Return how many units were resampled: samples, or whole sequences of a tracker."""
    return record.counts.get("units", record.counts.get("samples", 0))


def _draws(evidence: Evidence, metric: str) -> Floats:
    try:
        return evidence.draws().get(metric, np.zeros(0))
    except FileNotFoundError:
        return np.zeros(0)


def tie_groups(
    values: Floats, draws: Floats, samples: int, *, higher_is_better: bool = True
) -> list[Rank]:
    """Rank n results from their values (n,) and common bootstrap draws (n, B).

    Draws in which any of the results has no value are left out for all of them.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(3, 1000))
    >>> tie_groups(np.array([9.0, 1.0, 8.5]), noise, samples=100)
    [Rank(group=1, best=1, worst=2), Rank(group=2, best=3, worst=3), Rank(group=1, best=1, worst=2)]
    """
    total = len(values)
    first, second = np.triu_indices(total, 1)
    difference = values[first] - values[second]
    if not higher_is_better:
        difference = -difference
    draws = draws[:, np.isfinite(draws).all(axis=0)]
    error = _standard_errors(draws, first, second, difference != 0)
    apart = holm(p_values(difference, error, samples)) <= ALPHA
    better = np.zeros((total, total), dtype=np.bool_)
    better[first, second] = apart & (difference > 0)
    better[second, first] = apart & (difference < 0)
    order = np.argsort(-values if higher_is_better else values, kind="stable")
    group = _groups(order, better)
    return [
        Rank(int(group[i]), 1 + int(better[:, i].sum()), total - int(better[i].sum()))
        for i in range(total)
    ]


def _groups(order: Ints, better: Bools) -> Ints:
    """Number the groups (n,), going down the table; ``better[i, j]``: i is better than j."""
    group = np.zeros(len(order), dtype=np.int64)
    numbers = count(1)
    leader = None
    for result in order:
        if leader is None or better[leader, result]:
            leader, number = result, next(numbers)
        group[result] = number
    return group


def _standard_errors(draws: Floats, first: Ints, second: Ints, needed: Bools) -> Floats:
    """Return the standard deviation of the difference of pairs of rows of ``draws`` (n, B)."""
    if draws.shape[1] < 2:
        return np.full(len(first), np.inf)  # nothing is known: no pair is told apart
    centred = draws - draws.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / (draws.shape[1] - 1)
    spread = np.diag(covariance)
    both = spread[first] + spread[second]
    variance = both - 2 * covariance[first, second]
    # Where two results are almost the same, this difference of sums has no digit left.
    for pair in np.flatnonzero(needed & (variance < 1e-9 * both)):
        variance[pair] = np.var(draws[first[pair]] - draws[second[pair]], ddof=1)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def p_values(difference: Floats, standard_error: Floats, samples: int) -> Floats:
    """Return two-sided p-values of differences, given their bootstrap standard errors.

    The difference is measured in standard errors and compared with Student's t distribution of
    ``samples - 1`` degrees of freedom; for a metric that is a mean over samples this is the paired
    t-test. No p-value is below ``2 ** (1 - samples)``, which is the least that exchanging the two
    results sample by sample could give.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 12.

    Examples
    --------
    >>> p_values(np.array([0.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0]), samples=100).round(3)
    array([1.   , 0.049, 0.   ])
    """
    from scipy.special import stdtr

    if samples < 2:
        return np.ones_like(difference)
    # The bootstrap divides by n where the unbiased variance divides by n - 1.
    scale = np.sqrt((samples - 1) / samples)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(difference == 0, 0.0, scale * np.abs(difference) / standard_error)
    return np.asarray(np.maximum(2 * stdtr(samples - 1, -t), 2.0 ** (1 - samples)))


def holm(p: Floats) -> Floats:
    """Return p-values (m,) adjusted so that all decisions together err with one probability.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
