"""Pages of the published tables and lists: everything as printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.published import (
    PublishedRow,
    PublishedTable,
    headline_figures,
    systems,
    terms,
)
from harness.api import Benchmark
from reports.tables import COSTS

_BLOCKS = ("block", "section", "setting")
"""Descriptors that the papers print as a heading above several rows."""


@dataclass(frozen=True)
class Listing:
    """A list that the papers give beside their tables; cells are texts in the order of names."""

    id: str
    title: str
    about: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def printed_headers(table: PublishedTable, benchmarks: Mapping[str, Benchmark]) -> dict[str, str]:
    """Return a header for every column of a published table: ours where a column is bound."""
    headers = {name: column.header for name, column in COSTS.items()}
    for column in table.columns:
        for name, metric in column.bindings.items():
            ours = benchmarks[name].columns if name in benchmarks else ()
            for ours_column in ours:
                if ours_column.metric == metric:
                    headers[column.name] = ours_column.header
    own = [headers.get(column.name) for column in table.columns]
    return {
        c.name: header if header and own.count(header) == 1 else c.name.replace("_", " ")
        for c, header in zip(table.columns, own, strict=True)
    }


def blocks(table: PublishedTable) -> list[tuple[str, list[PublishedRow]]]:
    """Return the rows in their printed order under the headings that stand between them."""
    name = next((name for name in _BLOCKS if name in table.descriptors), "")
    parts: list[tuple[str, list[PublishedRow]]] = []
    for row in table.rows:
        heading = str(row.descriptors[name] or "") if name else ""
        if not parts or parts[-1][0] != heading:
            parts.append((heading, []))
        parts[-1][1].append(row)
    return parts


def table_lines(table: PublishedTable) -> list[list[Any]]:
    """Return a table as lines of a CSV file, with its header."""
    names = [column.name for column in table.columns]
    lines: list[list[Any]] = [["method", "citation", "printed_as", *table.descriptors, *names]]
    for row in table.rows:
        described = [row.descriptors[name] for name in table.descriptors]
        cells = [row.printed[name] for name in names]
        lines.append([row.method, row.citation, row.printed_as, *described, *cells])
    return lines


def listings() -> list[Listing]:
    """Return the lists: single figures, systems and terms."""
    return [
        _listing(
            "headline-figures",
            "Single figures of the papers",
            "Numbers that the papers state outside their tables.",
            headline_figures(),
        ),
        _listing(
            "systems",
            "Systems of the papers",
            "Every system that the papers and their tables name.",
            list(systems().values()),
        ),
        _listing(
            "terms",
            "Data sets, metrics and protocols",
            "What the tables speak of, as the papers define it.",
            terms(),
        ),
    ]


def _listing(address: str, title: str, about: str, items: Sequence[Any]) -> Listing:
    names = [field.name for field in fields(items[0])]
    rows = [[_text(getattr(item, name)) for name in names] for item in items]
    # A column that no row fills is not printed.
    kept = [i for i in range(len(names)) if any(row[i] for row in rows)]
    return Listing(
        address,
        title,
        about,
        tuple(names[i].replace("_", " ") for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
    )


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "; ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
