"""What the templates are given: their environment, and a record's facts made ready to print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.api import Benchmark, Card, Column
from harness.records.record import Evidence, Record
from reports import tables
from reports.figures import SERIES
from reports.tables import Board, Cell, Row, metric_cell, show, significant
from reports.verdicts import published_row

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹ᴹᴸˢ⁻", "0123456789MLS-", strict=True))


@dataclass(frozen=True)
class Bar:
    """One value of a breakdown; ``share`` is its length in percent."""

    name: str
    text: str
    share: float


@dataclass(frozen=True)
class Run:
    """One call of the command line, as the home page lists it."""

    started: datetime
    command: str
    statuses: Mapping[str, int]
    benchmarks: tuple[str, ...]
    embedded: bool


@cache
def environment(**known: Any) -> Environment:
    """Return the template environment, all templates compiled; everything printed is escaped."""
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters |= {
        "amount": amount,
        "header": header,
        "numbers": numbers,
        "plain": plain,
        "day": lambda moment: f"{moment:%Y-%m-%d}",
        "minute": minute,
        "web": lambda url: url if re.match(r"https?://", url) else "",
    }
    env.globals |= {
        "MISSING": tables.MISSING,
        "SERIES": SERIES,
        "COSTS": tables.COSTS,
        "DESCRIPTORS": tables.DESCRIPTORS,
        "box_source": tables.box_source,
        "descriptor": tables.descriptor,
        "detector": tables.detector,
        "facets": facets,
        "grouped": grouped,
        "input_size": tables.input_size,
        "published_row": published_row,
        **known,
    }
    for name in env.list_templates():  # once, before any process is forked
        env.get_template(name)
    return env


@cache
def header(text: str) -> Markup:
    """Set superscript letters of a column header as mark-up: few fonts hold all of them.

    >>> print(header("AP⁵⁰"), header("a<b"))
    AP<sup>50</sup> a&lt;b
    """
    raised = "".join(_RAISED)
    return Markup(
        re.sub(
            f"[{raised}]+",
            lambda found: f"<sup>{''.join(_RAISED[letter] for letter in found[0])}</sup>",
            str(escape(text)),
        )
    )


def numbers(row: Row, columns: Iterable[Column]) -> Markup:
    """Set a row's cells as mark-up; a page may have ten thousands of them."""
    return Markup("").join(number(row.cells[column.metric]) for column in columns)


def number(cell: Cell) -> Markup:
    """Set a number as a table cell: its value for sorting, its text, and its interval."""
    if cell.value is None:
        return _NO_NUMBER
    best = " best" if cell.best else ""
    interval = f"<small>{escape(cell.interval)}</small>" if cell.interval else ""
    return Markup(
        f'<td class="number{best}" data-value="{cell.value!r}">{escape(cell.text)}{interval}</td>'
    )


_NO_NUMBER = Markup(f'<td class="number">{tables.MISSING}</td>')


def facets(board: Board) -> dict[str, list[str]]:
    """Return what a benchmark's rows can be filtered by: the values of each facet, in order."""
    rows = [row for s in board.sections for g in s.groups for row in (*g.rows, *g.unscored)]
    return {
        "family": sorted({row.family for row in rows} - {""}),
        "backbone": sorted({row.texts["backbone"] for row in rows} - {""}),
        "size": sorted({row.texts["input_size"] for row in rows} - {""}, key=_area),
        "year": [str(year) for year in sorted({row.year for row in rows if row.year})],
    }


def _area(size: str) -> tuple[float, str]:
    sides = [float(side) for side in re.findall(r"\d+", size)]
    return (math.prod(sides), size)


def plain(value: Any) -> str:
    """Return a setting's value in plain words.

    >>> plain((("all", 0.0, 1e10), True, None, 0.5))
    '(all, 0, 1e+10), yes, none, 0.5'
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        nested = (isinstance(item, (list, tuple)) for item in value)
        return ", ".join(
            f"({plain(v)})" if inner else plain(v) for v, inner in zip(value, nested, strict=True)
        )
    return str(value)


def size(count: int) -> str:
    """Return a number of bytes in a readable unit.

    >>> size(532), size(48_300), size(7_200_000)
    ('532 B', '48.3 kB', '7.20 MB')
    """
    for factor, unit in ((1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count} B"


def other_columns(benchmark: Benchmark, record: Record) -> list[Column]:
    """Return columns for a result's metrics that its benchmark's tables do not show."""
    known = {column.metric for column in benchmark.columns}
    return [Column(name, name, decimals=4) for name in record.metrics if name not in known]


def metric_rows(record: Record, columns: Iterable[Column]) -> Markup:
    """Set metrics of a result as rows."""
    rows = []
    for column in columns:
        cell = metric_cell(record, column)
        group = f"<small>{escape(column.group)}</small>" if column.group else ""
        rows.append(
            f'<tr class="row"><th scope="row">{header(column.header)}{group}</th>'
            f'<td class="number">{escape(cell.text)}</td>'
            f'<td class="number">{escape(cell.interval or tables.MISSING)}</td></tr>\n'
        )
    return Markup("".join(rows))


def bars(
    breakdown: Mapping[str, Mapping[str, float | None]], column: Column
) -> dict[str, list[Bar]]:
    """Make bars of a breakdown, whose values are in the unit of ``column``.

    Shares in percent are drawn against 100, all others against the largest of their group.
    """
    result = {}
    for group, values in breakdown.items():
        shown = {
            k: v * column.scale for k, v in values.items() if v is not None and math.isfinite(v)
        }
        largest = max(shown.values(), default=0.0)
        full = 100.0 if column.higher_is_better and largest <= 100 else largest
        result[group] = [
            Bar(
                name.replace("_", " "),
                show(value, column),
                round(max(0.0, 100 * shown.get(name, 0.0) / full), 1) if full else 0.0,
            )
            for name, value in values.items()
        ]
    return result


def home_card(board: Board, address: str) -> dict[str, Any]:
    """Return what the home page says about a benchmark, as plain data."""
    kinds = {}
    for kind in tables.KINDS:
        if found := board.best(kind):
            section, best = found
            kinds[kind] = {
                "section": section.title,
                "id": section.id,
                "value": best.cells[board.primary.metric].text if best else "",
                "interval": best.cells[board.primary.metric].interval if best else "",
                "who": best.title if best else "",
                "variant": best.variant if best else "",
                "rows": sum(len(g.rows) for s in board.kind(kind) for g in s.groups),
                "unscored": sum(len(g.unscored) for s in board.kind(kind) for g in s.groups),
                "samples": section.samples,
            }
    return {
        "place": ["measured" not in kinds, "embedded" not in kinds, board.benchmark.title],
        "title": board.benchmark.title,
        "address": address,
        "metric": f"{board.primary.header} {board.primary.group}".strip(),
        "lower": not board.primary.higher_is_better,
        "kinds": kinds,
    }


def bibtex(card: Card) -> str:
    """Return how to cite a method, for a bibliography.

    Braces and backslashes of the card would end a field early; they are left out.
    """
    assert card.paper is not None
    paper = card.paper

    def plain_field(text: str) -> str:
        return re.sub(r"[{}\\]", "", text)

    lines = {
        "author": plain_field(paper.authors).replace(", ", " and "),
        "title": f"{{{plain_field(paper.title)}}}",
        "booktitle": plain_field(paper.venue),
        "year": str(paper.year),
        "url": plain_field(paper.url),
    }
    body = "".join(f"  {name} = {{{text}}},\n" for name, text in lines.items() if text)
    return f"@inproceedings{{{re.sub('[^a-z0-9]', '', card.name)}{paper.year},\n{body}}}"


def runs(records: Sequence[Record], most: int = 10) -> list[Run]:
    """Return the newest runs."""
    by_run: dict[str, list[Record]] = {}
    for record in records:
        by_run.setdefault(record.run_id, []).append(record)
    listed = []
    for group in by_run.values():
        statuses = [record.status for record in group]
        listed.append(
            Run(
                started=max(record.created_at for record in group),
                command=min(group, key=lambda r: (r.created_at, r.id)).command,
                statuses={
                    s: statuses.count(s) for s in ("done", "failed", "skipped") if s in statuses
                },
                benchmarks=tuple(sorted({record.benchmark for record in group})),
                embedded=any(record.synthetic for record in group),
            )
        )
    return sorted(listed, key=lambda run: (run.started, run.command), reverse=True)[:most]


def provenance(record: Record, evidence: Evidence) -> dict[str, list[tuple[str, str]]]:
    """Return where a result comes from: titled lists of names and texts, without empty ones."""
    files = sorted(path for path in evidence.folder.glob("*") if path.is_file())
    lists = {
        "Identity": [
            ("result", record.id),
            ("protocol", record.protocol_digest),
            ("data", record.dataset_digest),
            ("weights", record.weights_sha256 or tables.MISSING),
            ("MLflow run", record.mlflow_run_id or tables.MISSING),
            ("scored", minute(record.created_at)),
        ],
        "Network": [(name.replace("_", " "), amount(v)) for name, v in record.profile.items()],
        "Counts": [(name, amount(count)) for name, count in record.counts.items()],
        "Timings": [(name.replace("_", " "), amount(v)) for name, v in record.timings.items()],
        "Environment": [(name, plain(value)) for name, value in record.environment.items()],
        "Notes": [(name.replace("_", " "), plain(value)) for name, value in record.notes.items()],
        "Files in the workspace": [(path.name, size(path.stat().st_size)) for path in files],
    }
    return {
        title: sorted(facts) if title != "Identity" else facts
        for title, facts in lists.items()
        if facts
    }


def amount(value: float | None) -> str:
    """Return a whole number with all its digits, any other with three.

    >>> amount(28536112), amount(0.12345), amount(None)
    ('28,536,112', '0.123', '–')
    """
    if value is not None and math.isfinite(value) and value == int(value):
        return f"{int(value):,}"
    return significant(value)


def minute(moment: datetime) -> str:
    """Return a moment to the minute."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def grouped(columns: Iterable[Column]) -> list[tuple[str, int]]:
    """Return the headers above the column headers, and how many columns each spans."""
    return [(name, len(list(run))) for name, run in groupby(columns, key=lambda c: c.group)]
