"""What must hold of any benchmark: exact merging, weights as repetitions, limits as prefixes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.api import (
    Benchmark,
    Dataset,
    Predictions,
    PrerequisiteError,
    Protocol,
    Statistics,
    merge,
)


def differing(
    ours: Mapping[str, float], theirs: Mapping[str, float | None], tolerance: float
) -> dict[str, tuple[float | None, float | None]]:
    """Return the entries of ``theirs`` that ours do not agree with; None stands for NaN."""
    wrong = {}
    for name, value in theirs.items():
        due = math.nan if value is None else value
        own = ours.get(name, math.inf)
        if not abs(own - due) <= tolerance and not (math.isnan(own) and math.isnan(due)):
            wrong[name] = (own, value)
    return wrong


def assert_merging_is_exact(
    benchmark: Benchmark,
    dataset: Dataset,
    predictions: Predictions,
    protocol: Protocol,
    parts: Sequence[Sequence[str]],
) -> None:
    """Score the ids of each part by itself and merge: metrics equal the whole's to the bit."""
    whole = benchmark.statistics(dataset, predictions, protocol)
    merged = merge(
        [benchmark.statistics(dataset, predictions.select(ids), protocol) for ids in parts]
    )
    assert np.array_equal(merged.position, whole.position)
    assert not differing(
        benchmark.compute(merged, protocol), benchmark.compute(whole, protocol), 0.0
    )


def assert_limit_is_a_prefix(
    benchmark: Benchmark, dataset: Dataset, predictions: Predictions, protocol: Protocol
) -> None:
    """A limited run knows the first ids only: its samples and statistics are those of them."""
    few = dataset.sample_ids[:2]
    limited = dataclasses.replace(dataset, sample_ids=few)
    assert tuple(sample.id for sample in benchmark.samples(limited, protocol)) == few
    own = benchmark.statistics(limited, predictions.select(few), protocol)
    of_whole = benchmark.statistics(dataset, predictions.select(few), protocol)
    assert not differing(
        benchmark.compute(own, protocol), benchmark.compute(of_whole, protocol), 0.0
    )
    with pytest.raises(PrerequisiteError, match="takes no detections"):
        benchmark.samples(dataset, protocol, Path("boxes.json"))


def assert_weights_repeat(
    benchmark: Benchmark,
    statistics: Statistics,
    protocol: Protocol,
    weights: np.ndarray,
    tolerance: float = 1e-9,
) -> None:
    """Weighted units count like repeated ones, in ``compute`` and in ``resample``."""
    taken = statistics.take(np.repeat(np.arange(len(statistics)), weights))
    repeated = benchmark.compute(Statistics(np.arange(len(taken)), taken.columns), protocol)
    weighted = benchmark.compute(statistics, protocol, weights)
    assert not differing(weighted, repeated, tolerance)
    drawn = benchmark.resample(statistics, protocol, np.stack([weights, np.ones_like(weights)]))
    assert not differing(
        {name: v[0] for name, v in drawn.items()}, {n: weighted[n] for n in drawn}, tolerance
    )
