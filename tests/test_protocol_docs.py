"""The reference pages name every benchmark and every variant that is registered, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import registry

DOCS = Path(__file__).resolve().parents[1] / "docs"
INDEX = (DOCS / "protocols.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted((DOCS / "protocols").glob("*.md"))}


def built_in() -> list[str]:
    """Return the benchmarks of this project; a plug-in documents its own."""
    entries = registry.entries(registry.BENCHMARKS)
    return [name for name, entry in entries.items() if entry.value.startswith("benchmarks.")]


def rows() -> dict[str, list[str]]:
    """Return the summary table's rows by benchmark, each a list of cells."""
    table = INDEX.partition("## All benchmarks")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("| ") and "`" in line
    ]
    return {row[1].strip("`"): row for row in cells}


def test_the_table_has_every_benchmark() -> None:
    assert sorted(rows()) == sorted(built_in())


@pytest.mark.parametrize("name", built_in())
def test_its_row_states_variants_and_primary_metric(name: str) -> None:
    benchmark, row = registry.benchmark(name), rows()[name]
    assert re.findall(r"`([^`]+)`", row[2]) == list(benchmark.protocols)
    assert row[3] == f"`{benchmark.primary}`"
    assert all(row)


@pytest.mark.parametrize("name", built_in())
def test_a_section_defines_it_and_every_variant(name: str) -> None:
    sections = [part for page in PAGES.values() for part in page.split("\n## ")[1:]]
    own = "\n".join(part for part in sections if f"(`{name}`)" in part.partition("\n")[0])
    assert own, "no heading has its name in brackets"
    benchmark = registry.benchmark(name)
    missing = [variant for variant in benchmark.protocols if f"`{variant}`" not in own]
    assert not missing
    assert benchmark.primary in own


def test_links_lead_to_the_pages() -> None:
    assert set(re.findall(r"\(protocols/([\w-]+\.md)\)", INDEX)) == set(PAGES)
