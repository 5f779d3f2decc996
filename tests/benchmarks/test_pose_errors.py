"""Jitter, inversion, swap, miss: the official tool's numbers, and errors made on purpose."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.metrics.oks import keypoint_similarity
from benchmarks.metrics.pose_errors import (
    CORRECTED,
    GOOD,
    INVERSION,
    JITTER,
    KINDS,
    MISS,
    SWAP,
    Annotated,
    Detected,
    analyse,
    average_precision,
    classify,
    correct,
)
from harness import registry
from harness.api import COCO_17, PEOPLE_2D, Predictions

MIRROR = COCO_17.flip_order
COCO = registry.benchmark("coco")
PROTOCOL = COCO.protocol()
SIGMAS = PROTOCOL.sigmas
NOSE, LEFT_WRIST, RIGHT_WRIST = (
    COCO_17.joints.index(name) for name in ("nose", "left_wrist", "right_wrist")
)


def flat(found: dict) -> dict[str, float]:
    """Return an analysis under the names of the official numbers."""
    kinds = found["kinds"]
    totals = {f"{kind}/total": sum(counts.values()) for kind, counts in kinds.items()}
    return {
        "matches": found["matches"],
        "AP_baseline": found["baseline"],
        "keypoints/total": sum(totals.values()),
        **totals,
        **{f"{kind}/{j}": n for kind, counts in kinds.items() for j, n in counts.items()},
        **{f"AP_after_{step['kind']}": step["value"] for step in found["steps"]},
    }


@pytest.mark.parametrize("case", ["case1", "case2", "case3", "case4"])
def test_equals_the_official_tool(case: str, shared_data: Path) -> None:
    root = shared_data / "oracles" / "pose_errors" / case
    expected = json.loads((root / "expected.json").read_text())
    dataset = COCO.load(root, "val2014")
    predictions = COCO.read_predictions(root / expected["files"]["predictions"], dataset, PROTOCOL)
    found = flat(COCO.error_analysis(dataset, predictions, PROTOCOL))
    wrong = {
        name: (found[name], value)
        for name, value in expected["metrics"].items()
        if abs(found[name] - value) > expected["tolerance"]
    }
    assert len(expected["metrics"]) == 97
    assert not wrong


@pytest.mark.parametrize(
    ("folder", "split", "file"),
    [
        ("val4", "val2017", "person_keypoints_val2017_example_results.json"),
        ("single_image", None, None),
    ],
)
def test_real_predictions(folder: str, split, file, shared_data: Path) -> None:
    """Every labelled joint of a matched person has one kind; no correction makes AP worse."""
    root = shared_data / "coco" / folder
    split = split or COCO.splits(root)[0]
    path = root / "results" / file if file else next((root / "results").glob("*.json"))
    dataset = COCO.load(root, split)
    predictions = COCO.read_predictions(path, dataset, PROTOCOL)
    found = COCO.error_analysis(dataset, predictions, PROTOCOL)
    assert 0 < found["matches"] <= len(dataset.truth.id)
    labelled = dataset.truth.labelled.sum()
    total = sum(sum(counts.values()) for counts in found["kinds"].values())
    assert 0 < total <= labelled
    assert found["kinds"]["inversion"]["nose"] == 0
    values = [found["baseline"], *(step["value"] for step in found["steps"])]
    assert all(later >= earlier for earlier, later in itertools.pairwise(values))
    shuffled = predictions.select(predictions.sample_ids[::-1])
    assert COCO.error_analysis(dataset, shuffled, PROTOCOL) == found
    # Nobody here is smaller than 32^2 square pixels: AP as predicted is that of the protocol.
    statistics = COCO.statistics(dataset, predictions, PROTOCOL)
    assert found["baseline"] == COCO.compute(statistics, PROTOCOL)["AP"]


def scene(people: int = 2, seed: int = 0) -> tuple[Detected, Annotated]:
    """One image with people far apart, each detected without any error."""
    random = np.random.default_rng(seed)
    keypoints = random.uniform(0, 150, (people, 17, 2))
    keypoints[:, :, 0] += 1000 * np.arange(people)[:, None]
    offsets = np.array([0, people])
    area = np.full(people, 150.0**2)
    box = np.concatenate([keypoints.min(axis=1), np.ptp(keypoints, axis=1)], axis=1)
    labelled = np.ones((people, 17), bool)
    truth = Annotated(keypoints, labelled, area, box, np.zeros(people, bool), offsets)
    score = np.linspace(0.9, 0.5, people)
    return Detected(keypoints.copy(), score, area, offsets), truth


def at(similarity: float, joint: int, area: float) -> float:
    """Return the distance in pixels at which a joint has that similarity."""
    return float(np.sqrt(-2 * np.log(similarity) * area) * 2 * SIGMAS[joint])


@pytest.mark.parametrize(
    ("similarity", "kind"),
    [(0.99, GOOD), (0.8501, GOOD), (0.8499, JITTER), (0.5001, JITTER), (0.4999, MISS), (0.0, MISS)],
)
def test_the_distance_decides_between_good_jitter_and_miss(similarity: float, kind: int) -> None:
    detected, truth = scene()
    step = at(max(similarity, 1e-200), NOSE, truth.area[0])
    detected.keypoints[0, NOSE, 1] -= step
    errors = classify(detected, truth, SIGMAS, MIRROR)
    assert errors.kind[0, NOSE] == kind
    assert errors.similarity[0, NOSE] == pytest.approx(similarity, abs=1e-9)
    others = np.delete(errors.kind.ravel(), NOSE)
    assert (others == GOOD).all()


def test_exchanged_wrists_are_inversions() -> None:
    detected, truth = scene()
    detected.keypoints[0, [LEFT_WRIST, RIGHT_WRIST]] = truth.keypoints[0, [RIGHT_WRIST, LEFT_WRIST]]
    errors = classify(detected, truth, SIGMAS, MIRROR)
    assert (errors.kind == INVERSION).nonzero()[1].tolist() == [LEFT_WRIST, RIGHT_WRIST]


@pytest.mark.parametrize("joint", [LEFT_WRIST, RIGHT_WRIST])
def test_another_person_s_wrist_is_a_swap_whichever_side(joint: int) -> None:
    detected, truth = scene()
    detected.keypoints[1, LEFT_WRIST] = truth.keypoints[0, joint]
    errors = classify(detected, truth, SIGMAS, MIRROR)
    row, place = (errors.kind == SWAP).nonzero()
    assert (errors.person[row].tolist(), place.tolist()) == ([1], [LEFT_WRIST])


def test_what_is_not_labelled_is_no_candidate_and_has_no_kind() -> None:
    detected, truth = scene()
    truth.labelled[0, RIGHT_WRIST] = False
    detected.keypoints[0, LEFT_WRIST] = truth.keypoints[0, RIGHT_WRIST]
    errors = classify(detected, truth, SIGMAS, MIRROR)
    assert errors.kind[0, LEFT_WRIST] == MISS
    assert errors.kind[0, RIGHT_WRIST] == -1


def test_a_joint_that_is_not_predicted_is_a_miss() -> None:
    detected, truth = scene()
    detected.keypoints[0, NOSE] = np.nan
    assert classify(detected, truth, SIGMAS, MIRROR).kind[0, NOSE] == MISS


def test_a_correction_removes_its_kind_and_no_other() -> None:
    """As in the official tool the corrected similarity is the fourth root of the one stated."""
    detected, truth = scene(people=3)
    area = truth.area[0]
    detected.keypoints[0, NOSE, 0] += at(0.2, NOSE, area)
    detected.keypoints[1, NOSE, 0] += at(0.6, NOSE, area)
    detected.keypoints[2, LEFT_WRIST] = truth.keypoints[2, RIGHT_WRIST]
    detected.keypoints[2, NOSE] = truth.keypoints[1, NOSE]
    errors = classify(detected, truth, SIGMAS, MIRROR)
    places = {MISS: (0, NOSE), JITTER: (1, NOSE), INVERSION: (2, LEFT_WRIST), SWAP: (2, NOSE)}
    stated = {MISS: 0.5, JITTER: 0.85, INVERSION: 1.0, SWAP: 1.0}
    for kind, (person, joint) in places.items():
        changed = correct(detected, truth, errors, kind, SIGMAS).keypoints
        moved = np.argwhere((changed != detected.keypoints).any(axis=2))
        assert moved.tolist() == [[person, joint]]
        similar = keypoint_similarity(changed, truth.keypoints, truth.area, SIGMAS)
        assert similar[person, joint] == pytest.approx(stated[kind] ** 0.25, abs=1e-9)


def test_each_kind_costs_what_its_correction_gains() -> None:
    """Of five people one has all its joints mirrored: 1/5 of AP is inversions, nothing else."""
    detected, truth = scene(people=5)
    detected.keypoints[4] = truth.keypoints[4, MIRROR]
    # A mirrored person must still be matched at an OKS of 0.1: the nose is its own mirror.
    detected.keypoints[4, 1:5] = truth.keypoints[4, 1:5]
    found = analyse(detected, truth, SIGMAS, MIRROR)
    assert found.matches == 5
    gains = dict(zip(CORRECTED, np.diff(found.precision), strict=True))
    assert gains.pop(INVERSION) == pytest.approx(0.2, abs=0.01)
    assert list(gains.values()) == [0, 0, 0]
    assert found.precision[-1] == 1
    assert dict(zip(KINDS, found.counts.sum(axis=1).tolist(), strict=True)) == {
        "good": 73, "jitter": 0, "inversion": 12, "swap": 0, "miss": 0
    }  # fmt: skip


def test_no_detections_and_no_people() -> None:
    detected, truth = scene()
    nothing = Detected(np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0), np.zeros(2, np.int64))
    found = analyse(nothing, truth, SIGMAS, MIRROR)
    assert (found.matches, found.counts.sum(), found.precision) == (0, 0, (0.0,) * 5)
    nobody = Annotated(
        np.zeros((0, 17, 2)), np.zeros((0, 17), bool), np.zeros(0), np.zeros((0, 4)),
        np.zeros(0, bool), np.zeros(2, np.int64),
    )  # fmt: skip
    found = analyse(detected, nobody, SIGMAS, MIRROR)
    assert found.matches == 0
    assert np.isnan(found.precision).all()
    assert found.document(COCO_17.joints)["steps"][0] == {
        "kind": "miss", "value": None, "gain": None
    }  # fmt: skip
    assert average_precision(detected, truth, SIGMAS) == 1


def test_results_carry_the_analysis_as_evidence(shared_data: Path, tmp_path: Path) -> None:
    from harness.evaluation import evaluate
    from harness.records.record import write_evidence

    dataset = COCO.load(shared_data / "coco" / "val4", "val2017")
    truth = dataset.truth
    count = len(truth.id)
    columns = {
        "keypoints": truth.keypoints[:, :, :2],
        "keypoint_scores": np.ones((count, 17)),
        "score": np.ones(count),
    }
    predictions = Predictions(PEOPLE_2D, dataset.sample_ids, truth.offsets, columns)
    evaluation = evaluate(COCO, dataset, predictions, PROTOCOL)
    evidence = write_evidence(tmp_path, dataset.sample_ids, evaluation, predictions)
    found = evidence.error_analysis()
    assert found == evaluation.error_analysis
    assert found["baseline"] == 1
    assert sum(found["kinds"]["good"].values()) == truth.labelled.sum()
    assert found["source"].startswith("Ronchi, Perona")
