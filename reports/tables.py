"""Leaderboard tables: measured results and published rows in the columns of the papers.

A :class:`Board` holds all sections of one benchmark. Pages and exports are made from it, so that
none of them has to guess what may stand beside what: results share a section only when protocol
digest, dataset digest and limit agree, and embedded data is never in a section with real data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from benchmarks.published import PublishedRow, PublishedTable, published_tables
from harness.api import Benchmark, Card, Column
from harness.api.card import Variant
from harness.records.record import Record

MISSING = "\N{EN DASH}"

DESCRIPTORS = {"backbone": "Backbone", "input_size": "Input size"}
"""Columns of text, between the method and the numbers."""

COSTS = {
    "params_m": Column("params_m", "#Params", higher_is_better=False),
    "gflops": Column("gflops", "GFLOPs", higher_is_better=False),
    "macs_g": Column("macs_g", "MACs", higher_is_better=False),
}
"""Columns of cost: parameters in millions, the papers' GFLOPs (multiply-adds / 2^30), and
multiply-adds in 10^9."""

Kind = Literal["measured", "published", "embedded"]


@dataclass(frozen=True)
class Cell:
    """A number as it is shown: unrounded value in the column's unit, text, 95 % interval."""

    text: str = MISSING
    value: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line: a measured result (``record``) or a published one (``published``)."""

    title: str
    variant: str = ""
    notes: tuple[str, ...] = ()
    citation: str = ""
    marks: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, Cell] = field(default_factory=dict)
    record: Record | None = None
    published: PublishedRow | None = None


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
    samples: int = 0

    def best(self, metric: str) -> Row | None:
        """Return the row with the best value of a metric, if any row has one."""
        column = next(c for c in self.columns if c.metric == metric)
        rows = [row for group in self.groups for row in group.rows]
        valued = [(v, row) for row in rows if (v := row.cells[metric].value) is not None]
        choose = max if column.higher_is_better else min
        return choose(valued, key=lambda pair: pair[0])[1] if valued else None


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

    @property
    def primary(self) -> Column:
        """The column that orders rows."""
        return primary(self.benchmark)


def primary(benchmark: Benchmark) -> Column:
    """Return the column of the metric that ranks."""
    return next(c for c in benchmark.columns if c.metric == benchmark.primary)


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
    cell = Cell(show(value, column), value * column.scale)
    low, high = record.intervals.get(column.metric, (math.nan, math.nan))
    if not math.isfinite(low) or not math.isfinite(high):
        return cell
    interval = f"{show(low, column)}{MISSING}{show(high, column)}"
    return replace(cell, low=low * column.scale, high=high * column.scale, interval=interval)


def box_source(record: Record) -> str:
    """Say in words where the person boxes of a result came from."""
    source = str(record.quirks.get("box_source", "none"))
    known = {
        "ground truth": "ground-truth person boxes",
        "none": "no person boxes given",
        "submission": "predictions made elsewhere, box source not known",
    }
    if source.startswith("detections sha256:"):
        return f"person boxes from a detections file ({source.partition(':')[2][:8]})"
    return known.get(source, source)


def section_key(record: Record) -> tuple[object, ...]:
    """Return what two results must share to be compared."""
    data = (record.benchmark, record.synthetic, record.split, record.dataset_digest, record.limit)
    return (*data, record.protocol_digest)


def newest(records: Iterable[Record]) -> list[Record]:
    """Keep each method's newest result in each section, and a newer failure beside it.

    Results with other weights are results of their own.
    """
    latest: dict[tuple[object, ...], Record] = {}
    for record in sorted(records, key=lambda r: (r.created_at, r.id)):
        method = (record.source, record.method, record.variant, record.weights_sha256)
        key = (*method, *section_key(record))
        if record.status == "done":
            latest.pop((*key, False), None)
        latest[(*key, record.status == "done")] = record
    return list(latest.values())


def build_board(
    benchmark: Benchmark, records: Sequence[Record], cards: Mapping[str, Card]
) -> Board:
    """Arrange a benchmark's records and published tables; ``cards`` are those of its methods."""
    measured: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        measured.setdefault(section_key(record), []).append(record)
    sections = [_measured(benchmark, group, cards) for group in measured.values()]
    sections.sort(key=lambda s: (-s.samples, s.title, s.id))
    tables = [t for t in published_tables().values() if benchmark.name in t.benchmarks]
    fitting = [t for t in tables if _fits(t, benchmark)]
    splits = sorted({t.split: t for t in fitting}.values(), key=lambda t: _not_own(t, benchmark))
    sections += [
        _published(benchmark, [t for t in fitting if t.split == first.split]) for first in splits
    ]
    order = {"measured": 0, "published": 1, "embedded": 2}
    sections.sort(key=lambda section: order[section.kind])
    elsewhere = tuple(t for t in tables if not _fits(t, benchmark))
    return Board(benchmark, tuple(sections), elsewhere)


def _fits(table: PublishedTable, benchmark: Benchmark) -> bool:
    """Return whether the table states the primary metric, and no metric twice."""
    bound = [c.bindings[benchmark.name] for c in table.columns if benchmark.name in c.bindings]
    return benchmark.primary in bound and len(set(bound)) == len(bound)


def _not_own(table: PublishedTable, benchmark: Benchmark) -> bool:
    return table.our_split != benchmark.default_split


def _measured(benchmark: Benchmark, records: list[Record], cards: Mapping[str, Card]) -> Section:
    first = records[0]
    current = newest(records)
    rows = [measured_row(benchmark, r, cards) for r in current]
    done = [row for row in rows if row.record and row.record.status == "done"]
    column = primary(benchmark)
    sign = -1.0 if column.higher_is_better else 1.0

    def place(row: Row) -> tuple[float, str, str]:
        value = row.cells[column.metric].value
        return (math.inf if value is None else sign * value, row.title, row.variant)

    unscored = sorted((r for r in rows if r not in done), key=lambda r: (r.title, r.variant))
    group = Group(tuple(sorted(done, key=place)), unscored=tuple(unscored))
    counts = [r.counts.get("samples", 0) for r in current if r.status == "done"]
    samples = max(counts, default=0)
    title = [first.split, f"{samples:,} samples"] if samples else [first.split]
    facts = [
        f"protocol {first.protocol} ({first.protocol_digest[:8]})",
        f"data {first.dataset_digest[:8]}",
    ]
    if first.limit is not None:
        facts.append(f"only the first {first.limit:,} samples of the split")
    if (earlier := len(records) - len(current)) > 0:
        facts.append(f"{earlier} earlier result{'s' * (earlier > 1)} on the method pages")
    identity = f"{first.protocol_digest[:8]}-{first.dataset_digest[:8]}-{first.limit or 'all'}"
    return _finished(
        Section(
            id=f"{'embedded' if first.synthetic else 'measured'}-{identity}",
            kind="embedded" if first.synthetic else "measured",
            title=" · ".join([*title, box_source(first)]),
            facts=tuple(facts),
            descriptors=tuple(DESCRIPTORS),
            columns=(*COSTS.values(), *benchmark.columns),
            groups=(group,),
            samples=samples,
        )
    )


def measured_row(benchmark: Benchmark, record: Record, cards: Mapping[str, Card]) -> Row:
    """Return the row of a measured result."""
    card = cards.get(record.method) if record.source == "run" else None
    variant = card.variants.get(record.variant) if card else None
    texts = dict.fromkeys(DESCRIPTORS, "")
    if variant:
        texts["input_size"] = "x".join(str(size) for size in variant.input_size)
        texts["backbone"] = _backbone(variant)
    costs = {
        "params_m": ("parameters", 1e-6),
        "gflops": ("paper_gflops", 1),
        "macs_g": ("macs", 1e-9),
    }
    cells = {column.metric: metric_cell(record, column) for column in benchmark.columns}
    for name, (key, factor) in costs.items():
        if (value := record.profile.get(key)) is not None:
            cells[name] = Cell(significant(value * factor), value * factor)
    if record.source == "score":
        notes: tuple[str, ...] = ("predictions made elsewhere",)
    else:
        notes = (f"weights {record.weights_sha256[:8]}",) if record.weights_sha256 else ()
    return Row(
        title=card.title if card else record.method,
        variant=record.variant,
        notes=notes,
        texts=texts,
        cells=cells,
        record=record,
    )


def _backbone(variant: Variant) -> str:
    """Return the backbone as the variant's published row names it."""
    wanted = dict(variant.published)
    table = published_tables().get(wanted.pop("table", ""))
    rows = table.find(**wanted) if table else ()
    return str(rows[0].descriptors.get("backbone") or "") if rows else ""


def _published(benchmark: Benchmark, tables: Sequence[PublishedTable]) -> Section:
    first = tables[0]
    fullest = sorted(tables, key=lambda table: -len(table.bound(benchmark.name)))
    groups = [
        Group(tuple(_published_row(benchmark, table, row) for row in table.rows), table)
        for table in fullest
    ]
    return _finished(
        Section(
            id=f"published-{re.sub('[^a-z0-9]+', '-', first.split.lower())}",
            kind="published",
            title=f"{first.benchmark}, {first.split}",
            facts=(),
            descriptors=tuple(DESCRIPTORS),
            columns=(*COSTS.values(), *benchmark.columns),
            groups=tuple(groups),
        )
    )


def _published_row(benchmark: Benchmark, table: PublishedTable, row: PublishedRow) -> Row:
    bound = table.bound(benchmark.name)
    cells = {}
    for name in [column.name for column in table.columns if column.name in COSTS]:
        if row.values[name] is not None:
            cells[name] = Cell(row.printed[name], row.values[name])
    for metric, column in bound.items():
        if (value := row.values[column.name]) is not None:
            shown = value * 100 if column.unit == "fraction" else value
            cells[metric] = Cell(row.percent(column), round(shown, 9))
    marks = {"extra data": row.extra_data, "ensemble": row.ensemble}
    hidden = ("extra_data", "ensemble", *DESCRIPTORS)
    return Row(
        title=row.method,
        notes=tuple(
            descriptor(name, value)
            for name, value in row.descriptors.items()
            if value is not None and name not in hidden
        ),
        citation=row.citation,
        marks=tuple(mark for mark, holds in marks.items() if holds),
        texts={name: str(row.descriptors.get(name) or "") for name in DESCRIPTORS},
        cells=cells,
        published=row,
    )


def descriptor(name: str, value: str | bool | None) -> str:
    """Say a descriptor of a published row in words.

    >>> descriptor("pretrain", True), descriptor("ohkm", False), descriptor("stages", "6")
    ('pretrain', 'no ohkm', 'stages 6')
    """
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {value}"


def _finished(section: Section) -> Section:
    """Fill gaps, mark the best value of every metric, and drop columns that say nothing."""
    rows = [row for group in section.groups for row in group.rows]
    best: dict[str, float] = {}
    for column in section.columns:
        values = [
            v for row in rows if (v := row.cells.get(column.metric, Cell()).value) is not None
        ]
        if len(values) > 1 and column.metric not in COSTS:
            best[column.metric] = max(values) if column.higher_is_better else min(values)

    def finish(row: Row) -> Row:
        cells = {c.metric: row.cells.get(c.metric, Cell()) for c in section.columns}
        return replace(
            row,
            cells={
                name: replace(cell, best=cell.value is not None and cell.value == best.get(name))
                for name, cell in cells.items()
            },
        )

    groups = tuple(
        replace(g, rows=tuple(map(finish, g.rows)), unscored=tuple(map(finish, g.unscored)))
        for g in section.groups
    )
    given = {name for row in rows for name in row.cells}
    needed = (
        set() if section.kind == "published" else {c.metric for c in section.columns} - set(COSTS)
    )
    kept = [c for c in section.columns if c.metric in given | needed]
    texts = [d for d in section.descriptors if any(row.texts[d] for row in rows)]
    return replace(section, groups=groups, columns=tuple(kept), descriptors=tuple(texts))
