"""Vector graphics for the pages, as inline SVG that takes its colours from the style sheet.

Every text that comes from outside is escaped; coordinates are numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from harness.api import Curve, Skeleton

SERIES = 8
"""Line styles that the style sheet knows; further lines start over."""

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 42


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
        step = _step(high - low)
        return cls(math.floor(low / step) * step, math.ceil(high / step) * step, step, start, end)

    def place(self, value: float) -> float:
        """Return a value's pixel position."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

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
    return Markup(
        '<svg class="figure" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))


def _path(curve: Curve, x_axis: Axis, y_axis: Axis) -> str:
    """Return the path of a curve; it is interrupted where a value is not finite."""
    points = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
    pieces = []
    for finite, run in groupby(points, key=lambda p: math.isfinite(p[0]) and math.isfinite(p[1])):
        if finite:
            pieces.append("M" + "L".join(f"{x_axis.place(x)} {y_axis.place(y)}" for x, y in run))
    return "".join(pieces)


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


def _labels(x_label: str, y_label: str) -> Markup:
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    return Markup(
        '<text class="label" x="{}" y="{}" text-anchor="middle">{}</text>'
        '<text class="label" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}'
        "</text>"
    ).format((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, middle, y_label)


def skeleton_overlay(
    size: tuple[int, int],
    truth: NDArray[np.float64],
    predicted: NDArray[np.float64],
    skeleton: Skeleton,
) -> Markup:
    """Draw skeletons over an image.

    Parameters
    ----------
    size : (int, int)
        Width and height of the original image in pixels.
    truth, predicted : array (n, K, 2)
        x, y in pixels of the original image, NaN where a joint is not labelled or not predicted.
    skeleton : Skeleton
        Limbs are coloured by the side that the joints' names begin with.
    """
    width, height = size
    people = [_person(person, skeleton, "truth") for person in truth]
    people += [_person(person, skeleton, "predicted") for person in predicted]
    # Whole numbers are pixel centres, so the image spans -0.5 to width - 0.5.
    return Markup('<svg viewBox="-0.5 -0.5 {} {}" aria-hidden="true">{}</svg>').format(
        width, height, Markup("").join(people)
    )


def _person(joints: NDArray[np.float64], skeleton: Skeleton, kind: str) -> Markup:
    strokes: dict[str, list[str]] = {"left": [], "right": [], "middle": []}
    points: list[list[Any]] = np.round(joints, 1).tolist()
    for a, b in skeleton.limbs:
        ends = [*points[a], *points[b]]
        if all(math.isfinite(value) for value in ends):
            sides = {skeleton.joints[joint].partition("_")[0] for joint in (a, b)}
            side = next((s for s in ("left", "right") if sides == {s}), "middle")
            strokes[side].append("M{} {}L{} {}".format(*ends))
    paths = [
        Markup('<path class="{} {}" d="{}"/>').format(kind, side, "".join(lines))
        for side, lines in strokes.items()
        if lines
    ]
    return Markup("").join(paths)
