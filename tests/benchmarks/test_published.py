"""Every printed row and number is in the collection, and columns name metrics that exist."""

from __future__ import annotations

import csv
import filecmp
from pathlib import Path

import pytest
import yaml

import benchmarks.published
from benchmarks.published import headline_figures, published_tables, systems, terms
from harness import registry

FOLDER = Path(benchmarks.published.__file__).parent
FLAGS = {True: "true", False: "false", None: ""}

BOUND = (
    "coco",
    "coco-person",
    "mpii",
    "mpii-multi",
    "lsp",
    "posetrack",
    "densepose",
    "atr",
    "h36m",
    "h36m-mesh",
)


def read(name: str) -> list[list[str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("table_id", published_tables())
def test_every_row_and_cell_of_a_table_is_present(table_id):
    table = published_tables()[table_id]
    header, *lines = read(f"{table_id}.csv")
    assert len(table.rows) == len(lines)
    for row, line in zip(table.rows, lines, strict=True):
        cells = dict(zip(header, line, strict=True))
        assert ";".join(row.systems) == cells.pop("system")
        for name in ("method", "citation", "printed_as"):
            assert getattr(row, name) == cells.pop(name)
        for name in table.descriptors:
            value = row.descriptors[name]
            assert (value if isinstance(value, str) else FLAGS[value]) == cells.pop(name)
        for column in table.columns:
            text = cells.pop(column.name)
            assert row.printed[column.name] == text
            assert row.values[column.name] == (float(text) if text else None)
        assert cells == {}


def test_the_index_and_the_files_agree():
    index = yaml.safe_load((FOLDER / "tables.yaml").read_text(encoding="utf-8"))
    entries = {t["id"]: t for t in index["tables"] if t["printed_as_table"]}
    assert list(published_tables()) == list(entries)
    assert len(entries) == index["table_count"] == 48
    files = {path.stem for path in FOLDER.glob("*.csv")}
    assert files == {*entries, "systems", "benchmarks", "headline-figures"}
    for table in published_tables().values():
        entry = entries[table.id]
        assert len(table.rows) == entry["rows"]
        assert len(table.descriptors) + len(table.columns) + 4 == entry["columns"]
        assert list(table.footnotes) == entry["footnotes"]
        assert list(table.doubts) == entry["doubts"]
        assert table.primary in [column.name for column in table.columns]


def test_the_copy_is_the_published_collection():
    original = FOLDER.parents[1].parent / "shared" / "published"
    if not original.is_dir():
        pytest.skip(f"the published collection is not at {original}")
    names = [path.name for path in original.iterdir()]
    _, different, missing = filecmp.cmpfiles(original, FOLDER, names, shallow=False)
    assert (different, missing) == ([], [])


def test_every_system_figure_and_term_is_present():
    header, *lines = read("systems.csv")
    assert len(systems()) == len(lines)
    for line in lines:
        cells = dict(zip(header, line, strict=True))
        system = systems()[cells["system"]]
        assert ";".join(system.tables) == cells["appears_in_tables"]
        assert "; ".join(system.aliases) == cells["aliases"]
        assert ";".join(system.documents) == cells["described_in"]
        assert str(system.year or "") == cells["year"]
        assert [system.kind, system.paper, system.not_from_seed, system.note] == [
            cells[name] for name in ("kind", "paper", "not_from_seed", "note")
        ]
    header, *lines = read("headline-figures.csv")
    assert [[getattr(f, name) for name in header] for f in headline_figures()] == lines
    header, *lines = read("benchmarks.csv")
    assert [[t.name, t.kind, t.definition, t.note] for t in terms()] == [
        [line[header.index(name)] for name in ("name", "kind", "definition", "note")]
        for line in lines
    ]


def test_rows_name_known_systems():
    for table in published_tables().values():
        for row in table.rows:
            assert set(row.systems) <= set(systems()), (table.id, row.method)


def test_fractions_are_shown_in_percent_with_the_printed_digits():
    table = published_tables()["coco-leaderboard-challenge17"]
    ap50 = table.bound("coco")["AP50"]
    assert table.rows[2].printed["ap50"] == "0.880"
    assert table.rows[2].percent(ap50) == "88.0"


def test_marks_for_extra_data_and_ensembles():
    rows = {row.method: row for row in published_tables()["coco-testdev-mspn"].rows}
    assert (rows["MSPN"].extra_data, rows["MSPN"].ensemble) == (False, False)
    assert (rows["MSPN*"].extra_data, rows["MSPN*"].ensemble) == (True, False)
    assert (rows["MSPN+*"].extra_data, rows["MSPN+*"].ensemble) == (True, True)


def test_every_table_is_bound_through_its_primary_column():
    for table in published_tables().values():
        primary = next(c for c in table.columns if c.name == table.primary)
        assert primary.bindings, table.id
        assert set(table.benchmarks) <= set(BOUND)


def test_bindings_name_tables_and_columns_that_exist():
    for group in yaml.safe_load((FOLDER / "bindings.yaml").read_text(encoding="utf-8")):
        used = set()
        for table_id in group["tables"]:
            used |= {column.name for column in published_tables()[table_id].columns}
        assert set(group["columns"]) <= used


@pytest.mark.parametrize("name", BOUND)
def test_bound_columns_are_columns_of_the_benchmark(name):
    if name not in registry.entries(registry.BENCHMARKS):
        pytest.skip(f"{name} is not registered yet")
    benchmark = registry.benchmark(name)
    columns = {column.metric: column for column in benchmark.columns}
    for table in published_tables().values():
        for metric, column in table.bound(name).items():
            assert metric in columns, (table.id, column.name)
            if column.higher_is_better is not None:
                assert columns[metric].higher_is_better == column.higher_is_better


def test_published_rows_that_cards_claim_exist():
    claims = 0
    for method in registry.entries(registry.METHODS):
        for name, variant in registry.method_card(method).variants.items():
            if not variant.published:
                continue
            claims += 1
            wanted = dict(variant.published)
            table = published_tables()[wanted.pop("table")]
            assert len(table.find(**wanted)) == 1, f"{method}:{name}"
    assert claims
