"""Percentage of correct keypoints: PCK, PCKh, PDJ and accuracy within pixels, one rule for all.

What a metric keeps of each sample is an array of *errors* (n, K): the distance of every joint to
its true place, divided by a unit of length. NaN is a joint that does not count (no label), infinity
one that counts and is missed (no prediction). Every rate, curve and area is a count over errors, so
shards merge and draws are computed without rounding.

Sources: Sapp and Taskar, CVPR 2013 (MODEC: accuracy over distance, torso of 100 pixels);
Andriluka et al., CVPR 2014 (PCKh) and its toolkit evalMPII; bearpaw/eval_pose (LSP).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def distances(predicted: Array, truth: Array) -> Array:
    """Return Euclidean distances (n, K) of predicted and true points (n, K, 2).

    NaN where the truth has no label; infinity where it has one and the prediction has none.

    Examples
    --------
    >>> truth = np.array([[[0.0, 0.0], [1.0, 1.0], [np.nan, np.nan]]])
    >>> distances(np.array([[[3.0, 4.0], [np.nan, np.nan], [1.0, 1.0]]]), truth)
    array([[ 5., inf, nan]])
    """
    away = predicted - truth
    result = np.sqrt(away[..., 0] * away[..., 0] + away[..., 1] * away[..., 1])
    result[np.isnan(predicted).any(axis=-1)] = np.inf
    result[np.isnan(truth).any(axis=-1)] = np.nan
    return result


def lengths(points: Array, first: int, second: int) -> Array:
    """Return the distance of two joints of every sample (n,); NaN where one of them is.

    Examples
    --------
    >>> lengths(np.array([[[0.0, 0.0], [3.0, 4.0]], [[np.nan, np.nan], [1.0, 1.0]]]), 0, 1)
    array([ 5., nan])
    """
    away = points[:, first] - points[:, second]
    return np.sqrt(away[:, 0] * away[:, 0] + away[:, 1] * away[:, 1])


def in_units(distance: Array, unit: Array) -> Array:
    """Divide distances (n, K) by each sample's unit of length (n,).

    A unit of zero makes every labelled joint a miss; a NaN unit leaves the sample out.

    Examples
    --------
    >>> in_units(np.array([[2.0], [2.0], [0.0], [1.0]]), np.array([10.0, 0.0, 0.0, np.nan]))
    array([[0.2], [inf], [inf], [nan]])
    """
    result = np.full_like(distance, np.inf)
    np.divide(distance, unit[:, None], out=result, where=(unit != 0)[:, None])
    result[np.isnan(distance)] = np.nan
    return result


@dataclass(frozen=True)
class Rate:
    """One number: how often some joints are right, in percent.

    Parameters
    ----------
    name : str
        Name of the metric.
    joints : tuple of int
        Columns of the errors.
    thresholds : tuple of float
        A joint is right within a threshold; several make an area under the curve.
    marks : tuple of int
        Weight of each threshold in that area.
    strict : bool
        Whether a hit is ``<``; otherwise it is ``<=``.
    pooled : bool
        All hits over all counted joints; otherwise the plain mean of the joints' rates.
    errors : str
        Which errors: ``joint`` for joints, ``stick`` for body parts (strict PCP).
    """

    name: str
    joints: tuple[int, ...]
    thresholds: tuple[float, ...]
    marks: tuple[int, ...] = (1,)
    strict: bool = False
    pooled: bool = False
    errors: str = "joint"


def grid(start: int, stop: int, scale: float = 100.0) -> tuple[float, ...]:
    """Return ``start / scale, ..., stop / scale``, each the float nearest to its decimal number."""
    return tuple(k / scale for k in range(start, stop + 1))


def trapezoid(count: int) -> tuple[int, ...]:
    """Return the marks of the trapezoidal rule over ``count`` even thresholds, axis scaled to 1."""
    return (1, *[2] * (count - 2), 1)


def rates(
    errors: Mapping[str, Array], plan: Sequence[Rate], weights: NDArray[np.int64]
) -> dict[str, Array]:
    """Compute rates for many draws of the samples.

    Parameters
    ----------
    errors : mapping of str to array (n, ...)
        ``joint`` (n, K) and whatever else the plan names.
    plan : sequence of Rate
    weights : int array (draws, n)
        How often each sample counts.

    Returns
    -------
    mapping of str to array (draws,)
        Percent by name; NaN where a joint (for a pooled rate: every joint) was never labelled.
        All sums are of whole numbers, so the order of samples cannot change a bit.

    Examples
    --------
    >>> one = {"joint": np.array([[0.1, 0.6], [0.3, np.nan]])}
    >>> plan = [Rate("mean", (0, 1), (0.5,)), Rate("all", (0, 1), (0.5,), pooled=True)]
    >>> {name: value.round(2) for name, value in rates(one, plan, np.ones((1, 2), int)).items()}
    {'mean': array([50.]), 'all': array([66.67])}
    """
    times = weights.astype(np.float64)
    result = {}
    for rate in plan:
        chosen = errors[rate.errors][:, rate.joints]
        got = times @ _marks(chosen, rate)
        due = times @ (~np.isnan(chosen) * float(sum(rate.marks)))
        if rate.pooled:
            got, due = got.sum(axis=1, keepdims=True), due.sum(axis=1, keepdims=True)
        share = np.full_like(got, np.nan)
        np.divide(100 * got, due, out=share, where=due > 0)
        result[rate.name] = share.mean(axis=1)
    return result


def per_sample(errors: Array, rate: Rate) -> Array:
    """Return a rate of every sample by itself (n,), its joints pooled; NaN without any label.

    Examples
    --------
    >>> per_sample(np.array([[0.1, 0.6], [0.3, np.nan]]), Rate("", (0, 1), (0.5,)))
    array([ 50., 100.])
    """
    chosen = errors[:, rate.joints]
    got = _marks(chosen, rate).sum(axis=1)
    due = (~np.isnan(chosen)).sum(axis=1) * float(sum(rate.marks))
    share = np.full(len(errors), np.nan)
    np.divide(100 * got, due, out=share, where=due > 0)
    return share


def _marks(errors: Array, rate: Rate) -> Array:
    total = np.zeros_like(errors)
    for threshold, mark in zip(rate.thresholds, rate.marks, strict=True):
        total += mark * (errors < threshold if rate.strict else errors <= threshold)
    return total
