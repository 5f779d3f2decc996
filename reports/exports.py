"""The leaderboards for machines: one JSON file for all, one CSV file per benchmark."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import orjson

from reports.tables import Board, Cell, Group, Row, Section

SCHEMA = "pose-harness/leaderboard"
VERSION = 1
"""Raised when a field changes its meaning or goes away."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def leaderboard_json(boards: Sequence[Board]) -> str:
    """Return all boards as JSON; numbers are in the columns' units, null for no value."""
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "benchmarks": [_board(board) for board in boards],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


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
    if group.table:
        line |= {"table": group.table.id, "citation": row.citation, "marks": list(row.marks)}
    line |= {"notes": list(row.notes), **row.texts}
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
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = ("", "_low", "_high")
    writer.writerow([*fixed, *(f"{m}{end}" for m in metrics for end in ends), *tail])
    for section in board.sections:
        for group in section.groups:
            for row in (*group.rows, *group.unscored):
                cells = [row.cells.get(metric, Cell()) for metric in metrics]
                record = row.record
                line = [
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
                writer.writerow([_inert(value) for value in line])
    return out.getvalue()


def _inert(value: object) -> object:
    """Keep a text from being run as a formula by a spreadsheet."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
