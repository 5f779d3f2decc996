"""Which figures a page has: what is drawn against what, and its data as CSV."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from harness.api import Benchmark, Column, Curve
from harness.records.record import Evidence, Record
from reports.exports import csv_text, curves_csv
from reports.figures import (
    Point,
    Series,
    bar_figure,
    line_figure,
    scatter_figure,
    stacked_figure,
)
from reports.tables import COSTS, Board, Row, Section, show
from reports.verdicts import our_protocol

COMPARED = 6
"""Most methods in one figure of curves or bars."""

_COST_LABELS = {"gflops": "GFLOPs", "params_m": "parameters (millions)"}


@dataclass(frozen=True)
class Figure:
    """A drawing with the names of its lines, in order, and its data.

    The data is in the page itself, where it stays when the page is sent or attached somewhere;
    ``file`` is the name that it is saved under.
    """

    title: str
    svg: Markup
    names: tuple[str, ...]
    data: str

    @property
    def file(self) -> str:
        """Name of the data as a file."""
        return re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-") + ".csv"

    @property
    def link(self) -> Markup:
        """Address that holds the data, a CSV file, itself."""
        return Markup("data:text/csv;base64," + base64.b64encode(self.data.encode()).decode())


def curve_figures(curves: Iterable[Curve], about: str = "") -> list[Figure]:
    """Draw curves, those with the same axes in one figure; ``about`` says what all of them are."""
    by_axes: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        by_axes.setdefault((curve.x_label, curve.y_label), []).append(curve)
    drawn = []
    for (x_label, y_label), lines in by_axes.items():
        title = f"{y_label} over {x_label}" + (f", {about}" if about else "")
        names = tuple(c.name for c in lines)
        drawn.append(Figure(title, line_figure(lines, title), names, curves_csv(lines)))
    return drawn


def board_figures(board: Board, evidence: Callable[[Record], Evidence]) -> dict[str, list[Figure]]:
    """Return the figures of a benchmark by the id of the section that they stand in."""
    found: dict[str, list[Figure]] = {}
    for section in board.sections:
        drawn = []
        if section.kind == "measured":
            drawn += _costs([section, *_published_beside(board, section)])
        elif section.kind == "embedded":
            drawn += _costs([section])
        else:
            drawn += _costs([section]) + _years(section)
        if section.kind != "published":
            drawn += _compared(section, evidence)
        found[section.id] = drawn
    return found


def _published_beside(board: Board, section: Section) -> list[Section]:
    """Return the published sections of a measured section's split and protocol."""
    records = [row.record for row in section.groups[0].rows if row.record]
    return [
        s
        for s in board.kind("published")
        if any(
            group.table
            and group.table.our_split == record.split
            and our_protocol(board.benchmark, group.table) == record.protocol
            for group in s.groups
            for record in records[:1]
        )
    ]


def _costs(sections: Sequence[Section]) -> list[Figure]:
    """Draw accuracy against GFLOPs and parameters, where some rows state both."""
    metric = sections[0].primary
    drawn = []
    for cost, label in _COST_LABELS.items():
        series = [
            Series(_series_name(section), tuple(_points(section, cost, metric)))
            for section in sections
        ]
        series = [one for one in series if one.points]
        if sum(len(one.points) for one in series) < 2:
            continue
        header = metric.label
        title = f"{header} against {label}"
        svg = scatter_figure(series, label, header, title, higher_is_better=metric.higher_is_better)
        names = tuple(one.name for one in series)
        fields = ("series", "method", COSTS[cost].header, header, "low", "high")
        rows = [(s.name, p.name, p.x, p.y, p.low, p.high) for s in series for p in s.points]
        drawn.append(_figure(title, svg, names, fields, rows))
    return drawn


def _series_name(section: Section) -> str:
    word = {"measured": "Measured", "embedded": "Embedded", "published": "Published"}[section.kind]
    return f"{word}: {section.title}"


def _points(section: Section, cost: str, metric: Column) -> list[Point]:
    points = []
    for row in (row for group in section.groups for row in group.rows):
        x, y = row.cells.get(cost), row.cells.get(metric.metric)
        if x is None or y is None or x.value is None or y.value is None:
            continue
        points.append(Point(_name(row), x.value, y.value, y.low, y.high))
    return points


def _name(row: Row) -> str:
    if row.record:
        return f"{row.title} {row.variant}".strip()
    backbone = row.texts.get("backbone", "")
    return row.title if backbone in row.title else f"{row.title} {backbone}"


def _years(section: Section) -> list[Figure]:
    """Draw published accuracy over the years of the papers."""
    metric = section.primary
    points = [
        Point(row.title, float(row.year), cell.value)
        for group in section.groups
        for row in group.rows
        if row.year and (cell := row.cells[metric.metric]).value is not None
    ]
    points = list(dict.fromkeys(points))
    if len({point.x for point in points}) < 2:
        return []
    header = metric.label
    title = f"{header} over the years"
    series = Series(_series_name(section), tuple(points))
    svg = scatter_figure(
        [series],
        "year of the paper",
        header,
        title,
        higher_is_better=metric.higher_is_better,
        whole=True,
    )
    rows = [(p.name, int(p.x), p.y) for p in points]
    return [_figure(title, svg, (series.name,), ("method", "year", header), rows)]


def _compared(section: Section, evidence: Callable[[Record], Evidence]) -> list[Figure]:
    """Draw the curves and the breakdowns of a section's best methods, one beside the other."""
    rows = [row for row in section.groups[0].rows if row.record][:COMPARED]
    if len(rows) < 2:
        return []
    lines, shares, chosen = [], {}, set()
    for row in rows:
        assert row.record is not None
        files = evidence(row.record)
        curves = stored_curves(files)
        named = [c for c in curves if c.name in (section.primary.metric, section.primary.header)]
        for curve in (named or curves)[:1]:
            chosen.add(curve.name)
            lines.append(replace(curve, name=_name(row)))
        shares[_name(row)] = stored_breakdown(files)
    drawn = curve_figures(lines, ", ".join(sorted(chosen))) if len(lines) > 1 else []
    groups = dict.fromkeys(name for breakdown in shares.values() for name in breakdown)
    for group in groups:
        values = {name: breakdown.get(group, {}) for name, breakdown in shares.items()}
        drawn += breakdown_figure(group, values, section.primary)
    return drawn


def breakdown_figure(
    group: str, values: Mapping[str, Mapping[str, float | None]], column: Column
) -> list[Figure]:
    """Draw a breakdown of several methods; ``values`` are by method, then by key."""
    keys = list(dict.fromkeys(key for own in values.values() for key in own))
    if not keys:
        return []

    def scaled(value: float | None) -> float | None:
        return None if value is None or value != value else value * column.scale

    table = {key: [scaled(own.get(key)) for own in values.values()] for key in keys}
    title = f"By {group}"
    shown = {key.replace("_", " "): row for key, row in table.items()}
    svg = bar_figure(shown, tuple(values), title)
    rows = [
        (key, name, v) for key, row in table.items() for name, v in zip(values, row, strict=True)
    ]
    return [_figure(title, svg, tuple(values), (group, "method", "value"), rows)]


@dataclass(frozen=True)
class ErrorAnalysis:
    """Kinds of error ready to print: the metric as predicted, and after each is made good."""

    source: str
    matches: int
    metric: str
    baseline: str
    steps: tuple[tuple[str, str, str], ...]
    """Kind of error, what it costs, and the value once it is made good too."""
    figures: tuple[Figure, ...]


def error_analysis(analysis: Mapping[str, Any], benchmark: Benchmark) -> ErrorAnalysis | None:
    """Make an error analysis ready to print; None if there is none.

    ``analysis`` is what :meth:`harness.api.Benchmark.error_analysis` returns.
    """
    if not analysis:
        return None
    plain = Column(analysis["metric"], analysis["metric"])
    column = next((c for c in benchmark.columns if c.metric == analysis["metric"]), plain)
    kinds: dict[str, dict[str, int]] = analysis["kinds"]
    joints = list(next(iter(kinds.values()), {}))
    table = {joint.replace("_", " "): [own[joint] for own in kinds.values()] for joint in joints}
    title = "Kinds of error by joint, in percent"
    rows = [(joint, kind, own[joint]) for joint in joints for kind, own in kinds.items()]
    fields = ("joint", "kind", "count")
    figure = _figure(title, stacked_figure(table, title), tuple(kinds), fields, rows)
    steps = [
        (step["kind"], show(step["gain"], column), show(step["value"], column))
        for step in analysis["steps"]
    ]
    return ErrorAnalysis(
        source=analysis["source"],
        matches=analysis["matches"],
        metric=column.header,
        baseline=show(analysis["baseline"], column),
        steps=tuple(steps),
        figures=(figure,),
    )


def stored_errors(evidence: Evidence) -> dict[str, Any]:
    """Return the error analysis of a result, none if its files are gone."""
    try:
        return evidence.error_analysis()
    except FileNotFoundError:
        return {}


def stored_curves(evidence: Evidence) -> list[Curve]:
    """Return the curves of a result, none if its files are gone."""
    try:
        return evidence.curves()
    except FileNotFoundError:
        return []


def stored_breakdown(evidence: Evidence) -> dict[str, dict[str, float | None]]:
    """Return the breakdowns of a result, none if its files are gone."""
    try:
        return evidence.breakdown()
    except FileNotFoundError:
        return {}


def _figure(
    title: str,
    svg: Markup,
    names: tuple[str, ...],
    fields: Sequence[str],
    rows: Iterable[Sequence[object]],
) -> Figure:
    return Figure(title, svg, names, csv_text([fields, *rows]))
