"""BBC Pose, ChaLearn, Poses in the Wild: a plain reference and the readers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from single_person_files import (
    near_truth,
    people,
    predictions,
    write_bbc,
    write_chalearn,
    write_wild,
)

from benchmarks.protocols.bbc_pose import BbcPose, Chalearn, PosesInTheWild, UpperBody
from harness.api import PrerequisiteError

WRITE = {BbcPose: write_bbc, Chalearn: write_chalearn, PosesInTheWild: write_wild}
GROUPS = {"head": [0], "wrist": [1, 2], "elbow": [3, 4], "shoulder": [5, 6]}


@pytest.mark.parametrize(
    ("kind", "variant", "scale", "within"),
    [
        (BbcPose, "toolkit", 0.5, 6),
        (BbcPose, "full-size", 1.0, 6),
        (Chalearn, "pixels", 1.0, 6),
        (PosesInTheWild, "pixels", 1.0, 15),
    ],
)
def test_accuracy_equals_a_plain_count(
    kind: type[UpperBody], variant: str, scale: float, within: float, tmp_path: Path
) -> None:
    WRITE[kind](tmp_path, 40)
    benchmark = kind()
    dataset, protocol = benchmark.load(tmp_path, "test"), benchmark.protocol(variant)
    predicted = near_truth(benchmark, dataset)
    given = predictions(dataset.sample_ids, predicted)
    values = benchmark.compute(benchmark.statistics(dataset, given, protocol), protocol)
    truth = dataset.truth.people[kind.annotation].keypoints

    def rate(joint: int) -> float:
        rows = [i for i in range(len(truth)) if not np.isnan(truth[i, joint]).any()]
        hits = [
            # The toolkit halves 1-based coordinates first: 0.5 (x - 1) + 1.
            math.dist(scale * predicted[i, joint] + 1, scale * truth[i, joint] + 1) <= within
            for i in rows
        ]
        return 100 * sum(hits) / len(hits)

    groups = {k: v for k, v in GROUPS.items() if kind is not PosesInTheWild or k != "head"}
    want = {name: float(np.mean([rate(j) for j in joints])) for name, joints in groups.items()}
    want["average"] = float(np.mean([rate(j) for joints in groups.values() for j in joints]))
    assert set(values) == set(want)
    for name, value in want.items():
        assert values[name] == pytest.approx(value, abs=1e-9), name


def test_bbc_takes_the_hand_labelled_frames_of_a_split(tmp_path: Path) -> None:
    write_bbc(tmp_path, 6)
    test, val = (BbcPose().load(tmp_path, split) for split in ("test", "val"))
    assert test.sample_ids == ("3/10", "3/11", "3/12", "4/10", "4/11", "4/12")
    assert val.sample_ids == ("2/10", "2/11", "2/12")
    np.testing.assert_allclose(
        test.truth.people["bbcpose.mat"].keypoints,
        np.concatenate([people(3, 7, seed=2), people(3, 7, seed=3)]) - 1,
    )
    sample = BbcPose().samples(test, BbcPose().protocol())[4]
    assert Path(sample.images[0]).relative_to(tmp_path) == Path("4/11.jpg")


def test_wild_points_are_reordered_and_hidden_ones_have_no_label(tmp_path: Path) -> None:
    write_wild(tmp_path, 8)
    dataset = PosesInTheWild().load(tmp_path, "test")
    truth = dataset.truth.people["poses_in_the_wild_data.mat"].keypoints
    points = people(8, 8) - 1
    assert np.isnan(truth[:, 0]).all()
    left_to_right = {1: 6, 2: 3, 3: 5, 4: 2, 5: 4, 6: 1}  # ours: theirs
    for own, theirs in left_to_right.items():
        for i in range(8):
            want = np.nan if i == theirs else points[i, theirs]
            np.testing.assert_allclose(truth[i, own], want)
    assert dataset.sample_ids[0] == "selected_seqs/seq1/film-0.png"


def test_hidden_points_marked_by_minus_one_alone_have_no_label(tmp_path: Path) -> None:
    write_wild(tmp_path, 3)
    path = tmp_path / "poses_in_the_wild_data.mat"
    frames = scipy.io.loadmat(path)["piw_data"]
    for frame in frames[0]:
        frame["visible"][:] = 1
    scipy.io.savemat(path, {"piw_data": frames})
    truth = PosesInTheWild().load(tmp_path, "test").truth.people[path.name].keypoints
    assert np.isnan(truth[1, 6]).all()
    assert not np.isnan(truth[0, 1:]).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 1,2,3 1,2,3,4,5 0", "line 1: 3 coordinates, due are 14"),
        ("a.jpg", "line 1"),
        ("a.jpg 1,x 1 0", "line 1: could not convert"),
        ("", "no frame"),
        ("\n".join(["a.jpg 1,2,3,4,5,6,7,8,9,10,11,12,13,14 1 0"] * 2), "1 frames twice"),
    ],
)
def test_wrong_lists_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text(text)
    with pytest.raises(PrerequisiteError, match=message) as error:
        Chalearn().load(tmp_path, "test")
    assert "test.txt" in error.value.problem


def test_a_damaged_annotation_is_named(tmp_path: Path) -> None:
    (tmp_path / "bbcpose.mat").write_bytes(b"nothing")
    with pytest.raises(PrerequisiteError, match=r"bbcpose\.mat cannot be read"):
        BbcPose().load(tmp_path, "test")
    scipy.io.savemat(tmp_path / "bbcpose.mat", {"other": np.zeros(3)})
    with pytest.raises(PrerequisiteError, match=r"bbcpose\.mat cannot be read: KeyError"):
        BbcPose().load(tmp_path, "test")
