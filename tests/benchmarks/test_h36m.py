"""Human3.6M: files, protocols against the oracle cases and plain loops, properties."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cdflib.cdfwrite
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.datasets.h36m import ACTIONS, CAMERAS
from benchmarks.protocols.h36m import H36M
from benchmarks.protocols.h36m_mesh import H36MMesh
from benchmarks.protocols.h36m_rules import PROTOCOLS
from harness.api import JOINTS_3D, Predictions, PrerequisiteError, merge
from harness.api.skeleton import H36M_14, H36M_17

BENCHMARK = H36M()
LSP = [H36M_17.joints.index(joint) for joint in H36M_14.joints]
SCORED = [name.replace("batch64", "batch5") for name in PROTOCOLS if name != "illegal-angle"]


def score(root: Path, protocol, predictions=None, weights=None):
    dataset = BENCHMARK.load(root, "test")
    read = BENCHMARK.read_predictions(predictions or root / "poses.json", dataset, protocol)
    return BENCHMARK.compute(BENCHMARK.statistics(dataset, read, protocol), protocol, weights)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Invented videos of two subjects: three actions, both trials, all cameras, hidden joints."""
    folder, random = tmp_path_factory.mktemp("h36m"), np.random.default_rng(0)
    sequences = []
    for subject in ("S9", "S11"):
        for action in ("Directions", "Sitting", "SittingDown"):
            for trial in (1, 2):
                for camera in CAMERAS:
                    frames = int(random.integers(1, 5))
                    truth = random.normal((0, 0, 5000), 300, size=(frames, 17, 3))
                    noise = random.normal(scale=random.uniform(10, 90), size=truth.shape)
                    sequences.append(
                        {
                            "subject": subject, "action": action, "subaction": trial,
                            "camera": camera, "frames": [64 * k for k in range(frames)],
                            "gt": truth.round(3).tolist(),
                            "pred": (truth + noise).round(3).tolist(),
                            "visible": (random.random((frames, 17)) < 0.8).astype(int).tolist(),
                        }
                    )  # fmt: skip
    (folder / "poses.json").write_text(json.dumps({"unit": "mm", "sequences": sequences}))
    return folder


@pytest.fixture(scope="module")
def dataset(root):
    return BENCHMARK.load(root, "test")


@pytest.fixture(scope="module")
def statistics(root, dataset):
    def of(protocol, ids=None):
        read = BENCHMARK.read_predictions(root / "poses.json", dataset, protocol)
        return BENCHMARK.statistics(dataset, read if ids is None else read.select(ids), protocol)

    return of


# --- numbers known from elsewhere -----------------------------------------------------------------


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_oracle_cases(shared_data, case):
    root = shared_data / "oracles" / "human36m" / f"case{case}"
    for record in json.loads((root / "expected.json").read_text()):
        if record["protocol"] == "mesh":
            continue
        metrics = score(root, BENCHMARK.protocol(record["protocol"]))
        for name, value in record["metrics"].items():
            assert abs(metrics[name] - value) <= record["tolerance"], (record["protocol"], name)


@pytest.mark.parametrize("case", [1, 3])
def test_oracle_meshes(shared_data, case):
    root, benchmark = shared_data / "oracles" / "human36m" / f"case{case}", H36MMesh()
    records = json.loads((root / "expected.json").read_text())
    (record,) = (r for r in records if r["protocol"] == "mesh")
    dataset, protocol = benchmark.load(root, "test"), benchmark.protocol("mesh")
    read = benchmark.read_predictions(root / "mesh.json", dataset, protocol)
    metrics = benchmark.compute(benchmark.statistics(dataset, read, protocol), protocol)
    assert set(metrics) == set(record["metrics"])
    for name, value in record["metrics"].items():
        assert abs(metrics[name] - value) <= record["tolerance"], name


def slow_pa(p, g):
    p, g = p - p.mean(axis=0), g - g.mean(axis=0)
    turn, _ = Rotation.align_vectors(g, p)
    p = turn.apply(p)
    return p * (p * g).sum() / (p * p).sum(), g


def slow_frames(root):
    content = json.loads((root / "poses.json").read_text())
    for sequence in content["sequences"]:
        for number, gt, pred in zip(
            sequence["frames"], sequence["gt"], sequence["pred"], strict=True
        ):
            yield sequence, number, np.array(pred), np.array(gt)


def joint_mean(p, g):
    return float(np.mean([sum((p[k] - g[k]) ** 2) ** 0.5 for k in range(len(p))]))


def test_martinez_by_plain_loops(root):
    for variant, error in (
        ("martinez-p1", lambda p, g: joint_mean(p - p[0], g - g[0])),
        ("martinez-p2", lambda p, g: joint_mean(*slow_pa(p, g))),
    ):
        errors = {}
        for sequence, _, p, g in slow_frames(root):
            errors.setdefault(sequence["action"], []).append(error(p, g))
        metrics = score(root, BENCHMARK.protocol(variant))
        for action, values in errors.items():
            assert metrics[action] == pytest.approx(np.mean(values), abs=1e-6)
        means = [np.mean(values) for values in errors.values()]
        assert metrics["avg"] == pytest.approx(np.mean(means), abs=1e-6)


def test_hmr_by_plain_loops(root):
    errors = {1: [], 2: []}
    for sequence, _, p, g in slow_frames(root):
        p, g = p[LSP], g[LSP]
        hips = [(pose[2] + pose[3]) / 2 for pose in (p, g)]
        values = joint_mean(p - hips[0], g - hips[1]), joint_mean(*slow_pa(p, g))
        where = (sequence["subject"], sequence["action"], sequence["subaction"], sequence["camera"])
        if where != ("S11", "Directions", 2, "54138969"):
            errors[1].append(values)
        if where[2] == 1 and where[3] == "60457274":
            errors[2].append(values)
    for number, values in errors.items():
        metrics = score(root, BENCHMARK.protocol(f"hmr_p{number}"))
        means = np.mean(values, axis=0)
        assert [metrics["mpjpe"], metrics["pa_mpjpe"]] == pytest.approx(means.tolist(), abs=1e-6)
        assert metrics["median"] == pytest.approx(np.median(values, axis=0)[0], abs=1e-6)


def test_hidden_joints_leave_the_mean_and_stay_in_the_alignment(root):
    plain, aligned = [], []
    for sequence in json.loads((root / "poses.json").read_text())["sequences"]:
        for seen, gt, pred in zip(
            sequence["visible"], sequence["gt"], sequence["pred"], strict=True
        ):
            p, g, seen = np.array(pred), np.array(gt), np.array(seen) > 0
            plain += np.linalg.norm((p - p[0]) - (g - g[0]), axis=1)[seen].tolist()
            moved, centred = slow_pa(p, g)
            aligned += np.linalg.norm(moved - centred, axis=1)[seen].tolist()
    metrics = score(root, BENCHMARK.protocol("mmpose"))
    assert metrics["mpjpe"] == pytest.approx(np.mean(plain), abs=1e-6)
    assert metrics["p_mpjpe"] == pytest.approx(np.mean(aligned), abs=1e-6)


def test_velocity_is_that_of_first_differences(root):
    by_action = {}
    for sequence in json.loads((root / "poses.json").read_text())["sequences"]:
        p, g = (np.array(sequence[key]) for key in ("pred", "gt"))
        p, g = p - p[:, :1], g - g[:, :1]
        if len(p) > 1:
            speed = np.linalg.norm(np.diff(p, axis=0) - np.diff(g, axis=0), axis=2).mean()
            by_action.setdefault(sequence["action"], []).append((speed, len(p)))
    means = [sum(s * n for s, n in v) / sum(n for _, n in v) for v in by_action.values()]
    metrics = score(root, BENCHMARK.protocol("videopose3d"))
    assert metrics["velocity"] == pytest.approx(np.mean(means), abs=1e-9)


def test_only_frames_of_the_stride_count(root):
    errors = [
        joint_mean(p - p[0], g - g[0]) for _, number, p, g in slow_frames(root) if number % 128 == 0
    ]
    protocol = BENCHMARK.protocol("smplr")
    metrics = score(root, replace(protocol, stride=128))
    assert metrics["mpjpe"] == pytest.approx(np.mean(errors), abs=1e-9)


@pytest.mark.parametrize("batch", [1, 3, 7, 10_000])
def test_incomplete_batches_are_dropped(root, batch):
    by_action = {}
    for sequence, _, p, g in slow_frames(root):
        by_action.setdefault(sequence["action"], []).append(joint_mean(p - p[0], g - g[0]))
    kept = [values[: len(values) - len(values) % batch] for values in by_action.values()]
    metrics = score(root, BENCHMARK.protocol(f"martinez_p1_batch{batch}"))
    if batch == 10_000:
        assert np.isnan(metrics["avg"])
    else:
        assert metrics["avg"] == pytest.approx(np.mean([np.mean(v) for v in kept]), abs=1e-9)


# --- properties -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", SCORED)
def test_perfect_predictions_have_no_error(root, tmp_path, variant):
    content = json.loads((root / "poses.json").read_text())
    for sequence in content["sequences"]:
        sequence["pred"] = sequence["gt"]
    (tmp_path / "perfect.json").write_text(json.dumps(content))
    metrics = score(root, BENCHMARK.protocol(variant), tmp_path / "perfect.json")
    for name, value in metrics.items():
        if not name.endswith("/frames") and "bone_std" not in name:
            assert value == pytest.approx(0.0, abs=1e-6), name


@pytest.mark.parametrize("variant", SCORED)
def test_any_cut_and_order_merges_to_the_same_bits(root, dataset, statistics, variant):
    protocol = BENCHMARK.protocol(variant)
    whole = BENCHMARK.compute(statistics(protocol), protocol)
    random = np.random.default_rng(1)
    names = sorted({i.rpartition("/")[0] for i in dataset.sample_ids})
    part_of = dict(zip(names, random.integers(0, 4, len(names)), strict=True))
    parts = []
    for part in random.permutation(4):
        ids = [i for i in dataset.sample_ids if part_of[i.rpartition("/")[0]] == part]
        parts.append(statistics(protocol, random.permutation(ids).tolist()))
    metrics = BENCHMARK.compute(merge(parts), protocol)
    np.testing.assert_equal(metrics, whole)


@pytest.mark.parametrize("variant", SCORED)
def test_weights_are_repetition(statistics, variant):
    protocol = BENCHMARK.protocol(variant)
    whole = statistics(protocol)
    weights = np.random.default_rng(2).integers(0, 3, size=(4, len(whole)))
    drawn = BENCHMARK.resample(whole, protocol, weights)
    for row, times in enumerate(weights):
        repeated = whole.take(np.repeat(np.arange(len(whole)), times))
        expected = BENCHMARK.compute(repeated, protocol)
        alone = BENCHMARK.compute(whole, protocol, times)
        for name, value in expected.items():
            assert drawn[name][row] == pytest.approx(value, rel=1e-9, nan_ok=True), name
            assert alone[name] == pytest.approx(value, rel=1e-9, nan_ok=True), name


def test_a_similarity_leaves_the_aligned_error_and_a_mirror_only_lcn(root, tmp_path):
    content = json.loads((root / "poses.json").read_text())
    turn = Rotation.random(rng=3).as_matrix()
    moved = {}
    for name, motion in (
        ("turned", lambda p: 1.7 * p @ turn + [100, 0, -50]),
        ("mirrored", lambda p: p * [-1, 1, 1]),
    ):
        for sequence in content["sequences"]:
            sequence["moved"] = motion(np.array(sequence["pred"])).tolist()
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"sequences": [{**s, "pred": s["moved"]} for s in content["sequences"]]})
        )
        moved[name] = tmp_path / f"{name}.json"
    for variant in ("martinez-p2", "lcn"):
        protocol = BENCHMARK.protocol(variant)
        plain = score(root, protocol)["pa_mpjpe"]
        assert score(root, protocol, moved["turned"])["pa_mpjpe"] == pytest.approx(plain)
        mirrored = score(root, protocol, moved["mirrored"])["pa_mpjpe"]
        assert (mirrored == pytest.approx(plain)) == (variant == "lcn")
        assert variant == "lcn" or mirrored > 1.5 * plain


def test_curve_breakdown_and_units_agree_with_the_metrics(root, dataset, statistics):
    protocol = BENCHMARK.protocol("smplr")
    whole = statistics(protocol)
    metrics = BENCHMARK.compute(whole, protocol)
    breakdown = BENCHMARK.breakdown(whole, protocol)
    assert breakdown["action"] == pytest.approx(
        {a: metrics[f"mpjpe/{a}"] for a in ACTIONS if f"mpjpe/{a}" in metrics}
    )
    assert np.mean(list(breakdown["joint"].values())) == pytest.approx(metrics["mpjpe"])
    (curve,) = BENCHMARK.curves(whole, protocol)
    assert (np.diff(curve.y) >= 0).all()
    units = BENCHMARK.units(dataset, whole)
    assert units[0] == "S9/Directions-1/54138969"
    assert len(units) == len(BENCHMARK.per_sample(whole, protocol)["mpjpe"]) == 48


# --- files ----------------------------------------------------------------------------------------


def test_neutral_form_equals_the_json(root, dataset, tmp_path):
    frames = [p for _, _, p, _ in slow_frames(root)]
    np.savez(tmp_path / "all.npz", predictions=np.array(frames))
    for variant in ("martinez-p1", "hmr-p1", "integral"):
        protocol = BENCHMARK.protocol(variant)
        assert score(root, protocol, tmp_path / "all.npz") == score(root, protocol)
    protocol = BENCHMARK.protocol("hmr-p2")
    scored = BENCHMARK.scored(dataset.truth, protocol)
    np.savez(tmp_path / "few.npz", predictions=np.array(frames)[scored][:, LSP])
    assert score(root, protocol, tmp_path / "few.npz") == score(root, protocol)


def write_cdf(path: Path, poses: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = cdflib.cdfwrite.CDF(path)
    spec = {
        "Variable": "Pose", "Data_Type": file.CDF_FLOAT, "Num_Elements": 1, "Rec_Vary": True,
        "Dim_Sizes": [len(poses), 96],
    }  # fmt: skip
    file.write_var(spec, var_data=poses.reshape(1, len(poses), 96).astype(np.float32))
    file.close()


def test_official_files(tmp_path):
    poses = {}
    for subject, name in (
        ("S9", "Sitting 1"), ("S9", "Sitting 2"), ("S11", "Directions"), ("S11", "Directions 1"),
        ("S11", "WalkDog"),
    ):  # fmt: skip
        poses[subject, name] = np.random.default_rng(len(poses)).normal(size=(3, 32, 3))
        path = tmp_path / subject / "MyPoseFeatures" / "D3_Positions_mono"
        write_cdf(path / f"{name}.54138969.cdf", 100 * poses[subject, name])
    assert BENCHMARK.splits(tmp_path) == ("test",)
    dataset = BENCHMARK.load(tmp_path, "test")
    assert {s.name for s in dataset.truth.sequences} == {
        "S9/Sitting-1/54138969", "S9/Sitting-2/54138969", "S11/Directions-1/54138969",
        "S11/Directions-2/54138969", "S11/WalkingDog-1/54138969",
    }  # fmt: skip
    row = dataset.sample_ids.index("S11/Directions-2/54138969/000002")
    of_32 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    expected = 100 * poses["S11", "Directions 1"][2, of_32]
    np.testing.assert_allclose(dataset.truth.joints[row], expected, atol=1e-4)


def test_export_of_mmpose(tmp_path):
    random = np.random.default_rng(4)
    names = [
        f"{s}/{s}_{a}.{c}/{s}_{a}.{c}_{n:06d}.jpg"
        for s, a, c, n in (
            ("S9", "Directions", "55011271", 1), ("S9", "Directions", "55011271", 6),
            ("S9", "Directions_1", "55011271", 1), ("S11", "WalkTogether_2", "60457274", 11),
        )
    ]  # fmt: skip
    spatial = np.concatenate([random.normal(size=(4, 17, 3)), np.ones((4, 17, 1))], axis=2)
    spatial[1, 5, 3] = 0
    folder = tmp_path / "annotation_body3d" / "fps10"
    folder.mkdir(parents=True)
    np.savez(
        folder / "h36m_test.npz", imgname=names, center=np.full((4, 2), 500.0),
        scale=np.full(4, 2.0), part=random.normal(size=(4, 17, 3)), S=spatial,
    )  # fmt: skip
    assert BENCHMARK.splits(tmp_path) == ("test-10fps",)
    dataset = BENCHMARK.load(tmp_path, "test-10fps")
    assert dataset.sample_ids == (
        "S9/Directions-1/55011271/000000", "S9/Directions-1/55011271/000005",
        "S9/Directions-2/55011271/000000", "S11/WalkTogether-1/60457274/000010",
    )  # fmt: skip
    np.testing.assert_allclose(dataset.truth.joints, 1000 * spatial[..., :3])
    assert not dataset.truth.visible[1, 5]
    assert dataset.truth.visible.sum() == 4 * 17 - 1
    sample, truth = BENCHMARK.training_samples(dataset, H36M_17)[3]
    assert sample.images == (str(tmp_path / "images" / names[3]),)
    assert sample.boxes.tolist() == [[300, 300, 400, 400]]
    assert sample.inputs["keypoints_2d"].shape == (1, 17, 2)
    assert truth["joints"].shape == (1, 17, 3)


def test_methods_predict_frames_in_any_order(root, dataset):
    protocol = BENCHMARK.protocol("hmr-p1")
    read = BENCHMARK.read_predictions(root / "poses.json", dataset, protocol)
    order = np.random.default_rng(5).permutation(len(read))
    shuffled = Predictions.from_samples(
        JOINTS_3D,
        [(read.sample_ids[i], {"joints": read.rows_of(i)["joints"][:, LSP]}) for i in order],
    )
    np.testing.assert_equal(
        BENCHMARK.compute(BENCHMARK.statistics(dataset, shuffled, protocol), protocol),
        BENCHMARK.compute(BENCHMARK.statistics(dataset, read, protocol), protocol),
    )


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.transpose(0, 2, 1), "it looks transposed"),
        (lambda p: p.transpose(1, 0, 2), "it looks transposed"),
        (lambda p: p[:, :16], r"due is \(\d+, 17, 3\)"),
        (lambda p: p[:, :, :2], r"due is \(\d+, 17, 3\)"),
        (lambda p: p[:-1], r"\d+ frames; the split has \d+"),
        (lambda p: p.reshape(len(p), 51), "2 axes where 3 are due"),
        (lambda p: p / 1000, "they look like metres"),
        (lambda p: p / 10, "they look like centimetres"),
        (lambda p: np.where(np.arange(17)[:, None] == 4, np.nan, p), "left_hip: .nan nan nan."),
        (lambda p: np.where(np.arange(17)[:, None] == 4, np.inf, p), "left_hip: .inf inf inf."),
    ],
)
def test_wrong_arrays(root, tmp_path, change, message):
    frames = np.array([p for _, _, p, _ in slow_frames(root)])
    path = tmp_path / "wrong.npz"
    np.savez(path, predictions=change(frames))
    with pytest.raises(PrerequisiteError, match=message) as error:
        score(root, BENCHMARK.protocol(), path)
    assert str(path) in error.value.problem
    assert error.value.remedy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["sequences"][3].pop("pred"), "sequence 3 has no 'pred'"),
        (lambda c: c["sequences"][3].update(action="Sit"), "sequence 3 has action 'Sit'"),
        (lambda c: c["sequences"][3].update(camera="1"), "sequence 3 has camera '1'"),
        (lambda c: c["sequences"][3]["frames"].append(9), "sequence 3 has pred of shape"),
        (lambda c: c["sequences"].pop(3), r"\d frames without predictions, the first is S9/Dir"),
        (lambda c: c["sequences"].append(c["sequences"][3]), "is there twice"),
        (lambda c: c["sequences"][3].update(subject="S7"), "frame S7/.* is not in the split"),
        (lambda c: c["sequences"][3]["pred"][0].pop(), "unequal lists"),
        (lambda c: c.update(unit="m"), "is in 'm'"),
    ],
)
def test_wrong_sequences(root, tmp_path, change, message):
    content = json.loads((root / "poses.json").read_text())
    change(content)
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(content))
    with pytest.raises(PrerequisiteError, match=message):
        score(root, BENCHMARK.protocol(), path)


def test_the_pelvis_is_due_where_it_is_the_root(root, tmp_path):
    frames = np.array([p for _, _, p, _ in slow_frames(root)])[:, LSP]
    np.savez(tmp_path / "14.npz", predictions=frames)
    assert score(root, BENCHMARK.protocol("tutorial-p1"), tmp_path / "14.npz")
    with pytest.raises(PrerequisiteError, match="due is"):
        score(root, BENCHMARK.protocol("spin-graphcmr"), tmp_path / "14.npz")


def test_missing_data_names_the_layout(tmp_path):
    assert BENCHMARK.splits(tmp_path) == ()
    with pytest.raises(PrerequisiteError, match="no poses of the split 'test'") as error:
        BENCHMARK.load(tmp_path, "test")
    assert "D3_Positions_mono" in error.value.remedy


def test_a_protocol_without_a_frame_says_so(root, dataset):
    protocol = replace(BENCHMARK.protocol(), subjects=("S1",))
    read = BENCHMARK.read_predictions(root / "poses.json", dataset, BENCHMARK.protocol())
    with pytest.raises(PrerequisiteError, match="scores no frame of 'test'"):
        BENCHMARK.statistics(dataset, read, protocol)


def test_true_poses_must_be_finite(root, tmp_path):
    content = json.loads((root / "poses.json").read_text())
    content["sequences"][2]["gt"][0][3][1] = None
    (tmp_path / "poses.json").write_text(json.dumps(content))
    with pytest.raises(PrerequisiteError, match=r"true pose of S9/.* is not finite"):
        BENCHMARK.load(tmp_path, "test")


def test_illegal_angle_asks_for_the_model(root):
    with pytest.raises(PrerequisiteError, match="joint-limit model of Akhter and Black"):
        score(root, BENCHMARK.protocol("illegal-angle"))


def test_unknown_protocols_and_meshes():
    with pytest.raises(PrerequisiteError, match="no protocol 'protocol-1'"):
        BENCHMARK.protocol("protocol_1")
    with pytest.raises(PrerequisiteError, match="h36m-mesh"):
        BENCHMARK.protocol("mesh")


@pytest.mark.parametrize(
    ("protocol", "metric"),
    [
        ("martinez-p1", "mpjpe"),
        ("martinez_p2", "pa_mpjpe"),
        ("martinez-p2-batch8", "pa_mpjpe"),
        ("tutorial-p1", "pa_mpjpe"),
        ("smplr", "mpjpe"),  # its table prints both errors
        ("of-another-version", "mpjpe"),
    ],
)
def test_results_are_ranked_by_the_error_of_their_protocols_table(protocol, metric):
    assert BENCHMARK.ranked_by(protocol).metric == metric


def test_protocols_differ_in_their_digests():
    digests = {p.digest: name for name, p in PROTOCOLS.items()}
    assert len(digests) == len(PROTOCOLS)
    assert (
        BENCHMARK.protocol("martinez_p1_batch64").digest
        == BENCHMARK.protocol("martinez-p1-batch64").digest
    )
    assert BENCHMARK.protocol("martinez_p1_batch8").digest not in digests
    for protocol in PROTOCOLS.values():
        assert all(protocol.meanings().values())
        assert json.loads(json.dumps(protocol.quirks()))["numbers"]  # as the records keep it
