"""CrowdPose: the official tool's numbers, and pycocotools' with the CrowdPose area and sigmas."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from coco_cases import identical, merged_from_parts, official, random_case, repeated, same, write
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.protocols.crowdpose import CrowdPose
from harness.api import PrerequisiteError

CROWDPOSE = CrowdPose()
PROTOCOL = CROWDPOSE.protocol()
TOOL = CROWDPOSE.protocol("cut-0.2-0.8")
FILE = "crowdpose_val"
seeds = st.integers(0, 2**32 - 1)


def crowd_case(seed):
    truth, results = random_case(seed, joints=14)
    random = np.random.default_rng(seed)
    for image in truth["images"]:
        image["crowdIndex"] = float(random.choice([0.0, 0.1, 0.15, 0.2, 0.5, 0.8, 0.93]))
    for annotation in truth["annotations"]:
        del annotation["area"]
    return truth, results


def read(root, case):
    path = write(root, *case, name=FILE)
    dataset = CROWDPOSE.load(root, "val")
    return dataset, CROWDPOSE.read_predictions(path, dataset, PROTOCOL)


def expected(truth, results, protocol):
    """The metrics by pycocotools: area of the box, other sigmas, levels by image."""
    truth = copy.deepcopy(truth)
    for annotation in truth["annotations"]:
        width, height = annotation["bbox"][2:]
        annotation["area"] = width * height * 0.53
    whole = official(truth, results, sigmas=protocol.sigmas)
    names = ("AP", "AP50", "AP75", "", "", "AR", "AR50", "AR75", "", "")
    metrics = {n: v for n, v in zip(names, whole.stats.tolist(), strict=True) if n}
    first, second = protocol.cuts
    for level, low, high in (
        ("easy", -1, first),
        ("medium", first, second),
        ("hard", second, 2),
    ):
        ids = [image["id"] for image in truth["images"] if low <= image["crowdIndex"] < high]
        part = official(truth, results, sigmas=protocol.sigmas, images=ids) if ids else None
        metrics[f"AP_{level}"] = part.stats[0] if part else -1
    return {name: float("nan") if value < 0 else value for name, value in metrics.items()}


@given(seed=seeds)
@settings(max_examples=80, deadline=None)
def test_equals_pycocotools_with_the_area_of_the_box(seed, tmp_path_factory):
    case = crowd_case(seed)
    dataset, predictions = read(tmp_path_factory.mktemp("case"), case)
    statistics = CROWDPOSE.statistics(dataset, predictions, PROTOCOL)
    for protocol in (PROTOCOL, TOOL):
        assert same(CROWDPOSE.compute(statistics, protocol), expected(*case, protocol))
    assert identical(merged_from_parts(CROWDPOSE, dataset, predictions, seed), statistics)


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_weights_repeat_images(seed, tmp_path_factory):
    truth, results = crowd_case(seed)
    dataset, predictions = read(tmp_path_factory.mktemp("case"), (truth, results))
    statistics = CROWDPOSE.statistics(dataset, predictions, PROTOCOL)
    weights = np.random.default_rng(seed).integers(0, 3, (2, len(statistics)))
    drawn = CROWDPOSE.resample(statistics, PROTOCOL, weights)
    for number, draw in enumerate(weights):
        times = dict(zip((int(i) for i in dataset.sample_ids), draw.tolist(), strict=True))
        many, more = repeated(truth, results, times)
        metrics = {name: float(values[number]) for name, values in drawn.items()}
        assert same(metrics, CROWDPOSE.compute(statistics, PROTOCOL, draw))
        if more:
            assert same(metrics, expected(many, more, PROTOCOL))


def test_oracles(shared_data):
    cases = sorted((shared_data / "oracles" / "crowdpose").glob("case*"))
    assert len(cases) >= 4
    for root in cases:
        case = json.loads((root / "expected.json").read_text())
        dataset = CROWDPOSE.load(root, "val")
        path = root / case["files"]["predictions"]
        predictions = CROWDPOSE.read_predictions(path, dataset, PROTOCOL)
        statistics = CROWDPOSE.statistics(dataset, predictions, PROTOCOL)
        metrics = CROWDPOSE.compute(statistics, PROTOCOL)
        assert metrics == pytest.approx(case["metrics"], rel=0, abs=case["tolerance"])
        levels = case["variants"]["cut_0.2_0.8"]["metrics"]
        metrics = CROWDPOSE.compute(statistics, TOOL)
        assert {name: metrics[name] for name in levels} == pytest.approx(levels, rel=0, abs=1e-9)


def test_real_predictions(shared_data):
    root = shared_data / "crowdpose" / "example4"
    dataset = CROWDPOSE.load(root, "val")
    (path,) = (root / "results").iterdir()
    predictions = CROWDPOSE.read_predictions(path, dataset, PROTOCOL)
    metrics = CROWDPOSE.compute(CROWDPOSE.statistics(dataset, predictions, PROTOCOL), PROTOCOL)
    for case in json.loads((shared_data / "crowdpose" / "expected.json").read_text())[:2]:
        for name, value in case["metrics"].items():
            assert metrics[name] == pytest.approx(value, rel=0, abs=case["tolerance"]), name


def test_ground_truth_as_results_is_perfect(shared_data, tmp_path):
    root = shared_data / "crowdpose"
    dataset = CROWDPOSE.load(root, "val")
    people = json.loads((root / "annotations" / "crowdpose_val.json").read_text())["annotations"]
    chosen = [p for p in people if p["num_keypoints"] > 0 and not p["iscrowd"]]
    keys = ("image_id", "category_id", "keypoints")
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{key: p[key] for key in keys} | {"score": 1} for p in chosen]))
    predictions = CROWDPOSE.read_predictions(path, dataset, PROTOCOL)
    statistics = CROWDPOSE.statistics(dataset, predictions, PROTOCOL)
    assert set(CROWDPOSE.compute(statistics, PROTOCOL).values()) == {1.0}
    assert statistics.dense("truths").sum() == 7074


def test_area_field_is_not_read(tmp_path):
    truth, results = crowd_case(4)
    dataset, predictions = read(tmp_path, (truth, results))
    metrics = CROWDPOSE.compute(CROWDPOSE.statistics(dataset, predictions, PROTOCOL), PROTOCOL)
    for annotation in truth["annotations"]:
        annotation["area"] = 1.0
    again = read(tmp_path, (truth, results))
    assert same(metrics, CROWDPOSE.compute(CROWDPOSE.statistics(*again, PROTOCOL), PROTOCOL))


def test_samples(shared_data, tmp_path):
    root = tmp_path / "crowdpose"
    source = shared_data / "crowdpose" / "sample2"
    (root / "annotations").mkdir(parents=True)
    text = (source / "annotations" / "mmpose_crowdpose_val.json").read_text()
    (root / "annotations" / "crowdpose_val.json").write_text(text)
    dataset = CROWDPOSE.load(root, "val")
    with pytest.raises(PrerequisiteError, match="holds no pictures"):
        CROWDPOSE.samples(dataset, PROTOCOL)
    (root / "images").symlink_to(source / "images")
    samples = CROWDPOSE.samples(dataset, PROTOCOL)
    counted = [person for person in json.loads(text)["annotations"] if person["num_keypoints"]]
    assert sum(len(sample.boxes) for sample in samples) == len(counted) == 4
    assert all(sample.read_image().size for sample in samples)
    detections = source / "annotations" / "det_for_crowd_val_AP_40.json"
    assert sum(len(s.boxes) for s in CROWDPOSE.samples(dataset, PROTOCOL, detections)) == 6


def test_missing_crowd_index_is_named(tmp_path):
    truth, _ = crowd_case(4)
    del truth["images"][0]["crowdIndex"]
    write(tmp_path, truth, [], FILE)
    with pytest.raises(PrerequisiteError, match=r"image 0 .* has no 'crowdIndex'"):
        CROWDPOSE.load(tmp_path, "val")
    with pytest.raises(PrerequisiteError, match=r"splits found in .*: val"):
        CROWDPOSE.load(tmp_path, "test")
