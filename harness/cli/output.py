"""Tables and JSON on standard output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console()


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of equal keys; values are shown as they are, never as markup."""
    table = Table(title=Text(title), title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(Text(name), overflow="fold", no_wrap=name in ("name", "method"))
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    # A file or a pipe has no width: a wide table would be folded away in eighty columns.
    (console if console.is_terminal else Console(width=400)).print(table)


def print_json(document: Any) -> None:
    """Print a document as indented JSON; NaN becomes null."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str).decode())


def record_document(record: Any) -> dict[str, Any]:
    """Return a record as plain JSON values, under the names that ``--json`` promises."""
    document = dataclasses.asdict(record)
    document["digest"] = document.pop("protocol_digest")
    document["created_at"] = record.created_at.isoformat()
    return document
