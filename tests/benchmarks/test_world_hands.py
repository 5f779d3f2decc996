"""The embedded hands: files that read like those of NYU, ICVL and MSRA, and their joints."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.datasets.hands import GESTURES, SUBJECTS
from benchmarks.metrics.joint_error import distances
from benchmarks.protocols.hands import IcvlHand, MsraHand, NyuHand
from benchmarks.world import hand_files, hands
from harness.api import Predictions, PrerequisiteError
from harness.api.skeleton import ICVL_16, MSRA_21

FRAMES = 16
MAKERS = {
    NyuHand: hand_files.make_nyu,
    IcvlHand: hand_files.make_icvl,
    MsraHand: hand_files.make_msra,
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A root for each benchmark with a split of few frames: MSRA's has one of every gesture."""
    root = tmp_path_factory.mktemp("hands")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(hand_files.SPLITS, "embedded-val", (2, FRAMES))
        for benchmark, make in MAKERS.items():
            make(root / benchmark.name, "embedded-val", workers=1)
    return root


@pytest.fixture(params=MAKERS, ids=lambda benchmark: benchmark.name)
def case(request, roots):
    benchmark = request.param()
    return benchmark, benchmark.load(roots / benchmark.name, "embedded-val")


# --- files ----------------------------------------------------------------------------------------


def test_names_are_those_of_the_real_test_sets(roots):
    ids = {}
    for benchmark in MAKERS:
        data = benchmark().load(roots / benchmark.name, "embedded-val")
        ids[benchmark] = data.sample_ids
        assert data.synthetic
        assert data.split == "embedded-val"
        assert benchmark().splits(roots / benchmark.name) == ("embedded-val",)
    assert ids[NyuHand] == tuple(f"test/depth_1_{i:07d}.png" for i in range(1, FRAMES + 1))
    first = FRAMES * 702 // 1596
    sequences = [(1, i) for i in range(first)] + [(2, i) for i in range(FRAMES - first)]
    assert ids[IcvlHand] == tuple(f"test_seq_{s}/image_{i:04d}.png" for s, i in sequences)
    assert ids[MsraHand] == tuple(f"{s}/{g}/000000" for s in SUBJECTS for g in GESTURES)


def test_surfaces_lie_in_front_of_the_joints(case):
    """By a finger's radius where nothing hides a joint, and never behind it."""
    benchmark, data = case
    gaps = []
    for sample, truth in benchmark.training_samples(data, benchmark.skeleton):
        np.testing.assert_allclose(truth["joints"].mean(axis=1), sample.inputs["hand_center"])
        depth = sample.read_depth()
        assert depth.shape == benchmark.protocol().image[::-1]
        u, v = np.rint(truth["keypoints"][0]).astype(int).T
        seen = depth[v, u]
        assert (seen > 0).mean() > 0.8
        gaps.append((truth["joints"][0, :, 2] - seen)[seen > 0])
    gap = np.concatenate(gaps)
    assert gap.min() > 0
    assert 5 < np.percentile(gap, 25) < 15


def test_the_truth_as_prediction_errs_by_nothing(case):
    benchmark, data = case
    protocol = benchmark.protocol()
    joints = protocol.millimetres(data.truth.uvd)
    rows = np.arange(len(joints) + 1)
    predictions = Predictions(benchmark.schema, data.sample_ids, rows, {"joints": joints})
    metrics = benchmark.compute(benchmark.statistics(data, predictions, protocol), protocol)
    assert metrics["mean_error_mm"] == 0
    assert ("mean_over_subjects_mm" in metrics) == (benchmark.name == "msra-hand")


def test_the_same_split_is_drawn_again(roots, tmp_path):
    benchmark = IcvlHand()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(hand_files.SPLITS, "embedded-val", (2, FRAMES))
        hand_files.make_icvl(tmp_path, "embedded-val", workers=2)
    first, again = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (roots / benchmark.name / "embedded-val", tmp_path / "embedded-val")
    )
    assert first == again
    assert len(first) == FRAMES + 3


def test_there_are_two_splits(tmp_path):
    for make in MAKERS.values():
        with pytest.raises(PrerequisiteError, match="no embedded split 'embedded-test' of hands"):
            make(tmp_path, "embedded-test")


# --- joints ---------------------------------------------------------------------------------------


def test_icvl_joints_are_placed_as_in_the_real_ground_truth(shared_data):
    """From joint to joint of a finger, the real hands are smaller by one factor, a tenth or so."""
    benchmark = IcvlHand()
    real = benchmark.protocol().millimetres(
        benchmark.load(shared_data / "icvl_hand", "test").truth.uvd
    )
    random = np.random.default_rng(0)
    made = np.array(
        [hands.icvl_joints(hands.sample_hand(random, (360, 460), size=1.0)) for _ in range(300)]
    )
    rows = np.array([i for i, j in enumerate(ICVL_16.joints) if j.endswith(("_mid", "_tip"))])
    # The upper quartile: both have bent fingers, in which the middles of two bones come nearer.
    there, here = (
        np.percentile(distances(joints[:, rows], joints[:, rows - 1]), 75, axis=0)
        for joints in (real, made)
    )
    assert ((there / here > 0.85) & (there / here < 1.05)).all()


def test_msra_subjects_have_hands_and_gestures_have_bends_of_their_own(roots):
    benchmark = MsraHand()
    data = benchmark.load(roots / benchmark.name, "embedded-val")
    joints = benchmark.protocol().millimetres(data.truth.uvd).reshape(9, 17, 21, 3)
    row = MSRA_21.joints.index
    palm = np.linalg.norm(joints[:, :, row("wrist")] - joints[:, :, row("index_mcp")], axis=-1)
    np.testing.assert_allclose(palm, palm[:, :1].repeat(17, axis=1), atol=0.01)
    assert len(set(palm[:, 0].round(1))) > 5
    tips = [row(f"{finger}_tip") for finger in ("index", "middle", "ring", "little")]
    reach = np.linalg.norm(joints[:, :, tips] - joints[:, :, :1], axis=-1).mean(axis=(0, 2))
    assert np.corrcoef(reach, np.arange(17))[0, 1] < -0.9


def test_no_subject_is_in_both_splits():
    sizes = [set(hand_files.msra_sizes(seed).round(6)) for seed, _ in hand_files.SPLITS.values()]
    assert not sizes[0] & sizes[1]
