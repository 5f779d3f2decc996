"""Compare results with each other: paired bootstrap differences, and the samples behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.api import Benchmark, PrerequisiteError
from harness.ranking import comparable, holm, p_values, units
from harness.records.record import Evidence, Record

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How much one metric of one result exceeds that of another.

    Parameters
    ----------
    metric : str
    first, second : int
        Numbers of the two results in the comparison.
    value : float
        The first result's metric less the second's.
    low, high : float
        95 % percentile interval over paired bootstrap draws; NaN if there are none.
    p : float
        Two-sided; see :func:`harness.ranking.p_values`.
    p_holm : float
        Adjusted for the pairs that are compared on this metric.
    """

    metric: str
    first: int
    second: int
    value: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Contrast:
    """One sample's score (NaN for none) under two results, and the first's less the second's."""

    sample_id: str
    first: float
    second: float
    difference: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results of one benchmark beside each other.

    Parameters
    ----------
    benchmark : Benchmark
    records : tuple of R Records
    metrics : tuple of str
        Those that all the results have: the benchmark's columns, then all others.
    differences : tuple of Difference
        Metric by metric, of every pair.
    score : str
        Name of the per-sample score; empty if the benchmark has none.
    sample_ids : tuple of n str
    scores : array (R, n)
        NaN where a sample has no value.
    """

    benchmark: Benchmark
    records: tuple[Record, ...]
    metrics: tuple[str, ...]
    differences: tuple[Difference, ...]
    score: str
    sample_ids: tuple[str, ...]
    scores: Floats

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All pairs of results, by number."""
        return tuple(combinations(range(len(self.records)), 2))

    def names(self) -> list[str]:
        """Return a name for each result; equal ones are told apart by their ids."""
        names = [record.name for record in self.records]
        return [
            f"{name} ({record.id[:8]})" if names.count(name) > 1 else name
            for name, record in zip(names, self.records, strict=True)
        ]

    def contrasts(self, first: int, second: int, most: int = 10) -> list[Contrast]:
        """Return the samples on which two results differ most, largest difference first."""
        difference = self.scores[first] - self.scores[second]
        size = np.nan_to_num(np.abs(difference), nan=0.0)
        order = np.argsort(-size, kind="stable")[:most]
        return [
            Contrast(
                self.sample_ids[i],
                float(self.scores[first, i]),
                float(self.scores[second, i]),
                float(difference[i]),
            )
            for i in order
            if size[i] > 0
        ]


def find_results(
    records: Sequence[Record], names: Sequence[str], benchmark: str | None = None
) -> list[Record]:
    """Return the comparable results that were asked for, in that order.

    Parameters
    ----------
    records : sequence of Record
        All of a store.
    names : sequence of str
        Each the id of a result or its first digits, or METHOD:VARIANT for its newest result.
    benchmark : str, optional
        Only results of this benchmark.

    Raises
    ------
    PrerequisiteError
        If a name stands for no finished result, if the results have no protocol, data set and
        limit in common, or if they have several in common.
    """
    found = [_named(records, name, benchmark) for name in names]
    shared = [
        key
        for key in dict.fromkeys(comparable(record) for record in found[0])
        if all(any(comparable(record) == key for record in own) for own in found)
    ]
    if not shared:
        raise PrerequisiteError(
            "These results cannot be compared: "
            + "; ".join(
                f"{name}: {_scored(own[0])}" for name, own in zip(names, found, strict=True)
            )
            + ".",
            "Compare results of equal protocol digest, data digest and limit; run or score one of "
            "them again under the other's protocol.",
        )
    if len(shared) > 1:
        both = [_scored(next(r for r in found[0] if comparable(r) == key)) for key in shared]
        raise PrerequisiteError(
            f"{', '.join(names)} can be compared in several ways: {'; '.join(both)}.",
            "Choose with --benchmark, or give the ids of the results.",
        )
    chosen = [next(r for r in own if comparable(r) == shared[0]) for own in found]
    if len({record.id for record in chosen}) < len(chosen):
        raise PrerequisiteError(
            f"{', '.join(names)} name one result twice.", "Name each result once."
        )
    return chosen


def _named(records: Sequence[Record], name: str, benchmark: str | None) -> list[Record]:
    """Return the finished results of a name, newest first."""
    known = [r for r in records if name == r.name or (len(name) >= 4 and r.id.startswith(name))]
    own = [r for r in known if benchmark in (None, r.benchmark)]
    done = [r for r in own if r.status == "done" and r.metrics]
    if not done:
        where = f" on {benchmark}" if benchmark else ""
        reason = f"; it {own[-1].status}: {own[-1].reason}" if own else ""
        raise PrerequisiteError(
            f"No finished result is named {name!r}{where}{reason}.",
            "Give METHOD:VARIANT, or the id that stands on the page of each result; "
            "--workspace names the folder of the results.",
        )
    if name != done[0].name and len({record.id for record in done}) > 1:
        raise PrerequisiteError(
            f"{len(done)} results have ids that begin with {name!r}.", "Give more digits."
        )
    return sorted(done, key=lambda r: (r.created_at, r.id), reverse=True)


def _scored(record: Record) -> str:
    """Say what a result was scored on, as far as it decides with what it may be compared."""
    part = f", first {record.limit} samples" if record.limit is not None else ""
    boxes = record.quirks.get("box_source", "none")
    return (
        f"{record.benchmark} {record.split} (data {record.dataset_digest[:8]}{part}) under "
        f"protocol {record.protocol} ({record.protocol_digest[:8]}, boxes: {boxes})"
    )


def compare(
    records: Sequence[Record], evidence: Callable[[Record], Evidence], benchmark: Benchmark
) -> Comparison:
    """Compare results metric by metric and sample by sample.

    Raises
    ------
    PrerequisiteError
        If they may not be compared, or the files behind one are gone.
    """
    if len({comparable(record) for record in records}) > 1:
        raise PrerequisiteError(
            "These results cannot be compared: "
            + "; ".join(f"{record.name}: {_scored(record)}" for record in records)
            + ".",
            "Compare results of equal protocol digest, data digest and limit.",
        )
    draws, samples = [], []
    for record in records:
        try:
            draws.append(evidence(record).draws())
            samples.append(evidence(record).per_sample())
        except FileNotFoundError as error:
            raise PrerequisiteError(
                f"The evidence of {record.name} ({record.id[:12]}) is gone: {error.filename}.",
                "Make the result again: --rerun all.",
            ) from None
    metrics = _common_metrics(records, benchmark)
    pairs = list(combinations(range(len(records)), 2))
    differences = [d for metric in metrics for d in _differences(metric, records, draws, pairs)]
    score = next((name for name in samples[0] if name != "sample_id"), "")
    count = len(samples[0]["sample_id"])
    scores = [own[score].astype(float) if score else np.full(count, np.nan) for own in samples]
    return Comparison(
        benchmark=benchmark,
        records=tuple(records),
        metrics=tuple(metrics),
        differences=tuple(differences),
        score=score,
        sample_ids=tuple(map(str, samples[0]["sample_id"])),
        scores=np.stack(scores),
    )


def _common_metrics(records: Sequence[Record], benchmark: Benchmark) -> list[str]:
    columns = [column.metric for column in benchmark.columns]
    names = [*columns, *(name for name in records[0].metrics if name not in columns)]
    return [n for n in names if all(record.metrics.get(n) is not None for record in records)]


def _differences(
    metric: str,
    records: Sequence[Record],
    draws: Sequence[dict[str, Floats]],
    pairs: Sequence[tuple[int, int]],
) -> list[Difference]:
    """Return the differences of all pairs on one metric."""
    value, error, low, high = (np.full(len(pairs), np.nan) for _ in range(4))
    for i, (a, b) in enumerate(pairs):
        value[i] = float(records[a].metrics[metric] or 0) - float(records[b].metrics[metric] or 0)
        drawn = draws[a].get(metric, np.zeros(0)) - draws[b].get(metric, np.zeros(0))
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn) > 1:
            error[i] = drawn.std(ddof=1)
            low[i], high[i] = np.percentile(drawn, [2.5, 97.5])
    p = p_values(value, np.where(np.isnan(error), np.inf, error), units(records[0]))
    rows = zip(pairs, value, low, high, p, holm(p), strict=True)
    return [
        Difference(metric, a, b, float(v), float(lo), float(hi), float(own), float(adjusted))
        for (a, b), v, lo, hi, own, adjusted in rows
    ]


def shown_p(p: float) -> str:
    """Return a p-value as it is printed.

    >>> shown_p(0.0312), shown_p(1e-9)
    ('0.031', '< 0.001')
    """
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"
