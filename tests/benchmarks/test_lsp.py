"""LSP: numbers of the shared data and of eval_pose, a plain reference, the readers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from single_person_files import near_truth, predictions, write_lsp

from benchmarks.protocols.lsp import Lsp
from harness.api import PrerequisiteError

LSP = Lsp()
VARIANTS = ["person-centric", "torso-rsho-lhip", "observer-centric", "neck-torso"]


def score(root: Path, path: Path, variant: str) -> dict[str, float]:
    dataset, protocol = LSP.load(root, "test"), LSP.protocol(variant)
    given = LSP.read_predictions(path, dataset, protocol)
    return LSP.compute(LSP.statistics(dataset, given, protocol), protocol)


@pytest.mark.parametrize("record", range(4))
def test_expected_numbers(shared_data: Path, record: int) -> None:
    expected = json.loads((shared_data / "lsp" / "expected.json").read_text())[record]
    file = shared_data / expected["files"]["predictions"]
    values = score(shared_data / "lsp", file, VARIANTS[record])
    for name, value in expected["metrics"].items():
        assert abs(values[name] - value) <= expected["tolerance"], name
    for name, value in expected["own_computation"].items():
        assert abs(values[name] - value) <= 1e-9, name


@pytest.mark.parametrize("case", range(1, 5))
def test_eval_pose_cases(shared_data: Path, case: int) -> None:
    root = shared_data / "oracles" / "lsp_pck" / f"case{case}"
    values = score(root, root / "predictions.json", "person-centric")
    for record in json.loads((root / "expected.json").read_text()):
        for name, value in record["metrics"].items():
            assert abs(values[name] - value) <= record["tolerance"], name


STICKS = {
    "lleg": [(0, 1), (5, 4)],
    "uleg": [(1, 2), (4, 3)],
    "farm": [(6, 7), (11, 10)],
    "uarm": [(7, 8), (10, 9)],
    "head": [(12, 13)],
}


def slow_scores(truth: np.ndarray, predicted: np.ndarray, variant: str) -> dict[str, float]:
    first, second = (8, 3) if variant == "torso-rsho-lhip" else (9, 2)
    torso = [math.dist(p[first], p[second]) for p in truth]

    def pck(joints: range | tuple[int, ...], threshold: float) -> float:
        hits = [
            math.dist(predicted[i][k], truth[i][k]) / torso[i] <= threshold
            for i in range(len(truth))
            for k in joints
            if not np.isnan(predicted[i][k]).any()
        ]
        return 100 * sum(hits) / (len(truth) * len(joints))

    groups = {
        "head": (12, 13),
        "shoulder": (8, 9),
        "elbow": (7, 10),
        "wrist": (6, 11),
        "hip": (2, 3),
        "knee": (1, 4),
        "ankle": (0, 5),
    }
    every = range(14)
    result = {name: pck(joints, 0.2) for name, joints in groups.items()}
    result["mean"] = pck(every, 0.2)
    result["auc"] = float(np.trapezoid([pck(every, k / 100) for k in range(21)], dx=0.05))
    for t in (0.1, 0.2, 0.3, 0.4):
        result |= {f"pdj@{t}/{name.title()}": pck(joints, t) for name, joints in groups.items()}

    def ends(points: np.ndarray, stick: tuple[int, int] | None) -> list[np.ndarray]:
        if stick:
            return [points[stick[0]], points[stick[1]]]
        top = points[12] if variant == "neck-torso" else (points[8] + points[9]) / 2
        return [(points[2] + points[3]) / 2, top]

    def pcp(sticks: list[tuple[int, int] | None]) -> float:
        hits = []
        for true, mine in zip(truth, predicted, strict=True):
            for stick in sticks:
                length = math.dist(*ends(true, stick))
                off = [
                    math.dist(a, b)
                    for a, b in zip(ends(true, stick), ends(mine, stick), strict=True)
                ]
                hits.append(all(o <= length / 2 for o in off))
        return 100 * sum(hits) / len(hits)

    sticks = {**STICKS, "torso": [None]}
    result |= {f"pcp_{name}": pcp(own) for name, own in sticks.items()}
    result["pcp_mean"] = pcp([stick for own in sticks.values() for stick in own])
    return result


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_metric_equals_a_plain_count(variant: str, tmp_path: Path) -> None:
    write_lsp(tmp_path, count=25)
    dataset, protocol = LSP.load(tmp_path, "test"), LSP.protocol(variant)
    predicted = near_truth(LSP, dataset)
    given = predictions(dataset.sample_ids, predicted)
    values = LSP.compute(LSP.statistics(dataset, given, protocol), protocol)
    name = "joints-OC.json" if variant == "observer-centric" else "joints.json"
    truth = np.array(json.loads((tmp_path / name).read_text())["joints"])[..., :2]
    for metric, value in slow_scores(truth, predicted + 1, variant).items():
        assert values[metric] == pytest.approx(value, abs=1e-9), metric
    for short, tool in (("elbow", "pck@0.2/Elbow"), ("mean", "pck@0.2/Mean"), ("auc", "pck_auc")):
        assert values[short] == pytest.approx(values[tool], abs=1e-9)
    for stick in (*STICKS, "torso"):
        assert values[f"pcp_{stick}"] == values[f"strict_pcp/{stick}"]


def test_observer_and_person_centric_labels_differ_in_sides_only(shared_data: Path) -> None:
    people = LSP.load(shared_data / "lsp", "test").truth.people
    own, seen = people["joints.mat"].keypoints, people["joints-OC.mat"].keypoints
    swapped = own[:, LSP.skeleton.flip_order]
    limbs = list(range(12))
    same = ((seen == own) | (seen == swapped))[:, limbs].all(axis=2)
    assert 0.9 < same.mean() <= 1.0
    assert not np.array_equal(seen, own)


def test_cpm_format_and_its_transposition(shared_data: Path, tmp_path: Path) -> None:
    write_lsp(tmp_path)
    dataset, protocol = LSP.load(tmp_path, "test"), LSP.protocol()
    points = np.random.default_rng(0).integers(1, 200, size=(12, 14, 2)).astype(np.uint8)
    path = tmp_path / "p.mat"
    scipy.io.savemat(path, {"prediction_all": points.transpose(1, 2, 0)})
    read = LSP.read_predictions(path, dataset, protocol)
    np.testing.assert_array_equal(read.columns["keypoints"], points.astype(float) - 1)
    scipy.io.savemat(path, {"prediction_all": points.transpose(2, 1, 0)})
    with pytest.raises(PrerequisiteError, match="looks transposed"):
        LSP.read_predictions(path, dataset, protocol)
    scipy.io.savemat(path, {"prediction_all": points[:-2].transpose(1, 2, 0)})
    with pytest.raises(PrerequisiteError, match="10 people where 12 are due"):
        LSP.read_predictions(path, dataset, protocol)
    scipy.io.savemat(path, {"predictions": points})
    with pytest.raises(PrerequisiteError, match="no array 'prediction_all', only: predictions"):
        LSP.read_predictions(path, dataset, protocol)


def test_the_test_people_are_the_second_thousand(shared_data: Path) -> None:
    dataset = LSP.load(shared_data / "lsp", "test")
    joints = scipy.io.loadmat(shared_data / "lsp" / "joints.mat")["joints"]
    truth = dataset.truth.people["joints.mat"].keypoints
    np.testing.assert_allclose(truth[0] + 1, joints[:2, :, 1000].T)
    samples = LSP.samples(dataset, LSP.protocol())
    assert Path(samples[0].images[0]).name == "im1001.jpg"
    assert Path(samples[-1].images[0]).name == "im2000.jpg"
    np.testing.assert_allclose(
        samples[0].boxes[0, 2:], np.ptp(joints[:2, :, 1000], axis=1), atol=1e-9
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no object with 'joints'"),
        ('{"joints": [[[1, 2, 3]]]}', r"shape \(1, 1, 3\)"),
        ('{"joints": ' + json.dumps([[[None, 1, 1]] * 14]) + "}", "test person 0"),
    ],
)
def test_wrong_annotations_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "joints.json").write_text(content)
    with pytest.raises(PrerequisiteError, match=message):
        LSP.load(tmp_path, "test")


def test_annotations_of_different_sizes_do_not_mix(shared_data: Path, tmp_path: Path) -> None:
    write_lsp(tmp_path)
    (tmp_path / "joints-OC.json").write_text(json.dumps({"joints": np.ones((3, 14, 3)).tolist()}))
    with pytest.raises(PrerequisiteError, match="different numbers of test people"):
        LSP.load(tmp_path, "test")
