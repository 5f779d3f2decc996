"""The COCO evaluator gives pycocotools' numbers to the last bit, whole, in parts and resampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_cases import (
    NAMES,
    identical,
    merged_from_parts,
    official,
    official_metrics,
    random_case,
    repeated,
    same,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.datasets import records
from benchmarks.metrics.average_precision import precision_recall
from benchmarks.protocols.coco import Coco
from harness.api import Dataset, Predictions

COCO = Coco()
PROTOCOL = COCO.protocol()
seeds = st.integers(0, 2**32 - 1)


def read(root: Path, case: tuple[dict[str, Any], list[Any]]) -> tuple[Dataset, Predictions]:
    path = write(root, *case)
    dataset = COCO.load(root, "val2017")
    return dataset, COCO.read_predictions(path, dataset, PROTOCOL)


@given(seed=seeds)
@settings(max_examples=300, deadline=None)
def test_equals_pycocotools(seed, tmp_path_factory):
    case = random_case(seed)
    evaluation = official(*case)
    dataset, predictions = read(tmp_path_factory.mktemp("case"), case)
    statistics = COCO.statistics(dataset, predictions, PROTOCOL)
    assert same(COCO.compute(statistics, PROTOCOL), official_metrics(evaluation))
    arrays = precision_recall(statistics, 101)
    precision = evaluation.eval["precision"][:, :, 0, :, 0].transpose(2, 0, 1)
    recall = evaluation.eval["recall"][:, 0, :, 0].T
    assert np.array_equal(arrays.precision[0], np.where(precision < 0, np.nan, precision), True)
    assert np.array_equal(arrays.recall[0], np.where(recall < 0, np.nan, recall), True)


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_weights_repeat_images(seed, tmp_path_factory):
    """Weighted images are repeated images, also where scores tie inside an image."""
    truth, results = random_case(seed)
    random = np.random.default_rng(seed)
    dataset, predictions = read(tmp_path_factory.mktemp("case"), (truth, results))
    statistics = COCO.statistics(dataset, predictions, PROTOCOL)
    weights = random.integers(0, 4, (2, len(statistics)))
    drawn = COCO.resample(statistics, PROTOCOL, weights)
    for number, draw in enumerate(weights):
        times = dict(zip((int(i) for i in dataset.sample_ids), draw.tolist(), strict=True))
        many, more = repeated(truth, results, times)
        computed = COCO.compute(statistics, PROTOCOL, draw)
        assert same({name: float(values[number]) for name, values in drawn.items()}, computed)
        if more:
            assert same(computed, official_metrics(official(many, more)))


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_merging_any_cut_in_any_order_gives_the_same_bits(seed, tmp_path_factory):
    dataset, predictions = read(tmp_path_factory.mktemp("case"), random_case(seed))
    whole = COCO.statistics(dataset, predictions, PROTOCOL)
    assert identical(merged_from_parts(COCO, dataset, predictions, seed), whole)


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_order_of_images_changes_nothing(seed, tmp_path_factory):
    truth, results = random_case(seed)
    random = np.random.default_rng(seed)
    root = tmp_path_factory.mktemp("case")
    dataset, predictions = read(root, (truth, results))
    expected = COCO.compute(COCO.statistics(dataset, predictions, PROTOCOL), PROTOCOL)
    shuffled = predictions.select([str(i) for i in random.permutation(dataset.sample_ids)])
    unmerged = COCO.statistics(dataset, shuffled, PROTOCOL)
    assert same(COCO.compute(unmerged, PROTOCOL), expected)
    truth["images"] = [truth["images"][i] for i in random.permutation(len(truth["images"]))]
    results.sort(key=lambda result: -result["image_id"])  # stable: as it was inside an image
    reordered = read(root, (truth, results))
    assert same(COCO.compute(COCO.statistics(*reordered, PROTOCOL), PROTOCOL), expected)


@pytest.mark.parametrize("number", range(5))
def test_real_cases(shared_data, tmp_path, number):
    case = json.loads((shared_data / "coco" / "expected.json").read_text())[number]
    truth = shared_data / case["files"]["ground_truth"]
    dataset = COCO.load(truth.parents[1], "val2017")
    if "predictions" in case["files"]:
        path = shared_data / case["files"]["predictions"]
    else:  # the ground truth as results
        path = tmp_path / "results.json"
        people = json.loads(truth.read_text())["annotations"]
        chosen = [p for p in people if p["num_keypoints"] > 0 and not p["iscrowd"]]
        keys = ("image_id", "category_id", "keypoints")
        path.write_text(json.dumps([{k: p[k] for k in keys} | {"score": 1} for p in chosen]))
    predictions = COCO.read_predictions(path, dataset, PROTOCOL)
    metrics = COCO.compute(COCO.statistics(dataset, predictions, PROTOCOL), PROTOCOL)
    assert set(metrics) == set(NAMES)
    for name, value in case["metrics"].items():
        assert metrics[name] == pytest.approx(value, rel=0, abs=case["tolerance"]), name
    evaluation = official(json.loads(truth.read_text()), json.loads(path.read_text()))
    assert metrics == official_metrics(evaluation)


def test_pieces_of_a_results_file_give_what_the_whole_gives(tmp_path, monkeypatch):
    truth, results = random_case(5)
    results[len(results) // 2]["extra"] = {"nested": [{"a": "},"}, {"b": 1}]}
    dataset, whole = read(tmp_path, (truth, results))
    for size in (1, 300, 5000):
        monkeypatch.setattr(records, "_PIECE", size)
        parts = COCO.read_predictions(tmp_path / "results.json", dataset, PROTOCOL)
        assert parts.digest() == whole.digest()


def test_images_without_detections_are_listed(tmp_path):
    truth, _ = random_case(0)
    dataset, predictions = read(tmp_path, (truth, []))
    assert predictions.sample_ids == dataset.sample_ids
    metrics = COCO.compute(COCO.statistics(dataset, predictions, PROTOCOL), PROTOCOL)
    assert metrics["AP"] == metrics["AR"] == 0.0


def test_joint_that_is_not_predicted_counts_as_infinitely_far(tmp_path):
    truth, results = random_case(11)
    dataset, predictions = read(tmp_path, (truth, results))
    joints = predictions.columns["keypoints"].copy()
    joints[:, 3] = np.nan
    far = joints.copy()
    far[:, 3] = 1e9
    extent = np.fmax.reduce(joints, axis=1) - np.fmin.reduce(joints, axis=1)
    box = np.concatenate([np.zeros_like(extent), extent], axis=1)
    shared = dict(predictions.columns)
    shared.pop("box", None)
    missing, distant = (
        Predictions(predictions.schema, predictions.sample_ids, predictions.offsets, columns)
        for columns in (
            {**shared, "keypoints": joints},
            {**shared, "keypoints": far, "box": box},
        )
    )
    assert identical(
        COCO.statistics(dataset, missing, PROTOCOL), COCO.statistics(dataset, distant, PROTOCOL)
    )


def test_curves_and_breakdown_agree_with_the_metrics(shared_data):
    root = shared_data / "coco" / "val4"
    dataset = COCO.load(root, "val2017")
    results = root / "results" / "person_keypoints_val2017_example_results.json"
    predictions = COCO.read_predictions(results, dataset, PROTOCOL)
    statistics = COCO.statistics(dataset, predictions, PROTOCOL)
    metrics = COCO.compute(statistics, PROTOCOL)
    half, three_quarters, mean = COCO.curves(statistics, PROTOCOL)
    assert half.y.mean() == pytest.approx(metrics["AP50"], abs=1e-12)
    assert three_quarters.y.mean() == pytest.approx(metrics["AP75"], abs=1e-12)
    assert mean.y.mean() == pytest.approx(metrics["AP"], abs=1e-12)
    breakdown = COCO.breakdown(statistics, PROTOCOL)
    assert breakdown["size"] == {"medium": metrics["AP_M"], "large": metrics["AP_L"]}
    joints = breakdown["joint"]
    assert list(joints) == list(COCO.skeleton.joints)
    assert all(0.5 < value < 1 for value in joints.values())
    oks = COCO.per_sample(statistics, PROTOCOL)["oks"]
    assert oks.shape == (4,)
    assert (oks > 0.8).all()
