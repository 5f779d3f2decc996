"""Sheets: tables ready to print, the same for LaTeX, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from benchmarks.published import PublishedRow, PublishedTable
from harness.api import Benchmark
from reports.printed import blocks, printed_headers
from reports.tables import COSTS, DESCRIPTORS, MISSING, Board, Row, Section


@dataclass(frozen=True)
class Header:
    """One column: its text, whether it holds numbers, and the header above it."""

    text: str
    number: bool = False
    group: str = ""


class Entry(NamedTuple):
    """One cell: a text, a number's interval, whether it is the best of its column."""

    text: str
    value: float | None = None
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One row; ``remark`` stands in place of the numbers of a job without result."""

    entries: tuple[Entry, ...]
    remark: str = ""


@dataclass(frozen=True)
class Sheet:
    """One table; columns of text come before those of numbers."""

    id: str
    title: str
    notes: tuple[str, ...]
    headers: tuple[Header, ...]
    blocks: tuple[tuple[str, tuple[Line, ...]], ...]
    """Rows under a heading, which may be empty."""

    def groups(self) -> list[tuple[str, int]]:
        """Return the headers above the headers, and how many columns each spans."""
        return [(name, len(list(run))) for name, run in groupby(self.headers, lambda h: h.group)]


def board_sheets(board: Board) -> list[Sheet]:
    """Return a sheet for every section of a board."""
    return [_section(board.benchmark, section) for section in board.sections]


def _section(benchmark: Benchmark, section: Section) -> Sheet:
    ranked = any(row.rank for group in section.groups for row in group.rows)
    costs = [column for column in section.columns if column.metric in COSTS]
    numbers = [*costs, *(column for column in section.columns if column not in costs)]
    headers = [Header("Rank")] if ranked else []
    headers += [Header("Method"), *(Header(DESCRIPTORS[name]) for name in section.descriptors)]
    headers += [Header(column.header, True, column.group) for column in numbers]

    def line(row: Row) -> Line:
        rank = [Entry(str(row.rank.group) if row.rank else MISSING)] if ranked else []
        texts = [Entry(row.texts[name] or MISSING) for name in section.descriptors]
        cells = [row.cells[column.metric] for column in numbers]
        entries = (Entry(cell.text, cell.value, cell.interval, cell.best) for cell in cells)
        remark = ""
        if row.record and row.record.status != "done":
            remark = f"{row.record.status}: {row.record.reason or 'no reason given'}"
        return Line((*rank, Entry(_name(row)), *texts, *entries), remark)

    kinds = {
        "measured": "Measured here on real data.",
        "embedded": "Measured here on embedded synthetic data: no statement about real pictures.",
        "published": "Published numbers, not measured here.",
    }
    notes = [kinds[section.kind], *(f"{fact[0].upper()}{fact[1:]}." for fact in section.facts)]
    if section.kind != "published":
        notes.append("With 95 % bootstrap intervals.")
    if ranked:
        notes.append("Ranks are tie groups.")
    title = section.title
    if section.kind != "published":  # there the paper names the benchmark
        title = f"{benchmark.title}, {title}"
    return Sheet(
        id=f"{benchmark.name}-{section.id}",
        title=title,
        notes=tuple(notes),
        headers=tuple(headers),
        blocks=tuple(
            (
                str(group.table.source) if group.table else "",
                tuple(line(row) for row in (*group.rows, *group.unscored)),
            )
            for group in section.groups
        ),
    )


def _name(row: Row) -> str:
    """Return the method as a table names it, with the marks that the paper prints beside it."""
    name = f"{row.title} {row.variant}" if row.variant else row.title
    aside = (*row.marks, *(row.notes if row.published else ()))
    name = f"{name} ({', '.join(aside)})" if aside else name
    return f"{name} [{row.citation}]" if row.citation else name


def published_sheet(table: PublishedTable, benchmarks: Mapping[str, Benchmark]) -> Sheet:
    """Return a published table as printed, row by row and digit by digit."""
    headers = printed_headers(table, benchmarks)
    parts = blocks(table)
    # A descriptor that is printed as headings between the rows needs no column.
    shown = [
        name
        for name in table.descriptors
        if len(parts) == 1
        or any(
            str(row.descriptors[name] or "") != heading for heading, rows in parts for row in rows
        )
    ]

    def line(row: PublishedRow) -> Line:
        described = [_described(row.descriptors[name]) for name in shown]
        numbers = (Entry(row.printed[c.name] or MISSING, row.values[c.name]) for c in table.columns)
        return Line((Entry(_printed_name(row)), *map(Entry, described), *numbers))

    columns = (
        Header(
            headers[c.name] if c.unit == table.unit else f"{headers[c.name]} ({c.unit})",
            number=True,
        )
        for c in table.columns
    )
    return Sheet(
        id=table.id,
        title=table.title,
        notes=(
            f"{table.source}.",
            f"{table.benchmark}, {table.split}.",
            f"In {table.unit}.",
            *table.footnotes,
        ),
        headers=(
            Header("Method"),
            *(Header(name.replace("_", " ")) for name in shown),
            *columns,
        ),
        blocks=tuple((heading, tuple(line(row) for row in rows)) for heading, rows in parts),
    )


def _printed_name(row: PublishedRow) -> str:
    """Return the label as printed, with the citation where it is printed elsewhere."""
    name = row.printed_as or row.method
    return f"{name} [{row.citation}]" if row.citation not in name else name


def _described(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value or MISSING
