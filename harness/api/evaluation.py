"""An evaluation: what scoring one set of predictions under one protocol gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api.benchmark import Curve
from harness.api.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics with their uncertainty and everything a page shows beside them.

    Parameters
    ----------
    metrics : mapping of str to float
        NaN where a metric has no value on this data.
    intervals : mapping of str to (low, high)
        95 % bootstrap intervals over samples; absent where there is none.
    draws : mapping of str to array (B,)
        Each metric in B bootstrap draws of the samples, NaN where it has no value. The draws are
        the same for all predictions of a split, so two evaluations can be compared draw by draw.
    counts : mapping of str to int
        ``samples``, ``predictions``, and ``units`` where what the bootstrap draws are not samples
        but whole sequences.
    statistics : Statistics
        The per-sample statistics that all the rest was computed from.
    curves : tuple of Curve
    breakdown : mapping
        Values per joint, size or condition.
    error_analysis : mapping
        Kinds of error and what each costs, see :meth:`harness.api.Benchmark.error_analysis`.
    per_sample : mapping of str to array (n,)
        Scores per sample, in the order of the statistics.
    notes : mapping
        Defaults that were chosen and other facts worth printing.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    counts: Mapping[str, int]
    statistics: Statistics
    draws: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    breakdown: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    error_analysis: Mapping[str, Any] = field(default_factory=dict)
    per_sample: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
