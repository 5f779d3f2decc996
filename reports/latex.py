"""Tables as LaTeX, set with booktabs as the papers print them.

A file holds ``table`` environments that need ``\\usepackage{booktabs}`` and nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from reports.sheets import Entry, Line, Sheet

_WIDE = 10
"""More columns than this are set in smaller letters."""

HEAD = "% Needs \\usepackage{booktabs}. Made by pose-harness.\n"

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"{\char96}",
    # At the start of a row these would be read as the option or the star of the line break.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "\N{DEGREE SIGN}": r"$^{\circ}$",
    "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{RIGHTWARDS ARROW}": r"$\rightarrow$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{DAGGER}": r"\dag{}",
    "\N{DOUBLE DAGGER}": r"\ddag{}",
    "\N{SECTION SIGN}": r"\S{}",
    "\N{LEFT SINGLE QUOTATION MARK}": "{\\char96}",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": "{\\char96}{\\char96}",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{LATIN SMALL LETTER SHARP S}": r"\ss{}",
    "\N{LATIN SMALL LETTER O WITH STROKE}": r"\o{}",
    "\N{LATIN CAPITAL LETTER O WITH STROKE}": r"\O{}",
    "\N{LATIN SMALL LETTER AE}": r"\ae{}",
    "\N{LATIN CAPITAL LETTER AE}": r"\AE{}",
    "\N{LATIN SMALL LETTER L WITH STROKE}": r"\l{}",
    "\N{LATIN CAPITAL LETTER L WITH STROKE}": r"\L{}",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
}
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`",
    "\N{COMBINING ACUTE ACCENT}": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~",
    "\N{COMBINING DIAERESIS}": '"',
    "\N{COMBINING MACRON}": "=",
    "\N{COMBINING CARON}": "v",
    "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": "H",
    "\N{COMBINING BREVE}": "u",
    "\N{COMBINING DOT ABOVE}": ".",
}
_GREEK = {
    letter: f"$\\{unicodedata.name(letter).split()[-1].lower()}$"
    for letter in "αβγδεζηθικλμνξπρστυφχψω"
}

_PLAIN = re.compile("[A-Za-z0-9.:,;()/+='?!@-]*(?: [A-Za-z0-9.:,;()/+='?!@-]+)*")
"""Most cells: nothing to escape."""


@lru_cache(maxsize=10_000)
def escape(text: str) -> str:
    """Return a text that LaTeX prints as it is, whatever it holds.

    A letter that the standard fonts lack is named by its code point.

    >>> print(escape("50 % of a_b \\\\input{x}"), escape("Dollár"), escape("AP⁵⁰"), escape("中"))
    50 \\% of a\\_b \\textbackslash{}input\\{x\\} Doll\\'{a}r AP$^{50}$ {[}U+4E2D{]}
    """
    if _PLAIN.fullmatch(text):
        return text
    text = " ".join(text.split())
    parts = re.split("([⁰¹²³⁴-⁹⁺⁻ᴹᴸˢᴬ-ᵂ]+)", text)
    return "".join(_raised(p) if i % 2 else "".join(map(_letter, p)) for i, p in enumerate(parts))


def _raised(text: str) -> str:
    return f"$^{{{unicodedata.normalize('NFKC', text).replace(chr(0x2212), '-')}}}$"


def _letter(letter: str) -> str:
    if (known := _SPECIAL.get(letter) or _GREEK.get(letter)) is not None:
        return known
    if " " <= letter <= "~":
        return letter
    parts = unicodedata.normalize("NFD", letter)
    base, mark = parts[0], parts[1:]
    if mark in _ACCENTS and base.isascii() and base.isalpha():
        return f"\\{_ACCENTS[mark]}{{{base}}}"
    return f"{{[}}U+{ord(letter):04X}{{]}}"


def latex(sheets: Sequence[Sheet]) -> str:
    """Return tables as LaTeX, one ``table`` environment each."""
    return HEAD + "".join(f"\n{_table(sheet)}" for sheet in sheets)


def _table(sheet: Sheet) -> str:
    texts = sum(not header.number for header in sheet.headers)
    align = "l" * texts + "r" * (len(sheet.headers) - texts)
    label = re.sub("[^a-z0-9]+", "-", sheet.id.lower()).strip("-")
    notes = " ".join(escape(note) for note in sheet.notes)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\caption{" + escape(sheet.title).rstrip(".") + (f". {notes}" if notes else "") + "}",
        r"\label{tab:" + label + "}",
        r"\small" if len(sheet.headers) <= _WIDE else r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}",
        r"\begin{tabular}{" + align + "}",
        r"\toprule",
        *_group_headers(sheet),
        " & ".join(escape(header.text) for header in sheet.headers) + r" \\",
    ]
    for heading, rows in sheet.blocks:
        lines.append(r"\midrule")
        if heading:
            width = len(sheet.headers)
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{escape(heading)}}}}} \\")
        for row in rows:
            lines += _row(row, texts)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _group_headers(sheet: Sheet) -> list[str]:
    """Return the row of headers above the headers, with a rule under each."""
    if not any(header.group for header in sheet.headers):
        return []
    cells, rules, place = [], [], 1
    for group, width in sheet.groups():
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def _row(row: Line, texts: int) -> list[str]:
    """Return a row, and a small one below it with the intervals, where it has any."""
    cells = [_entry(entry) for entry in row.entries]
    if row.remark:
        width = len(cells) - texts
        cells[texts:] = [rf"\multicolumn{{{width}}}{{l}}{{{escape(row.remark)}}}"]
    lines = [" & ".join(cells) + r" \\"]
    if any(entry.interval for entry in row.entries):
        small = (rf"\tiny {escape(e.interval)}" if e.interval else "" for e in row.entries)
        lines.append(" & ".join(small) + r" \\")
    return lines


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    return rf"\textbf{{{text}}}" if entry.best else text
