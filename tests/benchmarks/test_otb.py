"""OTB: the MATLAB code's numbers, its rules against slow loops, and what is refused."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from statistics_laws import (
    assert_limit_is_a_prefix,
    assert_merging_is_exact,
    assert_weights_repeat,
    differing,
)

from benchmarks.datasets.otb import ATTRIBUTES
from benchmarks.metrics.single_object import OVERLAPS, SHIFTS, disturbed, run_counts, starts
from benchmarks.protocols.otb import Otb
from harness.api import PrerequisiteError

OTB = Otb()
OPE = OTB.protocol()
ALL_RUNS = OTB.protocol("ope_tre_sre")
CASES = ["case1", "case2", "case3", "case4"]
seeds = st.integers(0, 2**32 - 1)


def score(dataset, predictions, protocol=OPE):
    return OTB.compute(OTB.statistics(dataset, predictions, protocol), protocol)


def robustness(shared_data, case):
    root = shared_data / "oracles" / "otb_robustness" / case
    dataset = OTB.load(root, "all")
    return dataset, OTB.read_predictions(root / "results.json", dataset, ALL_RUNS)


@pytest.mark.parametrize("tracker", ["SRDCF", "KCF", "Struck"])
def test_equals_the_published_curves(shared_data, tracker):
    root = shared_data / "otb"
    records = json.loads((root / "expected.json").read_text())
    (expected,) = [record for record in records if record["method"] == tracker]
    dataset = OTB.load(root, "all")
    assert set(dataset.sample_ids) == set(expected["sequences"])
    predictions = OTB.read_predictions(root / f"results/results_OPE/*_{tracker}*.mat", dataset, OPE)
    assert not differing(score(dataset, predictions), expected["metrics"], expected["tolerance"])


@pytest.mark.parametrize("whole", [False, True])
def test_text_files_give_the_same(shared_data, tmp_path, whole):
    """Rows from the first evaluated frame on, or a row for every annotated frame."""
    root = shared_data / "otb"
    (expected,) = [
        record
        for record in json.loads((root / "expected.json").read_text())
        if record["method"] == "SRDCF"
    ]
    dataset = OTB.load(root, "all")
    for sequence in dataset.truth:
        source = root / "results/results_OPE" / expected["files"]["pattern"][sequence.name]
        run = loadmat(source, squeeze_me=True, struct_as_record=False)["results"]
        boxes = run.res.astype(float)
        if whole:
            early = np.full((sequence.starts[0], 4), np.nan)
            boxes = np.concatenate([early, boxes])
        np.savetxt(tmp_path / f"{sequence.name}.txt", boxes, fmt="%.17g", delimiter=",")
    predictions = OTB.read_predictions(tmp_path, dataset, OPE)
    assert not differing(score(dataset, predictions), expected["metrics"], expected["tolerance"])


@pytest.mark.parametrize("case", CASES)
def test_equals_octave_on_all_runs(shared_data, case):
    dataset, predictions = robustness(shared_data, case)
    records = json.loads((dataset.root / "expected.json").read_text())
    metrics = score(dataset, predictions, ALL_RUNS)
    for expected in records:
        assert not differing(metrics, expected["metrics"], expected["tolerance"])


@pytest.mark.parametrize("case", CASES)
def test_starts_and_disturbed_boxes_are_the_tools(shared_data, case):
    dataset, _ = robustness(shared_data, case)
    document = json.loads((dataset.root / "results.json").read_text())
    for sequence in dataset.truth:
        runs = document["results"][sequence.name]
        assert sequence.starts.tolist() == [run["start"] for run in runs["TRE"]]
        width, height = document["sizes"][sequence.name]
        first = sequence.boxes[sequence.starts[0]]
        for run in runs["SRE"]:
            assert disturbed(first, run["shift"], width, height).tolist() == run["init"]


@pytest.mark.parametrize("case", ["case2", "case3"])
def test_laws_of_statistics(shared_data, case):
    dataset, predictions = robustness(shared_data, case)
    names = list(dataset.sample_ids)
    parts = [names[1:2], names[2:] + names[:1]]
    assert_merging_is_exact(OTB, dataset, predictions, ALL_RUNS, parts)
    statistics = OTB.statistics(dataset, predictions, ALL_RUNS)
    random = np.random.default_rng(7)
    weights = random.integers(1, 4, len(names))
    assert_weights_repeat(OTB, statistics, ALL_RUNS, weights)


def test_a_limited_run_is_a_prefix(shared_data):
    root = shared_data / "otb"
    dataset = OTB.load(root, "all")
    predictions = OTB.read_predictions(root / "results/results_OPE/*_Struck.mat", dataset, OPE)
    assert_limit_is_a_prefix(OTB, dataset, predictions, OPE)


def slow_counts(boxes, truth):
    """Frame by frame: hits of every success threshold, and of 20 pixels."""
    boxes = [list(box) for box in boxes]
    for i in range(1, len(boxes)):
        x, y, w, h = boxes[i]
        if all(math.isnan(v) for v in (x, y, w, h)) or w <= 0 or h <= 0:
            boxes[i] = boxes[i - 1]
    boxes[0] = list(truth[0])
    success, near = [0] * 21, 0
    for (x, y, w, h), (a, b, c, d) in zip(boxes, truth, strict=True):
        if min(a, b, c, d) <= 0:
            near += 1
            continue
        across = max(0, min(x + w - 1, a + c - 1) - max(x, a) + 1)
        down = max(0, min(y + h - 1, b + d - 1) - max(y, b) + 1)
        overlap = across * down / (w * h + c * d - across * down)
        for k in range(21):
            threshold = 0.05 * k if k <= 10 else 1 - 0.05 * (20 - k)
            success[k] += overlap > threshold
        near += (
            math.hypot(x + (w - 1) / 2 - a - (c - 1) / 2, y + (h - 1) / 2 - b - (d - 1) / 2) <= 20
        )
    return success, near


@given(seed=seeds)
@settings(max_examples=100, deadline=None)
def test_counts_equal_slow_loops(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 30))
    truth = np.array([100, 100, 30, 40.0]) + np.cumsum(random.integers(-2, 3, (count, 4)), axis=0)
    truth[1:][random.random(count - 1) < 0.1] = 0
    boxes = truth + random.integers(-20, 20, truth.shape) / 2
    boxes[random.random(count) < 0.1] = np.nan
    boxes[0] = truth[0] + 1
    boxes[random.random(count) < 0.1, 2] = -1
    boxes[0, 2] = 30
    success, precision = run_counts(boxes, truth)
    assert (success.tolist(), precision[20]) == slow_counts(boxes, truth)


def test_thresholds_are_filled_from_both_ends():
    assert OVERLAPS[:11].tolist() == [0.05 * k for k in range(11)]
    assert OVERLAPS[11:].tolist() == [1 - 0.05 * k for k in range(9, -1, -1)]
    # The naive grid differs in the last bit.
    assert (np.arange(21) * 0.05 != OVERLAPS).any()


def test_the_truth_as_result_succeeds_everywhere_but_at_overlap_1():
    truth = np.tile([10.0, 20, 30, 40], (12, 1))
    success, precision = run_counts(truth, truth)
    assert success.tolist() == [12] * 20 + [0]
    assert precision.tolist() == [12] * 51


def test_boxes_of_disturbed_runs_are_rounded():
    whole = np.tile([10.0, 20, 30, 40], (5, 1))
    # Centre 24.5, less 15 makes 9.5: half a pixel off, and rounded back to 10.
    assert run_counts(whole, whole, "left")[1][0] == 5
    moved = np.array([0.5, 0, 0, 0]) + whole
    # Here 25 less 15 is 10, half a pixel from the truth; the first box is set to it.
    assert run_counts(moved, moved, "left")[1][0] == 1
    # A scale is taken back about the centre: 24 and 32 are 0.8 of 30 and 40.
    smaller = np.tile([13.0, 24, 24, 32], (5, 1))
    assert run_counts(smaller, whole, "scale_8")[0][-2] == 5


def test_starts_leave_twenty_frames_and_avoid_omitted_ones():
    truth = np.tile([10.0, 20, 30, 40], (60, 1))
    none = np.zeros((0, 2), dtype=np.int64)
    assert starts(truth, none)[[0, -1]].tolist() == [0, 40]
    assert len(starts(truth, none)) == 20
    omitted = starts(truth, np.array([[1, 5], [30, 45]]))
    assert omitted[0] == 5
    assert not set(omitted) & set(range(29, 45))
    assert starts(truth[:10], none).tolist() == [0]
    few = starts(truth[:24], none)
    assert few[[0, -1]].tolist() == [0, 4]
    assert len(few) < 20


def make(root, name, boxes, **files):
    (root / name / "img").mkdir(parents=True, exist_ok=True)
    np.savetxt(
        root / name / files.pop("file", "groundtruth_rect.txt"), boxes, fmt="%g", delimiter="\t"
    )
    for file, text in files.items():
        (root / name / f"{file}.txt").write_text(text)


BOXES = np.tile([10.0, 20, 30, 40], (30, 1))


def test_names_targets_and_attributes(tmp_path):
    make(tmp_path, "Bolt", BOXES, attrs="OCC, DEF")
    make(tmp_path, "Jogging", BOXES, file="groundtruth_rect.1.txt")
    make(tmp_path, "Jogging", BOXES, file="groundtruth_rect.2.txt")
    make(tmp_path, "Human4", BOXES, file="groundtruth_rect.1.txt")
    make(tmp_path, "Human4", BOXES, file="groundtruth_rect.2.txt")
    for folder in ("att", "initOmit"):
        (tmp_path / "anno" / folder).mkdir(parents=True)
    flags = "1,0,0,0,0,0,0,0,0,0,1"
    (tmp_path / "anno/att/jogging-1.txt").write_text(flags)
    (tmp_path / "anno/att/Human4.2.txt").write_text("0,1,0,1,0,0,0,0,0,0,0")
    (tmp_path / "anno/initOmit/jogging-2.txt").write_text("1 3\n")
    (tmp_path / "tb_50.txt").write_text("Bolt\tOCC, DEF\nJogging-1\tOCC\n")
    (tmp_path / "tb_100.txt").write_text("Bolt\tOCC\nWoman\tOCC\n")
    assert OTB.splits(tmp_path) == ("all", "tb_50")
    dataset = OTB.load(tmp_path, "all")
    assert dataset.sample_ids == ("Bolt", "Human4-2", "Jogging-1", "Jogging-2")
    found = {
        s.name: [a for a, f in zip(ATTRIBUTES, s.attributes, strict=True) if f]
        for s in dataset.truth
    }
    # A capital first letter of the file in anno/att means the second order of its columns.
    assert found == {
        "Bolt": ["OCC", "DEF"],
        "Human4-2": ["OPR", "OCC"],
        "Jogging-1": ["IV", "LR"],
        "Jogging-2": [],
    }
    assert dataset.truth[3].starts[0] == 3
    assert OTB.load(tmp_path, "tb_50").sample_ids == ("Bolt", "Jogging-1")


def test_samples_tell_first_frame_and_box_of_every_run(tmp_path):
    make(tmp_path, "David", BOXES, init_omit="1 2")
    dataset = OTB.load(tmp_path, "all")
    (sample,) = OTB.samples(dataset, OPE)
    assert sample.images[0].endswith("David/img/0300.jpg")
    assert len(sample.images) == 30
    assert sample.inputs["start"].tolist() == [2]
    assert sample.boxes.tolist() == [[9, 19, 30, 40]]
    with pytest.raises(PrerequisiteError, match="cut to the image"):
        OTB.samples(dataset, ALL_RUNS)
    cv2.imwrite(sample.images[2], np.zeros((60, 100, 3), np.uint8))
    (sample,) = OTB.samples(dataset, ALL_RUNS)
    count = len(dataset.truth[0].starts)
    assert len(sample.boxes) == len(sample.inputs["start"]) == 1 + count + len(SHIFTS)
    left, right, up, down = sample.boxes[1 + count : 5 + count]
    assert left.tolist() == [6, 19, 30, 40]
    assert right.tolist() == [12, 19, 30, 40]
    assert up.tolist() == [9, 15, 30, 40]
    assert down.tolist() == [9, 23, 30, 37]


def test_a_tracker_that_says_nan_repeats_its_box(tmp_path):
    make(tmp_path, "Bolt", BOXES)
    dataset = OTB.load(tmp_path, "all")
    rows = ["10 20 30 40"] + ["NaN NaN NaN NaN"] * 29
    (tmp_path / "Bolt.txt").write_text("\n".join(rows))
    metrics = score(dataset, OTB.read_predictions(tmp_path, dataset, OPE))
    assert metrics["P20/Bolt"] == 1
    assert metrics["AUC"] == pytest.approx(20 / 21)


def test_affine_results_become_boxes(tmp_path):
    make(tmp_path, "Bolt", BOXES)
    dataset = OTB.load(tmp_path, "all")
    # Centre x, y, then the matrix: a template of 10 x 20 pixels three and two times as large.
    rows = np.tile([25.5, 40.5, 3.0, 0.0, 0.0, 2.0], (30, 1))
    run = {"type": "ivtAff", "res": rows, "tmplsize": np.array([10, 20]), "len": 30}
    savemat(tmp_path / "Bolt_IVT.mat", {"results": np.array([run], dtype=object)})
    predictions = OTB.read_predictions(tmp_path / "*_IVT.mat", dataset, OPE)
    assert predictions.columns["box"][3].tolist() == [9, 19, 30, 40]


def test_wrong_results_are_refused(shared_data, tmp_path):
    root = shared_data / "otb"
    with pytest.raises(
        PrerequisiteError, match="3 trackers: KCF_GaussHog, SRDCF, Struck"
    ) as caught:
        OTB.read_predictions(root / "results/results_OPE", OTB.load(root, "all"), OPE)
    assert "*_KCF_GaussHog.mat" in caught.value.remedy
    make(tmp_path, "Bolt", BOXES)
    dataset = OTB.load(tmp_path, "all")
    with pytest.raises(PrerequisiteError, match="no results of 1 sequences: Bolt"):
        OTB.read_predictions(tmp_path, dataset, OPE)
    path = tmp_path / "Bolt.txt"
    for text, words in (
        ("1,2,3,4\n" * 29, "29 boxes, due are 30"),
        ("1,2,3\n" * 30, "line 1 has 3 numbers, due are 4"),
        ("1,2,3,x\n" * 30, "line 1: '1,2,3,x'"),
        ("1,2,inf,4\n" * 30, "infinite box"),
    ):
        path.write_text(text)
        with pytest.raises(PrerequisiteError, match=words) as caught:
            OTB.read_predictions(tmp_path, dataset, OPE)
        assert "Bolt" in caught.value.problem
    with pytest.raises(PrerequisiteError, match="holds no TRE, SRE runs"):
        OTB.read_predictions(tmp_path, dataset, ALL_RUNS)
    path.unlink()
    run = {"type": "4corner", "res": np.ones((60, 4)), "len": 30}
    savemat(tmp_path / "Bolt_LK.mat", {"results": np.array([run], dtype=object)})
    with pytest.raises(PrerequisiteError, match="type '4corner'"):
        OTB.read_predictions(tmp_path, dataset, OPE)


def test_runs_that_start_elsewhere_are_refused(shared_data, tmp_path):
    dataset, _ = robustness(shared_data, "case1")
    document = json.loads((dataset.root / "results.json").read_text())
    document["results"]["Invented1A"]["TRE"][3]["start"] = 5
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document))
    with pytest.raises(PrerequisiteError, match="Invented1A: KeyError") as caught:
        OTB.read_predictions(path, dataset, ALL_RUNS)
    assert "[0, 1, 3, 4" in caught.value.remedy


def test_unknown_attributes_and_empty_roots_are_refused(tmp_path):
    with pytest.raises(PrerequisiteError, match="no split 'all'"):
        OTB.load(tmp_path, "all")
    make(tmp_path, "Bolt", BOXES, attrs="OCC, XYZ")
    with pytest.raises(PrerequisiteError, match="unknown attribute 'XYZ'"):
        OTB.load(tmp_path, "all")
    make(tmp_path, "Zero", BOXES * 0)
    (tmp_path / "Bolt" / "attrs.txt").unlink()
    with pytest.raises(PrerequisiteError, match="no frame to start at"):
        OTB.load(tmp_path, "all")
