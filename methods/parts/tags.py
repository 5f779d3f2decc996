"""Grouping by tags: joints of one person have one embedding (Newell et al., NIPS 2017).

Facts from the official code, princeton-vl/pose-ae-train @ 3c80a16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


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


BLOCK = 8
"""Side of the squares of pixels that are bounded together."""


FIRST = 12
"""Blocks with the highest scores, looked into first: their best rules most others out."""


def blocks_of(maps: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Bound squares of ``BLOCK`` pixels, on the device where the maps are.

    Parameters
    ----------
    maps : tensor (n, K, h, w)
        Scores of all pixels.
    tags : tensor (n, K, h, w, T)

    Returns
    -------
    blocks : tensor (n, K, 3, h / BLOCK, w / BLOCK), rounded up
        Highest score, lowest and highest first tag.
    """

    def highest(planes: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(planes, BLOCK, ceil_mode=True)

    first = tags[..., 0]
    return torch.stack([highest(maps), -highest(-first), highest(first)], dim=2)


def fill_missing(
    people: NDArray[np.int64],
    means: NDArray[np.floating],
    maps: NDArray[np.floating],
    tags: NDArray[np.floating],
    blocks: NDArray[np.floating],
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
    blocks : array (K, 3, ...)
        Of :func:`blocks_of`.

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
        best = _closest(scores, tags[joint], blocks[joint], means[missing])
        places[missing, joint] = np.where(scores.ravel()[best] > 0, best, -1)
    return places


def _closest(
    scores: NDArray[np.floating],
    tags: NDArray[np.floating],
    blocks: NDArray[np.floating],
    means: NDArray[np.floating],
) -> NDArray[np.int64]:
    """Return for each mean tag (n, T) the first best pixel of a map (h, w) with tags (h, w, T).

    Only where the first tag is within a half of the mean's can the rounded distance be 0; any other
    pixel loses 1 at least. Blocks that cannot hold the best are not looked into.
    """
    top, low, high = blocks.reshape(3, -1)
    first = means[:, :1]
    # A little more than a half: the distance is rounded in single precision too.
    near = (low <= first + 0.51) & (high >= first - 0.51)
    count = min(FIRST, len(top))
    promising = np.where(near, -top, np.inf).argpartition(count - 1, axis=1)[:, :count].ravel()
    person = np.repeat(np.arange(len(means)), count)
    values, places = _best_in(person, promising, scores, tags, means)
    person, block = np.nonzero(near & (top >= values[:, None]))
    found = np.unique(person)
    values[:] = -np.inf
    if len(found):
        values[found], places[found] = _best_in(person, block, scores, tags, means)
    scores, tags = scores.reshape(-1), tags.reshape(scores.size, -1)
    for person in np.flatnonzero(values <= top.max() - 1):  # what is further away may be as good
        places[person] = _closeness(scores, tags, means[person]).argmax()
    return places


def _best_in(
    person: NDArray[np.int64],
    block: NDArray[np.int64],
    scores: NDArray[np.floating],
    tags: NDArray[np.floating],
    means: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Return the highest closeness in the blocks (m,) of each person in turn, and its first pixel.

    ``person`` (m,) rises; those who are not in it are left out.
    """
    height, width, size = tags.shape
    row, column = np.divmod(block, -(-width // BLOCK))
    inside = np.arange(BLOCK)
    rows = np.minimum(row[:, None] * BLOCK + inside, height - 1)  # the last blocks may be smaller
    columns = np.minimum(column[:, None] * BLOCK + inside, width - 1)
    pixels = (rows[:, :, None] * width + columns[:, None]).reshape(len(block), -1)
    own = tags.reshape(-1, size).take(pixels, axis=0)
    values = _closeness(scores.take(pixels), own, means[person, None])
    starts = np.flatnonzero(np.diff(person, prepend=-1))
    best = np.maximum.reduceat(values.max(axis=1), starts)
    highest = np.repeat(best, np.diff(starts, append=len(person)))
    place = np.where(values == highest[:, None], pixels, scores.size).min(axis=1)
    return best, np.minimum.reduceat(place, starts)


def _closeness(
    scores: NDArray[np.floating], tags: NDArray[np.floating], means: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return scores (...) less the rounded distance of tags (..., T) from means (..., T)."""
    squared = np.zeros_like(scores, dtype=tags.dtype)
    for axis in range(tags.shape[-1]):
        difference = tags[..., axis] - means[..., axis]
        squared += np.square(difference, out=difference)
    distance = np.rint(np.sqrt(squared, out=squared), out=squared)
    return np.subtract(scores, distance, out=distance)
