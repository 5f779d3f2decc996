"""LIP: the official tool's numbers, a plain reference, the readers."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from single_person_files import near_truth, predictions, write_lip

from benchmarks.protocols.lip import Lip
from harness.api import PrerequisiteError

LIP = Lip()


def write_csv(path: Path, names: tuple[str, ...], keypoints: np.ndarray) -> None:
    with path.open("w", newline="") as file:
        for name, person in zip(names, keypoints, strict=True):
            csv.writer(file).writerow([name, *(v if v == v else "nan" for v in person.ravel())])


def score(root: Path, path: Path) -> dict[str, float]:
    dataset, protocol = LIP.load(root, "val"), LIP.protocol()
    given = LIP.read_predictions(path, dataset, protocol)
    return LIP.compute(LIP.statistics(dataset, given, protocol), protocol)


@pytest.mark.parametrize("case", range(1, 5))
def test_official_cases(shared_data: Path, case: int) -> None:
    root = shared_data / "oracles" / "lip_pose" / f"case{case}"
    values = score(root, root / "pred_keypoints_lip.csv")
    for record in json.loads((root / "expected.json").read_text()):
        for name, value in record["metrics"].items():
            assert abs(values[name] - value) <= record["tolerance"], name


def slow_scores(path: Path, predicted: np.ndarray) -> dict[str, float]:
    """Read the truth's lines again and count, as the tool's rules say."""
    errors: list[dict[int, float]] = []
    for line, mine in zip(path.read_text().splitlines(), predicted, strict=True):
        cells = [float(cell) for cell in line.split(",")[1:]]
        joints = {k: cells[3 * k : 3 * k + 2] for k in range(16) if cells[3 * k] == cells[3 * k]}
        errors.append({})
        if 8 not in joints or 9 not in joints:
            continue
        unit = math.dist(joints[8], joints[9])
        for k, place in joints.items():
            guess = [v if v >= 0 else 1.0 for v in mine[k]]
            errors[-1][k] = math.dist(guess, place) / unit

    def rate(joints: list[int], t: float = 0.5) -> float:
        own = [person[k] for person in errors for k in joints if k in person]
        return 100 * sum(e <= t for e in own) / len(own)

    pairs = {"Head": (8, 9), "Shoulder": (12, 13), "Elbow": (11, 14), "Wrist": (10, 15),
             "Hip": (2, 3), "Knee": (1, 4), "Ankle": (0, 5)}  # fmt: skip
    names = [
        *("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "b_pelvis", "b_spine"),
        *("b_neck", "b_head", "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow"),
        "l_wrist",
    ]
    averaged = [k for k in range(16) if k not in (6, 7)]
    return {
        **{name: (rate([a]) + rate([b])) / 2 for name, (a, b) in pairs.items()},
        "UpperBody": rate(list(range(8, 16))),
        "Avg": rate(averaged),
        **{f"joint/{name}": rate([k]) for k, name in enumerate(names)},
        **{f"Avg@{t}": rate(averaged, t) for t in (0.1, 0.2, 0.3, 0.4, 0.5)},
    }


def test_every_metric_equals_a_plain_count(tmp_path: Path) -> None:
    write_lip(tmp_path, count=40)
    dataset, protocol = LIP.load(tmp_path, "val"), LIP.protocol()
    predicted = near_truth(LIP, dataset)
    predicted[3, 4, 1] = -7.0
    given = predictions(dataset.sample_ids, predicted)
    values = LIP.compute(LIP.statistics(dataset, given, protocol), protocol)
    want = slow_scores(tmp_path / "lip_val_groundtruth.csv", predicted)
    assert set(values) == set(want)
    for name, value in want.items():
        assert values[name] == pytest.approx(value, abs=1e-9), name


def test_a_nan_or_negative_coordinate_counts_as_one(tmp_path: Path) -> None:
    write_lip(tmp_path)
    dataset = LIP.load(tmp_path, "val")
    odd = np.nan_to_num(near_truth(LIP, dataset), nan=60.0)
    plain = odd.copy()
    odd[0, 3, 0], odd[1, 5, 1], odd[2, 7] = np.nan, -3.0, np.nan
    plain[0, 3, 0], plain[1, 5, 1], plain[2, 7] = 1.0, 1.0, 1.0
    write_csv(tmp_path / "odd.csv", dataset.sample_ids, odd)
    write_csv(tmp_path / "plain.csv", dataset.sample_ids, plain)
    assert score(tmp_path, tmp_path / "odd.csv") == score(tmp_path, tmp_path / "plain.csv")


def test_people_without_a_head_drop_out(tmp_path: Path) -> None:
    write_lip(tmp_path)
    path = tmp_path / "lip_val_groundtruth.csv"
    lines = path.read_text().splitlines()
    cells = lines[0].split(",")
    cells[1 + 9 * 3 : 1 + 9 * 3 + 3] = ["nan"] * 3
    coincident = lines[1].split(",")
    coincident[1 + 8 * 3 : 4 + 8 * 3] = coincident[1 + 9 * 3 : 4 + 9 * 3] = ["50", "60", "1"]
    path.write_text("\n".join([",".join(cells), ",".join(coincident), *lines[2:]]))
    dataset, protocol = LIP.load(tmp_path, "val"), LIP.protocol()
    given = predictions(dataset.sample_ids, np.full((12, 16, 2), 9.0))
    errors = LIP.statistics(dataset, given, protocol).dense("joint")
    assert np.isnan(errors[:2]).all()
    assert not np.isnan(errors[2:]).all(axis=1).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1: 1.jpg, where the truth has 0"),
        (lambda lines: lines[:-1], "11 people where 12 are due"),
        (lambda lines: [lines[0] + ",3", *lines[1:]], "line 1: 33 numbers, due are 32"),
        (lambda lines: [lines[0].replace("nan", "x") + "x", *lines[1:]], "line 1: could not"),
        (lambda lines: [lines[0].rsplit(",", 1)[0] + ",inf", *lines[1:]], "infinity"),
    ],
)
def test_wrong_results_are_named(
    spoil: Callable[[list[str]], list[str]], message: str, tmp_path: Path
) -> None:
    write_lip(tmp_path)
    dataset = LIP.load(tmp_path, "val")
    path = tmp_path / "p.csv"
    write_csv(path, dataset.sample_ids, np.full((12, 16, 2), 30))
    path.write_text("\n".join(spoil(path.read_text().splitlines())))
    with pytest.raises(PrerequisiteError, match=message) as error:
        LIP.read_predictions(path, dataset, LIP.protocol())
    assert str(path) in error.value.problem


def test_a_name_twice_in_the_truth_is_refused(tmp_path: Path) -> None:
    write_lip(tmp_path)
    path = tmp_path / "lip_val_groundtruth.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[4])
    with pytest.raises(PrerequisiteError, match=r"4\.jpg appears twice"):
        LIP.load(tmp_path, "val")


def test_the_archive_s_own_file_is_read_too(tmp_path: Path) -> None:
    write_lip(tmp_path)
    folder = tmp_path / "TrainVal_pose_annotations"
    folder.mkdir()
    (tmp_path / "lip_val_groundtruth.csv").rename(folder / "lip_val_set.csv")
    sample = LIP.samples(LIP.load(tmp_path, "val"), LIP.protocol())[2]
    assert sample.id == "2.jpg"
    assert sample.images[0].endswith("TrainVal_images/val_images/2.jpg")
