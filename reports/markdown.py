"""Tables as Markdown, in the pipe form that GitHub, GitLab and Pandoc read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from reports.sheets import Entry, Sheet

_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#!|~$&^])")


@lru_cache(maxsize=10_000)
def escape(text: str) -> str:
    """Return a text that Markdown prints as it is: no mark-up, no HTML, no link.

    >>> print(escape("a|b [x](http://y) <b>"))
    a\\|b \\[x\\]\\(http&#58;//y\\) \\<b\\>
    """
    text = _MARKUP.sub(r"\\\1", " ".join(text.split()))
    # Bare addresses become links by themselves.
    text = re.sub(r"(?i)\b(www)\.", r"\1&#46;", text)
    return text.replace("://", "&#58;//").replace("@", "&#64;")


def markdown(sheets: Sequence[Sheet]) -> str:
    """Return tables as Markdown, each under its title."""
    return "\n".join(_table(sheet) for sheet in sheets)


def _table(sheet: Sheet) -> str:
    lines = [f"### {escape(sheet.title)}", ""]
    if sheet.notes:
        lines += [" ".join(escape(note) for note in sheet.notes), ""]
    headers = (f"{h.group}: {h.text}" if h.group else h.text for h in sheet.headers)
    lines.append(_cells([escape(header) for header in headers]))
    lines.append(_cells(["---:" if header.number else "---" for header in sheet.headers]))
    texts = sum(not header.number for header in sheet.headers)
    for heading, rows in sheet.blocks:
        if heading:
            lines.append(_cells([f"*{escape(heading)}*", *[""] * (len(sheet.headers) - 1)]))
        for row in rows:
            cells = [_entry(entry) for entry in row.entries]
            if row.remark:
                cells[texts] = escape(row.remark)
            lines.append(_cells(cells))
    return "\n".join([*lines, ""])


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    if entry.best:
        text = f"**{text}**"
    return f"{text} ({escape(entry.interval)})" if entry.interval else text
