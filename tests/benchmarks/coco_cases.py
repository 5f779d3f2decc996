"""Random COCO keypoint cases in the official files, and what pycocotools says about them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.api import Benchmark, Dataset, Predictions, Ragged, Statistics, merge

NAMES = ("AP", "AP50", "AP75", "AP_M", "AP_L", "AR", "AR50", "AR75", "AR_M", "AR_L")
Json = dict[str, Any]


def random_case(seed: int, joints: int = 17) -> tuple[Json, list[Json]]:
    """Draw annotations and results with everything that trips evaluators.

    Crowds, people without labelled joints, wrong ``num_keypoints``, equal people, areas on the
    bounds of the size ranges, empty images, more than 20 detections, exact copies of the truth,
    coarse scores (ties inside and across images), results with boxes.
    """
    random = np.random.default_rng(seed)
    ids = random.choice(1000, random.integers(1, 9), replace=False) + 1
    images = [{"id": int(i), "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in ids]
    annotations: list[Json] = []
    results: list[Json] = []
    crowding = random.choice([2, 4, 8])
    for image_id in ids.tolist():
        people = [_person(random, image_id, joints) for _ in range(random.integers(0, crowding))]
        if len(people) > 1 and random.random() < 0.3:
            people[-1] = copy.deepcopy(people[0])
        annotations += people
        count = random.choice([0, 2, 6, 30])
        results += [_detection(random, image_id, people, joints) for _ in range(count)]
    if not results:
        results = [_detection(random, int(ids[0]), [], joints)]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    if random.random() < 0.3:
        for result in results:
            result["bbox"] = random.integers(0, 200, 4).tolist()
    order = random.permutation(len(results))
    truth = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    return truth, [results[i] for i in order]


def _person(random: np.random.Generator, image_id: int, count: int) -> Json:
    size = random.choice([10, 40, 120, 400])
    joints = random.integers(0, 400, 2) + random.integers(0, size + 1, (count, 2))
    visible = random.integers(0, 3, count) * (random.random() < 0.8)
    labelled = int((visible > 0).sum()) if random.random() < 0.9 else int(random.integers(0, 2))
    area = float(random.choice([32**2, 96**2, random.random() * size**2, size**2]))
    return {
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": int(random.random() < 0.15),
        "num_keypoints": labelled,
        "keypoints": np.column_stack([joints, visible]).astype(int).ravel().tolist(),
        "area": area,
        "bbox": [*joints.min(axis=0).tolist(), float(np.ptp(joints[:, 0])), float(size)],
    }


def _detection(random: np.random.Generator, image_id: int, people: list[Json], count: int) -> Json:
    if people and random.random() < 0.8:
        person = people[random.integers(len(people))]
        joints = np.array(person["keypoints"], dtype=float).reshape(count, 3)[:, :2]
        joints = joints + random.normal(0, 1, (count, 2)) * random.choice([0, 1, 3, 10, 30])
    else:
        joints = random.random((count, 2)) * random.choice([30, 100, 600])
    score = random.choice([random.random(), random.integers(0, 4) / 4, 1.0])
    keypoints = np.column_stack([joints, random.random(count)]).ravel().tolist()
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": keypoints,
        "score": float(score),
    }


def repeated(truth: Json, results: list[Json], times: dict[int, int]) -> tuple[Json, list[Json]]:
    """Repeat each image (by id) with all that is in it; its copies follow one another by id."""
    many: Json = {**truth, "images": [], "annotations": []}
    more: list[Json] = []
    for image in sorted(truth["images"], key=lambda image: image["id"]):
        for number in range(times[image["id"]]):
            new = image["id"] * 100 + number
            many["images"].append({**image, "id": new})
            for source, target in ((truth["annotations"], many["annotations"]), (results, more)):
                own = (record for record in source if record["image_id"] == image["id"])
                target.extend({**record, "image_id": new} for record in own)
    for number, annotation in enumerate(many["annotations"]):
        annotation["id"] = number + 1
    return many, more


def write(
    root: Path, truth: Json, results: list[Json], name: str = "person_keypoints_val2017"
) -> Path:
    """Write the official files below ``root``; return the path of the results."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"{name}.json").write_text(json.dumps(truth))
    path = root / "results.json"
    path.write_text(json.dumps(results))
    return path


def official(
    truth: Json,
    results: list[Json],
    kind: str = "keypoints",
    sigmas: tuple[float, ...] = (),
    images: list[int] | None = None,
) -> COCOeval:
    """Evaluate people with pycocotools, with other sigmas or on some of the images if given."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO()
        annotated.dataset = copy.deepcopy(truth)
        annotated.createIndex()
        evaluation = COCOeval(annotated, annotated.loadRes(copy.deepcopy(results)), kind)
        evaluation.params.catIds = [1]
        if sigmas:
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        if images is not None:
            evaluation.params.imgIds = images
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def official_metrics(evaluation: COCOeval, names: tuple[str, ...] = NAMES) -> dict[str, float]:
    """Return the numbers by name, NaN for -1."""
    values = np.where(evaluation.stats < 0, np.nan, evaluation.stats)
    return dict(zip(names, values.tolist(), strict=True))


def same(first: dict[str, float], second: dict[str, float]) -> bool:
    """Whether all numbers are equal to the bit; NaN equals NaN."""
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)


def identical(first: Statistics, second: Statistics) -> bool:
    """Whether two statistics are equal to the bit."""
    if not np.array_equal(first.position, second.position):
        return False
    pairs = []
    for name, column in first.columns.items():
        if isinstance(column, Ragged):
            other = second.ragged(name)
            pairs += [(column.values, other.values), (column.offsets, other.offsets)]
        else:
            pairs.append((column, second.dense(name)))
    return all(a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def merged_from_parts(
    benchmark: Benchmark, dataset: Dataset, predictions: Predictions, seed: int
) -> Statistics:
    """Return the statistics of a random cut of the samples, merged in random order."""
    random = np.random.default_rng(seed)
    ids = random.permutation(dataset.sample_ids)
    cuts = np.sort(random.integers(0, len(ids) + 1, random.integers(0, 4)))
    parts = [
        benchmark.statistics(
            dataset, predictions.select([str(i) for i in part]), benchmark.protocol()
        )
        for part in np.split(ids, cuts)
    ]
    return merge([parts[i] for i in random.permutation(len(parts))])
