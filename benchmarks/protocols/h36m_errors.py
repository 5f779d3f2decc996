"""The errors of single frames that the protocols of Human3.6M know."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.h36m import Poses
from benchmarks.metrics.bones import bone_errors, bone_lengths
from benchmarks.metrics.joint_error import centred, distances, scaled
from benchmarks.metrics.procrustes import align
from benchmarks.protocols.h36m_rules import TREE_17, TREE_18, H36MProtocol
from harness.api import PrerequisiteError
from harness.api.skeleton import H36M_17

Floats = NDArray[np.float64]

_WHOLE_BODY = ("integral", "bone_error_17", "bone_error_18", "bone_length", "axis", "velocity")
_SHOULDERS = [H36M_17.joints.index(f"{side}_shoulder") for side in ("left", "right")]


def needed_joints(protocol: H36MProtocol) -> list[int]:
    """Return the joints that predictions must have."""
    names = {*protocol.joints, *protocol.root}
    if protocol.alignment == "integral" or any(n.error in _WHOLE_BODY for n in protocol.numbers):
        names = set(H36M_17.joints)
    return [row for row, joint in enumerate(H36M_17.joints) if joint in names]


def frame_errors(
    predicted: Floats, poses: Poses, frames: NDArray[np.int64], protocol: H36MProtocol
) -> dict[str, Floats]:
    """Return every error that the protocol's numbers use, in millimetres.

    Parameters
    ----------
    predicted : array (n, 17, 3)
        NaN only for joints that the protocol does not need.
    poses : Poses
    frames : int array (n,)
        Their numbers among the poses; frames of a sequence are together and in time.
    protocol : H36MProtocol

    Returns
    -------
    mapping of str to array (n,) or (n, m)
        ``mpjpe`` (n, joints); ``axis`` (n, 3) and the bones' (n, 16); else a frame's mean (n,), or
        its joints' errors where hidden joints are left out. NaN does not count.
    """
    # A video at a time: its arrays stay in the processor's cache.
    cuts = np.flatnonzero(np.diff(poses.sequence[frames])) + 1
    videos = zip(np.split(predicted, cuts), np.split(frames, cuts), strict=True)
    parts = [_video_errors(own, poses, numbers, protocol) for own, numbers in videos]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _video_errors(
    predicted: Floats, poses: Poses, frames: NDArray[np.int64], protocol: H36MProtocol
) -> dict[str, Floats]:
    truth = poses.joints[frames]
    result = {}
    for error in dict.fromkeys(number.error for number in protocol.numbers):
        values = _error(error, predicted, truth, poses.sequence[frames], protocol)
        if values.shape[1:] == (len(protocol.joints),):
            if protocol.hidden_joints == "left out":
                rows = [H36M_17.joints.index(joint) for joint in protocol.joints]
                values = np.where(poses.visible[frames][:, rows], values, np.nan)
            elif error != "mpjpe":
                values = values.mean(axis=1)
        result[error] = values
    return result


def _error(
    error: str,
    predicted: Floats,
    truth: Floats,
    sequence: NDArray[np.int64],
    protocol: H36MProtocol,
) -> Floats:
    rows = [H36M_17.joints.index(joint) for joint in protocol.joints]
    root = [H36M_17.joints.index(joint) for joint in protocol.root]
    if error == "pa_mpjpe" and protocol.alignment == "integral":
        error = "integral"
    if error == "pa_mpjpe":
        mirror = protocol.alignment == "similarity or reflection"
        moved = align(predicted[:, rows], truth[:, rows], scale=True, reflection=mirror)
        return distances(moved, truth[:, rows])
    if error == "rigid":
        return distances(align(predicted[:, rows], truth[:, rows], scale=False), truth[:, rows])
    if error == "integral":
        return _integral(predicted, truth)[:, rows]
    if error in ("bone_error_17", "bone_error_18"):
        if error == "bone_error_17":
            return bone_errors(predicted, truth, TREE_17)
        return bone_errors(_with_middle(predicted), _with_middle(truth), TREE_18)
    if error == "bone_length":
        return bone_lengths(predicted, TREE_17)
    if error == "illegal_angle":
        raise PrerequisiteError(
            "Illegal Angle needs the joint-limit model of Akhter and Black (CVPR 2015), which has "
            "a licence of its own and is not part of this project; reading the user's copy is not "
            "supported yet.",
            "Choose the protocol 'compositional', which has the paper's other four errors.",
        )
    away, there = centred(predicted, root), centred(truth, root)
    if error == "mpjpe":
        return distances(away[:, rows], there[:, rows])
    if error == "n_mpjpe":
        return distances(scaled(away[:, rows], there[:, rows]), there[:, rows])
    if error == "axis":
        return np.asarray(np.abs(away - there)[:, rows].mean(axis=1))
    if error == "velocity":
        return _velocity((away - there)[:, rows], sequence)
    raise ValueError(f"unknown error {error!r}")


def _with_middle(poses: Floats) -> Floats:
    """Append the middle of the shoulders: (n, 18, 3)."""
    return np.concatenate([poses, poses[:, _SHOULDERS].mean(axis=1, keepdims=True)], axis=1)


def _integral(predicted: Floats, truth: Floats) -> Floats:
    """Return joint distances (n, 17) after the alignment of Integral Pose Regression."""
    moved = align(_with_middle(predicted), _with_middle(truth), scale=False)[:, :17]
    return distances(centred(moved, [0]), centred(truth, [0]))


def _velocity(away: Floats, sequence: NDArray[np.int64]) -> Floats:
    """Return for every frame (n,) the mean velocity error of its sequence.

    The velocity error of a step is the norm of the change of the error vector. A sequence of one
    frame has none: NaN.
    """
    step = np.linalg.norm(np.diff(away, axis=0), axis=-1).mean(axis=1)
    within = np.diff(sequence) == 0
    _, index, counts = np.unique(sequence, return_inverse=True, return_counts=True)
    total = np.bincount(index[1:], weights=np.where(within, step, 0.0), minlength=len(counts))
    means = np.divide(total, counts - 1, out=np.full(len(counts), np.nan), where=counts > 1)
    return np.asarray(means[index])
