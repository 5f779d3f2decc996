"""COCO's test sets: a list of images without people, and results as the server takes them."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from coco_cases import random_case, write
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from benchmarks.protocols.coco import Coco
from harness.api import Dataset, Predictions, PrerequisiteError
from harness.evaluation import evaluate

BENCHMARK = Coco()
PROTOCOL = BENCHMARK.protocol()
SPLIT = "test-dev2017"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A test set of the images of a case, its pictures' folder, and boxes by a detector."""
    truth, _ = random_case(3)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "test2017").mkdir()
    bare = {"images": truth["images"], "categories": truth["categories"]}
    (tmp_path / "annotations" / f"image_info_{SPLIT}.json").write_text(json.dumps(bare))
    boxes = [
        {"image_id": image["id"], "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}
        for image in truth["images"][1:]
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return tmp_path


def predictions_of(seed: int, folder: Path) -> tuple[Dataset, Predictions, Path]:
    """Read a random case; its results file as well."""
    truth, results = random_case(seed)
    path = write(folder, truth, results)
    dataset = BENCHMARK.load(folder, "val2017")
    return dataset, BENCHMARK.read_predictions(path, dataset, PROTOCOL), path


def test_a_test_set_has_images_and_no_truth(root: Path) -> None:
    assert BENCHMARK.splits(root) == (SPLIT,)
    assert BENCHMARK.layout(SPLIT).splitlines()[0] == f"annotations/image_info_{SPLIT}.json"
    dataset = BENCHMARK.load(root, SPLIT)
    ids = sorted(image["id"] for image in random_case(3)[0]["images"])
    assert dataset.truth is None
    assert dataset.sample_ids == tuple(map(str, ids))
    assert not dataset.synthetic


def test_its_people_come_from_a_detector(root: Path) -> None:
    dataset = BENCHMARK.load(root, SPLIT)
    samples = BENCHMARK.samples(dataset, PROTOCOL, root / "boxes.json")
    assert [sample.id for sample in samples] == list(dataset.sample_ids)
    assert sorted(len(sample.boxes) for sample in samples) == [0] + [1] * (len(samples) - 1)
    assert samples[0].images == (str(root / "test2017" / f"{dataset.sample_ids[0]}.jpg"),)
    alone = BENCHMARK.samples(dataset, replace(PROTOCOL, box_source="none"))
    assert [sample.boxes for sample in alone] == [None] * len(samples)
    with pytest.raises(PrerequisiteError, match="no ground truth") as error:
        BENCHMARK.samples(dataset, PROTOCOL)
    assert "--boxes" in error.value.remedy


def test_a_limited_run_has_the_first_images(root: Path) -> None:
    dataset = BENCHMARK.load(root, SPLIT)
    limited = replace(dataset, sample_ids=dataset.sample_ids[:2])
    for boxes, protocol in (
        (root / "boxes.json", PROTOCOL),
        (None, replace(PROTOCOL, box_source="none")),
    ):
        whole = BENCHMARK.samples(dataset, protocol, boxes)[:2]
        part = BENCHMARK.samples(limited, protocol, boxes)
        assert [s.id for s in part] == [s.id for s in whole]
        assert [s.boxes is None or s.boxes.tolist() for s in part] == [
            s.boxes is None or s.boxes.tolist() for s in whole
        ]


def test_without_truth_nothing_is_measured(root: Path) -> None:
    dataset = BENCHMARK.load(root, SPLIT)
    _, results = random_case(3)
    (root / "results.json").write_text(json.dumps(results))
    predictions = BENCHMARK.read_predictions(root / "results.json", dataset, PROTOCOL)
    evaluation = evaluate(BENCHMARK, dataset, predictions, PROTOCOL)
    assert (evaluation.metrics, evaluation.intervals) == ({}, {})
    assert evaluation.counts == {"samples": len(dataset.sample_ids), "predictions": len(results)}
    assert BENCHMARK.units(dataset, evaluation.statistics) == dataset.sample_ids


@given(seed=st.integers(0, 10_000))
def test_what_is_written_reads_back_to_the_bit(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("case")
    dataset, predictions, _ = predictions_of(seed, folder)
    BENCHMARK.write_submission(predictions, dataset, PROTOCOL, folder / "again.json")
    again = BENCHMARK.read_predictions(folder / "again.json", dataset, PROTOCOL)
    assert again.digest() == predictions.digest()


@pytest.mark.parametrize(
    "name", ["my-net.zip", "person_keypoints_val2017_my-net_results.zip", "plain.json"]
)
def test_the_official_tool_takes_it(name: str, tmp_path: Path) -> None:
    dataset, predictions, path = predictions_of(5, tmp_path)
    BENCHMARK.write_submission(predictions, dataset, PROTOCOL, tmp_path / name)
    written = tmp_path / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(written) as archive:
            (member,) = archive.namelist()
            assert member == "person_keypoints_val2017_my-net_results.json"
            written = Path(archive.extract(member, tmp_path / "out"))
    results = COCO(tmp_path / "annotations" / "person_keypoints_val2017.json").loadRes(str(written))
    assert len(results.anns) == len(json.loads(path.read_text()))


def test_a_joint_that_is_not_predicted_is_far_away_and_not_trusted(tmp_path: Path) -> None:
    dataset, predictions, _ = predictions_of(5, tmp_path)
    predictions.columns["keypoints"][0, 4] = np.nan
    BENCHMARK.write_submission(predictions, dataset, PROTOCOL, tmp_path / "missing.json")
    first = json.loads((tmp_path / "missing.json").read_text())[0]["keypoints"]
    assert first[12:15] == [0, 0, 0]
    assert first[:3] != [0, 0, 0]


def test_no_predictions_at_all_are_an_empty_list(tmp_path: Path) -> None:
    dataset, predictions, _ = predictions_of(5, tmp_path)
    nothing = Predictions(predictions.schema, dataset.sample_ids, 0 * predictions.offsets, {})
    BENCHMARK.write_submission(nothing, dataset, PROTOCOL, tmp_path / "none.json")
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_other_endings_are_refused(tmp_path: Path) -> None:
    dataset, predictions, _ = predictions_of(5, tmp_path)
    with pytest.raises(PrerequisiteError, match=r"neither \.zip nor \.json"):
        BENCHMARK.write_submission(predictions, dataset, PROTOCOL, tmp_path / "a.csv")
