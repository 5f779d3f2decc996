"""Matching of predicted and true poses by PCKh, and the average precision of each joint.

These rules are common to the MPII multi-person toolkit (evalMPII: ``assignGTmulti``, ``getRPC``,
``VOCap``) and to PoseTrack's poseval. A sample is an image, a group of people or a sequence; its
statistics are ``joint``, ``score`` and ``hit`` (ragged, one entry per predicted joint, in reading
order) and ``labelled`` (n, K), the number of true joints to be found.

Equal scores keep their order: sample by sample as they stand in the split, then as predicted. Every
sample can be given a weight; the result is that of a data set in which the sample stands that
often, its copies one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.api import Ragged, Statistics
from harness.api.statistics import Column

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def absent(keypoints: Floats) -> Bools:
    """Return which joints (..., K) of keypoints (..., K, 2) are NaN."""
    return np.asarray(np.isnan(keypoints).any(axis=-1))


def head_size(boxes: Floats, factor: float) -> Floats:
    """Return the normaliser (T,) of head boxes x1, y1, x2, y2 (T, 4): factor times the diagonal."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(factor * np.sqrt((sides**2).sum(axis=1)))


def head_distances(predicted: Floats, truth: Floats, head: Floats) -> Floats:
    """Return the distance of every predicted joint from the same joint of every true person.

    Parameters
    ----------
    predicted : array (P, K, 2)
        NaN where a joint is not predicted.
    truth : array (T, K, 2)
        NaN where a joint is not labelled.
    head : array (T,)
        Normaliser in pixels.

    Returns
    -------
    array (P, T, K)
        In units of ``head``; infinite where a joint is absent on either side or ``head`` is 0.
    """
    pixels = np.sqrt(((predicted[:, None] - truth[None]) ** 2).sum(axis=-1))
    units = np.where(head > 0, head, np.nan)[None, :, None]
    distance = pixels / units
    return np.where(np.isnan(distance), np.inf, distance)


def match_poses(hits: Bools, labelled: Bools) -> Ints:
    """Assign predicted poses to true people.

    A prediction keeps only the person of whose labelled joints it hits the largest share (the
    first of equals); each person then takes the prediction with the largest share left (again the
    first). A share of 0 is no match, and who loses gets no second choice.

    Parameters
    ----------
    hits : bool array (P, T, K)
    labelled : bool array (T, K)

    Returns
    -------
    int array (P,)
        Row of the true person, -1 for none.
    """
    people, truths = hits.shape[:2]
    matched = np.full(people, -1)
    if people == 0 or truths == 0:
        return matched
    share = hits.sum(axis=2) / np.maximum(labelled.sum(axis=1), 1)
    chosen = np.arange(truths) == share.argmax(axis=1)[:, None]
    share = np.where(chosen, share, 0.0)
    winner = share.argmax(axis=0)
    taken = np.flatnonzero(share.max(axis=0) > 0)
    matched[winner[taken]] = taken
    return matched


def joint_outcomes(
    predicted: Floats, scores: Floats, distance: Floats, labelled: Bools, threshold: float
) -> tuple[Ints, Floats, Bools]:
    """Return joint, score and outcome of every joint predicted in one image.

    A joint is a hit if its pose is matched and it is within ``threshold`` (inclusive) of the
    matched person's joint. Joints of unmatched poses, and joints that the matched person does not
    have, are false positives.

    Parameters
    ----------
    predicted : array (P, K, 2)
    scores : array (P, K)
    distance : array (P, T, K)
    labelled : bool array (T, K)
    threshold : float
    """
    hits = distance <= threshold
    matched = match_poses(hits, labelled)
    own = np.zeros(scores.shape, dtype=np.bool_)
    found = np.flatnonzero(matched >= 0)
    own[found] = hits[found, matched[found]]
    person, joint = np.nonzero(~absent(predicted))
    return joint, scores[person, joint], own[person, joint]


def joint_columns(
    outcomes: Sequence[tuple[Ints, Floats, Bools]], labelled: Sequence[Ints]
) -> dict[str, Column]:
    """Return the statistics' columns from one entry per sample."""
    return {
        "joint": Ragged.from_lists([outcome[0].astype(np.int64) for outcome in outcomes]),
        "score": Ragged.from_lists([outcome[1].astype(np.float64) for outcome in outcomes]),
        "hit": Ragged.from_lists([outcome[2].astype(np.bool_) for outcome in outcomes]),
        "labelled": np.stack(labelled).astype(np.int64),
    }


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The predictions of one joint (n,), best score first.

    ``copy`` says which copy of its sample a row stands for, -1 for all copies together: rows of one
    sample with one score, hits and others, change places with their copies. None: -1 everywhere.
    """

    hit: Bools
    owner: Ints
    copy: Ints | None

    @classmethod
    def of(cls, hit: Bools, owner: Ints, score: Floats, copies: int) -> _Ranked:
        same = (np.diff(score) == 0) & (np.diff(owner) == 0)
        run = np.cumsum(np.concatenate([[0], ~same]))[: len(hit)]
        share = np.bincount(run, hit) / np.bincount(run)
        mixed = (share > 0)[run] & (share < 1)[run]
        if copies == 1 or not mixed.any():
            return cls(hit, owner, None)
        times = np.where(mixed, copies, 1)
        row = np.repeat(np.arange(len(hit)), times)
        copy = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
        order = np.lexsort((copy, run[row]))
        row, copy = row[order], copy[order]
        return cls(hit[row], owner[row], np.where(mixed[row], copy, -1))

    def weigh(self, weights: Ints | None) -> Ints:
        """Return how often every row stands in the data set that the weights make."""
        if weights is None:
            return np.ones(len(self.hit), dtype=np.int64)
        times = np.asarray(weights[self.owner])
        return times if self.copy is None else np.where(self.copy < 0, times, times > self.copy)


@dataclass(frozen=True, eq=False)
class JointRanking:
    """The predicted joints of all samples, ranked by score for any number of draws."""

    joints: tuple[_Ranked, ...]
    labelled: Ints

    @classmethod
    def of(cls, statistics: Statistics, copies: int = 1) -> JointRanking:
        """Sort once; ``copies`` is the largest weight that draws will have."""
        joint, score = statistics.ragged("joint"), statistics.ragged("score").values
        hit, owner = statistics.ragged("hit").values, joint.owner
        labelled = statistics.dense("labelled")
        ranked = []
        for k in range(labelled.shape[1]):
            rows = np.flatnonzero(joint.values == k)
            rows = rows[np.lexsort((statistics.position[owner[rows]], -score[rows]))]
            ranked.append(_Ranked.of(hit[rows], owner[rows], score[rows], copies))
        return cls(tuple(ranked), labelled)

    def curve(self, joint: int) -> tuple[Floats, Floats]:
        """Return recall and precision (n,) after each prediction; without truth recall is NaN."""
        hit, positives = self.joints[joint].hit, int(self.labelled[:, joint].sum())
        found = np.cumsum(hit)
        recall = found / positives if positives else np.full(len(hit), np.nan)
        return recall, found / np.arange(1, len(hit) + 1)

    def average_precision(self, weights: Ints | None = None) -> tuple[Floats, Floats, Floats]:
        """Return AP, and precision and recall of all predictions together, per joint (K,).

        AP is the area under the precision curve, made monotone from the right, over every step of
        recall. Without any prediction all three are 0; AP and recall are NaN where there are
        predictions but no truth.
        """
        times = np.ones(len(self.labelled), np.int64) if weights is None else weights
        values = np.zeros((3, len(self.joints)))
        for joint, (ranked, positives) in enumerate(
            zip(self.joints, (times @ self.labelled).tolist(), strict=True)
        ):
            rows = ranked.weigh(weights)
            count = np.cumsum(rows)
            if len(count) == 0 or count[-1] == 0:
                continue
            place = np.flatnonzero(ranked.hit)
            hits = rows[place]
            found = np.cumsum(hits)
            best = np.maximum.accumulate((found / np.maximum(count[place], 1))[::-1])[::-1]
            total = found[-1] if len(found) else 0
            values[1, joint] = total / count[-1]
            values[0, joint] = hits @ best / positives if positives else np.nan
            values[2, joint] = total / positives if positives else np.nan
        return values[0], values[1], values[2]
