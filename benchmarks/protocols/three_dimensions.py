"""What the benchmarks of poses in space share: checks of predictions made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.api import PrerequisiteError, Skeleton

_FACTOR = 5.0
"""Poses that are so many times too small or too large are not wrong but in another unit."""

_POSES = 1000
"""A unit is told from so many poses, evenly spread, as well as from all."""

_LIKELY = {("mm", 1e3): "metres", ("mm", 1e1): "centimetres", ("m", 1e-3): "millimetres"}


def shape_error(
    shape: tuple[int, ...], due: tuple[int, ...], path: Path, remedy: str
) -> PrerequisiteError:
    """Return the error for predictions of the wrong shape; a transposed one is called so."""
    hint = ""
    if len(shape) == len(due) and sorted(shape) == sorted(due):
        hint = ": it looks transposed"
    elif len(shape) != len(due):
        hint = f": {len(shape)} axes where {len(due)} are due"
    elif shape[1:] != due[1:] and (set(due[1:]) == set(shape[1:]) or due[1] == shape[0]):
        hint = ": axes look swapped"
    return PrerequisiteError(f"{path}: predictions have shape {shape}, due is {due}{hint}.", remedy)


def check_poses(
    predicted: NDArray[np.float64],
    truth: NDArray[np.float64],
    joints: Sequence[int],
    skeleton: Skeleton,
    ids: Sequence[str],
    source: str,
    unit: str = "mm",
) -> None:
    """Make sure that poses (n, K, 3) are finite where a value is due, and in the truth's unit.

    Raises
    ------
    PrerequisiteError
        Naming the source, the first wrong sample and joint, or the two sizes.
    """
    chosen = list(joints)
    if chosen != list(range(predicted.shape[1])):
        predicted, truth = predicted[:, chosen], truth[:, chosen]
    bad = ~np.isfinite(predicted)
    if bad.any():
        sample, column, _ = np.argwhere(bad)[0]
        joint = chosen[column]
        raise PrerequisiteError(
            f"{source}: {ids[sample]}, {skeleton.joints[joint]}: {predicted[sample, column]} "
            f"({int(bad.any(axis=-1).sum())} such joints).",
            "Predict every joint: this protocol knows no missing ones.",
        )
    check_size(predicted, truth, source, unit)


def check_size(
    predicted: NDArray[np.float64], truth: NDArray[np.float64], source: str, unit: str = "mm"
) -> None:
    """Make sure that poses or meshes (n, K, 3) are not in another unit than the true ones.

    Raises
    ------
    PrerequisiteError
        Naming both sizes and, where it is a power of ten, the factor between them.
    """
    if not len(predicted):
        return
    every = slice(None, None, len(predicted) // _POSES + 1)
    size, due = (float(np.median(_size(poses[every]))) for poses in (predicted, truth))
    if due / _FACTOR <= size <= due * _FACTOR:
        return
    factor = 10.0 ** round(np.log10(due / size)) if size > 0 else 1.0
    raise PrerequisiteError(
        f"{source}: the poses are {size:.3g} large where the true ones are {due:.3g} {unit}"
        + (f": they look like {_LIKELY[unit, factor]}." if (unit, factor) in _LIKELY else "."),
        f"Give all coordinates in {unit}" + (f" (multiply by {factor:g})." if factor != 1 else "."),
    )


def _size(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diagonal (n,) of the box around each pose."""
    return np.asarray(np.linalg.norm(poses.max(axis=1) - poses.min(axis=1), axis=-1))
