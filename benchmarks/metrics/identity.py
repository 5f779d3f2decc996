"""Identity metrics and HOTA: agreement of whole tracks.

Sources: Ristani et al., Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking, ECCV Workshops 2016 (identity); Luiten et al., HOTA, IJCV 2021, as in TrackEval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.clear_mot import Frame

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""Overlap thresholds of HOTA."""

_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class _Tracks:
    """Boxes of each true track (n,) and of each hypothesis track (m,), and rows per frame."""

    objects: Ints
    hypotheses: Ints
    rows: list[tuple[Ints, Ints]]

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> _Tracks:
        none = np.zeros(0, np.int64)
        true, objects = np.unique(
            np.concatenate([none, *(f.objects for f in frames)]), return_counts=True
        )
        own, hypotheses = np.unique(
            np.concatenate([none, *(f.hypotheses for f in frames)]), return_counts=True
        )
        rows = [
            (np.searchsorted(true, f.objects), np.searchsorted(own, f.hypotheses)) for f in frames
        ]
        return cls(objects, hypotheses, rows)


def identity_true_positives(frames: Sequence[Frame], limit: float) -> int:
    """Return IDTP: boxes in agreement under the best one-to-one assignment of whole tracks.

    The assignment makes the fewest boxes disagree (IDFP + IDFN) over the sequence; a pair of boxes
    agrees when its distance is within ``limit``, inclusive.
    """
    from scipy.optimize import linear_sum_assignment

    tracks = _Tracks.of(frames)
    agree = np.zeros((len(tracks.objects), len(tracks.hypotheses)), dtype=np.int64)
    for frame, (true, own) in zip(frames, tracks.rows, strict=True):
        np.add.at(agree, (true[:, None], own[None, :]), frame.distance <= limit)
    # Leaving a track unassigned costs its boxes either way, so IDFP + IDFN is least where the
    # boxes in agreement are most.
    rows, columns = linear_sum_assignment(agree, maximize=True)
    return int(agree[rows, columns].sum())


@dataclass(frozen=True, eq=False)
class HotaSums:
    """What HOTA is computed from, per threshold of :data:`ALPHAS` (19,).

    ``matches``: pairs; ``association``: sum over pairs of their tracks' agreement;
    ``overlap``: sum of the pairs' overlaps.
    """

    matches: Ints
    association: Floats
    overlap: Floats


def hota_sums(frames: Sequence[Frame]) -> HotaSums:
    """Pair boxes so that tracks agree best over the whole sequence, and sum up at 19 thresholds.

    Overlap is 1 - distance.
    """
    from scipy.optimize import linear_sum_assignment

    tracks = _Tracks.of(frames)
    boxes = tracks.objects[:, None] + tracks.hypotheses[None, :]
    likely = np.zeros(boxes.shape)
    for frame, rows in zip(frames, tracks.rows, strict=True):
        overlap = 1 - frame.distance
        total = overlap.sum(axis=0)[None, :] + overlap.sum(axis=1)[:, None] - overlap
        share = np.divide(overlap, total, out=np.zeros_like(total), where=total > _EPSILON)
        np.add.at(likely, (rows[0][:, None], rows[1][None, :]), share)
    alignment = likely / (boxes - likely)
    pair, overlaps = [np.zeros(0, np.int64)], [np.zeros(0)]
    for frame, (true, own) in zip(frames, tracks.rows, strict=True):
        overlap = 1 - frame.distance
        row, column = linear_sum_assignment(-alignment[true[:, None], own[None, :]] * overlap)
        pair.append(true[row] * boxes.shape[1] + own[column])
        overlaps.append(overlap[row, column])
    overlap = np.concatenate(overlaps)
    good = overlap[:, None] >= ALPHAS - _EPSILON
    pairs, number = np.unique(np.concatenate(pair), return_inverse=True)
    times = np.zeros((len(pairs), len(ALPHAS)))
    np.add.at(times, number, good)
    agreement = times / np.maximum(boxes.ravel()[pairs][:, None] - times, 1)
    return HotaSums(
        matches=good.sum(axis=0),
        association=(times * agreement).sum(axis=0),
        overlap=(good * overlap[:, None]).sum(axis=0),
    )
