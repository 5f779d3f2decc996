"""Precision, recall and their averages from matched detections, as COCO defines them.

Per sample, the statistics hold ``score`` (ragged, best first), ``outcome`` (ragged, (A, T) each,
see :mod:`benchmarks.metrics.matching`) and ``truths`` (n, A), how much truth counts in each size
range. Every sample can be given a weight, for a bootstrap draw or a subset of samples; the
result is that of a data set in which each sample stands that often, its copies one after another.

Ties: equal scores are ranked by the sample's position, then by the copy, then as in the sample:
what pycocotools 2.0 does with images in the order of their ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.matching import IGNORED, TRUE_POSITIVE
from harness.api import Ragged, Statistics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_DRAWS_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Interpolated precision at equally spaced recalls, and the highest recall.

    Parameters
    ----------
    precision : array (B, A, T, R)
        Of B draws, A size ranges, T thresholds at R recalls; 0 where a recall is not reached, NaN
        where there is no truth.
    recall : array (B, A, T)
        NaN where there is no truth.
    """

    precision: Floats
    recall: Floats

    def average_precision(self, size: int, threshold: int | None = None) -> Floats:
        """Return the mean precision (B,) over all recalls, and all thresholds or one."""
        chosen = slice(None) if threshold is None else slice(threshold, threshold + 1)
        values = self.precision[:, size, chosen].reshape(len(self.precision), -1)
        return np.asarray(np.ascontiguousarray(values).mean(axis=1))

    def average_recall(self, size: int, threshold: int | None = None) -> Floats:
        """Return the mean highest recall (B,) over all thresholds, or that of one."""
        chosen = slice(None) if threshold is None else slice(threshold, threshold + 1)
        return np.asarray(np.ascontiguousarray(self.recall[:, size, chosen]).mean(axis=1))


def precision_recall(
    statistics: Statistics, recalls: int, weights: Ints | None = None
) -> PrecisionRecall:
    """Compute precision and recall for weighted draws of the samples.

    Parameters
    ----------
    statistics : Statistics
    recalls : int
        Number of equally spaced recalls from 0 to 1.
    weights : int array (B, n), optional
        How often each sample counts in each draw; left out: one draw, every sample once.
    """
    if weights is None:
        weights = np.ones((1, len(statistics)), dtype=np.int64)
    truths = weights @ statistics.dense("truths")
    ranking = _Ranking.of(statistics, int(weights.max(initial=1)))
    sizes, thresholds = ranking.outcome.shape[1:]
    precision = np.zeros((len(weights), sizes, thresholds, recalls))
    recall = np.zeros((len(weights), sizes, thresholds))
    points = np.linspace(0.0, 1.0, recalls)
    for size in range(sizes):
        needed = _needed(truths[:, size], points)
        total = np.maximum(truths[:, size], 1)
        curves = _SizeRange.of(ranking, size)
        for start in range(0, len(weights), _DRAWS_AT_ONCE):
            rows = slice(start, start + _DRAWS_AT_ONCE)
            block = weights[rows].astype(np.float64)
            shared = curves.shared(block)
            for threshold in range(thresholds):
                found, best = curves.draw(threshold, block, shared)
                precision[rows, size, threshold] = _at(found, best, needed[rows])
                recall[rows, size, threshold] = found[:, -1] / total[rows]
    precision[truths == 0] = np.nan
    recall[truths == 0] = np.nan
    return PrecisionRecall(precision, recall)


def _needed(truths: Ints, points: Floats) -> Floats:
    """Return for each draw the least count k (B, R) with ``k / truths >= point`` in doubles."""
    total = np.maximum(truths, 1)[:, None].astype(np.float64)
    count = np.ceil(points * total)
    count = np.where((count - 1) / total >= points, count - 1, count)
    return np.where(count / total < points, count + 1, count)


def _at(found: Floats, best: Floats, needed: Floats) -> Floats:
    """Return the precision (B, R) where ``needed`` (B, R) true positives have been found."""
    draws, count = found.shape
    # One search for all draws: each is lifted above the one before.
    lift = np.arange(draws)[:, None] * (max(found[:, -1].max(), needed.max()) + 1)
    place = np.searchsorted((found + lift).ravel(), (needed + lift).ravel())
    place = place.reshape(needed.shape) - np.arange(draws)[:, None] * count
    reached = place < count
    return np.where(reached, np.take_along_axis(best, np.where(reached, place, 0), axis=1), 0.0)


@dataclass(frozen=True, eq=False)
class _Ranking:
    """All detections of all samples, best score first.

    ``copy`` says which copy of its sample a row stands for; -1 for all copies together.
    """

    owner: Ints
    copy: Ints
    outcome: NDArray[np.int8]

    @classmethod
    def of(cls, statistics: Statistics, copies: int) -> _Ranking:
        column = statistics.ragged("score")
        owner = column.owner
        order = np.lexsort((statistics.position[owner], -column.values))
        score, owner = column.values[order], owner[order]
        outcome = statistics.ragged("outcome").values[order]
        row, copy = np.arange(len(order)), np.full(len(order), -1)
        if copies > 1:
            new = np.diff(score, prepend=np.nan) != 0
            new[1:] |= np.diff(owner) != 0
            true = (outcome == TRUE_POSITIVE).any(axis=(1, 2))
            row, copy = _copy_by_copy(np.cumsum(new) - 1, true, copies)
        return cls(owner[row], copy, outcome[row])

    def weigh(self, rows: Ints, weights: Floats) -> Floats:
        """Return how often rows (n,) stand in each draw (B, n), from the samples' weights."""
        weighed = weights[:, self.owner[rows]]
        single = np.flatnonzero(self.copy[rows] >= 0)
        if len(single):
            weighed[:, single] = weighed[:, single] > self.copy[rows[single]]
        return weighed


def _copy_by_copy(group: Ints, true: Bools, copies: int) -> tuple[Ints, Ints]:
    """Return rows with their copies one by one, and each one's copy; -1 for rows left together.

    A group is a sample's detections of one score. Repeated, its rows come again as a whole; that
    matters only where true positives are among several.
    """
    apart = (np.bincount(group) > 1) & (np.bincount(group, weights=true) > 0)
    times = np.where(apart[group], copies, 1)
    row = np.repeat(np.arange(len(group)), times)
    copy = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
    order = np.lexsort((copy, group[row]))
    return row[order], np.where(apart[group[row]], copy, -1)[order]


@dataclass(frozen=True, eq=False)
class _SizeRange:
    """The detections of one size range, sorted by what the thresholds share.

    Precision depends on the true positives alone: how many detections count up to each. Most
    detections count at every threshold or at none, so that sum is taken once.
    """

    ranking: _Ranking
    constant: Ints
    counted: tuple[Ints, ...]
    true: tuple[Ints, ...]

    @classmethod
    def of(cls, ranking: _Ranking, size: int) -> _SizeRange:
        outcome = ranking.outcome[:, size]
        counts = outcome != IGNORED
        always = counts.all(axis=1)
        return cls(
            ranking,
            np.flatnonzero(always),
            tuple(np.flatnonzero(column & ~always) for column in counts.T),
            tuple(np.flatnonzero(column) for column in (outcome == TRUE_POSITIVE).T),
        )

    def shared(self, weights: Floats) -> Floats:
        """Return the running sum (B, 1 + n) of detections that count at every threshold."""
        return _running(self.ranking.weigh(self.constant, weights))

    def draw(self, threshold: int, weights: Floats, shared: Floats) -> tuple[Floats, Floats]:
        """Return per draw the true positives found up to each (B, 1 + n), and the best precision
        there or later.
        """
        true, own = self.true[threshold], self.counted[threshold]
        found = _running(self.ranking.weigh(true, weights))
        detected = shared[:, np.searchsorted(self.constant, true, side="right")]
        detected += _running(self.ranking.weigh(own, weights))[
            :, np.searchsorted(own, true, side="right")
        ]
        precision = np.zeros(found.shape)
        precision[:, 1:] = found[:, 1:] / (detected + np.spacing(1.0))
        return found, np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _running(weights: Floats) -> Floats:
    """Return the running sum (B, 1 + n) along the rows, starting with 0."""
    total = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=total[:, 1:])
    return total


def best(statistics: Statistics, most: int) -> Statistics:
    """Return the statistics with only the ``most`` best detections of each sample."""
    score, outcome = statistics.ragged("score"), statistics.ragged("outcome")
    counts = np.diff(score.offsets)
    kept = np.arange(len(score.values)) - np.repeat(score.offsets[:-1], counts) < most
    offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, most))]).astype(np.int64)
    fewer = {
        "score": Ragged(score.values[kept], offsets),
        "outcome": Ragged(outcome.values[kept], offsets),
    }
    return Statistics(statistics.position, {**statistics.columns, **fewer})
