"""Human parsing: the official numbers, slow loops over pixels, and what is refused."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, recall_score
from statistics_laws import (
    assert_limit_is_a_prefix,
    assert_merging_is_exact,
    assert_weights_repeat,
    differing,
)

from benchmarks.metrics.parsing import ClassScores, clothing_metrics, lip_metrics, pixel_counts
from benchmarks.protocols.parsing import ATR_CLASSES, LIP_CLASSES, Atr, LipParsing
from harness.api import PrerequisiteError

ATR, LIP = Atr(), LipParsing()
FOLDERS = {"atr_parsing": ATR, "lip_parsing": LIP}
seeds = st.integers(0, 2**32 - 1)


def read(root, benchmark, results="results"):
    dataset = benchmark.load(root, "val")
    return dataset, benchmark.read_predictions(root / results, dataset, benchmark.protocol())


@pytest.mark.parametrize("case", ["case1", "case2", "case3", "case4"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_equals_the_official_numbers(shared_data, folder, case):
    root, benchmark = shared_data / "oracles" / folder / case, FOLDERS[folder]
    dataset, predictions = read(root, benchmark)
    protocol = benchmark.protocol()
    metrics = benchmark.compute(benchmark.statistics(dataset, predictions, protocol), protocol)
    for expected in json.loads((root / "expected.json").read_text()):
        assert not differing(metrics, expected["metrics"], expected["tolerance"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_laws_of_statistics(shared_data, folder):
    benchmark = FOLDERS[folder]
    dataset, predictions = read(shared_data / "oracles" / folder / "case3", benchmark)
    protocol = benchmark.protocol()
    ids = list(dataset.sample_ids)
    parts = [ids[5:6], ids[6:] + ids[:2], ids[2:5]]
    assert_merging_is_exact(benchmark, dataset, predictions, protocol, parts)
    assert_limit_is_a_prefix(benchmark, dataset, predictions, protocol)
    statistics = benchmark.statistics(dataset, predictions, protocol)
    weights = np.random.default_rng(3).integers(0, 4, len(ids))
    assert_weights_repeat(benchmark, statistics, protocol, weights)


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_scores_equal_scikit_learn(seed):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 6, (20, 15)).astype(np.uint8)
    labels = np.where(random.random(truth.shape) < 0.6, truth, random.integers(0, 6, truth.shape))
    labels = labels.astype(np.uint8)
    counts = pixel_counts(truth, labels, 6)
    table = confusion_matrix(truth.ravel(), labels.ravel(), labels=range(6))
    assert counts.tolist() == [
        table.diagonal().tolist(),
        table.sum(1).tolist(),
        table.sum(0).tolist(),
    ]
    scores, pair = ClassScores.of(counts), (truth.ravel(), labels.ravel())
    kept = {"average": None, "labels": range(6), "zero_division": np.nan}
    assert np.allclose(scores.recall, recall_score(*pair, **kept), equal_nan=True)
    assert np.allclose(scores.f1, f1_score(*pair, **kept), equal_nan=True)
    known = ~np.isnan(scores.iou)
    assert np.allclose(
        scores.iou[known], jaccard_score(*pair, average=None, labels=np.arange(6)[known])
    )


@given(seed=seeds)
def test_pixels_without_a_true_class_do_not_count(seed):
    random = np.random.default_rng(seed)
    truth = random.choice(np.array([0, 1, 2, 255], np.uint8), (8, 8))
    labels = random.integers(0, 3, (8, 8)).astype(np.uint8)
    kept = truth < 255
    expected = pixel_counts(truth[kept][None], labels[kept][None], 3)
    assert pixel_counts(truth, labels, 3).tolist() == expected.tolist()
    labels[~kept] = 200  # a wrong label where nothing counts is no harm
    assert pixel_counts(truth, labels, 3).tolist() == expected.tolist()


def test_undefined_classes_in_the_means():
    counts = np.array([[4, 0, 0], [6, 0, 2], [4, 1, 0]])
    lip = lip_metrics(counts, ("a", "b", "c"))
    assert lip["mean_accuracy"] == pytest.approx((4 / 6 + 0) / 2)
    assert lip["mean_iou"] == pytest.approx((4 / 6 + 0 + 0) / 3)
    assert math.isnan(lip["accuracy/b"])
    atr = clothing_metrics(counts, ("a", "b", "c"))
    assert atr["average_recall_3"] == pytest.approx((4 / 6 + 0 + 0) / 3)
    assert atr["average_recall_3_present"] == pytest.approx((4 / 6 + 0) / 2)
    assert atr["average_recall_2"] == 0
    assert atr["accuracy"] == pytest.approx(4 / 8)


def png(labels, mode="L"):
    image = Image.fromarray(labels.astype(np.uint8))
    if mode == "P":
        image.putpalette([7 * i % 256 for i in range(768)])
    elif mode != "L":
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def folder_of(root, truth, results, mode="L"):
    for name, maps in (("labels", truth), ("results", results)):
        (root / name).mkdir(exist_ok=True)
        for image_id, labels in maps.items():
            own = mode if name == "results" else "L"
            (root / name / f"{image_id}.png").write_bytes(png(labels, own))
    (root / "val_id.txt").write_text("\n".join(truth) + "\n")


SQUARE = np.arange(16).reshape(4, 4)


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("benchmark", [ATR, LIP])
def test_the_truth_as_result_is_perfect_grey_or_with_palette(tmp_path, benchmark, mode):
    folder_of(tmp_path, {"a": SQUARE, "b": SQUARE.T}, {"a": SQUARE, "b": SQUARE.T}, mode)
    dataset, predictions = read(tmp_path, benchmark)
    statistics = benchmark.statistics(dataset, predictions, benchmark.protocol())
    metrics = benchmark.compute(statistics, benchmark.protocol())
    assert metrics["mean_iou"] == 1
    assert metrics.get("accuracy", metrics.get("overall_accuracy")) == 1


def test_official_layouts(tmp_path):
    for folder, benchmark, split in (
        ("humanparsing/SegmentationClassAug", ATR, "test"),
        ("TrainVal_parsing_annotations/val_segmentations", LIP, "val"),
    ):
        root = tmp_path / benchmark.name
        (root / folder).mkdir(parents=True)
        (root / folder / "7_1.png").write_bytes(png(SQUARE))
        (root / f"{split}_id.txt").write_text("7_1\n")
        assert benchmark.splits(root) == (split,)
        dataset = benchmark.load(root, split)
        (sample,) = benchmark.samples(dataset, benchmark.protocol())
        assert sample.id == "7_1"
        assert sample.images[0].endswith("7_1.jpg")
        with pytest.raises(PrerequisiteError) as caught:
            benchmark.load(tmp_path, split)
        assert folder in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(SQUARE + 5), "label 20, the classes are 0 to 19"),
        (png(SQUARE[:3]), r"\(3, 4\) pixels, the truth has \(4, 4\)"),
        (png(SQUARE, "RGB"), "pixels of mode RGB"),
        (b"\x89PNG\r\n", "cannot be decoded"),
        (png(SQUARE)[:-30], "cannot be decoded"),
    ],
)
def test_wrong_label_maps_are_refused(tmp_path, content, words):
    folder_of(tmp_path, {"a": SQUARE, "b": SQUARE}, {"a": SQUARE, "b": SQUARE})
    (tmp_path / "results" / "b.png").write_bytes(content)
    dataset, predictions = read(tmp_path, LIP)
    with pytest.raises(PrerequisiteError, match=words) as caught:
        LIP.statistics(dataset, predictions, LIP.protocol())
    assert "image b" in caught.value.problem


def test_missing_files_are_named(tmp_path):
    folder_of(tmp_path, {"a": SQUARE, "b": SQUARE}, {"a": SQUARE})
    with pytest.raises(PrerequisiteError, match=r"1 label maps .* missing: .*results/b\.png"):
        read(tmp_path, ATR)
    (tmp_path / "labels" / "a.png").unlink()
    with pytest.raises(PrerequisiteError, match=r"missing: .*labels/a\.png"):
        ATR.load(tmp_path, "val")


def test_classes_are_in_the_order_of_the_labels():
    assert (ATR_CLASSES[1], ATR_CLASSES[9], ATR_CLASSES[17]) == ("hat", "left-shoe", "scarf")
    assert (LIP_CLASSES[1], LIP_CLASSES[13], LIP_CLASSES[19]) == ("hat", "face", "rightShoe")
    assert (len(ATR_CLASSES), len(LIP_CLASSES)) == (18, 20)
