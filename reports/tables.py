"""Leaderboard tables: cells, rows and sections, as pages and exports share them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmarks.published import PublishedRow, PublishedTable
from harness.api import FOUND_BY, Benchmark, Card, Column
from harness.api.card import Variant
from harness.ranking import Rank
from harness.records.record import Record

if TYPE_CHECKING:
    from reports.verdicts import Verdict

MISSING = "\N{EN DASH}"

DESCRIPTORS = {"backbone": "Backbone", "input_size": "Input size"}
"""Columns of text, between the method and the numbers."""

COSTS = {
    "params_m": Column("params_m", "#Params", higher_is_better=False),
    "gflops": Column("gflops", "GFLOPs", higher_is_better=False),
    "macs_g": Column("macs_g", "MACs", higher_is_better=False),
    "forward_ms": Column("forward_ms", "ms", higher_is_better=False),
    "memory_mb": Column("memory_mb", "MB", higher_is_better=False),
}
"""Columns of cost: parameters in millions, the papers' GFLOPs (multiply-adds / 2^30), multiply-adds
in 10^9, milliseconds of the network per row of a batch as it ran, and the most memory in 2^20
bytes that weights and tensors of a float32 pass with one row hold at once."""

Kind = Literal["measured", "published", "embedded"]
KINDS: tuple[Kind, ...] = ("measured", "published", "embedded")


class Cell(NamedTuple):
    """A number as it is shown: unrounded value in the column's unit, text, 95 % interval."""

    text: str = MISSING
    value: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line: a measured result (``record``) or a published one (``published``).

    ``family`` and ``year`` are the method's, empty and None where not known. ``rank`` and
    ``verdict`` are of measured rows: their tie group, and how they compare with the paper.
    """

    title: str
    variant: str = ""
    family: str = ""
    year: int | None = None
    notes: tuple[str, ...] = ()
    citation: str = ""
    marks: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, Cell] = field(default_factory=dict)
    record: Record | None = None
    published: PublishedRow | None = None
    rank: Rank | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Group:
    """Rows under one heading: a published table, or all measured rows of a section."""

    rows: tuple[Row, ...]
    table: PublishedTable | None = None
    unscored: tuple[Row, ...] = ()
    """Failed and skipped jobs, with their reasons."""


@dataclass(frozen=True)
class Section:
    """Rows that may be compared with each other."""

    id: str
    kind: Kind
    title: str
    facts: tuple[str, ...]
    descriptors: tuple[str, ...]
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    primary: Column
    """Orders the rows."""
    samples: int = 0

    def best(self, metric: str) -> Row | None:
        """Return the row with the best value of a metric, if any row has one."""
        rows = [row for group in self.groups for row in group.rows]
        valued = [
            (v, row) for row in rows if (v := row.cells.get(metric, Cell()).value) is not None
        ]
        if not valued:
            return None
        column = next(c for c in self.columns if c.metric == metric)
        choose = max if column.higher_is_better else min
        return choose(valued, key=lambda pair: pair[0])[1]


@dataclass(frozen=True)
class Board:
    """Everything that is known about one benchmark."""

    benchmark: Benchmark
    sections: tuple[Section, ...]
    elsewhere: tuple[PublishedTable, ...]
    """Published tables whose columns do not fit the benchmark's: they have pages of their own."""

    def kind(self, kind: Kind) -> tuple[Section, ...]:
        """Return the sections of one kind."""
        return tuple(section for section in self.sections if section.kind == kind)

    def best(self, kind: Kind) -> tuple[Section, Row | None] | None:
        """Return the first section of a kind, with its best row; one with values goes before."""
        found = [(section, section.best(self.primary.metric)) for section in self.kind(kind)]
        return next((pair for pair in found if pair[1]), found[0] if found else None)

    @property
    def primary(self) -> Column:
        """The column that orders rows, where a section names no other."""
        return self.benchmark.ranked_by(self.benchmark.protocol().variant)


def show(value: float | None, column: Column) -> str:
    """Return a metric's value as the column prints it; a dash for no value."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value * column.scale:,.{column.decimals}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """Return a number with that many significant digits and no exponent; a dash for no value.

    >>> significant(28.53), significant(7.1), significant(0.0512), significant(1234.5)
    ('28.5', '7.10', '0.0512', '1,234')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(digits - 1 - magnitude, 0)}f}"


def metric_cell(record: Record, column: Column) -> Cell:
    """Return a measured metric with its interval."""
    value = record.metrics.get(column.metric)
    if value is None or not math.isfinite(value):
        return Cell()
    low, high = record.intervals.get(column.metric, (math.nan, math.nan))
    if not math.isfinite(low) or not math.isfinite(high):
        return Cell(show(value, column), value * column.scale)
    return Cell(
        show(value, column),
        value * column.scale,
        low * column.scale,
        high * column.scale,
        f"{show(low, column)}{MISSING}{show(high, column)}",
    )


def inert(value: object) -> object:
    """Keep a text from being run as a formula by a spreadsheet that opens a CSV file.

    >>> inert("=1+1"), inert("HRNet"), inert(-0.5)
    ("'=1+1", 'HRNet', -0.5)
    """
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def detector(record: Record) -> str:
    """Return the id of the result whose people are a result's person boxes; empty if none is."""
    source = str(record.quirks.get("box_source", "none"))
    return source.rpartition(" ")[2] if source.startswith(FOUND_BY) else ""


def box_source(record: Record, benchmark: Benchmark) -> str:
    """Say in words where the person boxes of a result came from, or the place of a hand or body."""
    source = str(record.quirks.get("box_source", "none"))
    in_space = benchmark.schema.task == "joints-3d"
    known = {
        "ground truth": "ground-truth place" if in_space else "ground-truth person boxes",
        "none": "no person boxes given",
        "submission": "predictions made elsewhere, box source not known",
    }
    if source.startswith(FOUND_BY):
        return f"person boxes {source.rpartition(' ')[0]} ({detector(record)[:8]})"
    if source.startswith("detections sha256:"):
        return f"person boxes from a detections file ({source.partition(':')[2][:8]})"
    return known.get(source, source)


def input_size(card: Card, variant: Variant) -> str:
    """Return the size of a variant's input image; empty for what looks at no image."""
    if card.family in ("baseline", "lifting"):
        return ""
    return "x".join(str(side) for side in variant.input_size)


def descriptor(name: str, value: str | bool | None) -> str:
    """Say a descriptor of a published row in words.

    >>> descriptor("pretrain", True), descriptor("ohkm", False), descriptor("stages", "6")
    ('pretrain', 'no ohkm', 'stages 6')
    """
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {value}"
