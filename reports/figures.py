"""Vector graphics for the pages, as inline SVG that takes its colours from the style sheet.

Every text that comes from outside is escaped; coordinates are numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from harness.api import Curve

SERIES = 8
"""Line styles that the style sheet knows; further lines start over."""

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 42
_LABELS = 12
"""Most names written beside the points of one series."""


@dataclass(frozen=True)
class Axis:
    """A linear axis from data to pixels, with round ticks."""

    low: float
    high: float
    step: float
    start: float
    end: float

    @classmethod
    def over(cls, values: NDArray[np.float64], start: float, end: float) -> Axis:
        """Span finite values and zero; shares (all within 0..1) always get the whole 0..1."""
        values = values[np.isfinite(values)]
        low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
        if low > -1e-12 and high <= 1:
            return cls(0.0, 1.0, 0.2, start, end)
        return cls._round(low, high, start, end)

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> Axis:
        """Span values with a little room; zero is not passed, but need not be reached."""
        low, high = min(values), max(values)
        room = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
        below = max(low - room, 0.0) if low >= 0 else low - room
        return cls._round(below, high + room, start, end)

    @classmethod
    def _round(cls, low: float, high: float, start: float, end: float) -> Axis:
        step = _step(high - low)
        return cls(math.floor(low / step) * step, math.ceil(high / step) * step, step, start, end)

    def place(self, value: float) -> float:
        """Return a value's pixel position."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def places(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixel positions of many values."""
        shares = (values - self.low) / (self.high - self.low)
        return self.start + shares * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the positions and labels of the ticks."""
        decimals = max(0, -math.floor(math.log10(self.step)))
        count = round((self.high - self.low) / self.step)
        values = [self.low + i * self.step for i in range(count + 1)]
        return [(self.place(value), f"{value:.{decimals}f}") for value in values]


def _step(span: float) -> float:
    """Return the round step that cuts a span into about five."""
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(m for m in (1, 2, 5, 10) if m * power >= raw * 0.999)


def line_figure(curves: Sequence[Curve], title: str) -> Markup:
    """Draw curves that share their axes; line ``i`` has the class ``s{i % SERIES}``."""
    x_axis = Axis.over(np.concatenate([c.x for c in curves]), _LEFT, _WIDTH - _RIGHT)
    y_axis = Axis.over(np.concatenate([c.y for c in curves]), _HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(x_axis, y_axis), _labels(curves[0].x_label, curves[0].y_label)]
    for i, curve in enumerate(curves):
        parts.append(
            Markup('<path class="line s{}" d="{}"/>').format(
                i % SERIES, _path(curve, x_axis, y_axis)
            )
        )
    return _svg(parts, title)


def _path(curve: Curve, x_axis: Axis, y_axis: Axis) -> str:
    """Return the path of a curve; it is interrupted where a value is not finite."""
    finite = np.isfinite(curve.x) & np.isfinite(curve.y)
    with np.errstate(invalid="ignore"):
        x = np.round(x_axis.places(curve.x), 2).tolist()
        y = np.round(y_axis.places(curve.y), 2).tolist()
    # Where finite and missing values meet, a run of points begins or ends.
    ends = [0, *(np.flatnonzero(np.diff(finite)) + 1).tolist(), len(x)]
    return "".join(
        "M" + "L".join([f"{a} {b}" for a, b in zip(x[i:j], y[i:j], strict=True)])
        for i, j in pairwise(ends)
        if j > i and finite[i]
    )


@lru_cache(maxsize=1000)
def _grid(x_axis: Axis, y_axis: Axis) -> Markup:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for x, label in x_axis.ticks():
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{escape(label)}</text>')
    for y, label in y_axis.ticks():
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y}" dy="0.35em" text-anchor="end">{escape(label)}</text>'
        )
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
    return Markup("".join(parts))


@lru_cache(maxsize=1000)
def _labels(x_label: str, y_label: str) -> Markup:
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    return Markup(
        '<text class="label" x="{}" y="{}" text-anchor="middle">{}</text>'
        '<text class="label" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}'
        "</text>"
    ).format((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, middle, y_label)


@dataclass(frozen=True)
class Point:
    """One mark of a scatter figure; ``low`` and ``high`` are the interval of ``y``."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points that may be compared with each other."""

    name: str
    points: tuple[Point, ...]


def pareto(points: Sequence[Point], higher_is_better: bool = True) -> list[Point]:
    """Return the points that no other beats: none costs less (x) and is as good (y), by cost.

    >>> [p.name for p in pareto([Point("a", 1, 60), Point("b", 2, 55), Point("c", 3, 70)])]
    ['a', 'c']
    """
    sign = 1.0 if higher_is_better else -1.0
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -sign * p.y)):
        if not front or sign * point.y > sign * front[-1].y:
            front.append(point)
    return front


def scatter_figure(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    title: str,
    *,
    front: bool = True,
    higher_is_better: bool = True,
    whole: bool = False,
) -> Markup:
    """Draw points by series ``s{i % SERIES}``; ``front`` joins those that no other beats.

    ``whole`` puts the ticks of the x axis on whole numbers and lets it begin anywhere, as years
    want; otherwise the x axis begins at zero.
    """
    points = [point for one in series for point in one.points]
    ends = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    y_axis = Axis.around(ends, _HEIGHT - _BOTTOM, _TOP)
    xs = [p.x for p in points]
    left, right = _LEFT, _WIDTH - _RIGHT
    if whole:
        step = max(1.0, math.ceil((max(xs) - min(xs) + 1) / 8))
        last = min(xs) - 1 + step * math.ceil((max(xs) - min(xs) + 2) / step)
        x_axis = Axis(min(xs) - 1, last, step, left, right)
    else:
        x_axis = Axis._round(0.0, max(xs) * 1.02 or 1.0, left, right)
    parts = [_grid(x_axis, y_axis), _labels(x_label, y_label)]
    for i, one in enumerate(series):
        best = pareto(one.points, higher_is_better) if front else []
        parts.append(_marks(one, best, x_axis, y_axis, f"s{i % SERIES}"))
    return _svg(parts, title)


def _marks(series: Series, best: Sequence[Point], x_axis: Axis, y_axis: Axis, style: str) -> Markup:
    parts = []
    if len(best) > 1:
        joined = "L".join(f"{x_axis.place(p.x)} {y_axis.place(p.y)}" for p in best)
        parts.append(f'<path class="front {style}" d="M{joined}"/>')
    for point in series.points:
        x, y = x_axis.place(point.x), y_axis.place(point.y)
        if point.low is not None and point.high is not None:
            low, high = y_axis.place(point.low), y_axis.place(point.high)
            parts.append(f'<path class="whisker {style}" d="M{x} {low}V{high}"/>')
        parts.append(
            f'<circle class="mark {style}" cx="{x}" cy="{y}" r="4">'
            f"<title>{escape(point.name)}</title></circle>"
        )
    named = best if best else series.points
    return Markup("".join(parts)) + _names(named[-_LABELS:], x_axis, y_axis)


def _names(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> Markup:
    """Write names beside points where there is room; one that would cover another is left out."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for point in sorted(points, key=lambda p: -p.x):
        x, y, width = x_axis.place(point.x), y_axis.place(point.y), 5.4 * len(point.name)
        for start, row in ((x + 7, y), (x - 7 - width, y), (x - width / 2, y - 11)):
            free = all(
                abs(row - other) >= 11 or start + width < left or right < start
                for left, right, other in taken
            )
            if start >= _LEFT and start + width <= _WIDTH and row > _TOP and free:
                taken.append((start, start + width, row))
                parts.append(
                    f'<text class="name" x="{start:.1f}" y="{row}" dy="0.35em" '
                    f'textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs">'
                    f"{escape(point.name)}</text>"
                )
                break
    return Markup("".join(parts))


_ROW, _BAR, _NAMES = 8, 7, 116


def bar_figure(
    values: Mapping[str, Sequence[float | None]], names: Sequence[str], title: str
) -> Markup:
    """Draw horizontal bars side by side: one block per key, one bar per name in it.

    ``values[key][i]`` belongs to ``names[i]``, style ``s{i % SERIES}``; None leaves a gap.
    """
    every = np.array([0.0, *(v for row in values.values() for v in row if v is not None)])
    axis = Axis.over(every, _NAMES, _WIDTH - _RIGHT)
    if 1 < every.max() <= 100:
        axis = Axis(0.0, 100.0, 20.0, _NAMES, _WIDTH - _RIGHT)
    zero = axis.place(0.0)
    bars = [
        [
            (i, zero, max(0.0, round(axis.place(value) - zero, 2)), i * _ROW)
            for i, value in enumerate(row)
            if value is not None
        ]
        for row in values.values()
    ]
    return _blocks(list(values), bars, len(names) * _ROW, axis, title)


def stacked_figure(values: Mapping[str, Sequence[float]], title: str) -> Markup:
    """Draw one horizontal bar per key, as long as all others, cut into shares in percent.

    ``values[key][i]`` is the amount of part ``i``, style ``s{i % SERIES}``; none is negative.
    """
    axis = Axis(0.0, 100.0, 20.0, _NAMES, _WIDTH - _RIGHT)
    bars = []
    for row in values.values():
        ends = [axis.place(100 * sum(row[:i]) / (sum(row) or 1)) for i in range(len(row) + 1)]
        bars.append(
            [(i, ends[i], round(ends[i + 1] - ends[i], 2), 0) for i in range(len(row)) if row[i]]
        )
    return _blocks(list(values), bars, _ROW, axis, title)


def _blocks(
    keys: Sequence[str],
    bars: Sequence[Sequence[tuple[int, float, float, int]]],
    height: int,
    axis: Axis,
    title: str,
) -> Markup:
    """Draw named blocks of bars: (style, x, width, y in the block) each."""
    block = height + 8
    bottom = 8 + block * len(keys)
    parts = []
    for x, text in axis.ticks():
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="8" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{escape(text)}</text>')
    for number, (key, own) in enumerate(zip(keys, bars, strict=True)):
        y = 8 + number * block
        parts.append(
            f'<text x="{_NAMES - 6}" y="{y + block / 2}" dy="0.35em" text-anchor="end">'
            f"{escape(key)}</text>"
        )
        parts += [
            f'<rect class="bar s{i % SERIES}" x="{x}" y="{y + 4 + down}" '
            f'width="{width}" height="{_BAR}"/>'
            for i, x, width, down in own
        ]
    return _svg([Markup("".join(parts))], title, bottom + 24)


def _svg(parts: Sequence[Markup], title: str, height: int = _HEIGHT) -> Markup:
    return Markup(
        '<svg class="figure" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>'
    ).format(_WIDTH, height, title, Markup("").join(parts))
