"""Skeletons as vector graphics: over an image, by track, or in space from two sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from harness.api import Skeleton
from reports.figures import SERIES

_VIEW = 100
"""Side of one view in space, in units of its drawing."""


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
    people = [_person(person, skeleton, "truth") for person in truth]
    people += [_person(person, skeleton, "predicted") for person in predicted]
    return _over(size, people)


def track_overlay(
    size: tuple[int, int],
    truth: NDArray[np.float64],
    predicted: NDArray[np.float64],
    styles: Sequence[int],
    skeleton: Skeleton,
) -> Markup:
    """Draw skeletons over an image, each prediction in one colour: ``s{style % SERIES}``.

    Parameters are those of :func:`skeleton_overlay`.
    """
    people = [_person(person, skeleton, "truth") for person in truth]
    for person, style in zip(predicted, styles, strict=True):
        lines = "".join(line for side in _limbs(person, skeleton).values() for line in side)
        people.append(Markup('<path class="track s{}" d="{}"/>').format(style % SERIES, lines))
    return _over(size, people)


def _over(size: tuple[int, int], people: Sequence[Markup]) -> Markup:
    # Whole numbers are pixel centres, so the image spans -0.5 to width - 0.5.
    return Markup('<svg viewBox="-0.5 -0.5 {} {}" aria-hidden="true">{}</svg>').format(
        *size, Markup("").join(people)
    )


def skeleton_views(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], skeleton: Skeleton
) -> Markup:
    """Draw skeletons in space from the camera and from the picture's right, both to one scale.

    Parameters
    ----------
    truth, predicted : array (n, K, 3)
        x to the right, y down, z away, in any one unit; NaN for a joint that is not known.
    """
    every = np.concatenate([truth, predicted]).reshape(-1, 3)
    if not np.isfinite(every).all(axis=1).any():
        return Markup("")
    middle = (np.nanmax(every, axis=0) + np.nanmin(every, axis=0)) / 2
    reach = float(np.nanmax(np.abs(every - middle))) or 1.0
    parts = []
    for number, (across, name) in enumerate(((0, "front"), (2, "side"))):
        corner = np.array([(number + 0.5) * _VIEW, 0.5 * _VIEW])
        for poses, kind in ((truth, "truth"), (predicted, "predicted")):
            flat = (poses - middle)[..., [across, 1]] * (0.45 * _VIEW / reach)
            parts += [_person(pose, skeleton, kind) for pose in flat + corner]
        parts.append(Markup('<text x="{}" y="9">{}</text>').format(number * _VIEW + 4, name))
    return Markup('<svg viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        2 * _VIEW, _VIEW, Markup("").join(parts)
    )


def _person(joints: NDArray[np.float64], skeleton: Skeleton, kind: str) -> Markup:
    paths = [
        Markup('<path class="{} {}" d="{}"/>').format(kind, side, "".join(lines))
        for side, lines in _limbs(joints, skeleton).items()
        if lines
    ]
    return Markup("").join(paths)


def _limbs(joints: NDArray[np.float64], skeleton: Skeleton) -> dict[str, list[str]]:
    """Return a stroke for every limb whose ends are known, by the side of the body."""
    strokes: dict[str, list[str]] = {"left": [], "right": [], "middle": []}
    points: list[list[Any]] = np.round(joints, 1).tolist()
    for a, b in skeleton.limbs:
        ends = [*points[a], *points[b]]
        if all(math.isfinite(value) for value in ends):
            sides = {skeleton.joints[joint].partition("_")[0] for joint in (a, b)}
            side = next((s for s in ("left", "right") if sides == {s}), "middle")
            strokes[side].append("M{} {}L{} {}".format(*ends))
    return strokes
