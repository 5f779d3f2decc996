"""COCO's results format: keypoints and person boxes found in images."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.datasets.records import Records, positions, read_records
from harness.api import PEOPLE_2D, Dataset, Predictions, PrerequisiteError, Rows

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
    known = np.array(dataset.sample_ids, dtype=np.int64)
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


def write_results(predictions: Predictions, dataset: Dataset, path: Path) -> None:
    """Write keypoint results in the official format, every number with all its digits.

    ``.json`` is the list of results; ``.zip`` holds it as the evaluation server wants it, named
    ``person_keypoints_SPLIT_METHOD_results.json``, METHOD being the zip's own name (which may be
    the official one, ``person_keypoints_SPLIT_METHOD_results.zip``). A joint that is not predicted
    is written as 0, 0 with confidence 0. Boxes are written if the predictions carry any, for the
    official tool then takes a detection's area from them.

    Raises
    ------
    PrerequisiteError
        If ``path`` ends otherwise.
    OSError
        If it cannot be written.
    """
    if path.suffix == ".json":
        with path.open("wb") as plain:
            plain.writelines(_json_pieces(predictions))
        return
    if path.suffix != ".zip":
        raise PrerequisiteError(
            f"{path} ends in neither .zip nor .json.",
            "Name a .zip for the evaluation server, or a .json for pycocotools.",
        )
    prefix, suffix = f"person_keypoints_{dataset.split}_", "_results"
    method = path.stem.removeprefix(prefix).removesuffix(suffix)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{prefix}{method}{suffix}.json", "w", force_zip64=True) as member,
    ):
        member.writelines(_json_pieces(predictions))


def _json_pieces(predictions: Predictions) -> Iterator[bytes]:
    """Return the JSON text of all results, an image's at a time."""
    start = b"["
    for index, sample_id in enumerate(predictions.sample_ids):
        results = _results(int(sample_id), predictions.rows_of(index))
        if results:
            yield start + orjson.dumps(results)[1:-1]
            start = b","
    yield b"[]" if start == b"[" else b"]"


def _results(image_id: int, rows: Rows) -> list[dict[str, Any]]:
    if not len(rows.get("score", ())):
        return []
    points = np.concatenate([rows["keypoints"], rows["keypoint_scores"][..., None]], axis=2)
    points[np.isnan(points).any(axis=2)] = 0.0
    results = [
        {"image_id": image_id, "category_id": PERSON, "keypoints": point, "score": score}
        for point, score in zip(
            points.reshape(len(points), -1).tolist(), rows["score"].tolist(), strict=True
        )
    ]
    if "box" in rows:
        for result, box in zip(results, rows["box"].tolist(), strict=True):
            result["bbox"] = box
    return results


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
