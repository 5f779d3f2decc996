"""Score predictions under a protocol, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.api import (
    Benchmark,
    Dataset,
    Evaluation,
    Predictions,
    Protocol,
    Statistics,
    check_ids,
    merge,
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
    # Sorted by position, so that a bootstrap draw means the same samples for all predictions.
    statistics = merge([benchmark.statistics(dataset, predictions, protocol)])
    if len(statistics) != len(predictions):
        counts["units"] = len(statistics)
    metrics = benchmark.compute(statistics, protocol)
    draws = bootstrap(benchmark, statistics, protocol)
    return Evaluation(
        metrics=metrics,
        intervals=percentile_intervals(draws),
        counts=counts,
        statistics=statistics,
        draws=draws,
        curves=tuple(benchmark.curves(statistics, protocol)),
        breakdown=benchmark.breakdown(statistics, protocol),
        error_analysis=benchmark.error_analysis(dataset, predictions, protocol),
        per_sample=benchmark.per_sample(statistics, protocol),
    )


def bootstrap(
    benchmark: Benchmark, statistics: Statistics, protocol: Protocol, draws: int = DRAWS
) -> dict[str, NDArray[np.float64]]:
    """Return every metric (draws,) on sets of samples drawn with replacement; NaN for no value.

    The draws depend on the number of samples alone: two results on one split are computed on the
    same draws, and their difference draw by draw is the paired bootstrap. One sample gives none.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6.
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
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def percentile_intervals(
    draws: Mapping[str, NDArray[np.float64]],
) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile interval of every metric; draws without a value are left out.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    intervals = {}
    for name, values in draws.items():
        valued = values[np.isfinite(values)]
        if len(valued):
            low, high = np.percentile(valued, [2.5, 97.5])
            intervals[name] = (float(low), float(high))
    return intervals
