"""MPII: the numbers of the shared data, a plain reference, the readers and the submission."""

from __future__ import annotations

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from single_person_files import near_truth, predictions, write_mpii

from benchmarks.protocols.mpii import Mpii
from harness.api import Dataset, PrerequisiteError

MPII = Mpii()


def stored(path: Path) -> dict[str, np.ndarray]:
    """Return the variables of a .mat file, without scipy's own entries."""
    return {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}


def score(dataset: Dataset, path: Path, variant: str) -> dict[str, float]:
    protocol = MPII.protocol(variant)
    given = MPII.read_predictions(path, dataset, protocol)
    return MPII.compute(MPII.statistics(dataset, given, protocol), protocol)


@pytest.mark.parametrize("record", range(4))
def test_expected_numbers(shared_data: Path, record: int) -> None:
    expected = json.loads((shared_data / "mpii" / "expected.json").read_text())[record]
    variant = "h5" if expected["files"]["ground_truth"].endswith(".h5") else "official"
    dataset = MPII.load(shared_data / "mpii", "val")
    values = score(dataset, shared_data / expected["files"]["predictions"], variant)
    for name, value in expected["metrics"].items():
        assert abs(values[name] - value) <= expected["tolerance"], name
    for name, value in expected["own_computation"].items():
        assert abs(values[name] - value) <= 1e-9, name


def slow_pckh(dataset: Dataset, variant: str, predicted: np.ndarray) -> dict[str, float]:
    """Read the files again and count, joint by joint, as the definitions say."""
    root = dataset.root / "annot"
    if variant == "h5":
        with h5py.File(root / "valid.h5") as file:
            truth, size = file["part"][()], file["normalize"][()]
        valid = (truth > 1).all(axis=2)
    else:
        mat = scipy.io.loadmat(root / "gt_valid.mat")
        truth = np.moveaxis(mat["pos_gt_src"], 2, 0)
        valid = mat["jnt_missing"].T == 0
        size = [0.6 * math.dist(box[0], box[1]) for box in np.moveaxis(mat["headboxes_src"], 2, 0)]

    def rate(joints: list[int], threshold: float, strict: bool) -> tuple[int, int]:
        hits = labels = 0
        for i in range(len(truth)):
            for k in joints:
                if not valid[i][k]:
                    continue
                labels += 1
                if np.isnan(predicted[i][k]).any():
                    continue
                error = math.dist(predicted[i][k], truth[i][k]) / size[i]
                hits += error < threshold if strict else error <= threshold
        return hits, labels

    strict = variant == "official"
    groups = {
        "head": [8, 9] if variant == "devkit" else [9],
        "shoulder": [12, 13],
        "elbow": [11, 14],
        "wrist": [10, 15],
        "hip": [2, 3],
        "knee": [1, 4],
        "ankle": [0, 5],
    }
    fourteen = [k for k in range(16) if k not in (6, 7)]

    def mean(joints: list[int], threshold: float = 0.5) -> float:
        each = [rate([k], threshold, strict) for k in joints]
        return sum(100 * h / n for h, n in each) / len(each)

    def pooled(joints: list[int], threshold: float = 0.5, strictly: bool = strict) -> float:
        hits, labels = rate(joints, threshold, strictly)
        return 100 * hits / labels

    curve = [pooled(fourteen, k / 100, False) for k in range(51)]
    area = np.trapezoid(curve, dx=0.02) if variant == "devkit" else np.mean(curve)
    return {
        **{name: mean(joints) for name, joints in groups.items()},
        "total": pooled(fourteen),
        "mean14": mean(fourteen),
        "pooled14": pooled(fourteen),
        "mean16": mean(list(range(16))),
        "pooled16": pooled(list(range(16))),
        "total@0.1": pooled(fourteen, 0.1),
        "mean14@0.1": mean(fourteen, 0.1),
        "auc_pooled14": float(area),
        "n_valid_joints": float(valid.sum()),
    }


@pytest.mark.parametrize("variant", Mpii.protocols)
def test_every_metric_equals_a_plain_count(variant: str, tmp_path: Path) -> None:
    write_mpii(tmp_path, count=25)
    dataset = MPII.load(tmp_path, "val")
    predicted = near_truth(MPII, dataset)
    protocol = MPII.protocol(variant)
    given = predictions(dataset.sample_ids, predicted)
    values = MPII.compute(MPII.statistics(dataset, given, protocol), protocol)
    want = slow_pckh(dataset, variant, predicted + 1)
    assert set(values) == set(want)
    for name, value in want.items():
        assert values[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize(("variant", "hit"), [("official", 0.0), ("h5", 100.0), ("devkit", 100.0)])
def test_exactly_half_a_head_hits_or_not_as_declared(
    variant: str, hit: float, tmp_path: Path
) -> None:
    write_mpii(tmp_path)
    mat = stored(tmp_path / "annot" / "gt_valid.mat")
    mat["headboxes_src"][:] = np.array([[10.0, 10.0], [40.0, 50.0]])[:, :, None]  # 0.6 x 50 = 30
    mat["jnt_missing"][:] = 0
    scipy.io.savemat(tmp_path / "annot" / "gt_valid.mat", mat)
    with h5py.File(tmp_path / "annot" / "valid.h5", "a") as file:
        file["normalize"][:] = 30.0
    dataset = MPII.load(tmp_path, "val")
    protocol = MPII.protocol(variant)
    truth = MPII.people(dataset, protocol).keypoints
    whole = np.round(np.nan_to_num(truth, nan=9.0))
    people = dataset.truth.people[protocol.ground_truth[0]]
    people.keypoints[:] = np.where(np.isnan(truth), np.nan, whole)
    given = predictions(dataset.sample_ids, whole + np.array([15.0, 0.0]))
    values = MPII.compute(MPII.statistics(dataset, given, protocol), protocol)
    assert values["total"] == hit
    assert values["elbow"] == hit


def test_a_shift_by_one_pixel_moves_the_mean_as_documented(shared_data: Path) -> None:
    dataset = MPII.load(shared_data / "mpii", "val")
    protocol = MPII.protocol()
    file = shared_data / "mpii" / "results" / "bearpaw-hg_s2_b1.mat"
    given = MPII.read_predictions(file, dataset, protocol)
    shifted = predictions(dataset.sample_ids, given.columns["keypoints"] + 1)
    values = MPII.compute(MPII.statistics(dataset, shifted, protocol), protocol)
    assert round(values["mean14"], 2) == 86.96


def test_places_and_sizes_are_the_same_from_either_file(shared_data: Path, tmp_path: Path) -> None:
    """The first five people of valid.h5 are those of the .json, before HRNet's enlargement."""
    records = json.loads((shared_data / "mpii" / "sample5" / "annot" / "valid.json").read_text())
    samples = MPII.samples(MPII.load(shared_data / "mpii", "val"), MPII.protocol())
    for record, sample in zip(records, samples, strict=False):
        assert Path(sample.images[0]).name == record["image"]
        np.testing.assert_allclose(sample.inputs["center"][0] + 1, record["center"], atol=1e-3)
        np.testing.assert_allclose(sample.inputs["scale"][0], record["scale"], atol=1e-5)
        np.testing.assert_allclose(sample.boxes[0, 3], 200 * record["scale"], rtol=1e-5)
    write_mpii(tmp_path, count=5)
    (tmp_path / "annot" / "valid.json").write_text(json.dumps(records))
    again = MPII.samples(MPII.load(tmp_path, "val"), MPII.protocol())
    assert [Path(s.images[0]).name for s in again] == [r["image"] for r in records]
    np.testing.assert_allclose(again[0].inputs["center"][0] + 1, records[0]["center"])


def test_files_of_different_splits_do_not_mix(tmp_path: Path) -> None:
    write_mpii(tmp_path, count=5)
    (tmp_path / "annot" / "valid.json").write_text('[{"image": "a", "center": [1, 2], "scale": 1}]')
    with pytest.raises(PrerequisiteError, match="different numbers of people"):
        MPII.load(tmp_path, "val")


def test_a_protocol_without_its_annotation_says_which_file_is_missing(tmp_path: Path) -> None:
    write_mpii(tmp_path)
    (tmp_path / "annot" / "valid.h5").unlink()
    dataset = MPII.load(tmp_path, "val")
    given = predictions(dataset.sample_ids, np.zeros((12, 16, 2)))
    with pytest.raises(PrerequisiteError, match=r"'h5' scores against annot/valid\.h5"):
        MPII.statistics(dataset, given, MPII.protocol("h5"))


def test_an_annotation_of_another_shape_is_named(tmp_path: Path) -> None:
    write_mpii(tmp_path)
    mat = stored(tmp_path / "annot" / "gt_valid.mat")
    mat["pos_gt_src"] = mat["pos_gt_src"].transpose(2, 0, 1)
    scipy.io.savemat(tmp_path / "annot" / "gt_valid.mat", mat)
    with pytest.raises(PrerequisiteError, match=r"pos_gt_src.*\(12, 16, 2\), due is \(16, 2, n\)"):
        MPII.load(tmp_path, "val")


@pytest.mark.parametrize("suffix", [".mat", ".h5"])
def test_official_formats(suffix: str, tmp_path: Path) -> None:
    write_mpii(tmp_path)
    dataset = MPII.load(tmp_path, "val")
    preds = np.nan_to_num(near_truth(MPII, dataset), nan=7.0).astype(np.float32) + 1
    path = tmp_path / f"preds{suffix}"

    def write(array: np.ndarray) -> None:
        if suffix == ".mat":
            scipy.io.savemat(path, {"preds": array})
        else:
            with h5py.File(path, "w") as file:
                file["preds"] = array

    write(preds)
    read = MPII.read_predictions(path, dataset, MPII.protocol())
    np.testing.assert_array_equal(read.columns["keypoints"], preds.astype(float) - 1)
    write(preds.transpose(1, 2, 0))
    with pytest.raises(PrerequisiteError, match="looks transposed"):
        MPII.read_predictions(path, dataset, MPII.protocol())
    preds[4, 10] = np.nan
    write(preds)
    with pytest.raises(PrerequisiteError, match="person 4, right_wrist"):
        MPII.read_predictions(path, dataset, MPII.protocol())


def write_release(root: Path) -> None:
    """Write a tiny official annotation: images 1, 3, 4 are test images with 2, 3 and no people."""
    counts, alone = [1, 2, 1, 3, 0], [[1], [2], [1], [1, 3], []]
    annolist = np.empty((1, 5), dtype=[("image", object), ("annorect", object)])
    for i, count in enumerate(counts):
        rects = np.empty((1, count), dtype=[("scale", object), ("objpos", object)])
        for r in range(count):
            rects[0, r] = (1.0 + r, {"x": 100.0 * i + r, "y": 50.0})
        annolist[0, i] = ({"name": f"{i}.jpg"}, rects)
    single = np.empty((5, 1), dtype=object)
    for i, people in enumerate(alone):
        single[i, 0] = np.array(people, dtype=float)[:, None]
    release = {
        "annolist": annolist,
        "img_train": np.array([[1, 0, 1, 0, 0]]),
        "single_person": single,
    }
    (root / "annot").mkdir()
    scipy.io.savemat(root / "annot" / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})


def test_the_test_split_has_no_truth_and_is_exported_for_the_authors(tmp_path: Path) -> None:
    write_release(tmp_path)
    assert MPII.splits(tmp_path) == ("test",)
    dataset = MPII.load(tmp_path, "test")
    assert dataset.truth is None
    assert dataset.sample_ids == ("1-1", "3-0", "3-2")
    samples = MPII.samples(dataset, MPII.protocol())
    assert [Path(s.images[0]).name for s in samples] == ["1.jpg", "3.jpg", "3.jpg"]
    np.testing.assert_array_equal(samples[2].inputs["center"], [[301.0, 49.0]])
    np.testing.assert_array_equal(samples[2].inputs["scale"], [3.0])
    keypoints = np.arange(96.0).reshape(3, 16, 2)
    given = predictions(dataset.sample_ids, keypoints)
    with pytest.raises(PrerequisiteError, match="no ground truth"):
        MPII.statistics(dataset, given, MPII.protocol())

    file = tmp_path / "pred_keypoints_mpii.mat"
    MPII.write_submission(given, dataset, MPII.protocol(), file)
    pred = scipy.io.loadmat(file, squeeze_me=True, struct_as_record=False)["pred"]
    assert [p.image.name for p in pred] == ["1.jpg", "3.jpg", "4.jpg"]
    people = [rect for p in pred for rect in np.atleast_1d(p.annorect)]
    filled = [rect for rect in people if hasattr(rect.annopoints, "point")]
    assert len(people) == 5
    assert [people.index(rect) for rect in filled] == [1, 2, 4]
    for rect, own in zip(filled, keypoints, strict=True):
        points = rect.annopoints.point
        assert [p.id for p in points] == list(range(16))
        np.testing.assert_array_equal([[p.x, p.y] for p in points], own + 1)


def test_a_submission_with_missing_joints_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path)
    dataset = MPII.load(tmp_path, "test")
    keypoints = np.ones((3, 16, 2))
    keypoints[1, 6] = np.nan
    given = predictions(dataset.sample_ids, keypoints)
    with pytest.raises(PrerequisiteError, match="all 16 joints"):
        MPII.write_submission(given, dataset, MPII.protocol(), tmp_path / "pred.mat")
    with pytest.raises(PrerequisiteError, match="no submission"):
        MPII.write_submission(given, dataset, MPII.protocol(), tmp_path / "pred.json")
