"""Weighted means and medians, for many draws of the samples at once.

A draw is a row of weights: how often each value counts. Every result is that of a data set in
which the value is repeated that often; NaN where nothing counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ratio(total: Floats, count: NDArray[np.float64] | Ints) -> Floats:
    """Divide sums by counts of the same shape; NaN where the count is zero.

    Examples
    --------
    >>> ratio(np.array([6.0, 0.0]), np.array([4, 0]))
    array([1.5, nan])
    """
    result = np.full(np.broadcast_shapes(total.shape, count.shape), np.nan)
    np.divide(total, count, out=result, where=count != 0)
    return result


def mean(values: Floats, weights: Ints) -> Floats:
    """Return the weighted means (B, ...) of values (n, ...) for weights (B, n).

    Examples
    --------
    >>> mean(np.array([1.0, 4.0]), np.array([[1, 1], [2, 1], [0, 0]]))
    array([2.5, 2. , nan])
    """
    times = weights.astype(np.float64)
    flat = times @ values.reshape(len(values), -1)
    count = times.sum(axis=1).reshape(-1, *[1] * (values.ndim - 1))
    return ratio(flat.reshape(len(weights), *values.shape[1:]), count)


def median(values: Floats, weights: Ints, owner: Ints | None = None) -> Floats:
    """Return the weighted medians (B,) of values (n,) for weights (B, n).

    Of an even number of values it is the middle of the two middle ones, as in numpy. Where several
    values have one weight, ``owner`` (n,) says for each which column of the weights is its own.

    Examples
    --------
    >>> median(np.array([3.0, 1.0, 2.0]), np.array([[1, 1, 1], [0, 1, 1], [0, 0, 0]]))
    array([2. , 1.5, nan])
    """
    order = np.argsort(values, kind="stable")
    ranked, owner = values[order], order if owner is None else owner[order]
    result = np.full(len(weights), np.nan)
    for draw, times in enumerate(weights):
        upto = np.cumsum(times[owner])
        total = int(upto[-1]) if len(upto) else 0
        if total:
            middle = np.searchsorted(upto, [(total - 1) // 2, total // 2], side="right")
            result[draw] = ranked[middle].mean()
    return result
