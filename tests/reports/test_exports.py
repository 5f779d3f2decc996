"""Tables as CSV, JSON, LaTeX and Markdown: complete, well formed, and inert whatever they hold."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from benchmarks.published import published_tables
from harness import registry
from harness.ranking import Rank
from reports import latex, markdown
from reports.boards import build_board
from reports.exports import board_exports, csv_text, leaderboard_json, published_exports
from reports.sheets import board_sheets

EVIL = (
    '=HYPERLINK("http://evil";"x") \\input{/etc/passwd} \\write18{ls} $x$ & # % _ ~ ^ { } ^^5c\n'
    "\n\\\\ [5pt] * \\end{tabular} `q` <script>alert(1)</script> | [a](javascript:b) "
    "![i](http://e) Dollár 中 \u202e \x00 www.evil.com x@evil.com"
)
COMMANDS = {
    "begin", "end", "centering", "caption", "label", "small", "scriptsize", "tiny", "setlength",
    "tabcolsep", "toprule", "midrule", "bottomrule", "cmidrule", "multicolumn", "textit", "textbf",
    "textbackslash", "textless",
    "textgreater", "textbar", "textasciitilde", "textasciicircum", "char", "times", "pm", "circ",
    "cdot", "leq", "geq", "rightarrow", "ldots", "dag", "ddag", "S", "ss", "o", "O", "ae", "AE",
    "l", "L", "i", "r", "c", "v", "H", "u",
}  # fmt: skip
GREEK = {form[2:-1] for form in latex._GREEK.values()}


def known_benchmarks(table):
    return {name: registry.benchmark(name) for name in table.benchmarks}


@pytest.fixture(scope="module")
def published():
    return {
        table.id: published_exports(table, known_benchmarks(table))
        for table in published_tables().values()
    }


def board_of(leaderboard, **changes):
    """Return the COCO board, its first measured row with a rank and other facts changed."""
    coco = registry.benchmark("coco")
    records = [dataclasses.replace(leaderboard.records[0], **changes), *leaderboard.records[1:]]
    cards = {r.method: registry.method_card(r.method) for r in leaderboard.records[:3]}
    return build_board(coco, records, cards, {r.id: Rank(1, 1, 2) for r in records})


@pytest.fixture(scope="module")
def exports(leaderboard):
    return board_exports(board_of(leaderboard))


@pytest.fixture(scope="module")
def hostile(leaderboard):
    """The exports of a board in which every text that can come from outside is hostile."""
    record = leaderboard.records[-1]
    assert record.source == "score"
    evil = dataclasses.replace(record, method=EVIL, split=EVIL, protocol=EVIL)
    failed = dataclasses.replace(evil, id="f" * 64, status="failed", reason=EVIL, variant=EVIL)
    return board_exports(build_board(registry.benchmark("coco"), [evil, failed], {}))


def tabulars(text: str) -> list[str]:
    return re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.DOTALL)


def assert_well_formed(text: str) -> None:
    """Only known commands, balanced braces and environments, equally many cells in every row."""
    body = text.removeprefix(latex.HEAD)
    assert "%" not in body.replace(r"\%", "")
    assert body.isascii()
    used = set(re.findall(r"\\([A-Za-z]+)", body))
    assert used <= COMMANDS | GREEK, used - COMMANDS - GREEK
    assert set(re.findall(r"\\([^A-Za-z])", body)) <= set("{}$&#%_\\'`^~\"=.")
    bare = re.sub(r"\\[^A-Za-z]", "", body)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not set(bare) & set("#~")
    assert len(re.findall(r"\\begin\{table\}", body)) == len(re.findall(r"\\end\{table\}", body))
    for tabular in tabulars(body):
        assert_rectangular(tabular)


def assert_rectangular(tabular: str) -> None:
    align = re.match(r"\\begin\{tabular\}\{([lr]+)\}", tabular)[1]
    lines = [line for line in tabular.splitlines() if line.endswith(r"\\")]
    assert len(lines) >= 2
    for line in lines:
        assert not re.match(r"\s*[\[*]", line)
        cells = re.split(r"(?<!\\)&", line)
        spans = [re.match(r"\s*\\multicolumn\{(\d+)\}", cell) for cell in cells]
        assert sum(int(span[1]) if span else 1 for span in spans) == len(align)


def test_every_published_table_is_well_formed_latex(published):
    assert len(published) > 40
    for files in published.values():
        assert_well_formed(files["tex"])


def test_boards_are_well_formed_latex(exports, hostile):
    assert_well_formed(exports["tex"])
    assert_well_formed(hostile["tex"])


@given(st.text())
def test_any_text_is_inert_in_latex(text):
    assert_well_formed(latex.HEAD + latex.escape(text))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(published, exports, hostile, tmp_path: Path):
    """All published tables and both boards, in one document without shell or other packages."""
    tables = [*(files["tex"] for files in published.values()), exports["tex"], hostile["tex"]]
    # Floats beyond LaTeX's eighteen would wait for ever; the exports themselves stay untouched.
    body = "\\clearpage\n".join(
        re.sub(r"(?<=\\end\{table\}\n)", r"\\clearpage\n", t) for t in tables
    )
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
        f"{body}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000
    assert "root:x" not in done.stdout


def test_latex_has_every_row_and_number_of_the_published_tables(published):
    for table in published_tables().values():
        (tabular,) = tabulars(published[table.id]["tex"])
        lines = [line for line in tabular.splitlines() if " & " in line]
        rows = lines[-len(table.rows) :]
        for row, line in zip(table.rows, rows, strict=True):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))]
            assert cells[0].startswith(latex.escape(row.printed_as or row.method))
            printed = [row.printed[c.name] or "--" for c in table.columns]
            assert cells[-len(printed) :] == printed


def test_a_board_in_latex_has_groups_best_values_intervals_and_failures(leaderboard):
    text = board_exports(board_of(leaderboard))["tex"]
    assert r"AP$^{50}$" in text
    best = max(leaderboard.records[:3], key=lambda r: r.metrics["AP"]).metrics["AP"]
    assert rf"\textbf{{{100 * best:.1f}}}" in text
    low, high = leaderboard.records[0].intervals["AP"]
    assert rf"\tiny {100 * low:.1f}--{100 * high:.1f}" in text
    assert "skipped: The weights are not on this machine." in text
    assert "Ranks are tie groups." in text


class Tags(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.texts.append(data)


def rendered(text: str) -> Tags:
    return Tags(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def test_markdown_is_a_table_with_every_published_number(published):
    for table in published_tables().values():
        page = rendered(published[table.id]["md"])
        assert {"h3", "table", "td"} <= page.tags
        cells = [text.strip() for text in page.texts]
        for row in table.rows:
            for text in (value for value in row.printed.values() if value):
                assert text in cells


def test_hostile_texts_are_inert_in_markdown(hostile):
    page = rendered(hostile["md"])
    tags = {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "em"}
    assert page.tags <= tags
    assert page.attributes <= {"style"}
    shown = " ".join("".join(page.texts).split())
    assert " ".join(EVIL.replace("\0", "\ufffd").split()) in shown.replace("\0", "\ufffd")
    # Forges make links of bare addresses: none may stand in the source.
    assert not re.search(r"://|www\.|@", hostile["md"])


@given(st.text())
def test_any_text_is_inert_in_markdown(text):
    page = rendered(f"| a |\n| --- |\n| {markdown.escape(text)} |\n")
    assert page.tags <= {"table", "thead", "tbody", "tr", "th", "td"}


def test_hostile_texts_are_no_formulas_in_a_spreadsheet(hostile):
    for delimiter in ",;\t":
        for line in csv.reader(io.StringIO(hostile["csv"]), delimiter=delimiter):
            for cell in line:
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell


@given(st.lists(st.lists(st.text(), min_size=1), min_size=1))
def test_any_text_is_inert_in_csv(lines):
    for line in csv.reader(io.StringIO(csv_text(lines), newline="")):
        for cell in line:
            number = re.fullmatch(r"[+-]?\d+(\.\d+)?", cell)
            assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_numbers_stay_numbers_in_csv():
    assert csv_text([["a", -0.5, "-0.5", None, "-x"]]) == '"a",-0.5,"-0.5","","\'-x"\n'


def test_json_has_schema_and_version(leaderboard, published, exports):
    board = board_of(leaderboard)
    document = json.loads(leaderboard_json([board]))
    assert (document["schema"], document["version"]) == ("pose-harness/leaderboard", 1)
    assert json.loads(exports["json"])["benchmarks"] == document["benchmarks"]
    rows = [row for s in document["benchmarks"][0]["sections"] for row in s["rows"]]
    ranked = [row for row in rows if "rank" in row]
    assert ranked
    assert ranked[0]["rank"] == {"group": 1, "best": 1, "worst": 2}
    for table in published_tables().values():
        own = json.loads(published[table.id]["json"])
        assert (own["schema"], own["version"]) == ("pose-harness/published-table", 1)
        assert [row["values"] for row in own["rows"]] == [dict(row.values) for row in table.rows]


def test_sheets_keep_the_order_of_the_board(leaderboard):
    board = board_of(leaderboard)
    sheets = board_sheets(board)
    assert [sheet.id for sheet in sheets] == [f"coco-{section.id}" for section in board.sections]
    for sheet, section in zip(sheets, board.sections, strict=True):
        rows = [row for group in section.groups for row in (*group.rows, *group.unscored)]
        lines = [line for _, block in sheet.blocks for line in block]
        assert len(lines) == len(rows)
        for line, row in zip(lines, rows, strict=True):
            assert row.title in line.entries[1].text + line.entries[0].text
            assert line.entries[-1].text == row.cells[section.columns[-1].metric].text
