"""PoseTrack: poseval's numbers, its rules one by one, and what is refused."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from posetrack_files import random_sequence, write_2017, write_2018
from statistics_laws import (
    assert_limit_is_a_prefix,
    assert_merging_is_exact,
    assert_weights_repeat,
    differing,
)

from benchmarks.metrics.overlap import inside
from benchmarks.protocols.posetrack import GROUPS, JOINTS, PoseTrack
from harness.api import PrerequisiteError

mm = pytest.importorskip("motmetrics")

POSETRACK = PoseTrack()
PROTOCOL = POSETRACK.protocol()
seeds = st.integers(0, 2**32 - 1)


def read(root, truths, predictions, write=write_2017):
    for number, (truth, predicted) in enumerate(zip(truths, predictions, strict=True)):
        write(root / "annotations" / "val" / f"{number:06d}_bonn.json", truth)
        write(root / "results" / f"{number:06d}_bonn.json", predicted)
    dataset = POSETRACK.load(root, "val")
    return dataset, POSETRACK.read_predictions(root / "results", dataset, PROTOCOL)


def score(root, truths, predictions, write=write_2017):
    dataset, own = read(root, truths, predictions, write)
    return POSETRACK.compute(POSETRACK.statistics(dataset, own, PROTOCOL), PROTOCOL)


def person(x=100.0, y=100.0, track=0, joints=range(15), **others):
    """A person whose joints lie on a column, with a head of 0.6 x 50 = 30 pixels."""
    points = {joint: [x, y + 40 * joint] for joint in joints}
    head = {"head": [x, y, x + 30, y + 40]}
    return {"joints": points, "track": track} | head | others


def scored(someone, value=0.5):
    return someone | {"scores": dict.fromkeys(someone["joints"], value)}


def frame(*people, regions=()):
    return {"people": list(people), "regions": list(regions)}


@pytest.mark.parametrize("case", ["case1", "case2", "case3", "case4"])
def test_equals_poseval(shared_data, case):
    root = shared_data / "oracles" / "posetrack" / case
    expected = json.loads((root / "expected.json").read_text())
    dataset = POSETRACK.load(root, "val")
    predictions = POSETRACK.read_predictions(root / "results/val", dataset, PROTOCOL)
    statistics = POSETRACK.statistics(dataset, predictions, PROTOCOL)
    metrics = POSETRACK.compute(statistics, PROTOCOL)
    assert not differing(metrics, expected["metrics"], expected["tolerance"])
    counts = expected["own_computation"]["counts"]
    for name in ("switches", "false_positives", "objects"):
        sums = statistics.dense(name).sum(axis=0)
        assert {
            f"{name}/{j}": s for j, s in zip(JOINTS, sums, strict=True)
        }.items() <= counts.items()


def test_truth_as_predictions_of_real_sequences(shared_data, tmp_path):
    root = shared_data / "posetrack18"
    for path in (root / "annotations" / "val").glob("*.json"):
        document = json.loads(path.read_text())
        for annotation in document["annotations"]:
            annotation["scores"] = [0.9] * 17
        (tmp_path / path.name).write_text(json.dumps(document))
    dataset = POSETRACK.load(root, "val")
    assert len(dataset.sample_ids) == 3
    predictions = POSETRACK.read_predictions(tmp_path, dataset, PROTOCOL)
    metrics = POSETRACK.compute(POSETRACK.statistics(dataset, predictions, PROTOCOL), PROTOCOL)
    assert metrics["AP/total"] == pytest.approx(100)
    # One labelled frame each, and the last one is left out of tracking.
    assert math.isnan(metrics["MOTA/total"])


class Slow:
    """The rules from the description, joint by joint, with py-motmetrics for the tracking."""

    def __init__(self, truths, predictions):
        self.entries = {joint: [] for joint in range(15)}
        self.positives = [0] * 15
        self.counts = {joint: np.zeros(5) for joint in range(15)}
        for truth, predicted in zip(truths, predictions, strict=True):
            pairs = [p for p in zip(truth, predicted, strict=True) if p[0]["people"]]
            pairs = [self.clean(*pair) for pair in pairs]
            for pair in pairs:
                self.detect(*pair)
            for joint in range(15):
                self.track(joint, pairs[:-1])

    def clean(self, truth, predicted):
        def outside(people):
            kept = []
            for someone in people:
                joints = {
                    k: xy
                    for k, xy in someone["joints"].items()
                    if not any(self.within(xy, region) for region in truth["regions"])
                }
                if joints or not truth["regions"]:
                    kept.append(someone | {"joints": joints})
            return kept

        return outside(truth["people"]), outside(predicted["people"])

    @staticmethod
    def within(xy, region):
        return inside(np.array([xy], float), np.array(region, float))[0]

    @staticmethod
    def distance(own, true, joint):
        if joint not in own["joints"] or joint not in true["joints"]:
            return math.inf
        x1, y1, x2, y2 = true["head"]
        head = 0.6 * math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2)
        return math.dist(own["joints"][joint], true["joints"][joint]) / head

    def detect(self, truth, predicted):
        share = np.zeros((len(predicted), len(truth)))
        for p, own in enumerate(predicted):
            for t, true in enumerate(truth):
                hits = sum(self.distance(own, true, joint) <= 0.5 for joint in range(15))
                share[p, t] = hits / max(len(true["joints"]), 1)
            for t in range(len(truth)):
                if t != (np.argmax(share[p]) if len(truth) else 0):
                    share[p, t] = 0
        match = {}
        for t in range(len(truth)):
            if len(predicted) and share[:, t].max() > 0:
                match[int(np.argmax(share[:, t]))] = t
        for p, own in enumerate(predicted):
            for joint in own["joints"]:
                hit = p in match and self.distance(own, truth[match[p]], joint) <= 0.5
                self.entries[joint].append((own["scores"][joint], hit))
        for true in truth:
            for joint in true["joints"]:
                self.positives[joint] += 1

    def track(self, joint, pairs):
        accumulator = mm.MOTAccumulator(auto_id=True)
        for truth, predicted in pairs:
            if not truth or not predicted:
                accumulator.update([0], [0], [[np.nan]])
                continue
            objects = [true for true in truth if joint in true["joints"]]
            hypotheses = [own for own in predicted if joint in own["joints"]]
            distance = [[self.distance(own, true, joint) for own in hypotheses] for true in objects]
            distance = np.array(distance).reshape(len(objects), len(hypotheses))
            distance[distance > 0.5] = np.nan
            accumulator.update(
                [true["track"] for true in objects],
                [own["track"] for own in hypotheses],
                distance,
            )
        events = accumulator.mot_events
        number = events.Type.value_counts() if len(events) else {}
        pairs = events[events.Type.isin(["MATCH", "SWITCH"])]
        self.counts[joint] += [
            number.get("MISS", 0),
            number.get("SWITCH", 0),
            number.get("FP", 0),
            len(pairs),
            float(pairs.D.sum()) if len(pairs) else 0.0,
        ]

    def metrics(self):
        values = {}
        for joint, name in enumerate(JOINTS):
            misses, switches, alarms, matches, distance = self.counts[joint]
            objects = misses + matches
            values[f"AP/{name}"] = 100 * self.average_precision(joint)
            nan = float("nan")
            wrong = misses + switches + alarms
            values[f"MOTA/{name}"] = 100 * (1 - wrong / objects) if objects else nan
            values[f"Rec/{name}"] = 100 * matches / objects if objects else nan
            found = matches + alarms
            values[f"Pre/{name}"] = 100 * matches / found if found else nan
            values[f"MOTP/{name}"] = 100 * (1 - distance / matches) if matches else 0.0
        for kind in ("AP", "MOTA", "Rec", "Pre", "MOTP"):
            own = [values[f"{kind}/{name}"] for name in JOINTS]
            own = [value for value in own if not math.isnan(value)]
            values[f"{kind}/total"] = sum(own) / len(own) if own else float("nan")
        for group, joints in GROUPS.items():
            own = [values[f"AP/{JOINTS[joint]}"] for joint in joints]
            values[f"AP/{group}"] = sum(own) / len(own)
        return values

    def average_precision(self, joint):
        ordered = sorted(self.entries[joint], key=lambda entry: -entry[0])
        if not ordered:
            return 0.0
        if not self.positives[joint]:
            return float("nan")
        hits = np.array([hit for _, hit in ordered], dtype=float)
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        best = [precision[i:].max() for i in range(len(hits))]
        return float((hits * best).sum() / self.positives[joint])


def random_case(seed, sequences=2):
    random = np.random.default_rng(seed)
    cases = [random_sequence(random, int(random.integers(1, 7))) for _ in range(sequences)]
    return [truth for truth, _ in cases], [predicted for _, predicted in cases]


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_equals_a_slow_reference(seed, tmp_path_factory):
    truths, predictions = random_case(seed)
    expected = Slow(truths, predictions).metrics()
    ours = score(tmp_path_factory.mktemp("case"), truths, predictions)
    assert not differing(ours, expected, 1e-9)


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_both_formats_give_the_same_numbers(seed, tmp_path_factory):
    truths, predictions = random_case(seed)
    old = score(tmp_path_factory.mktemp("old"), truths, predictions)
    new = score(tmp_path_factory.mktemp("new"), truths, predictions, write_2018)
    assert not differing(new, old, 1e-9)


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_statistics_merge_and_repeat(seed, tmp_path_factory):
    truths, predictions = random_case(seed, sequences=4)
    dataset, own = read(tmp_path_factory.mktemp("case"), truths, predictions)
    random = np.random.default_rng(seed)
    cut = int(random.integers(1, 4))
    order = random.permutation(4)
    parts = [
        [i for i in dataset.sample_ids if int(i[:6]) in chosen]
        for chosen in (order[:cut], order[cut:])
    ]
    assert_merging_is_exact(POSETRACK, dataset, own, PROTOCOL, parts)
    if len(dataset.sample_ids) > 1:
        assert_limit_is_a_prefix(POSETRACK, dataset, own, PROTOCOL)
    statistics = POSETRACK.statistics(dataset, own, PROTOCOL)
    assert POSETRACK.units(dataset, statistics) == tuple(s.name for s in dataset.truth)
    assert_weights_repeat(POSETRACK, statistics, PROTOCOL, random.integers(0, 3, 4))


def test_perfect_predictions_are_best_and_ids_are_only_names(tmp_path):
    truth = [frame(person(), person(x=900, track=1)) for _ in range(4)]
    own = [frame(scored(person(track=7)), scored(person(x=900, track=3))) for _ in range(4)]
    best = score(tmp_path / "a", [truth], [own])
    assert [best[f"{kind}/total"] for kind in ("AP", "MOTA", "MOTP", "Pre", "Rec")] == [100] * 5
    turned = [frame(*reversed(f["people"])) for f in own]
    assert score(tmp_path / "b", [truth], [turned]) == best


def test_exactly_half_a_head_is_a_hit(tmp_path):
    truth = [frame(person()) for _ in range(2)]
    at, beyond = ([frame(scored(person(x=100 + dx))) for _ in range(2)] for dx in (15, 15.01))
    assert score(tmp_path / "at", [truth], [at])["AP/total"] == 100
    assert score(tmp_path / "beyond", [truth], [beyond])["AP/total"] == 0


def test_the_last_frame_counts_for_ap_but_not_for_tracking(tmp_path):
    truth = [frame(person()) for _ in range(3)]
    own = [frame(scored(person())), frame(scored(person())), frame()]
    metrics = score(tmp_path, [truth], [own])
    assert metrics["MOTA/total"] == 100
    assert metrics["AP_recall/nose"] == pytest.approx(200 / 3)


def test_a_one_sided_frame_is_one_miss_and_one_false_positive(tmp_path):
    people = [person(x=100 + 400 * i, track=i) for i in range(3)]
    truth = [frame(*people) for _ in range(3)]
    own = [frame(*(scored(p) for p in people)), frame(), frame()]
    # 3 matches, then 1 miss and 1 false positive in place of 3 misses.
    metrics = score(tmp_path, [truth], [own])
    assert metrics["MOTA/nose"] == pytest.approx(100 * (1 - 2 / 4))
    assert metrics["Rec/nose"] == pytest.approx(75)


def test_frames_without_annotated_people_cost_nothing(tmp_path):
    truth = [frame(person()), frame(), frame(person()), frame(person())]
    own = [frame(scored(person())) for _ in range(4)]
    metrics = score(tmp_path, [truth], [own])
    assert metrics["AP/total"] == metrics["MOTA/total"] == 100


def test_joints_in_ignore_regions_do_not_count_but_its_border_does(tmp_path):
    square = [(0, 0), (200, 0), (200, 1000), (0, 1000)]
    truth = [frame(person(x=900), regions=[square]) for _ in range(2)]
    ignored, border = (
        [frame(scored(person(x=900)), scored(person(x=x, track=1), 0.9)) for _ in range(2)]
        for x in (100, 200)
    )
    assert score(tmp_path / "in", [truth], [ignored])["AP/total"] == 100
    assert score(tmp_path / "on", [truth], [border])["AP_precision/nose"] == 50


def test_zero_visibility_with_coordinates_is_a_joint(tmp_path):
    truth = [frame(person()) for _ in range(2)]
    write_2018(tmp_path / "annotations/val/a.json", truth)
    own = [frame(scored(person())) for _ in range(2)]
    write_2018(tmp_path / "results/a.json", own)
    for path in (tmp_path / "annotations/val/a.json", tmp_path / "results/a.json"):
        document = json.loads(path.read_text())
        for annotation in document["annotations"]:
            annotation["keypoints"][2::3] = [0] * 17
        path.write_text(json.dumps(document))
    dataset = POSETRACK.load(tmp_path, "val")
    predictions = POSETRACK.read_predictions(tmp_path / "results", dataset, PROTOCOL)
    metrics = POSETRACK.compute(POSETRACK.statistics(dataset, predictions, PROTOCOL), PROTOCOL)
    assert metrics["AP/total"] == 100


def test_without_track_ids_there_is_ap_alone(tmp_path):
    truth = [frame(person()) for _ in range(2)]
    own = [frame({k: v for k, v in scored(person()).items() if k != "track"}) for _ in range(2)]
    metrics = score(tmp_path, [truth], [own])
    assert metrics["AP/total"] == 100
    assert math.isnan(metrics["MOTA/total"])
    assert math.isnan(metrics["MOTP/total"])


def test_samples_are_frames(tmp_path):
    dataset, _ = read(tmp_path, [[frame(person())] * 2], [[frame()] * 2])
    samples = POSETRACK.samples(dataset, PROTOCOL)
    assert [s.id for s in samples] == list(dataset.sample_ids)
    assert samples[1].images == (str(tmp_path / "images/000000_bonn/00000001.jpg"),)


def broken(change):
    """Return a good 2018 pair of documents with a change made to the submission."""

    def apply(path):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return apply


def set_in(record, key, value):
    def change(document):
        target = document["annotations"][record] if record is not None else document
        if value is None:
            del target[key]
        else:
            target[key] = value

    return broken(change)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "no file 000000_bonn.json"),
        (lambda path: path.write_text("{"), "no valid JSON"),
        (lambda path: path.write_text("{}"), "no PoseTrack file"),
        (broken(lambda d: d["images"].pop()), "2 frames|unknown image_id"),
        (set_in(0, "track_id", None), "track_id"),
        (set_in(0, "track_id", 10000), "10000"),
        (set_in(1, "track_id", 20), "two people with track_id 20"),
        (set_in(0, "keypoints", [1.0] * 34), "34 numbers in keypoints, due are 51"),
        (set_in(0, "keypoints", [float("nan")] * 51), "nan is not finite"),
        (set_in(0, "scores", [0.5] * 15), "15 scores for 17 keypoints"),
        (set_in(0, "image_id", 5), "unknown image_id 5"),
        (
            broken(lambda d: d["categories"][0]["keypoints"].__setitem__(0, "snout")),
            "missing: nose",
        ),
    ],
)
def test_wrong_submissions_are_refused(tmp_path, spoil, words):
    truth = [frame(person(), person(x=900, track=1)) for _ in range(3)]
    own = [frame(scored(person(track=20)), scored(person(x=900, track=21))) for _ in range(3)]
    read(tmp_path, [truth], [own], write_2018)
    dataset = POSETRACK.load(tmp_path, "val")
    path = tmp_path / "results/000000_bonn.json"
    spoil(path)
    with pytest.raises(PrerequisiteError, match=words) as caught:
        POSETRACK.read_predictions(tmp_path / "results", dataset, PROTOCOL)
    assert "results" in caught.value.problem
    assert caught.value.remedy


def test_ids_of_some_people_only_are_refused(tmp_path):
    truth = [frame(person(), person(x=900, track=1)) for _ in range(2)]
    nameless = {k: v for k, v in scored(person(x=900)).items() if k != "track"}
    own = [frame(scored(person()), nameless) for _ in range(2)]
    with pytest.raises(PrerequisiteError, match="no track_id, others have one"):
        read(tmp_path / "same", [truth], [own])
    own = [frame(scored(person())), frame(copy.deepcopy(nameless))]
    with pytest.raises(PrerequisiteError, match="no track_id, others have one"):
        read(tmp_path / "other", [truth], [own])


def test_a_person_without_head_box_is_refused(tmp_path):
    headless = {k: v for k, v in person().items() if k != "head"}
    with pytest.raises(PrerequisiteError, match="no head box"):
        read(tmp_path, [[frame(headless)]], [[frame()]])


def test_a_folder_without_sequences_shows_the_layout(tmp_path):
    with pytest.raises(PrerequisiteError) as caught:
        POSETRACK.load(tmp_path, "val")
    assert "annotations/val/SEQUENCE.json" in caught.value.remedy
    assert "posetrack.net" in caught.value.remedy
