"""Score predictions under a protocol, with confidence intervals."""

from __future__ import annotations

import numpy as np

from harness.api import (
    Benchmark,
    Dataset,
    Evaluation,
    Predictions,
    Protocol,
    Statistics,
    check_ids,
)

DRAWS = 1000
"""Bootstrap draws behind every interval."""

_SEED = 20240229
_BLOCK = 2_000_000  # sample weights held at once: bounds memory on large splits


def evaluate(
    benchmark: Benchmark, dataset: Dataset, predictions: Predictions, protocol: Protocol
) -> Evaluation:
    """Score predictions that cover a split exactly; a split without truth gives no metrics.

    Raises
    ------
    ValueError
        If a sample of the split is missing, doubled or unknown.
    """
    check_ids(predictions, dataset)
    counts = {"samples": len(predictions), "predictions": int(predictions.offsets[-1])}
    if dataset.truth is None:
        nothing = Statistics(np.arange(len(predictions)), {})
        return Evaluation(metrics={}, intervals={}, counts=counts, statistics=nothing)
    statistics = benchmark.statistics(dataset, predictions, protocol)
    metrics = benchmark.compute(statistics, protocol)
    return Evaluation(
        metrics=metrics,
        intervals=bootstrap_intervals(benchmark, statistics, protocol),
        counts=counts,
        statistics=statistics,
        curves=tuple(benchmark.curves(statistics, protocol)),
        breakdown=benchmark.breakdown(statistics, protocol),
        per_sample=benchmark.per_sample(statistics, protocol),
    )


def bootstrap_intervals(
    benchmark: Benchmark, statistics: Statistics, protocol: Protocol, draws: int = DRAWS
) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile interval of every metric over samples drawn with replacement.

    The draws depend on the number of samples alone, so two methods on one split are compared on
    the same draws. A metric that has no value in a draw is left out of that draw; one sample
    gives no interval.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    count = len(statistics)
    if count < 2:
        return {}
    random = np.random.default_rng(_SEED)
    per_block = max(1, min(draws, _BLOCK // count))
    blocks = []
    for first in range(0, draws, per_block):
        rows = min(per_block, draws - first)
        drawn = random.integers(0, count, size=(rows, count))
        drawn += np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        blocks.append(benchmark.resample(statistics, protocol, weights))
    intervals = {}
    for name in blocks[0]:
        values = np.concatenate([block[name] for block in blocks])
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.percentile(values, [2.5, 97.5])
            intervals[name] = (float(low), float(high))
    return intervals
