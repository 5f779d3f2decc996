"""Grouping by tags: joints of one person have one embedding (Newell et al., NIPS 2017).

Facts from the official code, princeton-vl/pose-ae-train @ 3c80a16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def group_by_tags(
    scores: NDArray[np.floating],
    tags: NDArray[np.floating],
    order: Sequence[int],
    threshold: float,
    tag_threshold: float,
    max_people: int,
    closed: bool,
) -> NDArray[np.int64]:
    """Group peaks into people, joint after joint, by the Munkres algorithm.

    A pair costs its tag distance (root of the mean square over the tag's dimensions, against the
    mean tag of the person so far), rounded and times 100, less the peak's score. A peak that is
    left over, or further than ``tag_threshold`` from its person, opens a new person. Rounding makes
    ties: any of the cheapest assignments is right, and which one is taken is scipy's choice.

    Parameters
    ----------
    scores : array (K, M)
        Peaks of each joint; those at or below ``threshold`` are none.
    tags : array (K, M, T)
    order : sequence of int (K,)
        In which joints are taken: the trunk before the limbs.
    threshold, tag_threshold : float
    max_people : int
        Peaks are matched with the first so many people.
    closed : bool
        Whether all further joints are dropped once there are exactly that many people.

    Returns
    -------
    people : int array (n, K)
        Number of the peak of each joint; -1 where a person has none.
    """
    from scipy.optimize import linear_sum_assignment

    joints, _, size = tags.shape
    people = np.full((scores.size, joints), -1, np.int64)
    total, parts, count = np.zeros((scores.size, size)), np.zeros(scores.size), 0
    for joint in order:
        peaks = np.flatnonzero(scores[joint] > threshold)
        own = tags[joint, peaks].astype(np.float64)
        target = np.full(len(peaks), -1)
        known = min(count, max_people)
        if known and closed and known == max_people:
            continue
        if known and len(peaks):
            means = total[:known] / parts[:known, None]
            distance = np.sqrt(np.square(own[:, None] - means[None]).mean(axis=2))
            cost = np.round(distance) * 100 - scores[joint, peaks, None]
            rows, columns = linear_sum_assignment(cost)
            near = distance[rows, columns] < tag_threshold
            target[rows[near]] = columns[near]
        opening = target < 0
        target[opening] = count + np.arange(opening.sum())
        count += int(opening.sum())
        people[target, joint] = peaks
        total[target] += own
        parts[target] += 1
    return people[:count]


def fill_missing(
    people: NDArray[np.int64],
    means: NDArray[np.floating],
    maps: NDArray[np.floating],
    tags: NDArray[np.floating],
) -> NDArray[np.int64]:
    """Find for each missing joint the pixel with the highest score less rounded tag distance.

    Parameters
    ----------
    people : int array (n, K)
        -1 where a joint is missing.
    means : array (n, T)
        Mean tag of each person.
    maps : array (K, h, w)
        Scores of all pixels.
    tags : array (K, h, w, T)

    Returns
    -------
    places : int array (n, K)
        Pixel of each missing joint, its number in the flattened map, if its score is above 0; -1
        elsewhere.
    """
    places = np.full(people.shape, -1, np.int64)
    for joint, scores in enumerate(maps):
        missing = np.flatnonzero(people[:, joint] < 0)
        if len(missing) == 0:
            continue
        best = _closest(scores, tags[joint], means[missing])
        places[missing, joint] = np.where(scores.ravel()[best] > 0, best, -1)
    return places


SMALL = 2**15
"""Pixels of a map that is looked at as a whole: less work than bounding its strips."""

STRIP = 16
"""Pixels below each other that are bounded together, if the map's height allows it."""

TRIED = 32
"""Strips with the highest scores, looked into first: their best rules most others out."""


def _closest(
    scores: NDArray[np.floating], tags: NDArray[np.floating], means: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Return for each mean tag (n, T) the first best pixel of a map (h, w) with tags (h, w, T).

    Only where the first tag is within a half of the mean's can the rounded distance be 0; any other
    pixel loses 1 at least. Strips of pixels that cannot hold the best are not looked into.
    """
    height, width, size = tags.shape
    if scores.size <= SMALL:
        everywhere = _closeness(scores.reshape(-1), tags.reshape(-1, size), means)
        return np.asarray(everywhere.argmax(axis=1))
    strip = math.gcd(height, STRIP)
    first = np.ascontiguousarray(tags[..., 0]).reshape(-1, strip, width)
    low, high = first.min(axis=1).ravel(), first.max(axis=1).ravel()
    top = scores.reshape(-1, strip, width).max(axis=1).ravel()
    scores, tags = scores.reshape(-1), tags.reshape(-1, size)

    def best_of(pixels: NDArray[np.int64], mean: NDArray[np.floating]) -> tuple[float, int]:
        (values,) = _closeness(scores.take(pixels), tags.take(pixels, axis=0), mean[None])
        best = values.max()
        return best, pixels[values == best].min()

    def inside(strips: NDArray[np.int64]) -> NDArray[np.int64]:
        band, column = np.divmod(strips, width)
        return (np.arange(strip)[:, None] * width + (band * strip * width + column)).ravel()

    places = np.empty(len(means), np.int64)
    for person, mean in enumerate(means):
        # A little more than a half: the distance is rounded in single precision too.
        near = np.flatnonzero((low <= mean[0] + 0.51) & (high >= mean[0] - 0.51))
        value = -np.inf
        if len(near):
            tried = min(TRIED, len(near))
            value, _ = best_of(inside(near[np.argpartition(-top[near], tried - 1)[:tried]]), mean)
            value, places[person] = best_of(inside(near[top[near] >= value]), mean)
        if value <= top.max() - 1:  # what is further away may be as good
            places[person] = _closeness(scores, tags, mean[None]).argmax()
    return places


def _closeness(
    scores: NDArray[np.floating], tags: NDArray[np.floating], means: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return scores (P,) less the rounded distance of tags (P, T) from means (n, T): (n, P)."""
    squared = np.zeros((len(means), len(scores)), tags.dtype)
    for plane, mean in zip(tags.T, means.T, strict=True):
        difference = plane - mean[:, None]
        squared += np.square(difference, out=difference)
    distance = np.rint(np.sqrt(squared, out=squared), out=squared)
    return np.subtract(scores, distance, out=distance)
