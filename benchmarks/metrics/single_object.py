"""Success and precision of single-object trackers, and the starts of the robustness runs.

Source: Wu, Lim, Yang, Online Object Tracking: A Benchmark, CVPR 2013; rule by rule the authors'
MATLAB code (``calcSeqErrRobust``, ``genPerfMat``, ``splitSeqTRE``, ``shiftInitBB``). Boxes are
x, y, w, h in pixels counted from 1, as in their files: a truth with a number <= 0 is no truth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.overlap import pixel_iou

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# MATLAB fills 0:0.05:1 from both ends; other ways to count move single frames over a threshold.
OVERLAPS = np.concatenate([np.arange(11) * 0.05, 1 - np.arange(9, -1, -1) * 0.05])
"""Thresholds of the success plot (21,)."""

DISTANCES = np.arange(51.0)
"""Thresholds of the precision plot in pixels (51,)."""

SCALES = {"scale_8": 0.8, "scale_9": 0.9, "scale_11": 1.1, "scale_12": 1.2}
SHIFTS = (
    "left", "right", "up", "down", "topLeft", "topRight", "bottomLeft", "bottomRight", *SCALES,
)  # fmt: skip
"""Disturbances of the first box in spatial robustness runs."""

_SEGMENTS = 20
_LEAST_FRAMES = 20


def valid_truth(truth: Floats) -> Bools:
    """Return which boxes (n, 4) are annotated: all four numbers above 0."""
    return np.asarray((truth > 0).all(axis=1))


def run_counts(boxes: Floats, truth: Floats, shift: str = "") -> tuple[Ints, Ints]:
    """Count the frames of one run that pass each threshold.

    A lost box (all NaN, or w or h <= 0) repeats the one before; then the first box is set to the
    truth. Overlap must be above its threshold, the distance of the centres at most the threshold. A
    frame without truth fails every overlap and passes every distance.

    Parameters
    ----------
    boxes, truth : array (n, 4)
        From the run's first frame on.
    shift : str
        One of :data:`SHIFTS` for a spatial robustness run: its boxes are scaled back about their
        centres and rounded to whole pixels.

    Returns
    -------
    success : int array (21,)
    precision : int array (51,)
    """
    lost = np.isnan(boxes).all(axis=1) | (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0)
    lost &= ~np.isnan(truth).any(axis=1)
    lost[0] = False
    boxes = boxes[np.maximum.accumulate(np.where(lost, 0, np.arange(len(boxes))))]
    if shift:
        boxes = _undo(boxes, SCALES.get(shift, 1.0))
    boxes = np.concatenate([truth[:1], boxes[1:]])
    there = valid_truth(truth)
    overlap = np.where(there, pixel_iou(boxes, truth), -1.0)
    distance = np.sqrt(((_centre(boxes) - _centre(truth)) ** 2).sum(axis=1))
    distance = np.where(there, distance, -1.0)
    success = (overlap[:, None] > OVERLAPS).sum(axis=0)
    return success, (distance[:, None] <= DISTANCES).sum(axis=0)


def starts(truth: Floats, omitted: Ints) -> Ints:
    """Return the frames (from 0) at which temporal robustness runs start; the first is that of OPE.

    At most 20, evenly spread over the annotated frames that are not omitted and leave at least 20
    frames; one alone, the first such frame, if none leaves as many.

    Parameters
    ----------
    truth : array (n, 4)
    omitted : int array (k, 2)
        First and last frame (from 1) of the ranges in which no run may start.
    """
    allowed = valid_truth(truth)
    for first, last in omitted.tolist():
        allowed[first - 1 : last] = False
    places = np.flatnonzero(allowed)
    count = int((places <= len(truth) - _LEAST_FRAMES).sum())
    if count == 0:
        return places[:1]
    step = count / (_SEGMENTS - 1)
    steps = np.arange(int((count - 1) / step + 1e-9) + 1)
    chosen = np.append(np.floor(1 + steps * step + 1e-9).astype(np.int64), count)
    return np.asarray(places[chosen - 1])


def disturbed(box: Floats, shift: str, width: int, height: int) -> Floats:
    """Return the first box (4,) of a spatial robustness run, cut to the image.

    Side shifts move by a tenth of the box (rounded up), corner shifts move one corner, scales keep
    the centre.
    """
    x, y, w, h = box.tolist()
    right, bottom = x + w - 1, y + h - 1
    if shift in SCALES:
        ratio = SCALES[shift]
        middle = (x + w / 2, y + h / 2)
        w, h = ratio * w, ratio * h
        x, y, w, h = _round(np.array([middle[0] - w / 2, middle[1] - h / 2, w, h])).tolist()
    elif shift in ("left", "right"):
        x += np.ceil(0.1 * w) * (1 if shift == "right" else -1)
    elif shift in ("up", "down"):
        y += np.ceil(0.1 * h) * (1 if shift == "down" else -1)
    else:
        x1 = float(_round(np.array(x - 0.1 * w))) if "Left" in shift else x
        y1 = float(_round(np.array(y - 0.1 * h))) if "top" in shift else y
        right = right if "Left" in shift else float(_round(np.array(right + 0.1 * w)))
        bottom = bottom if "top" in shift else float(_round(np.array(bottom + 0.1 * h)))
        x, y, w, h = x1, y1, right - x1 + 1, bottom - y1 + 1
    x, y = max(x, 1), max(y, 1)
    return np.array([x, y, min(w, width - x + 1), min(h, height - y + 1)])


def _undo(boxes: Floats, ratio: float) -> Floats:
    size = boxes[:, 2:] / ratio
    return _round(np.concatenate([_centre(boxes) - size / 2, size], axis=1))


def _centre(boxes: Floats) -> Floats:
    return boxes[:, :2] + (boxes[:, 2:] - 1) / 2


def _round(values: Floats) -> Floats:
    """Round halves away from zero, as MATLAB does."""
    whole = np.trunc(values)
    half = np.abs(values - whole) == 0.5
    return np.where(half, whole + np.sign(values), np.rint(values))
