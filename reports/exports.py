"""The leaderboards for machines and papers.

One JSON file for all benchmarks; every board and every published table as CSV, JSON, LaTeX and
Markdown. Texts come from anywhere: each format makes them inert in its own way.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from benchmarks.published import PublishedTable
from harness.api import Benchmark, Curve
from reports.latex import latex
from reports.markdown import markdown
from reports.printed import table_lines
from reports.sheets import board_sheets, published_sheet
from reports.tables import Board, Cell, Group, Row, Section, inert

SCHEMA = "pose-harness/leaderboard"
VERSION = 1
"""Raised when a field changes its meaning or goes away."""

TABLE_SCHEMA = "pose-harness/published-table"
TABLE_VERSION = 1


def board_exports(board: Board) -> dict[str, str]:
    """Return a board as ``csv``, ``json``, ``tex`` and ``md``."""
    sheets = board_sheets(board)
    return {
        "csv": board_csv(board),
        "json": leaderboard_json([board]),
        "tex": latex(sheets),
        "md": markdown(sheets),
    }


def published_exports(table: PublishedTable, benchmarks: Mapping[str, Benchmark]) -> dict[str, str]:
    """Return a published table as ``csv``, ``json``, ``tex`` and ``md``.

    ``benchmarks`` (those of ours that the table states metrics of, by name) lend the headers.
    """
    sheet = published_sheet(table, benchmarks)
    return {
        "csv": csv_text(table_lines(table)),
        "json": _published_json(table),
        "tex": latex([sheet]),
        "md": markdown([sheet]),
    }


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    """Return lines as CSV that no spreadsheet takes for formulas.

    Texts are quoted, so that a spreadsheet that separates by semicolons finds no new cell in them.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerows([_plain(v) if isinstance(v, str) else v for v in line] for line in lines)
    return out.getvalue()


def curves_csv(curves: Sequence[Curve]) -> str:
    """Return the points of curves that share their axes as CSV, one line per point."""
    parts = [csv_text([("line", curves[0].x_label, curves[0].y_label)])]
    for curve in curves:
        name = csv_text([[curve.name]])[:-1]
        points = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
        parts += [f"{name},{x},{y}\n" for x, y in points]
    return "".join(parts)


@lru_cache(maxsize=10_000)
def _plain(text: str) -> object:
    """Return a cell that is no formula; a printed number is none, whatever it begins with."""
    return text if re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else inert(text)


def _published_json(table: PublishedTable) -> str:
    document = {
        "schema": TABLE_SCHEMA,
        "version": TABLE_VERSION,
        "id": table.id,
        "title": table.title,
        "source": str(table.source),
        "caption": table.source.caption,
        "benchmark": table.benchmark,
        "split": table.split,
        "protocol": table.protocol,
        "primary": table.primary,
        "columns": [
            {
                "name": column.name,
                "unit": column.unit,
                "higher_is_better": column.higher_is_better,
                "metrics": dict(column.bindings),
            }
            for column in table.columns
        ],
        "footnotes": list(table.footnotes),
        "doubts": list(table.doubts),
        "rows": [
            {
                "method": row.method,
                "citation": row.citation,
                "printed_as": row.printed_as,
                **row.descriptors,
                "values": dict(row.values),
                "printed": dict(row.printed),
            }
            for row in table.rows
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def leaderboard_json(boards: Sequence[Board]) -> str:
    """Return all boards as JSON; numbers are in the columns' units, null for no value."""
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "benchmarks": [_board(board) for board in boards],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def join_leaderboards(documents: Sequence[bytes]) -> bytes:
    """Join what :func:`leaderboard_json` returned for one board each, without reading it again."""
    start, end = b'"benchmarks": [\n', b"\n  ]\n}\n"
    if not documents:
        return leaderboard_json([]).encode()
    head = documents[0].partition(start)[0]
    boards = [document.partition(start)[2].removesuffix(end) for document in documents]
    return head + start + b",\n".join(boards) + end


def _board(board: Board) -> dict[str, Any]:
    benchmark = board.benchmark
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "citation": benchmark.citation,
        "primary": benchmark.primary,
        "columns": [
            {
                "metric": column.metric,
                "header": column.header,
                "scale": column.scale,
                "higher_is_better": column.higher_is_better,
            }
            for column in benchmark.columns
        ],
        "sections": [_section(section) for section in board.sections],
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "id": section.id,
        "kind": section.kind,
        "title": section.title,
        "facts": list(section.facts),
        "primary": section.primary.metric,
        "rows": [
            _row(section, group, row)
            for group in section.groups
            for row in (*group.rows, *group.unscored)
        ],
    }


def _row(section: Section, group: Group, row: Row) -> dict[str, Any]:
    record = row.record
    line: dict[str, Any] = {"method": row.title, "variant": row.variant}
    if record:
        line |= {
            "name": record.name,
            "source": record.source,
            "status": record.status,
            "reason": record.reason,
            "result": record.id,
            "protocol_digest": record.protocol_digest,
            "dataset_digest": record.dataset_digest,
            "limit": record.limit,
            "weights_sha256": record.weights_sha256,
        }
    if row.rank:
        line["rank"] = {"group": row.rank.group, "best": row.rank.best, "worst": row.rank.worst}
    if group.table:
        line |= {"table": group.table.id, "citation": row.citation}
    line |= {"marks": list(row.marks), "notes": list(row.notes), **row.texts}
    line["values"] = {c.metric: _cell(row.cells[c.metric]) for c in section.columns}
    return line


def _cell(cell: Cell) -> dict[str, float] | None:
    if cell.value is None:
        return None
    if cell.low is None or cell.high is None:
        return {"value": cell.value}
    return {"value": cell.value, "low": cell.low, "high": cell.high}


def board_csv(board: Board) -> str:
    """Return a board as CSV: one line per row of every section, three fields per number."""
    metrics = list(dict.fromkeys(c.metric for s in board.sections for c in s.columns))
    fixed = ("kind", "section", "table", "method", "variant", "citation", "backbone", "input_size")
    tail = ("marks", "notes", "status", "reason", "result")
    ends = ("", "_low", "_high")
    lines: list[list[object]] = [[*fixed, *(f"{m}{end}" for m in metrics for end in ends), *tail]]
    for section in board.sections:
        for group in section.groups:
            for row in (*group.rows, *group.unscored):
                cells = [row.cells.get(metric, Cell()) for metric in metrics]
                record = row.record
                line: list[object] = [
                    section.kind,
                    section.title,
                    group.table.id if group.table else "",
                    row.title,
                    row.variant,
                    row.citation,
                    row.texts["backbone"],
                    row.texts["input_size"],
                    *(number for c in cells for number in (c.value, c.low, c.high)),
                    "; ".join(row.marks),
                    "; ".join(row.notes),
                    record.status if record else "",
                    (record.reason or "") if record else "",
                    record.id if record else "",
                ]
                lines.append(line)
    return csv_text(lines)
