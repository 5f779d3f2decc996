"""Which detections are people, which joint is each, and who belongs to whom: an integer programme.

Pishchulin et al.: DeepCut, CVPR 2016; Insafutdinov et al.: DeeperCut, ECCV 2016. The joint problem
of labelling and partitioning, solved exactly by HiGHS (``scipy.optimize.milp``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


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
    unary: NDArray[np.float64],
    pairwise: NDArray[np.float64],
    fixed: NDArray[np.int64] | None = None,
    seconds: float = 60.0,
) -> Partition:
    """Choose, label and cluster detections at the lowest cost.

    Variables: ``x[d, c]``, detection d is joint c; ``y[d, e]``, d and e are one person; and
    ``z[d, e, c, f]``, both at once. Each detection has at most one label; dropped ones are in no
    cluster; clusters are transitive. The cost is the sum of ``unary`` over x and of ``pairwise``
    over z. Detections of one person may share a label, as in the paper.

    Parameters
    ----------
    unary : array (D, C)
        Cost of each label, such as log((1 - p) / p); inf where a label is not allowed.
    pairwise : array (D, D, C, C)
        Cost of two detections d < e as labels of one person.
    fixed : int array (D,), optional
        Clusters that must stay together, from an earlier stage; -1 for free detections.
    seconds : float
        Limit of the solver's time; beyond it the best partition so far comes with its gap.

    Raises
    ------
    RuntimeError
        If no partition is found within the time.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    detections, labels = unary.shape
    if detections == 0:
        nothing = np.empty(0, np.int64)
        return Partition(nothing, nothing, 0.0, 0.0)
    pairs = list(combinations(range(detections), 2))
    y = {pair: detections * labels + i for i, pair in enumerate(pairs)}
    useful = [
        (d, e, c, f)
        for d, e in pairs
        for c in range(labels)
        for f in range(labels)
        if pairwise[d, e, c, f] != 0 and np.isfinite(unary[d, c] + unary[e, f])
    ]
    start = detections * labels + len(pairs)
    cost = np.concatenate(
        [
            np.where(np.isfinite(unary), unary, 0).ravel(),
            np.zeros(len(pairs)),
            [pairwise[index] for index in useful],
        ]
    )
    rows = _Rows()
    for d in range(detections):
        rows.add({d * labels + c: 1.0 for c in range(labels)}, 1.0)
    for (d, e), variable in y.items():
        for detection in (d, e):
            rows.add({variable: 1.0, **{detection * labels + c: -1.0 for c in range(labels)}}, 0.0)
    for d, e, f in combinations(range(detections), 3):
        sides = y[d, e], y[d, f], y[e, f]
        for i in range(3):
            rows.add({side: (-1.0 if j == i else 1.0) for j, side in enumerate(sides)}, 1.0)
    for i, (d, e, c, f) in enumerate(useful):
        z, a, b, same = start + i, d * labels + c, e * labels + f, y[d, e]
        for part in (a, b, same):
            rows.add({z: 1.0, part: -1.0}, 0.0)
        rows.add({a: 1.0, b: 1.0, same: 1.0, z: -1.0}, 2.0)
    upper = np.ones(len(cost))
    upper[: detections * labels] = np.isfinite(unary).ravel()
    lower = np.zeros(len(cost))
    for (d, e), variable in y.items():
        if fixed is not None and fixed[d] >= 0 and fixed[d] == fixed[e]:
            lower[variable] = 1.0
    matrix = csr_matrix((rows.values, (rows.rows, rows.columns)), (len(rows.limits), len(cost)))
    solved = milp(
        cost,
        constraints=LinearConstraint(matrix, -np.inf, rows.limits),
        bounds=Bounds(lower, upper),
        integrality=np.ones(len(cost)),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if solved.x is None:
        raise RuntimeError(f"no partition of {detections} detections in {seconds:g} s")
    chosen = solved.x.round().astype(bool)
    return _read(chosen, y, detections, labels, float(solved.fun), float(solved.mip_gap or 0.0))


class _Rows:
    """Rows of a sparse matrix with an upper limit each."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.columns: list[int] = []
        self.values: list[float] = []
        self.limits: list[float] = []

    def add(self, row: dict[int, float], limit: float) -> None:
        self.rows += [len(self.limits)] * len(row)
        self.columns += row.keys()
        self.values += row.values()
        self.limits.append(limit)


def _read(
    chosen: NDArray[np.bool_], y: dict[tuple[int, int], int], detections: int, labels: int,
    objective: float, gap: float,
) -> Partition:  # fmt: skip
    """Turn the solution's variables into labels and clusters."""
    x = chosen[: detections * labels].reshape(detections, labels)
    label = np.where(x.any(axis=1), x.argmax(axis=1), -1)
    cluster = np.full(detections, -1, np.int64)
    people = 0
    for d in np.flatnonzero(label >= 0):
        if cluster[d] < 0:
            cluster[d] = people
            people += 1
        for e in range(d + 1, detections):
            if chosen[y[d, e]]:
                cluster[e] = cluster[d]
    return Partition(label, cluster, objective, gap)


@dataclass(frozen=True)
class Stage:
    """One stage of the incremental optimisation: the joints that enter, and how it went.

    Parameters
    ----------
    joints : tuple of int
    detections : int
        That took part.
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
    stages: tuple[tuple[int, ...], ...],
    seconds: float = 60.0,
) -> tuple[Partition, list[Stage]]:
    """Solve in stages: each adds joints and keeps labels and clusters found before it.

    Parameters
    ----------
    unary, pairwise : arrays (D, C) and (D, D, C, C)
        As in :func:`partition`.
    stages : tuple of tuples of int
        Joints that enter at each stage; every joint in exactly one (DeeperCut: head and shoulders,
        then elbows and wrists, then the rest).
    seconds : float
        Of each stage.
    """
    import time

    count, labels = unary.shape
    label, cluster = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    objective, gap, told = 0.0, 0.0, []
    allowed = np.zeros(labels, bool)
    for joints in stages:
        begin = time.perf_counter()
        fresh = np.zeros(labels, bool)
        fresh[list(joints)] = True
        allowed |= fresh
        # Kept detections stay what they are; the others may become a joint of this stage.
        costs = np.where(fresh, unary, np.inf)
        kept = label >= 0
        costs[kept] = np.inf
        costs[kept, label[kept]] = unary[kept, label[kept]]
        rows = np.flatnonzero(np.isfinite(costs).any(axis=1))
        solved = partition(costs[rows], pairwise[np.ix_(rows, rows)], cluster[rows], seconds)
        label[rows], cluster[rows] = solved.label, solved.cluster
        objective, gap = solved.objective, max(gap, solved.gap)
        told.append(Stage(joints, len(rows), time.perf_counter() - begin, solved.gap))
    return Partition(label, cluster, objective, gap), told
