"""Measured against published: was the number of the same variant reproduced?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from benchmarks.published import PublishedRow, PublishedTable, published_tables
from harness.api import Benchmark, Column
from harness.api.card import Variant
from harness.records.record import Record
from reports.tables import Cell, metric_cell

Word = Literal["reproduced", "above", "below", "other protocol"]

_FOUND_PEOPLE = frozenset({"OKS-AP"})
"""Protocols of tables in which people are found by a detector or by the method, never given."""


@dataclass(frozen=True)
class Comparison:
    """One metric of a result beside the same metric in the paper, both in the column's unit."""

    column: Column
    measured: Cell
    published: Cell
    delta: float
    """Measured less published."""

    @property
    def text(self) -> str:
        """The difference with its sign, as precise as the column."""
        return f"{self.delta:+.{self.column.decimals}f}".replace("-", "\N{MINUS SIGN}")

    @property
    def reproduced(self) -> bool:
        """Whether the 95 % interval holds the printed number, which itself is rounded."""
        printed = self.published.value
        low = self.measured.value if self.measured.low is None else self.measured.low
        high = self.measured.value if self.measured.high is None else self.measured.high
        assert printed is not None
        assert low is not None
        assert high is not None
        decimals = len(self.published.text.partition(".")[2])
        half = 0.5 * 10.0**-decimals + 1e-9
        return low <= printed + half and printed - half <= high


@dataclass(frozen=True)
class Verdict:
    """How a result compares with the published row of the very same variant."""

    word: Word
    table: PublishedTable
    row: PublishedRow
    main: Comparison
    """Of the metric that ranks."""
    reasons: tuple[str, ...]
    """Why the two were not measured alike; empty where they were."""


def our_protocol(benchmark: Benchmark, table: PublishedTable) -> str:
    """Return the name of the benchmark's protocol that a table's numbers follow."""
    return table.our_protocols.get(benchmark.name) or benchmark.protocol().variant


def published_row(variant: Variant) -> tuple[PublishedTable, PublishedRow] | None:
    """Return the published row that a card names for a variant; the first of several."""
    return _find(tuple(variant.published.items()))


@cache
def _find(published: tuple[tuple[str, Any], ...]) -> tuple[PublishedTable, PublishedRow] | None:
    wanted = dict(published)
    table = published_tables().get(wanted.pop("table", ""))
    rows = table.find(**wanted) if table else ()
    return (table, rows[0]) if table and rows else None


def verdict(benchmark: Benchmark, record: Record, variant: Variant) -> Verdict | None:
    """Compare a result with its variant's published row; None if there is nothing to compare."""
    found = published_row(variant)
    if found is None or record.status != "done":
        return None
    table, row = found
    main = compare(benchmark, record, table, row, benchmark.ranked_by(record.protocol))
    if main is None:
        return None
    reasons = tuple(_differences(benchmark, record, table))
    word: Word = "above" if main.delta > 0 else "below"
    if reasons:
        word = "other protocol"
    elif main.reproduced:
        word = "reproduced"
    return Verdict(word, table, row, main, reasons)


def comparisons(benchmark: Benchmark, record: Record, found: Verdict) -> list[Comparison]:
    """Compare every metric that the paper's table states."""
    every = [compare(benchmark, record, found.table, found.row, c) for c in benchmark.columns]
    return [comparison for comparison in every if comparison]


def compare(
    benchmark: Benchmark, record: Record, table: PublishedTable, row: PublishedRow, column: Column
) -> Comparison | None:
    """Compare one metric; None if either side has no value."""
    printed = table.bound(benchmark.name).get(column.metric)
    measured = metric_cell(record, column)
    if printed is None or measured.value is None or row.values[printed.name] is None:
        return None
    text = row.percent(printed)
    value = float(text)
    return Comparison(column, measured, Cell(text, value), measured.value - value)


def _differences(benchmark: Benchmark, record: Record, table: PublishedTable) -> list[str]:
    """Say what the paper did otherwise, as far as the record and the table tell."""
    protocol = our_protocol(benchmark, table)
    boxes = str(record.quirks.get("box_source", "none"))
    known = {
        "measured on embedded synthetic pictures": record.synthetic,
        f"the paper's split is {table.split}": (
            not record.synthetic and record.split != table.our_split
        ),
        f"only the first {record.limit} samples": record.limit is not None,
        "person boxes from the ground truth, the paper's from a detector": (
            table.protocol_id in _FOUND_PEOPLE and boxes == "ground truth"
        ),
        f"scored under the protocol {record.protocol}, the paper's is {protocol}": (
            record.protocol != protocol
        ),
    }
    return [reason for reason, holds in known.items() if holds]
