"""Grouping by tags: joints of one person have one embedding (Newell et al., NIPS 2017).

Facts from the official code, princeton-vl/pose-ae-train @ 3c80a16.
"""

from __future__ import annotations

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
    maps : array (K, P)
        Scores of all pixels.
    tags : array (K, P, T)

    Returns
    -------
    places : int array (n, K)
        Pixel of each missing joint whose score is above 0; -1 elsewhere.
    """
    places = np.full(people.shape, -1, np.int64)
    for joint, scores in enumerate(maps):
        missing = np.flatnonzero(people[:, joint] < 0)
        if len(missing) == 0:
            continue
        best = _closeness(scores, tags[joint], means[missing]).argmax(axis=1)
        places[missing, joint] = np.where(scores[best] > 0, best, -1)
    return places


def _closeness(
    scores: NDArray[np.floating], tags: NDArray[np.floating], means: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return scores (P,) less the rounded distance of tags (P, T) from means (n, T): (n, P)."""
    squared = np.zeros((len(means), len(scores)), np.float32)
    for dimension in range(means.shape[1]):
        difference = tags[None, :, dimension] - means[:, dimension, None]
        squared += np.square(difference, out=difference)
    distance = np.rint(np.sqrt(squared, out=squared), out=squared)
    return np.subtract(scores, distance, out=distance)
