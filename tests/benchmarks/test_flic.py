"""FLIC: numbers of the shared data and of MODEC, a plain reference, the readers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from single_person_files import near_truth, predictions, write_flic

from benchmarks.protocols.flic import Flic, facing
from harness.api import PrerequisiteError

FLIC = Flic()


def score(root: Path, path: Path, variant: str) -> dict[str, float]:
    dataset, protocol = FLIC.load(root, "test"), FLIC.protocol(variant)
    given = FLIC.read_predictions(path, dataset, protocol)
    return FLIC.compute(FLIC.statistics(dataset, given, protocol), protocol)


@pytest.mark.parametrize(("record", "variant"), [(0, "observer-centric"), (1, "person-centric")])
def test_expected_numbers(shared_data: Path, record: int, variant: str) -> None:
    expected = json.loads((shared_data / "flic" / "expected.json").read_text())[record]
    file = shared_data / expected["files"]["predictions"]
    values = score(shared_data / "flic", file, variant)
    for name, value in expected["metrics"].items():
        assert abs(values[name] - value) <= expected["tolerance"], name
    for name, value in expected["own_computation"].items():
        assert abs(values[name] - value) <= 1e-9, name


def test_the_predicted_torso_gives_the_script_s_numbers(shared_data: Path) -> None:
    file = shared_data / "flic" / "results" / "FLIC_prediction_model_FLIC_4s.mat"
    values = score(shared_data / "flic", file, "predicted-torso")
    assert (round(values["elbow"], 2), round(values["wrist"], 2)) == (97.54, 94.98)


@pytest.mark.parametrize("case", range(1, 5))
def test_modec_cases(shared_data: Path, case: int) -> None:
    root = shared_data / "oracles" / "flic_curve" / f"case{case}"
    values = score(root, root / "predictions.json", "modec")
    for record in json.loads((root / "expected.json").read_text()):
        for name, value in record["metrics"].items():
            assert abs(values[name] - value) <= record["tolerance"], name


def test_the_three_annotation_files_hold_the_same_people(shared_data: Path) -> None:
    people = FLIC.load(shared_data / "flic", "test").truth.people
    mat, h5 = people["examples.mat"].keypoints, people["annot/valid.h5"].keypoints
    own = people["annot/valid_personcentric.h5"].keypoints
    eyes = [8, 9]
    np.testing.assert_array_equal(np.delete(mat, eyes, axis=1), np.delete(h5, eyes, axis=1))
    turned = (own != h5).any(axis=(1, 2))
    assert turned.sum() == 48
    np.testing.assert_array_equal(
        own[turned][:, :8], h5[turned][:, FLIC.skeleton.flip_order][:, :8]
    )


def slow_scores(truth: np.ndarray, mine: np.ndarray, variant: str) -> dict[str, float]:
    truth = truth.copy()
    if variant == "modec":
        for person in truth:
            if all(person[k][0] < person[k + 3][0] for k in (0, 1, 2)):
                person[[0, 1, 2, 3, 4, 5]] = person[[3, 4, 5, 0, 1, 2]]
    unit = mine if variant == "predicted-torso" else truth
    torso = [math.dist(p[0], p[7]) for p in unit]

    def share(joints: tuple[int, ...], t: float) -> float:
        hits = [
            math.dist(mine[i][k], truth[i][k]) <= t * torso[i]  # NaN is never within
            for i in range(len(truth))
            for k in joints
        ]
        return 100 * sum(hits) / len(hits)

    groups = {"shoulder": (0, 3), "elbow": (1, 4), "wrist": (2, 5)}
    result = {}
    for name, joints in groups.items():
        curve = [share(joints, t / 100) for t in range(1, 21)]
        result[f"{name}/auc"] = float(np.trapezoid(curve, dx=1 / 19))
        result |= {f"{name}/acc@{t}": curve[t - 1] for t in (1, 5, 10, 15, 20)}
    if variant != "modec":
        groups |= {"hip": (6, 7), "nose": (10,)}
    scored = tuple(k for joints in groups.values() for k in joints)
    groups[f"mean{len(scored)}"] = scored
    for name, joints in groups.items():
        result |= {name: share(joints, 0.2), f"{name}@0.1": share(joints, 0.1)}
    return result


@pytest.mark.parametrize("variant", Flic.protocols)
def test_every_metric_equals_a_plain_count(variant: str, tmp_path: Path) -> None:
    write_flic(tmp_path, count=30)
    dataset, protocol = FLIC.load(tmp_path, "test"), FLIC.protocol(variant)
    file = "annot/valid_personcentric.h5" if variant == "person-centric" else "examples.json"
    truth = dataset.truth.people[file].keypoints
    predicted = near_truth(FLIC, dataset)
    given = predictions(dataset.sample_ids, predicted)
    values = FLIC.compute(FLIC.statistics(dataset, given, protocol), protocol)
    want = slow_scores(truth, predicted, variant)
    assert set(values) == set(want) | {"pcp_uarm", "pcp_farm", "pcp_arms_mean"}
    for metric, value in want.items():
        assert values[metric] == pytest.approx(value, abs=1e-9), metric


def test_people_who_turn_their_back_change_arms_but_not_hips() -> None:
    front = np.zeros((1, 11, 2))
    front[0, :3, 0], front[0, 3:6, 0] = 100, 50  # the person's left is the image's right
    front[0, 6:, 0] = 70 + np.arange(5)
    np.testing.assert_array_equal(facing(front), front)
    half = front.copy()
    half[0, 2, 0], half[0, 5, 0] = 40, 60  # crossed wrists alone are no turned back
    np.testing.assert_array_equal(facing(half), half)
    back = front.copy()
    back[0, :6] = front[0, [3, 4, 5, 0, 1, 2]]
    np.testing.assert_array_equal(facing(back), front)


def test_eyes_need_no_prediction(tmp_path: Path) -> None:
    write_flic(tmp_path)
    dataset, protocol = FLIC.load(tmp_path, "test"), FLIC.protocol()
    nine = near_truth(FLIC, dataset)[:, [0, 1, 2, 3, 4, 5, 6, 7, 10]]
    nine = np.nan_to_num(nine, nan=3.0) + 1
    eleven = np.full((len(nine), 11, 2), np.nan)
    eleven[:, [0, 1, 2, 3, 4, 5, 6, 7, 10]] = nine
    np.savez(tmp_path / "nine.npz", predictions=nine)
    np.savez(tmp_path / "eleven.npz", predictions=eleven)
    scipy.io.savemat(tmp_path / "cpm.mat", {"prediction_all": nine.transpose(1, 2, 0)})
    values = [score(tmp_path, tmp_path / n, "observer-centric")
              for n in ("nine.npz", "eleven.npz", "cpm.mat")]  # fmt: skip
    assert values[0] == values[1] == values[2]
    read = FLIC.read_predictions(tmp_path / "cpm.mat", dataset, protocol).columns["keypoints"]
    assert np.isnan(read[:, 8:10]).all()
    nine[2, 1] = np.nan
    scipy.io.savemat(tmp_path / "cpm.mat", {"prediction_all": nine.transpose(1, 2, 0)})
    with pytest.raises(PrerequisiteError, match="person 2, left_elbow"):
        FLIC.read_predictions(tmp_path / "cpm.mat", dataset, protocol)


@pytest.mark.parametrize("joint", [0, 7])
def test_people_without_a_labelled_torso_drop_out(joint: int, tmp_path: Path) -> None:
    write_flic(tmp_path)
    content = json.loads((tmp_path / "examples.json").read_text())
    content["coords"][4][{0: 0, 7: 9}[joint]] = [None, None]
    (tmp_path / "examples.json").write_text(json.dumps(content))
    dataset, protocol = FLIC.load(tmp_path, "test"), FLIC.protocol()
    given = predictions(dataset.sample_ids, np.full((12, 11, 2), 50.0))
    errors = FLIC.statistics(dataset, given, protocol).dense("joint")
    assert np.isnan(errors[4]).all()
    assert np.isfinite(np.delete(errors, 4, axis=0)).all()


@pytest.mark.parametrize("joint", [0, 7])
def test_without_a_predicted_torso_everything_is_missed(joint: int, tmp_path: Path) -> None:
    write_flic(tmp_path)
    dataset, protocol = FLIC.load(tmp_path, "test"), FLIC.protocol("predicted-torso")
    predicted = dataset.truth.people["examples.json"].keypoints.copy()
    predicted[4, joint] = np.nan
    given = predictions(dataset.sample_ids, predicted)
    errors = FLIC.statistics(dataset, given, protocol).dense("joint")
    assert np.isinf(errors[4]).all()
    assert (np.delete(errors, 4, axis=0) == 0).all()


def test_modec_names_joints_in_any_order(tmp_path: Path) -> None:
    write_flic(tmp_path)
    dataset, protocol = FLIC.load(tmp_path, "test"), FLIC.protocol("modec")
    points = np.nan_to_num(near_truth(FLIC, dataset), nan=4.0)
    order = {"rwri": 5, "lsho": 0, "nose": 10}
    content = {"order": list(order), "coords": (points[:, list(order.values())] + 1).tolist()}
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    read = FLIC.read_predictions(path, dataset, protocol).columns["keypoints"]
    for joint in range(11):
        want = points[:, joint] if joint in order.values() else np.nan
        np.testing.assert_allclose(read[:, joint], want, atol=1e-12)
    path.write_text(json.dumps(content | {"order": ["lsho", "tail", "nose"]}))
    with pytest.raises(PrerequisiteError, match="does not name the joints"):
        FLIC.read_predictions(path, dataset, protocol)
    path.write_text(json.dumps({"coords": content["coords"]}))
    with pytest.raises(PrerequisiteError, match="does not name the joints"):
        FLIC.read_predictions(path, dataset, protocol)
    path.write_text("{}")
    with pytest.raises(PrerequisiteError, match="no object with 'coords'"):
        FLIC.read_predictions(path, dataset, protocol)


def test_samples_carry_what_the_files_give(shared_data: Path) -> None:
    dataset = FLIC.load(shared_data / "flic", "test")
    sample = FLIC.samples(dataset, FLIC.protocol())[0]
    assert Path(sample.images[0]).name == "12-oclock-high-special-edition-00171221.jpg"
    assert set(sample.inputs) == {"center", "scale", "torso_box"}
    x, _, width, _ = sample.inputs["torso_box"][0]
    np.testing.assert_allclose(sample.inputs["center"][0], [x + width / 2, 239], rtol=1e-6)


def test_damaged_annotation_is_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "examples.mat", {"examples": np.zeros((1, 3))})
    with pytest.raises(PrerequisiteError, match=r"examples\.mat cannot be read"):
        FLIC.load(tmp_path, "test")
