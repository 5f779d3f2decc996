"""CLEAR MOT: pairing of true objects and hypotheses over time, and the events counted from it.

Source: Bernardin and Stiefelhagen, EURASIP JIVP 2008. The paper leaves open which pairs of the past
are kept; :func:`pair_by_history` is the rule of py-motmetrics 1.4 (and of poseval, which calls it),
:func:`pair_by_frame` that of TrackEval (the MOTChallenge server).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_EPSILON = float(np.finfo(np.float64).eps)
_NOBODY = object()
_KEPT_BONUS = 1000.0  # outweighs every overlap: TrackEval's own constant


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a sequence.

    Parameters
    ----------
    objects : int array (n,)
        Ids of the true objects.
    hypotheses : int array (m,)
        Ids of the tracker's objects.
    distance : array (n, m)
        At least 0; infinite where the two can never be a pair.
    """

    objects: Ints
    hypotheses: Ints
    distance: Floats


def pair_by_history(frames: Sequence[Frame], limit: float) -> list[Ints]:
    """Pair as py-motmetrics does: the last partner ever is kept while it is within reach.

    The rest is paired so that there are as many pairs as possible, at the least total distance.

    Parameters
    ----------
    frames : sequence of Frame
    limit : float
        Largest distance of a pair, inclusive.

    Returns
    -------
    list of int array (k, 2)
        Rows of object and hypothesis of every pair, per frame.
    """
    partner: dict[int, int] = {}
    pairs = []
    for frame in frames:
        allowed = frame.distance <= limit
        things, hypotheses = frame.objects.tolist(), frame.hypotheses.tolist()
        place = {hypothesis: column for column, hypothesis in enumerate(hypotheses)}
        found = []
        for row, thing in enumerate(things):
            column = place.get(partner.get(thing, _NOBODY), -1)
            if column >= 0 and allowed[row, column]:
                found.append((row, column))
                del place[hypotheses[column]]
        if found:
            rows, columns = zip(*found, strict=True)
            allowed[rows, :] = False
            allowed[:, columns] = False
        found += _nearest(frame.distance, allowed)
        for row, column in found:
            partner[things[row]] = hypotheses[column]
        pairs.append(np.array(found, dtype=np.int64).reshape(-1, 2))
    return pairs


def pair_by_frame(frames: Sequence[Frame], limit: float) -> list[Ints]:
    """Pair as TrackEval does: only partners of the previous frame are kept.

    The rest is paired at the greatest total overlap (1 - distance), even if that makes fewer pairs.
    A frame without objects or without hypotheses is passed over: the frame before it still counts
    as the previous one. Parameters and result as in :func:`pair_by_history`.
    """
    from scipy.optimize import linear_sum_assignment

    previous: dict[int, int] = {}
    pairs = []
    for frame in frames:
        if frame.distance.size == 0:
            pairs.append(np.zeros((0, 2), dtype=np.int64))
            continue
        overlap = 1 - frame.distance
        last = np.array([previous.get(thing, -1) for thing in frame.objects.tolist()])
        kept = (last[:, None] == frame.hypotheses[None, :]) & (last[:, None] >= 0)
        score = np.where(overlap < 1 - limit - _EPSILON, 0.0, _KEPT_BONUS * kept + overlap)
        rows, columns = linear_sum_assignment(-score)
        real = score[rows, columns] > _EPSILON
        found = np.stack([rows[real], columns[real]], axis=1)
        things = frame.objects[found[:, 0]].tolist()
        previous = dict(zip(things, frame.hypotheses[found[:, 1]].tolist(), strict=True))
        pairs.append(found)
    return pairs


def _nearest(distance: Floats, allowed: Bools) -> list[tuple[int, int]]:
    """Return as many allowed pairs as possible at the least total distance."""
    if not allowed.any():
        return []
    if allowed.sum(axis=0).max() == 1 and allowed.sum(axis=1).max() == 1:
        return [(int(row), int(column)) for row, column in np.argwhere(allowed)]
    from scipy.optimize import linear_sum_assignment

    # One pair less must cost more than any choice of pairs.
    most = np.abs(distance[allowed]).max() + 1
    cost = np.where(allowed, distance, 2 * min(distance.shape) * most + 1)
    rows, columns = linear_sum_assignment(cost)
    return [
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if allowed[row, column]
    ]


@dataclass(frozen=True)
class Events:
    """Counts over a sequence.

    ``matches`` include switches: pairs whose hypothesis is not the last known one of the object,
    however long ago. ``distance`` is the sum over the pairs.
    """

    objects: int
    hypotheses: int
    matches: int
    switches: int
    distance: float

    @property
    def misses(self) -> int:
        """Objects without a pair."""
        return self.objects - self.matches

    @property
    def false_positives(self) -> int:
        """Hypotheses without a pair."""
        return self.hypotheses - self.matches


def count_events(frames: Sequence[Frame], pairs: Sequence[Ints]) -> Events:
    """Count matches, switches, misses and false positives of a sequence."""
    partner: dict[int, int] = {}
    switches, matches, distance = 0, 0, 0.0
    for frame, found in zip(frames, pairs, strict=True):
        if not len(found):
            continue
        matches += len(found)
        rows, columns = found.T
        distance += float(frame.distance[rows, columns].sum())
        things, hypotheses = frame.objects[rows].tolist(), frame.hypotheses[columns].tolist()
        for thing, hypothesis in zip(things, hypotheses, strict=True):
            switches += partner.get(thing, hypothesis) != hypothesis
            partner[thing] = hypothesis
    return Events(
        objects=sum(len(frame.objects) for frame in frames),
        hypotheses=sum(len(frame.hypotheses) for frame in frames),
        matches=matches,
        switches=switches,
        distance=distance,
    )


@dataclass(frozen=True, eq=False)
class Lifespans:
    """Where each true track exists and where it is tracked.

    Parameters
    ----------
    present, tracked : bool array (tracks, frames)
    answered : bool array (frames,)
        Frames with at least one object and one hypothesis.
    """

    present: Bools
    tracked: Bools
    answered: Bools

    @classmethod
    def of(cls, frames: Sequence[Frame], pairs: Sequence[Ints]) -> Lifespans:
        """Lay out the tracks of a sequence over its frames."""
        ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(f.objects for f in frames)]))
        present = np.zeros((len(ids), len(frames)), dtype=np.bool_)
        tracked = np.zeros_like(present)
        for number, (frame, found) in enumerate(zip(frames, pairs, strict=True)):
            present[np.searchsorted(ids, frame.objects), number] = True
            tracked[np.searchsorted(ids, frame.objects[found[:, 0]]), number] = True
        answered = np.array([frame.distance.size > 0 for frame in frames], dtype=np.bool_)
        return cls(present, tracked, answered)

    def coverage(self) -> Floats:
        """Return the tracked share (tracks,) of each track's life."""
        return np.asarray(self.tracked.sum(axis=1) / self.present.sum(axis=1))

    def interruptions(self) -> int:
        """Count fragmentations as py-motmetrics does.

        From tracked to missed, between the first and the last tracked frame, over the frames in
        which the object exists.
        """
        total = 0
        for present, tracked in zip(self.present, self.tracked, strict=True):
            life = tracked[present]
            ends = int((life[:-1] & ~life[1:]).sum())
            total += ends - int(ends > 0 and not life[-1])
        return total

    def stretches(self) -> int:
        """Count fragmentations as TrackEval does: tracked stretches less one, per track.

        An object that is absent for a frame ends its stretch; a frame without any hypothesis or
        any object does not.
        """
        tracked = self.tracked[:, self.answered]
        before = np.pad(tracked, ((0, 0), (1, 0)))[:, :-1]
        starts = (tracked & ~before).sum(axis=1)
        return int(np.maximum(starts - 1, 0).sum())
