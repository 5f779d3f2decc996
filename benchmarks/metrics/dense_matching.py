"""What the DensePose evaluator does after the matching of COCO, mirrored with its quirks.

Source: detectron2, DensePose project, ``densepose_coco_evaluation.py`` (``evaluateImg``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.averages import Floats, Ints
from benchmarks.metrics.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE

Bools = NDArray[np.bool_]


def dense_outcomes(
    winner: Ints,
    ignored: Bools,
    outside: Bools,
    crowd: Bools,
    box_iou: Floats,
    box_threshold: float,
) -> NDArray[np.int8]:
    """Say what each detection of one image is: true positive, false positive or ignored.

    Where all truth is ignored, so are all detections. A detection that is unmatched at the last
    threshold looks for truth that is free there, by the overlap of the boxes. If that truth is
    ignored, the detection is ignored at all thresholds and takes it; if it is not, the detection
    is ignored at none, which makes matches with ignored truth at lower thresholds count.

    Parameters
    ----------
    winner : int array (D, A, T)
        Matched truth of each detection (best score first), size range and threshold; -1 for none.
    ignored : bool array (G, A)
    outside : bool array (D, A)
        Whether a detection is outside a size range: unmatched, it is ignored.
    crowd : bool array (G,)
        Truth that may be taken several times.
    box_iou : array (D, G)
    box_threshold : float

    Returns
    -------
    int8 array (D, A, T)
    """
    matched = winner >= 0
    skipped = np.zeros(winner.shape, dtype=np.bool_)
    for size in range(winner.shape[1]):
        if ignored[:, size].all():
            skipped[:, size] = True
            continue
        skipped[:, size] = matched[:, size] & ignored[winner[:, size], size]
        taken = np.zeros(len(crowd), dtype=np.bool_)
        taken[winner[matched[:, size, -1], size, -1]] = True
        # Truth that counts comes first: of equal overlaps the last wins.
        order = np.argsort(ignored[:, size], kind="stable")
        for detection in np.flatnonzero(~matched[:, size, -1]):
            free = order[~taken[order] | crowd[order]]
            near = free[box_iou[detection, free] >= box_threshold]
            if not len(near):
                continue
            chosen = near[::-1][np.argmax(box_iou[detection, near[::-1]])]
            skipped[detection, size] = ignored[chosen, size]
            if ignored[chosen, size]:
                matched[detection, size, -1] = taken[chosen] = True
    skipped |= ~matched & outside[:, :, None]
    kind = np.where(matched, TRUE_POSITIVE, FALSE_POSITIVE)
    return np.where(skipped, IGNORED, kind).astype(np.int8)
