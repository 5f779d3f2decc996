"""The result tables of the papers, as data: every row and number as printed.

``tables.yaml`` describes the tables and ``<id>.csv`` holds their rows; ``bindings.yaml`` says which
of our benchmarks and metrics a printed column is. ``systems.csv`` lists the systems behind the
rows, ``headline-figures.csv`` single figures stated outside the tables, and ``benchmarks.csv`` the
terms that the tables use.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent
_NAMING = ("method", "citation", "printed_as", "system")
_FLAGS = {"true": True, "false": False, "": None}


@dataclass(frozen=True)
class Source:
    """Where a table is printed."""

    paper: str
    table_number: str
    caption: str
    document: str
    """File of the seed collection that the numbers were read from."""
    lines: str

    def __str__(self) -> str:
        if self.table_number.startswith("none"):
            return self.paper
        return f"{self.paper}, {self.table_number}"


@dataclass(frozen=True)
class PublishedColumn:
    """One column of numbers.

    Parameters
    ----------
    name : str
        Column of the CSV file.
    unit : str
        ``percent``, ``fraction``, ``mm``, ``M`` (parameters), ``G`` (operations), ``s/image``...
    higher_is_better : bool or None
        None where the column has no better end.
    meaning : str
    bindings : mapping of str to str
        Our benchmark -> its metric that this column states; empty for none.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    meaning: str
    bindings: Mapping[str, str]


@dataclass(frozen=True)
class PublishedRow:
    """One row.

    Parameters
    ----------
    method : str
        Plain name; with the descriptors it is unique within a table.
    citation : str
        As the table gives it, often empty.
    printed_as : str
        The label exactly as printed.
    systems : tuple of str
        Keys of :func:`systems`.
    descriptors : mapping of str to str, bool or None
        The columns that describe the row (backbone, input size, flags), None where blank.
    values : mapping of str to float or None
        The numbers in their column's unit, None where blank.
    printed : mapping of str to str
        The numbers as printed, with all their digits.
    """

    method: str
    citation: str
    printed_as: str
    systems: tuple[str, ...]
    descriptors: Mapping[str, str | bool | None]
    values: Mapping[str, float | None]
    printed: Mapping[str, str]

    @property
    def extra_data(self) -> bool:
        """Whether the table marks the row as trained with external data."""
        return self.descriptors.get("extra_data") is True

    @property
    def ensemble(self) -> bool:
        """Whether the table marks the row as an ensemble of models."""
        return self.descriptors.get("ensemble") is True

    def percent(self, column: PublishedColumn) -> str:
        """Return a number as printed, a fraction in percent; empty where blank."""
        text = self.printed[column.name]
        value = self.values[column.name]
        if value is None or column.unit != "fraction":
            return text
        return f"{100 * value:.{max(len(text.partition('.')[2]) - 2, 0)}f}"


@dataclass(frozen=True)
class PublishedTable:
    """One printed table.

    Parameters
    ----------
    id, title : str
    source : Source
    benchmark : str
        As the papers call it; ``bindings`` of the columns name ours.
    split, our_split : str
        As printed ("not stated" where the table does not say), and by our benchmark's name.
    split_note : str
    protocol_id, protocol : str
        Short name and text.
    our_protocols : mapping of str to str
        Our benchmark -> its protocol that the numbers follow; its default one if not named.
    unit : str
        Unit of the primary column.
    kind : str
        ``comparison``, ``ablation``, ``efficiency`` or ``leaderboard``.
    columns : tuple of PublishedColumn
    primary : str
        Name of the column that the table is about.
    descriptors : tuple of str
        Names of the descriptor columns, in order.
    printed_header, footnotes, doubts : tuple of str
    marks : str
        What is printed in bold or underlined.
    rows : tuple of PublishedRow
        In the printed order.
    """

    id: str
    title: str
    source: Source
    benchmark: str
    split: str
    our_split: str
    split_note: str
    protocol_id: str
    protocol: str
    our_protocols: Mapping[str, str]
    unit: str
    kind: str
    columns: tuple[PublishedColumn, ...]
    primary: str
    descriptors: tuple[str, ...]
    printed_header: tuple[str, ...]
    footnotes: tuple[str, ...]
    doubts: tuple[str, ...]
    marks: str
    rows: tuple[PublishedRow, ...]

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Our benchmarks that some column is bound to."""
        return tuple(dict.fromkeys(name for column in self.columns for name in column.bindings))

    def bound(self, benchmark: str) -> dict[str, PublishedColumn]:
        """Return the columns that state a metric of our benchmark, by metric."""
        return {c.bindings[benchmark]: c for c in self.columns if benchmark in c.bindings}

    def find(self, **wanted: Any) -> tuple[PublishedRow, ...]:
        """Return the rows whose method and descriptors are the wanted ones.

        Examples
        --------
        >>> table = published_tables()["coco-val-hrnet"]
        >>> (row,) = table.find(method="HRNet-W32", pretrain=True, input_size="256x192")
        >>> row.values["ap"], row.printed["gflops"]
        (74.4, '7.10')
        """
        return tuple(
            row
            for row in self.rows
            if all({"method": row.method, **row.descriptors}[k] == v for k, v in wanted.items())
        )


@dataclass(frozen=True)
class System:
    """One system that the tables or their documents name."""

    name: str
    kind: str
    paper: str
    year: int | None
    tables: tuple[str, ...]
    aliases: tuple[str, ...]
    described: bool
    """Whether the documents describe it in detail."""
    documents: tuple[str, ...]
    not_from_seed: str
    """Which of these fields the documents do not state themselves."""
    note: str


@dataclass(frozen=True)
class HeadlineFigure:
    """One figure stated outside the tables; ``number`` is None where it is text or a size."""

    method: str
    citation: str
    printed_as: str
    system: str
    group: str
    quantity: str
    value: str
    value_max: str
    unit: str
    value_kind: str
    document: str
    lines: str
    note: str

    @property
    def number(self) -> float | None:
        """The value as a number, if it is printed as a plain one."""
        return float(self.value) if re.fullmatch(r"-?\d+(\.\d+)?", self.value) else None


@dataclass(frozen=True)
class Term:
    """A data set, split, metric or protocol, as the documents define it."""

    name: str
    kind: str
    definition: str
    documents: tuple[str, ...]
    tables: tuple[str, ...]
    note: str


@cache
def published_tables() -> Mapping[str, PublishedTable]:
    """Return every table by its id."""
    bindings = _yaml("bindings.yaml")
    tables = [t for t in _yaml("tables.yaml")["tables"] if t["printed_as_table"]]
    return {t["id"]: _table(t, [b for b in bindings if t["id"] in b["tables"]]) for t in tables}


@cache
def systems() -> Mapping[str, System]:
    """Return every named system by its key in the rows of the tables."""
    return {
        row["system"]: System(
            name=row["system"],
            kind=row["kind"],
            paper=row["paper"],
            year=int(row["year"]) if row["year"] else None,
            tables=_split(row["appears_in_tables"]),
            aliases=_split(row["aliases"]),
            described=row["described_in_detail"] == "yes",
            documents=_split(row["described_in"]),
            not_from_seed=row["not_from_seed"],
            note=row["note"],
        )
        for row in _csv("systems.csv")
    }


@cache
def headline_figures() -> tuple[HeadlineFigure, ...]:
    """Return the single figures stated outside the tables."""
    return tuple(HeadlineFigure(**row) for row in _csv("headline-figures.csv"))


@cache
def terms() -> tuple[Term, ...]:
    """Return the data sets, splits, metrics and protocols that the tables speak of."""
    return tuple(
        Term(
            name=row["name"],
            kind=row["kind"],
            definition=row["definition"],
            documents=_split(row["documents"]),
            tables=_split(row["used_in_tables"]),
            note=row["note"],
        )
        for row in _csv("benchmarks.csv")
    )


def _table(entry: dict[str, Any], groups: list[dict[str, Any]]) -> PublishedTable:
    columns = tuple(
        PublishedColumn(
            name=metric["column"],
            unit=metric["unit"],
            higher_is_better=metric["higher_is_better"],
            meaning=metric.get("meaning", ""),
            bindings={
                group["benchmark"]: group["columns"][metric["column"]]
                for group in groups
                if metric["column"] in group["columns"]
            },
        )
        for metric in entry["metrics"]
    )
    splits = {k: v for group in groups for k, v in group.get("splits", {}).items()}
    source = {name: str(entry["source"][name]) for name in Source.__dataclass_fields__}
    return PublishedTable(
        id=entry["id"],
        title=entry["title"],
        source=Source(**source),
        benchmark=entry["benchmark"],
        split=entry["split"],
        our_split=splits.get(entry["split"], entry["split"]),
        split_note=entry.get("split_note", ""),
        protocol_id=entry["protocol_id"],
        protocol=entry["protocol"],
        our_protocols={
            group["benchmark"]: group["protocols"][entry["id"]]
            for group in groups
            if entry["id"] in group.get("protocols", {})
        },
        unit=entry["unit"],
        kind=entry["kind"],
        columns=columns,
        primary=entry["primary_metric"],
        descriptors=tuple(entry["descriptor_columns"]),
        printed_header=tuple(entry["printed_header"]),
        footnotes=tuple(entry["footnotes"]),
        doubts=tuple(entry["doubts"]),
        marks=entry["marks"],
        rows=tuple(_row(row, columns, entry["descriptor_columns"]) for row in _csv(entry["file"])),
    )


def _row(
    row: dict[str, str], columns: tuple[PublishedColumn, ...], descriptors: list[str]
) -> PublishedRow:
    numbers = [column.name for column in columns]
    if set(row) != {*_NAMING, *descriptors, *numbers}:
        raise ValueError(f"published row {row['method']!r} has the wrong columns: {list(row)}")
    return PublishedRow(
        method=row["method"],
        citation=row["citation"],
        printed_as=row["printed_as"],
        systems=_split(row["system"]),
        descriptors={name: _FLAGS.get(row[name], row[name]) for name in descriptors},
        values={name: float(row[name]) if row[name] else None for name in numbers},
        printed={name: row[name] for name in numbers},
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


def _yaml(name: str) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((_FOLDER / name).read_text(encoding="utf-8"), Loader=loader)


def _csv(name: str) -> list[dict[str, str]]:
    with (_FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
