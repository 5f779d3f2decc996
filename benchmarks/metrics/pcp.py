"""Strict PCP: the percentage of body parts both of whose ends are right.

A stick counts as right when each of its two ends lies within a share (0.5) of the stick's true
length. "Loose" PCP (the mean of the two ends) exists in older papers and is not offered.

Sources: Ferrari et al., CVPR 2008; Pishchulin et al., CVPR 2012 (strict); bearpaw/eval_pose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.pck import distances, in_units, lengths

Array = NDArray[np.float64]
Stick = tuple[tuple[int, ...], tuple[int, ...]]
"""The joints whose middle is one end, and those whose middle is the other."""


def stick_errors(predicted: Array, truth: Array, sticks: tuple[Stick, ...]) -> Array:
    """Return the error of every stick (n, S): the farther end over the true length.

    ``predicted`` and ``truth`` are (n, K, 2). NaN where an end has no label, infinity where one
    has no prediction or the true stick has no length.

    Examples
    --------
    >>> truth = np.array([[[0.0, 0.0], [10.0, 0.0]]])
    >>> stick_errors(truth + [[[0.0, 1.0], [0.0, 4.0]]], truth, (((0,), (1,)),))
    array([[0.4]])
    """
    result = np.empty((len(truth), len(sticks)))
    for column, stick in enumerate(sticks):
        ends = [np.stack([points[:, end].mean(axis=1) for end in stick], axis=1)
                for points in (predicted, truth)]  # fmt: skip
        worst = distances(ends[0], ends[1]).max(axis=1, keepdims=True)
        result[:, column] = in_units(worst, lengths(ends[1], 0, 1))[:, 0]
    return result
