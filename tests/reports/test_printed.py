"""Published pages against the CSV files themselves: every row, every number, every text."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

import pytest

import benchmarks.published
from benchmarks.published import published_tables
from harness import registry
from harness.records.record import Evidence
from reports.site import build_site

FOLDER = Path(benchmarks.published.__file__).parent
LISTS = {"headline-figures.csv": "headline-figures", "systems.csv": "systems"} | {
    "benchmarks.csv": "terms"
}
DASH = "\N{EN DASH}"


class Cells(HTMLParser):
    """The body rows of a page's table: the heading above each, then its cells' texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.heading, self.inside, self.kind = "", False, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "tbody":
            self.heading = ""
        if tag == "tr":
            self.kind = values.get("class", "")
            if self.kind == "row":
                self.rows.append([self.heading])
        if tag in ("td", "th"):
            self.inside = True
            if self.kind == "row":
                self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        if self.inside and self.kind == "row":
            self.rows[-1][-1] += data
        elif self.inside and self.kind == "source":
            self.heading += data


def lines(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("published") / "site"
    build_site([], Evidence, out, registry.benchmark, registry.method_card)
    return out / "published"


def test_no_published_file_is_without_a_page(published):
    files = {path.name for path in FOLDER.glob("*.csv")}
    assert files == {f"{table}.csv" for table in published_tables()} | set(LISTS)
    assert len(published_tables()) == 48
    for name in files:
        assert (published / f"{LISTS.get(name, name.removesuffix('.csv'))}.html").is_file()


@pytest.mark.parametrize("name", sorted(published_tables()))
def test_a_page_has_every_row_and_number_of_its_csv(published, name):
    rows = Cells((published / f"{name}.html").read_text(encoding="utf-8")).rows
    table = published_tables()[name]
    printed = lines(f"{name}.csv")
    assert len(rows) == len(printed) > 0
    flags = {"true": "✓", "false": "no", "": DASH}
    for line, (heading, first, *cells) in zip(printed, rows, strict=True):
        for text in (line["method"], line["printed_as"], line["citation"]):
            assert text in first
        described, numbers = cells[: len(table.descriptors)], cells[len(table.descriptors) :]
        assert [text.strip() for text in described] == [
            flags.get(line[name], line[name]) for name in table.descriptors
        ]
        assert [text.strip() for text in numbers] == [
            line[column.name] or DASH for column in table.columns
        ]
        assert heading.strip() in ("", *line.values())


@pytest.mark.parametrize("name", sorted(LISTS))
def test_a_list_has_every_text_of_its_csv(published, name):
    rows = Cells((published / f"{LISTS[name]}.html").read_text(encoding="utf-8")).rows
    printed = lines(name)
    assert len(rows) == len(printed) > 0
    for line, row in zip(printed, rows, strict=True):
        shown = "\n".join(row)
        for text in line.values():
            for part in text.split(";"):
                assert part.strip() in shown
