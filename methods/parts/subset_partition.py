"""Which detections are people, which joint is each, and who belongs to whom: an integer programme.

Pishchulin et al.: DeepCut, CVPR 2016; Insafutdinov et al.: DeeperCut, ECCV 2016. The joint problem
of labelling and partitioning, solved exactly by HiGHS (``scipy.optimize.milp``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True, eq=False)
class Partition:
    """Labelled and clustered detections.

    Parameters
    ----------
    label : int array (D,)
        Joint of each detection; -1 for one that is dropped.
    cluster : int array (D,)
        Person of each detection, from 0; -1 for one that is dropped.
    objective : float
        Cost of this partition.
    gap : float
        How far, relative to the objective, a better one could lie below it; 0 if it is optimal.
    """

    label: NDArray[np.int64]
    cluster: NDArray[np.int64]
    objective: float
    gap: float


def partition(
    unary: NDArray[np.float64], pairwise: NDArray[np.float64], seconds: float = 60.0
) -> Partition:
    """Choose, label and cluster detections at the lowest cost.

    Variables: ``x[d, c]``, detection d is joint c; ``y[d, e]``, d and e are one person; and
    ``z[d, e, c, f]``, both at once. Each detection has at most one label; dropped ones are in no
    cluster; clusters are transitive. The cost is the sum of ``unary`` over x and of ``pairwise``
    over z. Detections of one person may share a label, as in the paper. Parts of a cluster that
    only pairs without a cost join are clusters of their own.

    Transitivity is asked for where a solution lacks it, until none does: the paper's cutting
    planes.

    Parameters
    ----------
    unary : array (D, C)
        Cost of each label, such as log((1 - p) / p); inf where a label is not allowed.
    pairwise : array (D, D, C, C)
        Cost of two detections d < e as labels of one person.
    seconds : float
        Limit of the time. Beyond it detections, with the labels so far, join one by one whom they
        cost least with; the gap says what could be won.
    """
    end = time.monotonic() + seconds
    label = np.where(unary.min(axis=1, initial=0) < 0, unary.argmin(axis=1), -1)
    bound = min(unary.min(axis=1, initial=0).sum() + np.minimum(pairwise, 0).sum(), 0.0)
    programme = _Programme(unary, pairwise)
    while len(unary) and (left := end - time.monotonic()) > 0:
        solved = programme.solve(left)
        bound = max(bound, solved.mip_dual_bound if solved.mip_dual_bound is not None else bound)
        if solved.x is None:
            break
        label, together = programme.read(solved.x)
        if not programme.forbid(together):
            linked = together & (_costs(pairwise, label) != 0)
            return _priced(unary, pairwise, label, connected_components(linked)[1], bound)
    return _priced(unary, pairwise, label, _one_by_one(_costs(pairwise, label)), bound)


class _Programme:
    """The programme's variables x, y, z in this order, their costs, and limits of sums of them."""

    def __init__(self, unary: NDArray[np.float64], pairwise: NDArray[np.float64]) -> None:
        count = len(unary)
        self.x = np.arange(unary.size).reshape(unary.shape)
        first, second = np.triu_indices(count, 1)
        self.y = np.zeros((count, count), np.int64)
        self.y[first, second] = self.y[second, first] = unary.size + np.arange(len(first))
        allowed = np.isfinite(unary)
        # Of two detections with one label each, y says all that z would.
        only, single = allowed.argmax(axis=1), allowed.sum(axis=1) == 1
        sure = single[first] & single[second]
        d, e, c, f = np.nonzero(pairwise)
        useful = (d < e) & allowed[d, c] & allowed[e, f] & ~(single[d] & single[e])
        d, e, c, f = d[useful], e[useful], c[useful], f[useful]
        of_y = np.where(sure, pairwise[first, second, only[first], only[second]], 0)
        of_x = np.where(allowed, unary, 0).ravel()
        self.cost = np.concatenate([of_x, of_y, pairwise[d, e, c, f]])
        self.upper = np.concatenate([allowed.ravel(), np.ones(len(first) + len(d))])
        self.columns: list[NDArray[np.int64]] = []  # per sum: its variables (n, terms), ...
        self.terms: list[list[float]] = []  # their factors, ...
        self.limits: list[float] = []  # and what it may not exceed
        z, y = unary.size + len(first) + np.arange(len(d)), self.y[d, e]
        self.limit(1, (self.x, 1))
        for side in (first, second):
            self.limit(0, (self.y[first, second], 1), (self.x[side], -1))
        for part in (self.x[d, c], self.x[e, f], y):
            self.limit(0, (z, 1), (part, -1))
        self.limit(2, (self.x[d, c], 1), (self.x[e, f], 1), (y, 1), (z, -1))

    def limit(self, most: float, *sums: tuple[NDArray[np.int64], float]) -> None:
        """Limit the sums of variables (n,) or (n, terms) times their factors, row by row."""
        columns = [np.atleast_2d(variables.T).T for variables, _ in sums]
        self.columns.append(np.concatenate(columns, axis=1))
        self.terms.append([factor for (_, factor), own in zip(sums, columns, strict=True)
                           for _ in range(own.shape[1])])  # fmt: skip
        self.limits.append(most)

    def solve(self, seconds: float) -> Any:
        """Return scipy's result."""
        rows = [len(columns) for columns in self.columns]
        values = [np.tile(terms, n) for terms, n in zip(self.terms, rows, strict=True)]
        starts = [np.full(n, len(terms)) for terms, n in zip(self.terms, rows, strict=True)]
        starts = np.concatenate([[0], np.concatenate(starts).cumsum()])
        indices = np.concatenate([columns.ravel() for columns in self.columns])
        shape = (sum(rows), len(self.cost))
        matrix = csr_matrix((np.concatenate(values), indices, starts), shape)
        return milp(
            self.cost,
            constraints=LinearConstraint(matrix, -np.inf, np.repeat(self.limits, rows)),
            bounds=Bounds(0, self.upper),
            integrality=np.ones(len(self.cost)),
            options={"time_limit": seconds, "mip_rel_gap": 0.0},
        )

    def read(self, solution: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return labels (D,), -1 for dropped, and who is with whom (D, D)."""
        chosen = solution > 0.5
        x = chosen[self.x]
        together = chosen[self.y]
        np.fill_diagonal(together, False)
        return np.where(x.any(axis=1), x.argmax(axis=1), -1), together

    def forbid(self, together: NDArray[np.bool_]) -> int:
        """Forbid that d and f are both with e, but not with each other; return how often."""
        d, e, f = np.nonzero(together[:, :, None] & together[None] & ~together[:, None])
        d, e, f = (side[d < f] for side in (d, e, f))
        self.limit(1, (self.y[d, e], 1), (self.y[e, f], 1), (self.y[d, f], -1))
        return len(d)


def _costs(pairwise: NDArray[np.float64], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the costs (D, D), symmetric, of being one person; 0 for those who are dropped."""
    index = np.arange(len(label))
    costs = pairwise[index[:, None], index, label[:, None], label]
    kept = (label >= 0) & (label >= 0)[:, None]
    costs = np.triu(np.where(kept, costs, 0.0), 1)
    return np.asarray(costs + costs.T)


def _one_by_one(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Let each detection join the cluster that costs least, if that is below 0."""
    cluster = np.full(len(costs), -1, np.int64)
    for d in range(len(costs)):
        totals = np.bincount(cluster[:d], costs[d, :d], minlength=1)
        best = int(totals.argmin())
        cluster[d] = best if totals[best] < 0 else cluster.max() + 1
    return cluster


def _priced(
    unary: NDArray[np.float64], pairwise: NDArray[np.float64], label: NDArray[np.int64],
    component: NDArray[np.int64], bound: float,
) -> Partition:  # fmt: skip
    """Number the clusters of kept detections from 0; say what they cost."""
    kept = label >= 0
    cluster = np.full(len(label), -1, np.int64)
    cluster[kept] = np.unique(component[kept], return_inverse=True)[1]
    own = np.triu(cluster[:, None] == cluster) * _costs(pairwise, label)
    objective = float(unary[kept, label[kept]].sum() + own.sum())
    gap = max(objective - bound, 0.0) / max(abs(objective), 1e-9)
    return Partition(label, cluster, objective, gap if gap > 1e-6 else 0.0)


@dataclass(frozen=True)
class Stage:
    """One stage of the incremental optimisation: the joints that enter, and how it went.

    Parameters
    ----------
    joints : tuple of int
    detections : int
        That took part, those of one earlier cluster counted as one.
    seconds : float
    gap : float
    """

    joints: tuple[int, ...]
    detections: int
    seconds: float
    gap: float


def incremental(
    unary: NDArray[np.float64],
    pairwise: NDArray[np.float64],
    stages: Sequence[Sequence[int]],
    seconds: float = 60.0,
) -> tuple[Partition, list[Stage]]:
    """Solve in stages: each adds joints and keeps labels and clusters found before it.

    A cluster takes part in later stages as one detection, which costs what its members cost
    together.

    Parameters
    ----------
    unary, pairwise : arrays (D, C) and (D, D, C, C)
        As in :func:`partition`.
    stages : sequence of sequences of int
        Joints that enter at each stage; every joint in exactly one (DeeperCut: head and shoulders,
        then elbows and wrists, then the rest).
    seconds : float
        Of each stage.
    """
    count, labels = unary.shape
    label, cluster = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    upper = np.triu(np.ones((count, count), bool), 1)[..., None, None]
    pairwise = np.where(upper, pairwise, pairwise.transpose(1, 0, 3, 2))
    objective, gap, told = 0.0, 0.0, []
    for joints in stages:
        begin = time.perf_counter()
        fresh = np.where(np.isin(np.arange(labels), joints), unary, np.inf)
        free = np.flatnonzero((label < 0) & np.isfinite(fresh).any(axis=1))
        people = cluster.max(initial=-1) + 1
        costs, pairs = _contracted(unary, pairwise, label, cluster, free, fresh[free])
        solved = partition(costs, pairs, seconds)
        # People keep their labels; the label of a person is the one behind the joints'.
        cluster = np.where(cluster >= 0, np.append(solved.cluster[:people], -1)[cluster], -1)
        label = np.where(cluster >= 0, label, -1)
        label[free], cluster[free] = solved.label[people:], solved.cluster[people:]
        objective, gap = solved.objective, max(gap, solved.gap)
        told.append(Stage(tuple(joints), len(costs), time.perf_counter() - begin, solved.gap))
    return Partition(label, cluster, objective, gap), told


def _contracted(
    unary: NDArray[np.float64], pairwise: NDArray[np.float64], label: NDArray[np.int64],
    cluster: NDArray[np.int64], free: NDArray[np.int64], fresh: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Return the costs of clusters (n), which have the one label C, and free detections (m).

    ``fresh`` (m, C) are the latter's. The result's shapes are (n + m, C + 1) and
    (n + m, n + m, C + 1, C + 1).
    """
    labels, people = unary.shape[1], cluster.max(initial=-1) + 1
    kept = np.flatnonzero(cluster >= 0)
    member = (cluster[kept] == np.arange(people)[:, None]).astype(np.float64)
    with_any = pairwise[kept, :, label[kept]]  # (kept, D, C)
    inside = member @ _off_diagonal(with_any[:, kept][:, np.arange(len(kept)), label[kept]])
    between = inside @ member.T
    costs = np.full((people + len(free), labels + 1), np.inf)
    costs[:people, labels] = member @ unary[kept, label[kept]] + between.diagonal() / 2
    costs[people:, :labels] = fresh
    pairs = np.zeros((*[len(costs)] * 2, *[labels + 1] * 2))
    pairs[:people, :people, labels, labels] = between
    pairs[:people, people:, labels, :labels] = np.tensordot(member, with_any[:, free], 1)
    pairs[people:, people:, :labels, :labels] = pairwise[np.ix_(free, free)]
    return costs, pairs


def _off_diagonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.eye(len(matrix), dtype=bool), 0.0, matrix)
