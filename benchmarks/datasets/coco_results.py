"""COCO's results format: keypoints and person boxes found in images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.records import Records, positions, read_records
from harness.api import PEOPLE_2D, Dataset, Predictions

PERSON = 1
"""The category id of people."""

_KEYPOINTS = "a list of {image_id, category_id, keypoints, score}"
_BOXES = "a list of {image_id, category_id, bbox [x, y, w, h], score}"
_UNKNOWN_IMAGE = "Score it on the split it was made for, or leave out what is not in this split."


def read_boxes(
    path: Path, image_id: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Read the person boxes of a detections file, grouped by image in the file's order.

    Returns
    -------
    boxes : array (n, 4)
        x, y, w, h.
    scores : array (n,)
    offsets : int array (images + 1,)

    Raises
    ------
    PrerequisiteError
        Naming file, record, value and remedy.
    """
    boxes, scores, image = [], [], []
    for records in _people(path, "detection", _BOXES):
        box = records.rows("bbox", 4, "x, y, width, height")
        if (negative := (box[:, 2:] < 0).any(axis=1)).any():
            index = int(np.flatnonzero(negative)[0])
            records.fail(index, f"has the box {box[index].tolist()}", "A size is not negative.")
        boxes.append(box)
        scores.append(records.numbers("score"))
        image.append(positions(records, "image_id", image_id, _UNKNOWN_IMAGE))
    order, offsets = _by_image(np.concatenate(image), len(image_id))
    return np.concatenate(boxes)[order], np.concatenate(scores)[order], offsets


def read_results(path: Path, dataset: Dataset, joints: int) -> Predictions:
    """Read keypoint results in the official format; the order inside an image is kept.

    As in the official tool, results of other categories than people are left out, and if the
    first result has a ``bbox`` all need one: it then gives the detection's area.

    Raises
    ------
    PrerequisiteError
        Naming file, record, value and remedy.
    """
    known = dataset.truth.image_id
    meaning = f"{joints} times x, y, confidence in one flat list"
    columns: dict[str, list[NDArray[np.float64]]] = {"keypoints": [], "score": []}
    image: list[NDArray[np.int64]] = []
    for records in _people(path, "result", _KEYPOINTS):
        columns["keypoints"].append(records.rows("keypoints", joints * 3, meaning))
        columns["score"].append(records.numbers("score"))
        if len(records) and not any(map(len, image)) and records.items[0].get("bbox"):
            columns["box"] = []
        if "box" in columns:
            columns["box"].append(records.rows("bbox", 4, "x, y, width, height"))
        image.append(positions(records, "image_id", known, _UNKNOWN_IMAGE))
    order, offsets = _by_image(np.concatenate(image), len(known))
    joined = {name: np.concatenate(parts)[order] for name, parts in columns.items()}
    keypoints = joined["keypoints"].reshape(-1, joints, 3)
    joined["keypoints"] = np.ascontiguousarray(keypoints[:, :, :2])
    joined["keypoint_scores"] = np.ascontiguousarray(keypoints[:, :, 2])
    return Predictions(PEOPLE_2D, dataset.sample_ids, offsets, joined)


def _people(path: Path, what: str, expected: str) -> Iterator[Records]:
    """Read a list of records piece by piece; only people's are kept."""
    other = None
    people = 0
    for records in read_records(path, what, expected):
        category = records.integers("category_id")
        chosen = records.where(category == PERSON)
        people += len(chosen)
        other = records if len(chosen) < len(records) else other
        yield chosen
    if other is not None and not people:
        other.fail(0, "is of no person, as all others", "People have category_id 1.")


def _by_image(image: NDArray[np.int64], images: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order that groups rows by image, and the images' offsets (images + 1,)."""
    order = np.argsort(image, kind="stable")
    return order, np.searchsorted(image[order], np.arange(images + 1))
