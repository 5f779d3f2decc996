"""MPII multi-person: evalMPII's numbers, its MATLAB files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import savemat
from statistics_laws import (
    assert_limit_is_a_prefix,
    assert_merging_is_exact,
    assert_weights_repeat,
    differing,
)

from benchmarks.protocols.mpii_multi import JOINTS, MpiiMulti
from harness.api import PEOPLE_2D, Predictions, PrerequisiteError

MPII = MpiiMulti()
PROTOCOL = MPII.protocol()
CASES = ["case1", "case2", "case3", "case4"]
TRUTH = "annotations/mpii_multi_annolist.json"
RESULT = "results/pred_keypoints_mpii_multi.json"


def case(shared_data, name):
    root = shared_data / "oracles" / "mpii_multi" / name
    dataset = MPII.load(root, "test")
    return (
        dataset,
        MPII.read_predictions(root / RESULT, dataset, PROTOCOL),
        json.loads((root / "expected.json").read_text()),
    )


def score(dataset, predictions, protocol=PROTOCOL):
    return MPII.compute(MPII.statistics(dataset, predictions, protocol), protocol)


@pytest.mark.parametrize("name", CASES)
def test_equals_evalmpii(shared_data, name):
    dataset, predictions, expected = case(shared_data, name)
    assert len(dataset.sample_ids) == expected["own_computation"]["counts"]["groups"]
    metrics = score(dataset, predictions)
    assert not differing(metrics, expected["metrics"], expected["tolerance"])
    for variant, entry in expected["variants"].items():
        if variant == "deepcut_total":
            protocol = MPII.protocol("deepcut")
        else:
            protocol = replace(PROTOCOL, first_groups=int(variant.split("_")[1]))
        metrics = score(dataset, predictions, protocol)
        assert not differing(metrics, entry["metrics"], expected["tolerance"])


@pytest.mark.parametrize("name", CASES)
def test_laws_of_statistics(shared_data, name):
    dataset, predictions, _ = case(shared_data, name)
    random = np.random.default_rng(len(dataset.sample_ids))
    ids = random.permutation(dataset.sample_ids)
    parts = [ids[:3].tolist(), ids[3:4].tolist(), ids[4:].tolist()]
    assert_merging_is_exact(MPII, dataset, predictions, PROTOCOL, parts)
    assert_limit_is_a_prefix(MPII, dataset, predictions, PROTOCOL)
    statistics = MPII.statistics(dataset, predictions, PROTOCOL)
    weights = random.integers(0, 4, len(statistics))
    assert_weights_repeat(MPII, statistics, PROTOCOL, weights)


def slow_ap(document, result, joint_id):
    """The toolkit's loops over groups, predictions and people, for one joint."""
    groups = [
        (image, members)
        for image, people in enumerate(document["groups"])
        if not document["img_train"][image]
        for members in people
        if not set(members) & set(document["single_person"][image])
    ]
    entries, positives = [], 0
    for (image, members), entry in zip(groups, result["pred"], strict=True):
        rects = document["annolist"][image]["annorect"]
        true = [rects[m - 1] for m in members]
        points = [{q["id"]: q for q in t["annopoints"]["point"]} for t in true]
        heads = [0.6 * np.hypot(t["x2"] - t["x1"], t["y2"] - t["y1"]) for t in true]
        own = [{q["id"]: q for q in r["annopoints"]["point"]} for r in entry["annorect"]]
        hit = np.array(
            [
                [
                    {
                        k
                        for k in p.keys() & t.keys()
                        if np.hypot(p[k]["x"] - t[k]["x"], p[k]["y"] - t[k]["y"]) <= 0.5 * head
                    }
                    - {6, 7}
                    for t, head in zip(points, heads, strict=True)
                ]
                for p in own
            ],
            dtype=object,
        ).reshape(len(own), len(true))
        share = np.array(
            [
                [len(hit[p, t]) / max(len(points[t].keys() - {6, 7}), 1) for t in range(len(true))]
                for p in range(len(own))
            ]
        ).reshape(len(own), len(true))
        for p in range(len(own)):
            share[p, np.arange(len(true)) != share[p].argmax()] = 0
        for p in range(len(own)):
            if joint_id not in own[p]:
                continue
            wins = [t for t in range(len(true)) if share[p, t] > 0 and share[:, t].argmax() == p]
            good = bool(wins) and joint_id in hit[p, wins[0]]
            entries.append((own[p][joint_id]["score"], good))
        if own:
            positives += sum(joint_id in t for t in points)
    ordered = np.array([good for _, good in sorted(entries, key=lambda e: -e[0])], dtype=float)
    precision = ordered.cumsum() / np.arange(1, len(ordered) + 1)
    best = np.array([precision[i:].max() for i in range(len(ordered))])
    return 100 * (ordered * best).sum() / positives


@pytest.mark.parametrize("name", CASES)
def test_equals_slow_loops(shared_data, name):
    dataset, predictions, _ = case(shared_data, name)
    root = dataset.root
    document, result = (json.loads((root / file).read_text()) for file in (TRUTH, RESULT))
    metrics = score(dataset, predictions)
    for joint, number in {"right_ankle": 0, "left_wrist": 15, "neck": 8, "head_top": 9}.items():
        assert metrics[f"AP/{joint}"] == pytest.approx(slow_ap(document, result, number), abs=1e-9)


def test_strict_counts_the_people_of_unanswered_groups(shared_data):
    dataset, predictions, expected = case(shared_data, "case4")
    assert expected["own_computation"]["counts"]["groups_without_prediction"] == 7
    loose = MPII.statistics(dataset, predictions, PROTOCOL).dense("labelled")
    strict = MPII.statistics(dataset, predictions, MPII.protocol("strict")).dense("labelled")
    silent = np.diff(predictions.offsets) == 0
    assert (loose[silent] == 0).all()
    assert (strict[silent].sum(axis=1) > 0).all()
    assert (strict[~silent] == loose[~silent]).all()
    assert (
        score(dataset, predictions, MPII.protocol("strict"))["AP/total"]
        < score(dataset, predictions)["AP/total"]
    )


def truth_as_predictions(dataset, order=slice(None)):
    samples = []
    for sample_id, group in zip(dataset.sample_ids, dataset.truth, strict=True):
        points = group.keypoints[order]
        scores = np.where(np.isnan(points[..., 0]), np.nan, 1.0)
        rows = {"keypoints": points, "keypoint_scores": scores, "score": np.ones(len(points))}
        samples.append((sample_id, rows))
    return Predictions.from_samples(PEOPLE_2D, samples)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_truth_as_predictions_is_perfect_in_any_order(shared_data, order):
    dataset, _, _ = case(shared_data, "case2")
    metrics = score(dataset, truth_as_predictions(dataset, order))
    assert metrics["AP/total"] == pytest.approx(100)


def test_a_joint_without_truth_has_no_value_and_nor_has_the_total(shared_data):
    dataset, predictions, _ = case(shared_data, "case1")
    for group in dataset.truth:
        group.keypoints[:, 9] = np.nan
    metrics = score(dataset, predictions)
    assert np.isnan([metrics["AP/head_top"], metrics["AP/Head"], metrics["AP/total"]]).all()
    assert metrics["AP/neck"] > 0


def test_samples_tell_the_extent_of_the_group(shared_data):
    dataset, _, _ = case(shared_data, "case1")
    sample = MPII.samples(dataset, PROTOCOL)[1]
    group = dataset.truth[1]
    assert sample.images == (str(dataset.root / "images" / group.image),)
    assert sample.inputs["group_box"].shape == (4,)
    assert sample.inputs["scale"].tolist() == [group.scale]
    assert sample.boxes is None


def matlab(value):
    """Return JSON records as savemat writes them: structs, struct arrays and cells."""
    if isinstance(value, dict):
        return {key: matlab(item) for key, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        keys = sorted({key for item in value for key in item})
        array = np.empty(len(value), dtype=[(key, object) for key in keys])
        for row, item in enumerate(value):
            array[row] = tuple(matlab(item.get(key, [])) for key in keys)
        return array
    return value


def cells(values, inner=lambda value: np.array(value, dtype=float)):
    array = np.empty((len(values), 1), dtype=object)
    for row, value in enumerate(values):
        array[row, 0] = inner(value)
    return array


def test_reads_the_toolkits_matlab_files(shared_data, tmp_path):
    dataset, predictions, expected = case(shared_data, "case3")
    document, result = (json.loads((dataset.root / f).read_text()) for f in (TRUTH, RESULT))
    (tmp_path / "annot").mkdir()
    release = {
        "img_train": np.array(document["img_train"], dtype=float),
        "single_person": cells(document["single_person"]),
    }
    groups = cells(document["groups"], lambda people: cells(people).T)
    for name, content in (
        ("mpii_human_pose_v1_u12_1", {"RELEASE": release}),
        ("annolist_dataset_v12", {"annolist": matlab(document["annolist"])}),
        ("groups_v12", {"groups": groups}),
    ):
        savemat(tmp_path / "annot" / f"{name}.mat", content)
    path = tmp_path / "pred_keypoints_mpii_multi.mat"
    savemat(path, {"pred": matlab(result["pred"])})
    again = MPII.load(tmp_path, "test")
    assert again.sample_ids == dataset.sample_ids
    own = MPII.read_predictions(path, again, PROTOCOL)
    assert own.digest() == predictions.digest()
    assert not differing(score(again, own), expected["metrics"], expected["tolerance"])


def change(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def first_point(document):
    return document["pred"][0]["annorect"][0]["annopoints"]["point"][0]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d["pred"].pop(), "11 entries in 'pred', the split 12 groups"),
        (lambda d: d.pop("pred"), "no entries"),
        (lambda d: first_point(d).pop("score"), "has no score"),
        (lambda d: first_point(d).update(id=16), "'id': 16"),
        (lambda d: first_point(d).update(x=None), "'x': None"),
        (lambda d: d["pred"][3]["image"].update(name="other.jpg"), "entry 3 is of image other.jpg"),
    ],
)
def test_wrong_submissions_are_refused(shared_data, tmp_path, edit, words):
    dataset, _, _ = case(shared_data, "case1")
    path = tmp_path / "pred.json"
    path.write_text((dataset.root / RESULT).read_text())
    change(path, edit)
    with pytest.raises(PrerequisiteError, match=words) as caught:
        MPII.read_predictions(path, dataset, PROTOCOL)
    assert str(path) in caught.value.problem


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d["groups"].pop(), "differ in length"),
        (lambda d: d["groups"][0][0].append(99), "a group names 99"),
        (lambda d: d["annolist"][0]["annorect"][0].pop("x1"), "no head box"),
    ],
)
def test_wrong_annotations_are_refused(shared_data, tmp_path, edit, words):
    source = shared_data / "oracles/mpii_multi/case1" / TRUTH
    (tmp_path / "annotations").mkdir()
    path = tmp_path / TRUTH
    path.write_text(source.read_text())
    change(path, edit)
    with pytest.raises(PrerequisiteError, match=words):
        MPII.load(tmp_path, "test")


def test_an_empty_folder_shows_the_layout(tmp_path):
    with pytest.raises(PrerequisiteError) as caught:
        MPII.load(tmp_path, "test")
    assert "groups_v12.mat" in caught.value.remedy


def test_joints_are_named_as_the_toolkit_orders_them():
    assert JOINTS[0] == "right_ankle"
    assert JOINTS[6:8] == ("right_wrist", "right_elbow")
    assert JOINTS[12:] == ("neck", "head_top")
