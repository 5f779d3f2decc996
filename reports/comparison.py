"""The page of ``harness compare``: one file that needs nothing beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from harness.comparison import Comparison, Difference, shown_p
from reports import rendering
from reports.figures import Axis
from reports.tables import MISSING, metric_cell

_STYLE = Path(__file__).parent / "static" / "site.css"
_SIDE, _LEFT, _TOP = 420, 58, 12
_BOTTOM = _SIDE - 46


def comparison_page(comparison: Comparison) -> str:
    """Return the page of a comparison; every text in it is escaped."""
    names = comparison.names()
    columns = {column.metric: column for column in comparison.benchmark.columns}
    first = comparison.records[0]
    shown = [columns[metric] for metric in comparison.metrics if metric in columns]
    by_pair: dict[tuple[int, int], list[Any]] = {pair: [] for pair in comparison.pairs}
    for difference in comparison.differences:
        if difference.metric in columns:
            column = columns[difference.metric]
            row = (column.header, _numbers(difference, column.scale, column.decimals))
            by_pair[difference.first, difference.second].append(row)
    return (
        rendering.environment()
        .get_template("comparison.html")
        .render(
            style=Markup(_STYLE.read_text(encoding="utf-8")),
            comparison=comparison,
            names=names,
            first=first,
            columns=shown,
            cells=[[metric_cell(record, c) for c in shown] for record in comparison.records],
            pairs=[
                {
                    "first": names[a],
                    "second": names[b],
                    "differences": by_pair[a, b],
                    "contrasts": comparison.contrasts(a, b),
                    "scatter": scatter(comparison, a, b),
                }
                for a, b in comparison.pairs
            ],
        )
    )


def _numbers(difference: Difference, scale: float, decimals: int) -> dict[str, Any]:
    def signed(value: float) -> str:
        return f"{value * scale:+.{decimals + 1}f}" if math.isfinite(value) else MISSING

    return {
        "value": signed(difference.value),
        "interval": f"{signed(difference.low)} to {signed(difference.high)}",
        "p": shown_p(difference.p),
        "p_holm": shown_p(difference.p_holm),
        "apart": difference.p_holm <= 0.05,
    }


def scatter(comparison: Comparison, first: int, second: int) -> Markup:
    """Draw each sample's score under two results; empty if there is none.

    Points on the diagonal are equal under both. The samples that differ most are named.
    """
    x, y = comparison.scores[first], comparison.scores[second]
    valued = np.isfinite(x) & np.isfinite(y)
    if not valued.any():
        return Markup("")
    both = np.concatenate([x[valued], y[valued]])
    across, up = Axis.over(both, _LEFT, _SIDE - 12), Axis.over(both, _BOTTOM, _TOP)
    # One path for all points: a page of 5,000 samples stays small.
    dots = "".join(
        f"M{across.place(a)} {up.place(b)}h0"
        for a, b in zip(x[valued].tolist(), y[valued].tolist(), strict=True)
    )
    named = [
        Markup(
            '<circle cx="{}" cy="{}" r="4"><title>{}: {:.3f} and {:.3f}</title></circle>'
        ).format(across.place(c.first), up.place(c.second), c.sample_id, c.first, c.second)
        for c in comparison.contrasts(first, second)
    ]
    names = comparison.names()
    title = f"{comparison.score} of each sample, {names[first]} and {names[second]}"
    return Markup(
        '<svg class="figure scatter" viewBox="0 0 {} {}" role="img"><title>{}</title>{}'
        '<path class="diagonal" d="M{} {}L{} {}"/><path class="dots" d="{}"/>{}{}</svg>'
    ).format(
        _SIDE,
        _SIDE,
        title,
        _grid(across, up),
        across.place(across.low),
        up.place(up.low),
        across.place(across.high),
        up.place(up.high),
        dots,
        Markup("").join(named),
        _labels(names[first], names[second]),
    )


def _grid(across: Axis, up: Axis) -> Markup:
    right = _SIDE - 12
    vertical = Markup(
        '<line class="grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text x="{0}" y="{3}" text-anchor="middle">{4}</text>'
    )
    level = Markup(
        '<line class="grid" x1="{1}" x2="{2}" y1="{0}" y2="{0}"/>'
        '<text x="{3}" y="{0}" dy="0.35em" text-anchor="end">{4}</text>'
    )
    lines = [vertical.format(x, _TOP, _BOTTOM, _BOTTOM + 16, label) for x, label in across.ticks()]
    lines += [level.format(y, _LEFT, right, _LEFT - 6, label) for y, label in up.ticks()]
    frame = Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(_LEFT, _TOP, _BOTTOM, right)
    return Markup("").join([*lines, frame])


def _labels(across: str, up: str) -> Markup:
    middle = (_TOP + _BOTTOM) / 2
    return Markup(
        '<text class="label" x="{}" y="{}" text-anchor="middle">{}</text>'
        '<text class="label" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}'
        "</text>"
    ).format((_LEFT + _SIDE - 12) / 2, _SIDE - 8, across, middle, up)
