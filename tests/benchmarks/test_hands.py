"""NYU, ICVL and MSRA hands: published numbers, plain loops, properties, files, refusals."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import scipy.io

from benchmarks.datasets.hands import GESTURES, NYU_ROWS, SUBJECTS
from benchmarks.protocols.hands import IcvlHand, MsraHand, NyuHand
from harness.api import PrerequisiteError, merge

BENCHMARKS = {"nyu": NyuHand(), "icvl": IcvlHand(), "msra": MsraHand()}
IMAGE = {"nyu": (640, 480), "icvl": (320, 240), "msra": (320, 240)}


def score(benchmark, root, predictions, variant=None, weights=None):
    dataset, protocol = benchmark.load(root, "test"), benchmark.protocol(variant)
    read = benchmark.read_predictions(predictions, dataset, protocol)
    return benchmark.compute(benchmark.statistics(dataset, read, protocol), protocol, weights)


def invented(name, frames=23, seed=0):
    random, joints = np.random.default_rng(seed), len(BENCHMARKS[name].skeleton)
    middle = random.uniform(0.3, 0.7, size=(frames, 1, 2)) * IMAGE[name]
    uv = middle + random.normal(scale=30, size=(frames, joints, 2))
    truth = np.concatenate([uv, random.normal(500, 40, size=(frames, joints, 1))], axis=2)
    return truth + random.normal(scale=random.uniform(0, 8), size=truth.shape), truth


@pytest.fixture(params=sorted(BENCHMARKS))
def case(request, tmp_path):
    """A benchmark with invented labels and predictions, its root, and the arrays behind."""
    name = request.param
    predicted, truth = (np.round(a, 3) for a in invented(name))
    folder = tmp_path / "groundtruth" / name
    folder.mkdir(parents=True)
    np.savetxt(folder / f"{name}_test_groundtruth_label.txt", truth.reshape(23, -1), fmt="%.3f")
    np.savetxt(tmp_path / "result.txt", predicted.reshape(23, -1), fmt="%.3f")
    if name == "msra":
        counts = [3, 0, 5, 1, 2, 2, 4, 5, 1]
        (tmp_path / "subjects.json").write_text(json.dumps({"frames": counts}))
    return BENCHMARKS[name], tmp_path, predicted, truth


# --- numbers known from elsewhere -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["nyu", "icvl"])
def test_published_predictions(shared_data, name):
    root = shared_data / f"{name}_hand"
    for record in json.loads((root / "expected.json").read_text()):
        metrics = score(BENCHMARKS[name], root, shared_data / record["files"]["predictions"])
        for key, value in record["metrics"].items():
            assert abs(metrics[key] - value) <= record["tolerance"], (record["method"], key)
        for key, value in record["own_computation"].items():
            assert metrics[key] == pytest.approx(value, abs=1e-9), (record["method"], key)


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_oracle_cases(shared_data, case):
    root = shared_data / "oracles" / "depth_hand" / f"case{case}"
    for record in json.loads((root / "expected.json").read_text()):
        benchmark = BENCHMARKS[record["protocol"].removesuffix("_hand")]
        metrics = score(benchmark, root, root / record["files"][1])
        for key, value in record["metrics"].items():
            assert abs(metrics[key] - value) <= record["tolerance"], key


def test_by_plain_loops(case):
    benchmark, root, predicted, truth = case
    protocol = benchmark.protocol()
    (fx, fy), (u0, v0) = protocol.focal, protocol.centre

    def point(u, v, d):
        return np.array([(u - u0) * d / fx, (v - v0) * d / fy, d])

    frames = [
        [float(np.linalg.norm(point(*p) - point(*t))) for p, t in zip(frame, there, strict=True)]
        for frame, there in zip(predicted, truth, strict=True)
    ]
    every = [error for frame in frames for error in frame]
    metrics = score(benchmark, root, root / "result.txt")
    assert metrics["mean_error_mm"] == pytest.approx(np.mean(every))
    assert metrics["median_error_mm"] == pytest.approx(np.median(every))
    assert metrics["frames"] == metrics["n_frames"] == 23
    for t in (5, 10, 15, 20, 30, 40, 50, 80):
        worst = 100 * sum(max(frame) <= t for frame in frames) / 23
        assert metrics[f"success_max_{t}mm"] == pytest.approx(worst)
        middle = 100 * sum(sum(frame) / len(frame) <= t for frame in frames) / 23
        assert metrics[f"success_mean_{t}mm"] == pytest.approx(middle)
        single = 100 * sum(error <= t for error in every) / len(every)
        assert metrics[f"success_joint_{t}mm"] == pytest.approx(single)
    for k in range(len(benchmark.skeleton)):
        assert metrics[f"joint_{k}_mm"] == pytest.approx(np.mean([f[k] for f in frames]))
    if benchmark.name == "msra-hand":
        cuts = np.cumsum([0, 3, 0, 5, 1, 2, 2, 4, 5, 1])
        means = {f"P{s}": np.mean(frames[cuts[s] : cuts[s + 1]]) for s in range(9) if s != 1}
        assert metrics["mean_over_subjects_mm"] == pytest.approx(np.mean(list(means.values())))
        for subject, value in means.items():
            assert metrics[f"subject_{subject}_mm"] == pytest.approx(value)


@pytest.mark.parametrize("case", ["nyu", "icvl"], indirect=True)
def test_other_intrinsics_give_other_millimetres(case):
    benchmark, root, *_ = case
    plain, other = (score(benchmark, root, root / "result.txt", v) for v in ("official", "v2v"))
    assert plain["mean_error_mm"] != other["mean_error_mm"]
    assert plain["mean_error_mm"] == pytest.approx(other["mean_error_mm"], rel=2e-3)


# --- properties -----------------------------------------------------------------------------------


def test_perfect_predictions(case):
    benchmark, root, _, truth = case
    np.savez(root / "perfect.npz", predictions=truth)
    metrics = score(benchmark, root, root / "perfect.npz")
    for name, value in metrics.items():
        if "success" in name:
            assert value == 100.0
        elif "frames" not in name:
            assert value == 0.0


def test_cuts_weights_and_order(case):
    benchmark, root, *_ = case
    dataset, protocol = benchmark.load(root, "test"), benchmark.protocol()
    read = benchmark.read_predictions(root / "result.txt", dataset, protocol)
    whole = benchmark.statistics(dataset, read, protocol)
    metrics = benchmark.compute(whole, protocol)
    random = np.random.default_rng(1)
    shuffled = random.permutation(dataset.sample_ids).tolist()
    parts = [shuffled[:4], shuffled[4:20], shuffled[20:]]
    merged = merge([benchmark.statistics(dataset, read.select(ids), protocol) for ids in parts])
    np.testing.assert_equal(benchmark.compute(merged, protocol), metrics)
    weights = random.integers(0, 3, size=(5, 23))
    drawn = benchmark.resample(whole, protocol, weights)
    for row, times in enumerate(weights):
        repeated = benchmark.compute(whole.take(np.repeat(np.arange(23), times)), protocol)
        for name, value in repeated.items():
            assert drawn[name][row] == pytest.approx(value, rel=1e-9, nan_ok=True), name


def test_curves_and_breakdown_agree_with_the_metrics(case):
    benchmark, root, *_ = case
    dataset, protocol = benchmark.load(root, "test"), benchmark.protocol()
    read = benchmark.read_predictions(root / "result.txt", dataset, protocol)
    statistics = benchmark.statistics(dataset, read, protocol)
    metrics = benchmark.compute(statistics, protocol)
    for curve, kind in zip(
        benchmark.curves(statistics, protocol), ("max", "mean", "joint"), strict=True
    ):
        assert len(curve.x) == 85
        assert curve.y[40] == pytest.approx(metrics[f"success_{kind}_40mm"])
    joints = benchmark.breakdown(statistics, protocol)["joint"]
    assert np.mean(list(joints.values())) == pytest.approx(metrics["mean_error_mm"])
    scores = benchmark.per_sample(statistics, protocol)
    assert scores["mean_error_mm"].mean() == pytest.approx(metrics["mean_error_mm"])


# --- files ----------------------------------------------------------------------------------------


def test_frames_are_named_by_the_list_beside_the_labels(case):
    benchmark, root, *_ = case
    names = [f"test/{number}.png" for number in range(23)]
    short = benchmark.name.removesuffix("-hand")
    (root / "groundtruth" / short / f"{short}_test_list.txt").write_text("\n".join(names) + "\n")
    dataset = benchmark.load(root, "test")
    assert dataset.sample_ids == tuple(names)
    sample = benchmark.samples(dataset, benchmark.protocol())[7]
    assert sample.images == (str(root / "test/7.png"),)
    assert sample.inputs["hand_center"].shape == (1, 3)
    assert sample.inputs["camera"].shape == (3, 3)


def test_own_files_of_nyu(tmp_path):
    uvd = np.random.default_rng(2).uniform(100, 400, size=(3, 5, 36, 3))
    (tmp_path / "test").mkdir()
    scipy.io.savemat(tmp_path / "test" / "joint_data.mat", {"joint_uvd": uvd})
    dataset = NyuHand().load(tmp_path, "test")
    np.testing.assert_array_equal(dataset.truth.uvd, uvd[0][:, NYU_ROWS])
    assert dataset.sample_ids[4] == "test/depth_1_0000005.png"


def test_own_files_of_icvl(tmp_path):
    uvd = np.random.default_rng(3).uniform(100, 200, size=(5, 16, 3)).round(2)
    (tmp_path / "Testing").mkdir()
    for number, rows in ((1, range(3)), (2, range(3, 5))):
        (tmp_path / "Testing" / f"test_seq_{number}.txt").write_text(
            "".join(
                f"test_seq_{number}/image_{r:04d}.png {' '.join(map(str, uvd[r].ravel()))}\n"
                for r in rows
            )
        )
    dataset = IcvlHand().load(tmp_path, "test")
    np.testing.assert_array_equal(dataset.truth.uvd, uvd)
    assert dataset.sample_ids[3] == "test_seq_2/image_0003.png"


def test_own_files_of_msra(tmp_path):
    random, points = np.random.default_rng(4), []
    for subject in SUBJECTS:
        for gesture in GESTURES:
            xyz = random.normal((0, 0, -400), 40, size=(2, 21, 3)).round(3)
            folder = tmp_path / "cvpr15_MSRAHandGestureDB" / subject / gesture
            folder.mkdir(parents=True)
            rows = [" ".join(map(str, row.ravel())) for row in xyz]
            (folder / "joint.txt").write_text("\n".join(["2", *rows]) + "\n")
            points.append(xyz)
    benchmark = MsraHand()
    dataset = benchmark.load(tmp_path, "test")
    assert len(dataset.sample_ids) == 9 * 17 * 2
    assert dataset.sample_ids[2 * 17] == "P1/1/000000"
    found = benchmark.protocol().millimetres(dataset.truth.uvd)
    np.testing.assert_allclose(found * [1, -1, -1], np.concatenate(points), atol=1e-9)
    assert np.bincount(dataset.truth.subject).tolist() == [34] * 9


def test_matrices_of_version_7_3_are_turned(tmp_path):
    uvd = np.random.default_rng(5).uniform(100, 400, size=(3, 2, 36, 3))
    (tmp_path / "test").mkdir()
    with h5py.File(tmp_path / "test" / "joint_data.mat", "w") as file:
        file["joint_uvd"] = uvd.T
    dataset = NyuHand().load(tmp_path, "test")
    np.testing.assert_array_equal(dataset.truth.uvd, uvd[0][:, NYU_ROWS])


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.transpose(0, 2, 1), "it looks transposed"),
        (lambda a: a[:-1], r"shape \(22, "),
        (lambda a: a[:, 1:], r"due is \(23, "),
        (lambda a: a * [1, 1, 1e-3], "they look like metres"),
        (lambda a: a - [400, 300, 0], "are these x y z"),
        (lambda a: np.where(np.arange(23)[:, None, None] == 5, np.nan, a), "000005, .*nan"),
    ],
)
def test_wrong_arrays(case, change, message):
    benchmark, root, predicted, _ = case
    np.savez(root / "wrong.npz", predictions=change(predicted))
    with pytest.raises(PrerequisiteError, match=message) as error:
        score(benchmark, root, root / "wrong.npz")
    assert "wrong.npz" in error.value.problem


def test_wrong_rows(case):
    benchmark, root, predicted, _ = case
    lines = [" ".join(map(str, row.ravel())) for row in predicted]
    for text, message in (
        ("\n".join(lines[:7]) + "\n1 2 3\n", "row 8 has 3 numbers"),
        ("\n".join(lines).replace("5", "x", 1), "could not convert"),
        ("", "no row"),
    ):
        (root / "wrong.txt").write_text(text)
        with pytest.raises(PrerequisiteError, match=message):
            score(benchmark, root, root / "wrong.txt")


def test_missing_data_and_wrong_lists(case, tmp_path):
    benchmark, root, *_ = case
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PrerequisiteError, match="no split 'test'") as error:
        benchmark.load(empty, "test")
    assert "groundtruth/" in error.value.remedy
    short = benchmark.name.removesuffix("-hand")
    (root / "groundtruth" / short / f"{short}_test_list.txt").write_text("a\nb\n")
    with pytest.raises(PrerequisiteError, match="names 2 frames"):
        benchmark.load(root, "test")


def test_true_hands_must_be_finite(case):
    benchmark, root, _, truth = case
    short = benchmark.name.removesuffix("-hand")
    truth[4, 2, 1] = np.nan
    label = root / "groundtruth" / short / f"{short}_test_groundtruth_label.txt"
    np.savetxt(label, truth.reshape(23, -1))
    with pytest.raises(PrerequisiteError, match="true hand of 000004 is not finite"):
        benchmark.load(root, "test")


def test_subjects_must_cover_the_rows(tmp_path):
    _, truth = invented("msra")
    (tmp_path / "groundtruth" / "msra").mkdir(parents=True)
    label = tmp_path / "groundtruth" / "msra" / "msra_test_groundtruth_label.txt"
    np.savetxt(label, truth.reshape(23, -1))
    (tmp_path / "subjects.json").write_text(json.dumps({"frames": [20, 2]}))
    with pytest.raises(PrerequisiteError, match="2 subjects with 22 frames"):
        MsraHand().load(tmp_path, "test")
    (tmp_path / "subjects.json").unlink()
    np.savez(tmp_path / "p.npz", predictions=truth)
    assert "mean_over_subjects_mm" not in score(MsraHand(), tmp_path, tmp_path / "p.npz")
