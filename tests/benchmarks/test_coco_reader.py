"""The COCO reader: samples, boxes, splits, and one clear message for every wrong file."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from coco_cases import random_case, write

from benchmarks.protocols.coco import Coco
from harness.api import COCO_17, PrerequisiteError, file_digest

COCO = Coco()
PROTOCOL = COCO.protocol()
TRUTH = "annotations/person_keypoints_val2017.json"


@pytest.fixture
def case():
    truth, results = random_case(0)
    assert len(truth["annotations"]) > 2
    return truth, results


@pytest.fixture
def root(tmp_path, case):
    write(tmp_path, *case)
    return tmp_path


def test_dataset_names_its_images_in_the_order_of_their_ids(root, case):
    dataset = COCO.load(root, "val2017")
    assert dataset.sample_ids == tuple(map(str, sorted(image["id"] for image in case[0]["images"])))
    assert dataset.digest == file_digest(root / TRUTH)
    assert not dataset.synthetic
    assert COCO.splits(root) == ("val2017",)


def test_embedded_world_is_told_by_its_info(tmp_path, case):
    write(tmp_path, {**case[0], "info": {"synthetic": True}}, [])
    assert COCO.load(tmp_path, "val2017").synthetic


def test_ground_truth_boxes_are_cut_as_in_the_official_code(tmp_path):
    def person(number, box, **changes):
        keypoints = [5, 5, 2] * 17
        return {
            "id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, "num_keypoints": 17,
            "keypoints": keypoints, "area": 50.0, "bbox": box, **changes,
        }  # fmt: skip

    people = [
        person(1, [10, 20, 30, 40]),
        person(2, [-5, 90, 200, 50]),
        person(3, [1, 1, 5, 5], iscrowd=1),
        person(4, [1, 1, 5, 5], num_keypoints=0, keypoints=[0] * 51),
        person(5, [1, 1, 5, 5], area=0.0),
        person(6, [120, 1, 5, 5]),
    ]
    images = [{"id": 1, "width": 100, "height": 100, "file_name": "a.jpg"}]
    write(tmp_path, {"images": images, "annotations": people, "categories": []}, [])
    (tmp_path / "images" / "val2017").mkdir(parents=True)
    dataset = COCO.load(tmp_path, "val2017")
    (sample,) = COCO.samples(dataset, PROTOCOL)
    assert sample.boxes.tolist() == [[10, 20, 29, 39], [0, 90, 99, 9]]
    assert sample.box_scores.tolist() == [1, 1]
    assert sample.images == (str(tmp_path / "images" / "val2017" / "a.jpg"),)
    ((training, known),) = COCO.training_samples(dataset, COCO_17)
    assert np.array_equal(training.boxes, sample.boxes)
    assert known["keypoints"].shape == (2, 17, 2)
    assert known["visible"].all()
    assert known["area"].tolist() == [50, 50]


def test_method_without_boxes_gets_none(shared_data):
    dataset = COCO.load(shared_data / "coco" / "val4", "val2017")
    samples = COCO.samples(dataset, replace(PROTOCOL, box_source="none"))
    assert [sample.boxes for sample in samples] == [None] * 4


def test_detections_file(shared_data):
    root = shared_data / "coco" / "val4"
    dataset = COCO.load(root, "val2017")
    (path,) = (root / "person_detection_results").iterdir()
    samples = COCO.samples(dataset, PROTOCOL, path)
    assert tuple(sample.id for sample in samples) == dataset.sample_ids
    for sample in samples:
        own = [r for r in json.loads(path.read_text()) if str(r["image_id"]) == sample.id]
        assert sample.boxes.tolist() == [r["bbox"] for r in own]
        assert sample.box_scores.tolist() == [r["score"] for r in own]
        assert sample.read_image().ndim == 3


def test_results_of_other_categories_are_left_out(root, case):
    results = copy.deepcopy(case[1])
    results.insert(1, {"category_id": 3, "image_id": -7})
    path = write(root, case[0], results)
    dataset = COCO.load(root, "val2017")
    mixed = COCO.read_predictions(path, dataset, PROTOCOL)
    assert len(mixed.columns["score"]) == len(case[1])


def error(call):
    with pytest.raises(PrerequisiteError) as caught:
        call()
    return str(caught.value)


def test_missing_annotations_print_the_layout(tmp_path):
    message = error(lambda: COCO.load(tmp_path, "val2017"))
    assert TRUTH in message
    assert "val2017/*.jpg" in message


def test_missing_pictures_print_the_layout(root):
    dataset = COCO.load(root, "val2017")
    message = error(lambda: COCO.samples(dataset, PROTOCOL))
    assert "no pictures of val2017" in message
    assert "images/val2017/*.jpg" in message


def change(key, value, row=1):
    return lambda items: items[row].__setitem__(key, value)


@pytest.mark.parametrize(
    ("section", "spoil", "words"),
    [
        ("annotations", change("keypoints", [1.0] * 50), ["annotation 1 (id 2", "50 numbers"]),
        ("annotations", change("keypoints", None), ["annotation 1", "null"]),
        ("annotations", change("area", float("nan")), ["annotation 1", "area", "nan"]),
        ("annotations", change("bbox", [1, 2, 3]), ["annotation 1", "3 numbers in bbox"]),
        ("annotations", change("image_id", 999999), ["annotation 1", "unknown image_id 999999"]),
        ("annotations", change("id", 1), ["annotation 1 (id 1", "repeats"]),
        ("annotations", lambda items: items[1].pop("area"), ["annotation 1", "no 'area'"]),
        ("annotations", change("num_keypoints", "3"), ["annotation 1", "num_keypoints '3'"]),
        ("images", lambda items: items.append(dict(items[0])), ["image", "repeats an id"]),
        ("images", lambda items: items[0].pop("width"), ["image 0", "no 'width'"]),
        ("images", lambda items: items.append(5), ["image", "the number 5"]),
    ],
)
def test_wrong_annotation_is_named(tmp_path, case, section, spoil, words):
    truth = copy.deepcopy(case[0])
    spoil(truth[section])
    write(tmp_path, truth, [])
    message = error(lambda: COCO.load(tmp_path, "val2017"))
    assert str(tmp_path / TRUTH) in message
    assert all(word in message for word in words), message
    assert len(message.splitlines()) == 2


RESULT = {"image_id": 1, "category_id": 1, "keypoints": [1.0] * 51, "score": 0.5}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (change("image_id", 987654), ["result 1 (image_id 987654)", "unknown image_id"]),
        (change("image_id", "7"), ["result 1", "image_id '7'", "whole number"]),
        (change("keypoints", [1.0] * 34), ["result 1", "34 numbers", "x, y only"]),
        (change("keypoints", [[1.0, 2.0, 3.0]] * 17), ["result 1", "nested lists"]),
        (change("keypoints", [1.0] * 50 + [None]), ["result 1", "null in keypoints"]),
        (change("keypoints", [1.0] * 50 + ["2"]), ["result 1", "the text '2' in keypoints"]),
        (change("score", float("nan")), ["result 1", "nan in score"]),
        (change("score", float("inf")), ["result 1", "inf in score"]),
        (change("score", "0.5"), ["result 1", "the text '0.5' in score"]),
        (lambda items: items[1].pop("score"), ["result 1", "no 'score'"]),
        (lambda items: items[1].pop("category_id"), ["result 1", "no 'category_id'"]),
        (lambda items: items.__setitem__(1, [1, 2]), ["result 1", "a list, not an object"]),
        (lambda items: [item.update(category_id=0) for item in items], ["of no person"]),
    ],
)
def test_wrong_result_is_named(root, case, spoil, words):
    dataset = COCO.load(root, "val2017")
    results = [{**RESULT, "image_id": case[0]["images"][0]["id"]} for _ in range(3)]
    spoil(results)
    path = root / "mine.json"
    path.write_text(json.dumps(results))
    message = error(lambda: COCO.read_predictions(path, dataset, PROTOCOL))
    assert str(path) in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"annotations": []}', "not a list but an object"),
        ('[{"image_id": 1}, {"image_', "no valid JSON: Unterminated string"),
        ('[{"image_id": 1}, }]', "no valid JSON: Expecting value: line 1 column 19"),
        ("", "no valid JSON"),
        ("\x89PNG", "no valid JSON"),
    ],
)
def test_file_that_is_no_list_of_results(root, content, words):
    path = root / "mine.json"
    path.write_text(content, encoding="utf-8")
    dataset = COCO.load(root, "val2017")
    message = error(lambda: COCO.read_predictions(path, dataset, PROTOCOL))
    assert words in message
    assert "image_id, category_id, keypoints, score" in message


def test_negative_box_in_a_detections_file(root, case):
    (root / "val2017").mkdir()
    dataset = COCO.load(root, "val2017")
    record = {"image_id": case[0]["images"][0]["id"], "category_id": 1, "score": 0.5}
    path = root / "boxes.json"
    path.write_text(json.dumps([{**record, "bbox": [9, 9, -3, 4]}]))
    assert "detection 0" in error(lambda: COCO.samples(dataset, PROTOCOL, path))


def test_quirks_are_declared_and_enter_the_digest():
    assert all(PROTOCOL.meanings().values())
    assert PROTOCOL.quirks()["max_detections"] == 20
    assert replace(PROTOCOL, max_detections=10).digest != PROTOCOL.digest
    assert replace(PROTOCOL, variant="other", title="other").digest == PROTOCOL.digest
