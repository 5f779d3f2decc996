"""Overlap of the masks and boxes of one image's detections and people, as DensePose defines them.

Source: detectron2, DensePose project, ``densepose_coco_evaluation.py`` (``computeDPIoU``); the
intersections are pycocotools', with its rule for crowds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.densepose import DenseTruth

_SIDE = 256  # of the masks that annotators drew in the box


def mask_overlaps(
    truth: DenseTruth,
    image: int,
    boxes: NDArray[np.float64],
    iuv: list[NDArray[np.uint8]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the IoU of masks and that of boxes, (D, G) each."""
    from pycocotools import mask

    people = truth.people
    size = int(people.height[image]), int(people.width[image])
    own = range(people.offsets[image], people.offsets[image + 1])
    if not len(boxes) or not len(own):
        return np.zeros((len(boxes), len(own))), np.zeros((len(boxes), len(own)))
    crowd = [int(people.crowd[row]) for row in own]
    true_masks = [_annotated(truth.masks[row], people.box[row], size) for row in own]
    found = [_on_image(part[..., 0], box, size) for part, box in zip(iuv, boxes, strict=True)]
    return (
        np.asarray(mask.iou(found, true_masks, crowd)),
        np.asarray(mask.iou(boxes.tolist(), people.box[own.start : own.stop].tolist(), crowd)),
    )


def _annotated(
    annotation: Mapping[str, Any], box: NDArray[np.float64], size: tuple[int, int]
) -> Any:
    """Return a person's run-length mask: of dp_masks, else of the segmentation."""
    from pycocotools import mask
    from scipy.ndimage import zoom

    if "dp_masks" in annotation:
        drawn = np.zeros((_SIDE, _SIDE))
        for part in annotation["dp_masks"][:14]:
            if part:
                drawn[mask.decode(part) > 0] = 1.0
        scale = float(max(box[3], 1)) / _SIDE, float(max(box[2], 1)) / _SIDE
        resized = zoom(drawn, scale, order=1, prefilter=False)
        return _on_image(resized > 0.5, box, size)
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        return mask.merge(mask.frPyObjects(segmentation, *size))
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            return mask.frPyObjects(segmentation, *size)
        return segmentation
    return _on_image(None, box, size)


def _on_image(drawn: NDArray[Any] | None, box: NDArray[np.float64], size: tuple[int, int]) -> Any:
    """Return the run-length mask of a picture that is drawn in a box; empty for none."""
    from pycocotools import mask

    canvas = np.zeros(size, dtype=np.uint8, order="F")
    if drawn is not None:
        x, y, w, h = box
        left, top = int(x), int(y)
        x0, x1 = max(left, 0), min(int(x + w), size[1], left + drawn.shape[1])
        y0, y1 = max(top, 0), min(int(y + h), size[0], top + drawn.shape[0])
        if x1 > x0 and y1 > y0:
            canvas[y0:y1, x0:x1] = drawn[y0 - top : y1 - top, x0 - left : x1 - left] > 0
    return mask.encode(canvas)
