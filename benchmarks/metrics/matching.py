"""Greedy matching of detections and truth in the order of their scores, as COCO defines it.

Detections are matched at several thresholds and size ranges at once. The rules are those of
pycocotools 2.0 (``COCOeval.evaluateImg``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

IGNORED, FALSE_POSITIVE, TRUE_POSITIVE = -1, 0, 1


def best_rows(score: Floats, offsets: Ints, limit: int) -> tuple[Ints, Ints]:
    """Return the rows of each sample's ``limit`` best scores and their new offsets.

    Rows come sample by sample, best first; equal scores keep their order.
    """
    counts = np.diff(offsets)
    owner = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-score, owner))
    rank = np.arange(len(score)) - np.repeat(offsets[:-1], counts)
    kept = np.concatenate([[0], np.cumsum(np.minimum(counts, limit))]).astype(np.int64)
    return order[rank < limit], kept


def pairs_within(first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Return all pairs of rows of the same sample, given the two tables' offsets (n + 1,)."""
    sizes = np.diff(second)
    left = np.arange(first[-1])
    owner = np.repeat(np.arange(len(sizes)), np.diff(first))
    counts = sizes[owner]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(left, counts), np.repeat(second[:-1][owner], counts) + within


def match(
    similarity: Floats,
    pairs: tuple[Ints, Ints],
    rank: Ints,
    ignored: Bools,
    crowd: Bools,
    thresholds: Sequence[float],
    guard: float,
) -> Ints:
    """Match detections, best score first, with the truth of their sample.

    At each threshold and size range a detection takes the free truth of highest similarity that
    reaches ``min(threshold, 1 - guard)``; of equal ones the last. Ignored truth is taken only
    where no other truth will do. A crowd stays free.

    Parameters
    ----------
    similarity : array (P,)
        Of the detection and the truth of each pair.
    pairs : two int arrays (P,)
        Row of the detection (of D) and of the truth (of G); both of the same sample.
    rank : int array (D,)
        Place of the detection among its sample's, 0 first.
    ignored : bool array (G, A)
        Whether the truth is ignored in each size range.
    crowd : bool array (G,)
    thresholds : T floats
    guard : float

    Returns
    -------
    int array (D, A, T)
        Row of the matched truth, -1 for none.
    """
    floor = np.minimum(thresholds, 1 - guard)
    winner = np.full((len(rank), ignored.shape[1], len(floor)), -1)
    near = np.flatnonzero(similarity >= floor.min())
    detection, truth, similarity = pairs[0][near], pairs[1][near], similarity[near]
    order = np.lexsort((truth, similarity, detection, rank[detection]))
    detection, truth, similarity = detection[order], truth[order], similarity[order]
    # A pair's place in this order says which truth a detection prefers; truth that counts comes
    # before truth that does not.
    count = len(order)
    preference = np.arange(count)[:, None] + count * ~ignored[truth]
    reaches = similarity[:, None] >= floor
    free = np.ones((len(crowd), *winner.shape[1:]), dtype=np.bool_)
    starts = np.flatnonzero(np.diff(detection, prepend=-1))
    bounds = np.append(starts, count)
    turn = rank[detection[starts]]
    for now in np.unique(turn):
        own = np.flatnonzero(turn == now)
        rows = slice(bounds[own[0]], bounds[own[-1] + 1])
        possible = free[truth[rows]] & reaches[rows, None, :]
        key = np.where(possible, preference[rows, :, None], -1)
        best = np.maximum.reduceat(key, starts[own] - rows.start, axis=0)
        chosen = np.where(best >= 0, truth[best % count], -1)
        winner[detection[starts[own]]] = chosen
        taken = np.nonzero((chosen >= 0) & ~crowd[chosen])
        free[chosen[taken], taken[1], taken[2]] = False
    return winner


def outcomes(winner: Ints, ignored: Bools, outside: Bools) -> NDArray[np.int8]:
    """Say what each detection is: true positive, false positive or ignored.

    Parameters
    ----------
    winner : int array (D, A, T)
        Result of :func:`match`.
    ignored : bool array (G, A)
        Whether the truth is ignored in each size range.
    outside : bool array (D, A)
        Whether the detection itself is outside the size range: unmatched, it is ignored.

    Returns
    -------
    int8 array (D, A, T)
    """
    missed = np.where(outside, IGNORED, FALSE_POSITIVE).astype(np.int8)
    result = np.repeat(missed[:, :, None], winner.shape[2], axis=2)
    matched = np.flatnonzero(winner >= 0)
    size_range = matched // winner.shape[2] % winner.shape[1]
    counted = ~ignored[winner.reshape(-1)[matched], size_range]
    result.reshape(-1)[matched] = np.where(counted, TRUE_POSITIVE, IGNORED)
    return result
