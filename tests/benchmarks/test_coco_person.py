"""COCO person boxes give pycocotools' numbers to the last bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from coco_cases import identical, merged_from_parts, official, official_metrics, same, write
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.protocols.coco_person import CocoPerson
from harness.api import PrerequisiteError

PERSON = CocoPerson()
PROTOCOL = PERSON.protocol()
NAMES = (
    "AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L",
    "AR1", "AR10", "AR100", "AR_S", "AR_M", "AR_L",
)  # fmt: skip
FILE = "instances_val2017"
seeds = st.integers(0, 2**32 - 1)


def box_case(seed):
    """People, crowds and other categories; ties, exact copies, areas on the bounds, 130 boxes."""
    random = np.random.default_rng(seed)
    ids = (random.choice(1000, random.integers(1, 6), replace=False) + 1).tolist()
    annotations, results = [], []
    for image_id in ids:
        own = [_annotation(random, image_id) for _ in range(random.integers(0, 7))]
        annotations += own
        for _ in range(random.choice([0, 3, 12, 130])):
            box = random.random(4) * random.choice([20, 60, 200])
            if own and random.random() < 0.8:
                noise = random.normal(0, 1, 4) * random.choice([0, 1, 8])
                box = np.maximum(own[random.integers(len(own))]["bbox"] + noise, 0)
            score = random.choice([random.random(), random.integers(0, 4) / 4])
            results.append({"image_id": image_id, "category_id": int(random.random() < 0.1) + 1,
                            "bbox": box.tolist(), "score": float(score)})  # fmt: skip
    results = results or [
        {"image_id": ids[0], "category_id": 1, "bbox": [0.0, 0, 9, 9], "score": 1.0}
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    results[0]["category_id"] = 1
    images = [{"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in ids]
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def _annotation(random, image_id):
    box = random.integers(0, 400, 2).tolist() + random.choice([8, 32, 64, 96, 150], 2).tolist()
    return {
        "image_id": image_id,
        "category_id": int(random.random() < 0.1) + 1,
        "iscrowd": int(random.random() < 0.15),
        "area": float(random.choice([box[2] * box[3] / 2, box[2] * box[3], 32**2, 96**2])),
        "bbox": [float(number) for number in box],
    }


def read(root, case, name=FILE):
    path = write(root, *case, name=name)
    dataset = PERSON.load(root, "val2017")
    return dataset, PERSON.read_predictions(path, dataset, PROTOCOL)


@given(seed=seeds)
@settings(max_examples=120, deadline=None)
def test_equals_pycocotools(seed, tmp_path_factory):
    case = box_case(seed)
    dataset, predictions = read(tmp_path_factory.mktemp("case"), case)
    statistics = PERSON.statistics(dataset, predictions, PROTOCOL)
    metrics = PERSON.compute(statistics, PROTOCOL)
    assert same(metrics, official_metrics(official(*case, kind="bbox"), NAMES))
    assert identical(merged_from_parts(PERSON, dataset, predictions, seed), statistics)
    weights = np.ones((2, len(statistics)), dtype=np.int64)
    drawn = PERSON.resample(statistics, PROTOCOL, weights)
    assert same({name: float(values[1]) for name, values in drawn.items()}, metrics)


def test_oracles(shared_data):
    cases = sorted((shared_data / "oracles" / "coco_bbox").glob("case*"))
    assert len(cases) >= 4
    for root in cases:
        case = json.loads((root / "expected.json").read_text())
        dataset = PERSON.load(root, "val2017")
        path = root / case["files"]["predictions"]
        predictions = PERSON.read_predictions(path, dataset, PROTOCOL)
        metrics = PERSON.compute(PERSON.statistics(dataset, predictions, PROTOCOL), PROTOCOL)
        assert metrics == pytest.approx(case["metrics"], rel=0, abs=case["tolerance"])


def test_keypoint_annotations_serve_as_well(tmp_path):
    case = box_case(7)
    first = read(tmp_path / "a", case)
    second = read(tmp_path / "b", case, "person_keypoints_val2017")
    assert identical(PERSON.statistics(*first, PROTOCOL), PERSON.statistics(*second, PROTOCOL))
    assert PERSON.splits(tmp_path / "a") == PERSON.splits(tmp_path / "b") == ("val2017",)


def test_real_detections_find_the_people(shared_data):
    root = shared_data / "coco" / "val4"
    dataset = PERSON.load(root, "val2017")
    (path,) = (root / "person_detection_results").iterdir()
    predictions = PERSON.read_predictions(path, dataset, PROTOCOL)
    statistics = PERSON.statistics(dataset, predictions, PROTOCOL)
    truth = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    evaluation = official(truth, json.loads(path.read_text()), kind="bbox")
    assert same(PERSON.compute(statistics, PROTOCOL), official_metrics(evaluation, NAMES))
    found = PERSON.per_sample(statistics, PROTOCOL)["found"]
    assert found.shape == (4,)
    assert (found > 0.5).all()
    assert [sample.boxes for sample in PERSON.samples(dataset, PROTOCOL)] == [None] * 4


def test_missing_annotations_print_the_layout(tmp_path):
    with pytest.raises(
        PrerequisiteError, match=r"instances_val2017\.json or annotations/person_key"
    ):
        PERSON.load(tmp_path, "val2017")
