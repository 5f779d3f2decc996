"""Bones: vectors from joint to parent, their errors and their lengths.

Bone error and bone deviation: Sun, Shang, Liang, Wei, Compositional Human Pose Regression, ICCV
2017. The paper gives no formula for the deviation; ours is the standard deviation of the predicted
length of each bone over the frames, and the mean over bones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.metrics.averages import Floats


def bone_vectors(points: Floats, parents: Sequence[int]) -> Floats:
    """Return joint minus parent (n, bones, 3) of points (n, K, 3), for joints that have a parent.

    Parameters
    ----------
    points : array (n, K, 3)
    parents : sequence of int
        Parent of the first ``len(parents)`` points; -1 for none.

    Examples
    --------
    >>> bone_vectors(np.array([[[0.0, 0, 0], [1, 0, 0], [1, 2, 0]]]), [-1, 0, 1])
    array([[[1., 0., 0.], [0., 2., 0.]]])
    """
    joints = [joint for joint, parent in enumerate(parents) if parent >= 0]
    return np.asarray(points[:, joints] - points[:, [parents[joint] for joint in joints]])


def bone_errors(predicted: Floats, truth: Floats, parents: Sequence[int]) -> Floats:
    """Return the lengths (n, bones) of the differences between predicted and true bones."""
    away = bone_vectors(predicted, parents) - bone_vectors(truth, parents)
    return np.asarray(np.linalg.norm(away, axis=-1))


def bone_lengths(points: Floats, parents: Sequence[int]) -> Floats:
    """Return the lengths (n, bones) of the bones of points (n, K, 3)."""
    return np.asarray(np.linalg.norm(bone_vectors(points, parents), axis=-1))
