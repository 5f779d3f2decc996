"""MOT: the numbers of two tools, their rules against brute force, and what is refused."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_laws import (
    assert_limit_is_a_prefix,
    assert_merging_is_exact,
    assert_weights_repeat,
    differing,
)

from benchmarks.metrics.clear_mot import (
    Frame,
    Lifespans,
    count_events,
    pair_by_frame,
    pair_by_history,
)
from benchmarks.metrics.identity import ALPHAS, hota_sums, identity_true_positives
from benchmarks.protocols.mot import Mot
from harness.api import PrerequisiteError

mm = pytest.importorskip("motmetrics")

MOT = Mot()
PROTOCOL = MOT.protocol()
seeds = st.integers(0, 2**32 - 1)


def score(dataset, predictions, protocol=PROTOCOL):
    return MOT.compute(MOT.statistics(dataset, predictions, protocol), protocol)


@pytest.mark.parametrize("case", ["case1", "case2", "case3", "case4"])
@pytest.mark.parametrize("tool", ["motmetrics", "trackeval"])
def test_equals_both_tools(shared_data, case, tool):
    root = shared_data / "oracles" / "mot" / case
    expected = json.loads((root / "expected.json").read_text())
    dataset, protocol = MOT.load(root, "train"), MOT.protocol(tool)
    predictions = MOT.read_predictions(root / "results" / "own", dataset, protocol)
    metrics = score(dataset, predictions, protocol)
    assert not differing(metrics, expected["metrics"], expected["tolerance"])
    assert not differing(metrics, expected["variants"][tool]["metrics"], expected["tolerance"])


@pytest.mark.parametrize("sequence", ["TUD-Campus", "TUD-Stadtmitte"])
def test_equals_the_matlab_devkit(shared_data, sequence):
    root = shared_data / "mot"
    records = json.loads((root / "expected.json").read_text())
    (expected,) = [record for record in records if record["split"] == sequence]
    alone = MOT.load(root, sequence)
    path = root / "results" / "example"
    single = score(alone, MOT.read_predictions(path / f"{sequence}.txt", alone, PROTOCOL))
    assert not differing(single, expected["metrics"], expected["tolerance"])
    assert not differing(single, expected["own_computation"], 1e-9)
    both = MOT.load(root, "train")
    metrics = score(both, MOT.read_predictions(path, both, PROTOCOL))
    named = {f"{key}/{sequence}": value for key, value in expected["metrics"].items()}
    assert not differing(metrics, named, expected["tolerance"])


def random_frames(seed, frames=8, objects=3, hypotheses=4):
    """Objects on a line; hypotheses near them whose ids change now and then."""
    random = np.random.default_rng(seed)
    result = []
    ids = random.permutation(hypotheses)
    for _ in range(frames):
        if random.random() < 0.3:
            ids = random.permutation(hypotheses)
        there = np.flatnonzero(random.random(objects) < 0.8)
        seen = ids[: int(random.integers(0, hypotheses + 1))]
        result.append(Frame(there, seen, random.random((len(there), len(seen)))))
    return result


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_pairs_by_history_equal_motmetrics(seed):
    frames = random_frames(seed)
    accumulator = mm.MOTAccumulator(auto_id=True)
    for frame in frames:
        allowed = np.where(frame.distance <= 0.5, frame.distance, np.nan)
        accumulator.update(frame.objects, frame.hypotheses, allowed)
    names = [
        "num_objects", "num_predictions", "num_detections", "num_switches", "num_fragmentations",
        "mostly_tracked", "mostly_lost", "idtp", "num_misses", "num_false_positives", "motp",
    ]  # fmt: skip
    theirs = mm.metrics.create().compute(
        accumulator, metrics=names, return_dataframe=False, return_cached=False
    )
    pairs = pair_by_history(frames, 0.5)
    events, lives = count_events(frames, pairs), Lifespans.of(frames, pairs)
    ours = {
        "num_objects": events.objects,
        "num_predictions": events.hypotheses,
        "num_detections": events.matches,
        "num_switches": events.switches,
        "num_fragmentations": lives.interruptions(),
        "mostly_tracked": int((lives.coverage() >= 0.8).sum()),
        "mostly_lost": int((lives.coverage() < 0.2).sum()),
        "idtp": identity_true_positives(frames, 0.5),
        "num_misses": events.misses,
        "num_false_positives": events.false_positives,
        "motp": events.distance / events.matches if events.matches else math.nan,
    }
    assert not differing(ours, {name: float(theirs[name]) for name in names}, 1e-9)


def best_pairs(score):
    """All one-to-one choices, tried one by one."""
    rows, columns = score.shape
    if rows > columns:
        return {(r, c) for c, r in best_pairs(score.T)}
    choices = itertools.permutations(range(columns), rows)
    best = max(choices, key=lambda chosen: sum(score[r, c] for r, c in enumerate(chosen)))
    return {(r, c) for r, c in enumerate(best) if score[r, c] > 0}


@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_pairs_by_frame_equal_brute_force(seed):
    frames = random_frames(seed)
    previous = {}
    for frame, pairs in zip(frames, pair_by_frame(frames, 0.5), strict=True):
        if frame.distance.size == 0:
            assert len(pairs) == 0
            continue
        gain = np.where(frame.distance <= 0.5, 1 - frame.distance, 0.0)
        for row, column in np.ndindex(gain.shape):
            if gain[row, column] and previous.get(frame.objects[row]) == frame.hypotheses[column]:
                gain[row, column] += 1000
        assert {(int(r), int(c)) for r, c in pairs} == best_pairs(gain)
        previous = {frame.objects[r]: frame.hypotheses[c] for r, c in pairs}


def test_the_tools_differ_in_what_they_remember():
    """A partner of long ago comes back beside a nearer one."""
    near, far = 0.1, 0.4
    frames = [
        Frame(np.array([1]), np.array([10]), np.array([[near]])),
        Frame(np.array([1]), np.array([11]), np.array([[near]])),
        Frame(np.array([1]), np.array([12]), np.array([[0.9]])),
        Frame(np.array([1]), np.array([10, 11]), np.array([[near, far]])),
    ]
    assert pair_by_history(frames, 0.5)[3].tolist() == [[0, 1]]
    assert pair_by_frame(frames, 0.5)[3].tolist() == [[0, 0]]


def test_a_frame_without_hypotheses_keeps_the_memory_of_trackeval():
    near, far = 0.1, 0.4
    frames = [
        Frame(np.array([1]), np.array([11]), np.array([[near]])),
        Frame(np.array([1]), np.zeros(0, int), np.zeros((1, 0))),
        Frame(np.array([1]), np.array([10, 11]), np.array([[near, far]])),
    ]
    pairs = pair_by_frame(frames, 0.5)
    assert pairs[2].tolist() == [[0, 1]]
    lives = Lifespans.of(frames, pairs)
    # Missed in between: motmetrics counts it, TrackEval passes the frame over.
    assert (lives.interruptions(), lives.stretches()) == (1, 0)


def test_fragmentations_around_a_gap_in_the_truth():
    here, nobody = np.array([1]), np.zeros(0, int)
    frames = [
        Frame(here, here, np.zeros((1, 1))),
        Frame(np.array([2]), here, np.ones((1, 1))),
        Frame(here, here, np.zeros((1, 1))),
        Frame(here, nobody, np.zeros((1, 0))),
    ]
    lives = Lifespans.of(frames, pair_by_history(frames, 0.5))
    assert (lives.interruptions(), lives.stretches()) == (0, 1)


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_identity_equals_brute_force(seed):
    frames = random_frames(seed)
    agree = np.zeros((3, 4))
    for frame in frames:
        for row, thing in enumerate(frame.objects):
            for column, hypothesis in enumerate(frame.hypotheses):
                agree[thing, hypothesis] += frame.distance[row, column] <= 0.5
    expected = sum(agree[r, c] for r, c in best_pairs(agree))
    assert identity_true_positives(frames, 0.5) == expected


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_hota_follows_its_definition(seed):
    frames = random_frames(seed)
    objects = {t: sum(t in f.objects for f in frames) for t in range(3)}
    hypotheses = {h: sum(h in f.hypotheses for f in frames) for h in range(4)}
    likely = np.zeros((3, 4))
    for f in frames:
        overlap = 1 - f.distance
        for r, c in np.ndindex(overlap.shape):
            union = overlap[r].sum() + overlap[:, c].sum() - overlap[r, c]
            likely[f.objects[r], f.hypotheses[c]] += overlap[r, c] / union
    tracks = {}
    for number, f in enumerate(frames):
        overlap = 1 - f.distance
        gain = np.zeros(overlap.shape)
        for r, c in np.ndindex(overlap.shape):
            t, h = f.objects[r], f.hypotheses[c]
            gain[r, c] = overlap[r, c] * likely[t, h] / (objects[t] + hypotheses[h] - likely[t, h])
        for r, c in best_pairs(gain) if gain.size else ():
            tracks.setdefault((f.objects[r], f.hypotheses[c]), []).append((number, overlap[r, c]))
    sums = hota_sums(frames)
    for level, alpha in enumerate(ALPHAS):
        times = {p: sum(o >= alpha for _, o in seen) for p, seen in tracks.items()}
        assert sums.matches[level] == sum(times.values())
        expected = sum(n * n / (objects[t] + hypotheses[h] - n) for (t, h), n in times.items())
        assert sums.association[level] == pytest.approx(expected)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(",".join(f"{value:g}" for value in row) for row in rows))


def sequence(root, name, rows, length=None):
    write(root / "train" / name / "gt" / "gt.txt", rows)
    if length:
        text = f"[Sequence]\nname={name}\nseqLength={length}\nimDir=img1\nimExt=.png\n"
        (root / "train" / name / "seqinfo.ini").write_text(text)


def tail(row):
    return [*row, 1, -1, -1, -1]


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_laws_of_statistics(seed, tmp_path_factory):
    root = tmp_path_factory.mktemp("mot")
    random = np.random.default_rng(seed)
    for number in range(4):
        true, own = [], []
        for frame in range(1, 8):
            boxes = np.array([[50.0 * i, 3.0 * frame, 20, 40] for i in range(3)])
            true += [tail([frame, i + 1, *box]) for i, box in enumerate(boxes)]
            noisy = boxes + random.normal(0, 3, boxes.shape)
            swap = random.permutation(3) if random.random() < 0.3 else range(3)
            own += [
                tail([frame, 10 + swap[i], *box])
                for i, box in enumerate(noisy)
                if random.random() < 0.9
            ]
        sequence(root, f"S{number}", true)
        write(root / "results" / f"S{number}.txt", own)
    dataset = MOT.load(root, "train")
    for variant in ("motmetrics", "trackeval"):
        protocol = MOT.protocol(variant)
        predictions = MOT.read_predictions(root / "results", dataset, protocol)
        assert_merging_is_exact(MOT, dataset, predictions, protocol, [["S2"], ["S3", "S0"], ["S1"]])
        assert_limit_is_a_prefix(MOT, dataset, predictions, protocol)
        statistics = MOT.statistics(dataset, predictions, protocol)
        assert_weights_repeat(MOT, statistics, protocol, random.integers(0, 3, 4))
        renamed = (root / "results" / "S0.txt").read_text().replace(",10,", ",900,")
        (root / "renamed").mkdir(exist_ok=True)
        for name in dataset.sample_ids:
            text = (root / "results" / f"{name}.txt").read_text()
            (root / "renamed" / f"{name}.txt").write_text(renamed if name == "S0" else text)
        other = MOT.read_predictions(root / "renamed", dataset, protocol)
        same = score(dataset, predictions, protocol)
        assert not differing(score(dataset, other, protocol), same, 1e-9)


def test_truth_as_results_is_perfect(tmp_path):
    rows = [tail([f, i, 30 * i, 5 * f, 20, 40]) for f in range(1, 6) for i in (1, 2)]
    sequence(tmp_path, "S", rows, length=5)
    write(tmp_path / "results" / "S.txt", rows)
    dataset = MOT.load(tmp_path, "train")
    for variant in MOT.protocols:
        protocol = MOT.protocol(variant)
        metrics = score(
            dataset, MOT.read_predictions(tmp_path / "results", dataset, protocol), protocol
        )
        for name in ("MOTA", "MOTP", "IDF1", "HOTA", "Rcll", "Prcn"):
            assert metrics[name] == pytest.approx(100)
        assert metrics["IDs"] == metrics["FM"] == 0
        assert metrics["MT"] == 2


def test_results_on_distractors_are_removed_by_trackeval_alone(tmp_path):
    person, static = [1, 1, 0, 0, 20, 40, 1, 1, 1], [1, 2, 100, 0, 20, 40, 0, 7, 1]
    vehicle, unmarked = [1, 3, 200, 0, 20, 40, 0, 6, 1], [1, 4, 300, 0, 20, 40, 0, 1, 1]
    sequence(tmp_path, "S", [person, static, vehicle, unmarked])
    own = [tail([1, i, x, 0, 20, 40]) for i, x in enumerate((0, 100, 200, 300, 400))]
    write(tmp_path / "results" / "S.txt", own)
    dataset = MOT.load(tmp_path, "train")
    false_positives = {}
    for variant in MOT.protocols:
        protocol = MOT.protocol(variant)
        predictions = MOT.read_predictions(tmp_path / "results", dataset, protocol)
        metrics = score(dataset, predictions, protocol)
        assert metrics["GT_boxes"] == 1
        false_positives[variant] = metrics["FP"]
    assert false_positives == {"motmetrics": 4, "trackeval": 3, "trackeval_mot20": 2}


def test_truth_rows_with_flag_0_do_not_count_in_mot15(tmp_path):
    sequence(tmp_path, "S", [tail([1, 1, 0, 0, 20, 40]), [1, 2, 100, 0, 20, 40, 0, -1, -1, -1]])
    write(tmp_path / "results" / "S.txt", [tail([1, 9, 100, 0, 20, 40])])
    dataset = MOT.load(tmp_path, "train")
    metrics = score(dataset, MOT.read_predictions(tmp_path / "results", dataset, PROTOCOL))
    assert (metrics["GT_boxes"], metrics["FP"], metrics["FN"]) == (1, 1, 1)


def test_a_sequence_without_results_has_no_precision(tmp_path):
    sequence(tmp_path, "S", [tail([1, 1, 0, 0, 20, 40])])
    write(tmp_path / "results" / "S.txt", [])
    dataset = MOT.load(tmp_path, "train")
    metrics = score(dataset, MOT.read_predictions(tmp_path / "results", dataset, PROTOCOL))
    assert metrics["MOTA"] == metrics["Rcll"] == 0
    assert math.isnan(metrics["Prcn"])
    assert math.isnan(metrics["MOTP"])
    assert metrics["ML"] == 1


def test_samples_are_sequences_of_pictures(tmp_path):
    sequence(tmp_path, "S", [tail([1, 1, 0, 0, 20, 40])], length=3)
    (sample,) = MOT.samples(MOT.load(tmp_path, "train"), PROTOCOL)
    assert sample.id == "S"
    assert sample.images[2] == str(tmp_path / "train/S/img1/000003.png")
    assert len(sample.images) == 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("1,1,0,0,5", "line 1: 5 columns"),
        ("1,1,0,0,5,5,x", "line 1: '1,1,0,0,5,5,x'"),
        ("1,1,0,0,5,nan,1", "line 1: a value is not finite"),
        ("\n0,1,0,0,5,5,1", "line 2: frame 0"),
        ("1,-1,0,0,5,5,1", "id -1 .detections without an identity"),
        ("1,1,0,0,5,5,1\n1,1,9,9,5,5,1", "frame 1 has two boxes with id 1"),
        ("4,1,0,0,5,5,1", "frame 4 is beyond the sequence's 3 frames"),
    ],
)
def test_wrong_results_are_refused(tmp_path, rows, words):
    sequence(tmp_path, "S", [tail([1, 1, 0, 0, 20, 40])], length=3)
    path = tmp_path / "results" / "S.txt"
    path.parent.mkdir()
    path.write_text(rows)
    with pytest.raises(PrerequisiteError, match=words) as caught:
        MOT.read_predictions(path.parent, MOT.load(tmp_path, "train"), PROTOCOL)
    assert str(path) in caught.value.problem


def test_missing_files_are_named(tmp_path):
    for name in ("S", "T"):
        sequence(tmp_path, name, [tail([1, 1, 0, 0, 20, 40])])
    write(tmp_path / "results" / "S.txt", [])
    dataset = MOT.load(tmp_path, "train")
    with pytest.raises(PrerequisiteError, match=r"no file T\.txt"):
        MOT.read_predictions(tmp_path / "results", dataset, PROTOCOL)
    with pytest.raises(PrerequisiteError, match=r"is one file.*2 sequences") as caught:
        MOT.read_predictions(tmp_path / "results" / "S.txt", dataset, PROTOCOL)
    assert "--split SEQUENCE" in caught.value.remedy
    with pytest.raises(PrerequisiteError, match="no ground truth of 'U'"):
        MOT.load(tmp_path, "U")
