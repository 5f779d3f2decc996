"""ITOP: the oracle cases, plain loops, properties, files and refusals."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from benchmarks.protocols.itop import Itop
from harness.api import PrerequisiteError, merge

BENCHMARK = Itop()


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    truth = random.normal((0, 0, 3), 0.3, size=(30, 15, 3)).round(4)
    predicted = (truth + random.normal(scale=0.06, size=truth.shape)).round(4)
    valid = (random.random(30) < 0.7).astype(int)
    (tmp_path / "labels.json").write_text(
        json.dumps({"is_valid": valid.tolist(), "real_world_coordinates": truth.tolist()})
    )
    (tmp_path / "result.json").write_text(
        json.dumps({"unit": "metre", "real_world_coordinates": predicted.tolist()})
    )
    return tmp_path


def score(root, predictions, weights=None):
    dataset, protocol = BENCHMARK.load(root, "side-test"), BENCHMARK.protocol()
    read = BENCHMARK.read_predictions(root / predictions, dataset, protocol)
    return BENCHMARK.compute(BENCHMARK.statistics(dataset, read, protocol), protocol, weights)


def content(root):
    labels, result = (json.loads((root / f).read_text()) for f in ("labels.json", "result.json"))
    truth, predicted = (np.array(c["real_world_coordinates"]) for c in (labels, result))
    return np.array(labels["is_valid"]) > 0, truth, predicted


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_oracle_cases(shared_data, case):
    root = shared_data / "oracles" / "itop" / f"case{case}"
    (record,) = json.loads((root / "expected.json").read_text())
    metrics = score(root, "result.json")
    for name, value in record["metrics"].items():
        assert abs(metrics[name] - value) <= record["tolerance"], name


def test_by_plain_loops(root):
    valid, truth, predicted = content(root)
    metrics = score(root, "result.json")
    away = np.array(
        [
            [np.sqrt(sum((p - t) ** 2)) * 100 for p, t in zip(ps, ts, strict=True)]
            for ps, ts, counts in zip(predicted, truth, valid, strict=True)
            if counts
        ]
    )
    for t in (5, 10, 15, 20):
        rates = [100 * sum(away[:, k] <= t) / len(away) for k in range(15)]
        assert metrics[f"mAP@{t}cm"] == pytest.approx(np.mean(rates))
        if t == 10:
            assert metrics["Head"] == pytest.approx(rates[0])
            assert metrics["Shoulders"] == pytest.approx((rates[2] + rates[3]) / 2)
            assert metrics["Feet"] == pytest.approx((rates[13] + rates[14]) / 2)
            assert metrics["UpperBody"] == pytest.approx(np.mean(rates[:8]))
    assert metrics["mean_error_cm"] == pytest.approx(away.mean())
    assert metrics["frames"] == valid.sum()


def test_perfect_predictions_and_invalid_frames(root):
    valid, truth, predicted = content(root)
    truth[~valid] = np.nan  # nothing is due there
    np.savez(root / "perfect.npz", predictions=truth)
    metrics = score(root, "perfect.npz")
    assert metrics["mAP@10cm"] == metrics["mAP@5cm"] == 100.0
    assert metrics["mean_error_cm"] == 0.0
    np.savez(root / "same.npz", predictions=predicted)
    assert score(root, "same.npz") == score(root, "result.json")


def test_cuts_weights_and_order(root):
    dataset, protocol = BENCHMARK.load(root, "side-test"), BENCHMARK.protocol()
    read = BENCHMARK.read_predictions(root / "result.json", dataset, protocol)
    whole = BENCHMARK.statistics(dataset, read, protocol)
    metrics = BENCHMARK.compute(whole, protocol)
    random = np.random.default_rng(1)
    ids = random.permutation(dataset.sample_ids).tolist()
    parts = [
        BENCHMARK.statistics(dataset, read.select(p), protocol)
        for p in (ids[:2], ids[2:9], ids[9:])
    ]
    assert BENCHMARK.compute(merge(parts), protocol) == metrics
    weights = random.integers(0, 3, size=(5, len(whole)))
    drawn = BENCHMARK.resample(whole, protocol, weights)
    for row, times in enumerate(weights):
        repeated = whole.take(np.repeat(np.arange(len(whole)), times))
        expected = BENCHMARK.compute(repeated, protocol)
        assert {k: v[row] for k, v in drawn.items()} == pytest.approx(expected)


def test_breakdown_and_curve_agree_with_the_metrics(root):
    dataset, protocol = BENCHMARK.load(root, "side-test"), BENCHMARK.protocol()
    read = BENCHMARK.read_predictions(root / "result.json", dataset, protocol)
    statistics = BENCHMARK.statistics(dataset, read, protocol)
    metrics = BENCHMARK.compute(statistics, protocol)
    joints = BENCHMARK.breakdown(statistics, protocol)["joint"]
    assert np.mean(list(joints.values())) == pytest.approx(metrics["mAP@10cm"])
    (curve,) = BENCHMARK.curves(statistics, protocol)
    assert curve.y[10] == pytest.approx(metrics["mAP@10cm"])
    assert (np.diff(curve.y) >= 0).all()


def test_official_files(root, tmp_path):
    valid, truth, _ = content(root)
    folder = tmp_path / "official"
    folder.mkdir()
    for view in ("side", "top"):
        with h5py.File(folder / f"ITOP_{view}_test_labels.h5", "w") as file:
            file["is_valid"] = valid.astype(np.uint8)
            file["real_world_coordinates"] = truth
    assert BENCHMARK.splits(folder) == ("side-test", "top-test")
    dataset = BENCHMARK.load(folder, "top-test")
    np.testing.assert_allclose(dataset.truth.joints, 1000 * truth)
    np.testing.assert_array_equal(dataset.truth.valid, valid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.transpose(0, 2, 1), "it looks transposed"),
        (lambda p: p[:-1], r"due is \(30, 15, 3\)"),
        (lambda p: p * 1000, "they look like millimetres"),
        (lambda p: np.where(np.arange(15)[:, None] == 3, np.nan, p), "left_shoulder: .nan"),
    ],
)
def test_wrong_arrays(root, change, message):
    np.savez(root / "wrong.npz", predictions=change(content(root)[2]))
    with pytest.raises(PrerequisiteError, match=message):
        score(root, "wrong.npz")


def test_wrong_files(root, tmp_path):
    (root / "unit.json").write_text(json.dumps({"unit": "mm", "real_world_coordinates": []}))
    with pytest.raises(PrerequisiteError, match="is in 'mm'"):
        score(root, "unit.json")
    with pytest.raises(PrerequisiteError, match="no split 'top-test'"):
        BENCHMARK.load(root, "top-test")
