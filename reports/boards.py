"""Boards: what may stand beside what, and in which order.

Results share a section only when protocol digest, dataset digest and limit agree; embedded data is
never in a section with real data, nor are published rows in one with measured ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from benchmarks.published import PublishedRow, PublishedTable, published_tables, systems
from harness.api import Benchmark, Card, Column
from harness.api.card import Variant
from harness.ranking import Rank
from harness.records.record import Record
from reports.tables import (
    COSTS,
    DESCRIPTORS,
    Board,
    Cell,
    Group,
    Kind,
    Row,
    Section,
    box_source,
    descriptor,
    input_size,
    metric_cell,
    significant,
)
from reports.verdicts import published_row, verdict

_FAMILIES = {
    "2d-single": "single-person",
    "2d-top-down": "top-down",
    "2d-bottom-up": "bottom-up",
    "2d-multi": "multi-person",
    "3d-lifting": "lifting",
    "3d-direct": "image-to-3d",
    "3d-volumetric": "image-to-3d",
}
"""Families of cards by the kind of a published system; any other kind is a family by its name."""

_PROFILE = {
    "params_m": ("parameters", 1e-6),
    "gflops": ("paper_gflops", 1.0),
    "macs_g": ("macs", 1e-9),
    "memory_mb": ("peak_memory_mb", 1.0),
}
"""Columns of cost by the profile's key and the factor to the column's unit."""


def anchor(text: str) -> str:
    """Return a text as part of an address within a page."""
    return re.sub("[^a-z0-9]+", "-", text.lower())


def section_key(record: Record) -> tuple[object, ...]:
    """Return what two results must share to be compared."""
    data = (record.benchmark, record.synthetic, record.split, record.dataset_digest, record.limit)
    return (*data, record.protocol_digest)


def precision(record: Record) -> str:
    """Return the arithmetic of a result's network, ``bf16`` or ``fp16``; empty for float32."""
    name = str(record.environment.get("precision", "fp32"))
    return "" if name == "fp32" else name


def newest(records: Iterable[Record]) -> list[Record]:
    """Keep each method's newest result in each section, and a newer failure beside it.

    Results with other weights, or in another precision, are results of their own.
    """
    latest: dict[tuple[object, ...], Record] = {}
    for record in sorted(records, key=lambda r: (r.created_at, r.id)):
        method = (record.source, record.method, record.variant, record.weights_sha256)
        key = (*method, precision(record), *section_key(record))
        if record.status == "done":
            latest.pop((*key, False), None)
        latest[(*key, record.status == "done")] = record
    return list(latest.values())


def build_board(
    benchmark: Benchmark,
    records: Sequence[Record],
    cards: Mapping[str, Card],
    ranks: Mapping[str, Rank] | None = None,
) -> Board:
    """Arrange a benchmark's records and published tables.

    ``cards`` are those of its methods, by name; ``ranks`` those of its newest results, by id.
    """
    measured: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        measured.setdefault(section_key(record), []).append(record)
    sections = [_measured(benchmark, group, cards, ranks or {}) for group in measured.values()]
    sections.sort(key=lambda s: (-s.samples, s.title, s.id))
    tables = [t for t in published_tables().values() if benchmark.name in t.benchmarks]
    fitting: dict[tuple[bool, bool, bool, str, str, str], list[PublishedTable]] = {}
    for table in (t for t in tables if _fits(t, benchmark)):
        other_split = table.our_split != benchmark.default_split
        other_metric = benchmark.primary not in table.bound(benchmark.name)
        ours = table.our_protocols.get(benchmark.name, "")
        other_protocol = ours not in ("", benchmark.protocol().variant)
        differs = (other_split, other_metric, other_protocol)
        fitting.setdefault((*differs, table.split, table.protocol_id, ours), []).append(table)
    several = len({key[4] for key in fitting}) > 1
    for key in sorted(fitting, key=lambda key: key[:3]):
        sections.append(_published(benchmark, fitting[key], several))
    order = {"measured": 0, "embedded": 1, "published": 2}
    sections.sort(key=lambda section: order[section.kind])
    elsewhere = tuple(t for t in tables if not _fits(t, benchmark))
    return Board(benchmark, tuple(sections), elsewhere)


def _fits(table: PublishedTable, benchmark: Benchmark) -> bool:
    """Return whether what the table is about is a metric of the benchmark, and none is twice."""
    bound = [c.bindings[benchmark.name] for c in table.columns if benchmark.name in c.bindings]
    about = next(column for column in table.columns if column.name == table.primary)
    main = benchmark.primary in bound or benchmark.name in about.bindings
    return main and len(set(bound)) == len(bound)


def _measured(
    benchmark: Benchmark,
    records: list[Record],
    cards: Mapping[str, Card],
    ranks: Mapping[str, Rank],
) -> Section:
    first = records[0]
    current = newest(records)
    rows = [measured_row(benchmark, r, cards, ranks.get(r.id)) for r in current]
    done = [row for row in rows if row.record and row.record.status == "done"]
    not_done = [row for row in rows if row.record and row.record.status != "done"]
    column = benchmark.ranked_by(first.protocol)
    sign = -1.0 if column.higher_is_better else 1.0

    def place(row: Row) -> tuple[float, str, str]:
        value = row.cells[column.metric].value
        return (math.inf if value is None else sign * value, row.title, row.variant)

    unscored = sorted(not_done, key=lambda r: (r.title, r.variant))
    group = Group(tuple(sorted(done, key=place)), unscored=tuple(unscored))
    counts = [r.counts.get("samples", 0) for r in current if r.status == "done"]
    samples = max(counts, default=0)
    kind: Kind = "embedded" if first.synthetic else "measured"
    title = [first.split, f"{samples:,} samples"] if samples else [first.split]
    if first.protocol != benchmark.protocol().variant:
        title.append(f"protocol {first.protocol}")
    facts = [
        f"protocol {first.protocol} ({first.protocol_digest[:8]})",
        f"data {first.dataset_digest[:8]}",
        f"ordered by {column.label}",
    ]
    if first.limit is not None:
        facts.append(f"only the first {first.limit:,} samples of the split")
    if (earlier := len(records) - len(current)) > 0:
        facts.append(f"{earlier} earlier result{'s' * (earlier > 1)} on the method pages")
    data = f"{anchor(first.split)}-{first.dataset_digest[:8]}-{first.limit or 'all'}"
    return _finished(
        Section(
            id=f"{kind}-{data}-{first.protocol_digest[:8]}",
            kind=kind,
            title=" · ".join([*title, box_source(first, benchmark)]),
            facts=tuple(facts),
            descriptors=tuple(DESCRIPTORS),
            columns=(*COSTS.values(), *benchmark.columns),
            groups=(group,),
            primary=column,
            samples=samples,
        )
    )


def measured_row(
    benchmark: Benchmark,
    record: Record,
    cards: Mapping[str, Card],
    rank: Rank | None = None,
    columns: Sequence[Column] | None = None,
) -> Row:
    """Return the row of a measured result, with cells of these columns, all by default."""
    card = cards.get(record.method) if record.source == "run" else None
    variant = card.variants.get(record.variant) if card else None
    texts = dict.fromkeys(DESCRIPTORS, "")
    if card and variant:
        texts["input_size"] = input_size(card, variant)
        texts["backbone"] = _backbone(variant)
    if record.source == "score":
        notes: tuple[str, ...] = ("predictions made elsewhere",)
    else:
        notes = (f"weights {record.weights_sha256[:8]}",) if record.weights_sha256 else ()
    return Row(
        title=card.title if card else record.method,
        variant=record.variant,
        family=card.family if card else "",
        year=card.paper.year if card and card.paper else None,
        notes=notes,
        marks=(own,) if (own := precision(record)) else (),
        texts=texts,
        cells=_measured_cells(benchmark.columns if columns is None else columns, record),
        record=record,
        rank=rank,
        verdict=verdict(benchmark, record, variant) if variant else None,
    )


def _measured_cells(columns: Sequence[Column], record: Record) -> dict[str, Cell]:
    cells = {column.metric: metric_cell(record, column) for column in columns}
    for name, (key, factor) in _PROFILE.items():
        if value := record.profile.get(key):  # nothing counted is no cost of zero
            cells[name] = Cell(significant(value * factor), value * factor)
    if rows := record.timings.get("rows"):
        milliseconds = 1000 * record.timings.get("forward_s", math.nan) / rows
        if math.isfinite(milliseconds):
            cells["forward_ms"] = Cell(significant(milliseconds), milliseconds)
    return cells


def _backbone(variant: Variant) -> str:
    """Return the backbone as the variant's published row names it."""
    found = published_row(variant)
    return str(found[1].descriptors.get("backbone") or "") if found else ""


def _published(
    benchmark: Benchmark, tables: Sequence[PublishedTable], several_protocols: bool
) -> Section:
    first = tables[0]
    title = f"{first.benchmark}, {first.split}"
    name = first.split
    if several_protocols:
        title, name = f"{title} · {first.protocol_id}", f"{first.split} {first.protocol_id}"
    if ours := first.our_protocols.get(benchmark.name):
        title, name = f"{title} · protocol {ours}", f"{name} {ours}"
    fullest = sorted(tables, key=lambda table: -len(table.bound(benchmark.name)))
    groups = [
        Group(tuple(_published_row(benchmark, table, row) for row in table.rows), table)
        for table in fullest
    ]
    return _finished(
        Section(
            id=f"published-{anchor(name)}",
            kind="published",
            title=title,
            facts=(),
            descriptors=tuple(DESCRIPTORS),
            columns=(*COSTS.values(), *benchmark.columns),
            groups=tuple(groups),
            primary=benchmark.ranked_by(ours or benchmark.protocol().variant),
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
    family, year = _origin(row)
    return Row(
        title=row.method,
        family=family,
        year=year,
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


def _origin(row: PublishedRow) -> tuple[str, int | None]:
    """Return the family of a published row's system, and the year of its paper."""
    known = [systems()[name] for name in row.systems if name in systems()]
    kind = known[0].kind if known else ""
    years = [int(year) for year in re.findall(r"\b(?:19|20)\d\d\b", row.citation)]
    year = next((s.year for s in known if s.year), max(years, default=None))
    return _FAMILIES.get(kind, kind), year


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

    nothing = Cell()

    def finish(row: Row) -> Row:
        cells = {c.metric: row.cells.get(c.metric, nothing) for c in section.columns}
        for name, value in best.items():
            if cells[name].value == value:
                cells[name] = cells[name]._replace(best=True)
        return replace(row, cells=cells)

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
