"""What each evaluator is timed against: the field's tool where one installs, else plain numpy.

A reference takes the folder of the ground truth and the predictions of :mod:`inputs`, and returns
seconds of loading and of evaluation and its metrics under our names. Plain ones are short on
purpose: straight from the definition, whole arrays at once, without any check of the input.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

Report = dict[str, Any]


def clock() -> float:
    """Return the processor time of this process in seconds: other work does not count."""
    return time.process_time()


def report(start: float, loaded: float, metrics: dict[str, float]) -> Report:
    """Return what is printed, the evaluation having ended now."""
    return {"load": loaded - start, "evaluate": clock() - loaded, "metrics": metrics}


def mpii(root: Path, predictions: Path) -> Report:
    """PCKh@0.5 as in HRNet's evaluation: one matrix of distances."""
    start = clock()
    file = scipy.io.loadmat(root / "annot" / "gt_valid.mat")
    predicted = np.load(predictions)["predictions"]
    loaded = clock()
    truth, seen = file["pos_gt_src"].transpose(2, 0, 1), file["jnt_missing"].T == 0
    size = 0.6 * np.linalg.norm(np.diff(file["headboxes_src"], axis=0)[0], axis=0)
    hits = (np.linalg.norm(predicted - truth, axis=2) < 0.5 * size[:, None]) & seen
    rates = 100 * hits.sum(axis=0) / seen.sum(axis=0)
    chosen = [j for j in range(16) if j not in (6, 7)]
    pooled = 100 * hits[:, chosen].sum() / seen[:, chosen].sum()
    return report(start, loaded, {"total": pooled, "mean14": rates[chosen].mean()})


def nyu_hand(root: Path, predictions: Path) -> Report:
    """Mean error and worst-joint success rates, both files un-projected."""
    start = clock()
    label = root / "groundtruth" / "nyu" / "nyu_test_groundtruth_label.txt"
    files = [np.loadtxt(path).reshape(-1, 14, 3) for path in (label, predictions)]
    loaded = clock()
    truth, predicted = (
        np.stack(
            [
                (uvd[..., 0] - 320) * uvd[..., 2] / 588.03,
                (uvd[..., 1] - 240) * uvd[..., 2] / -587.07,
                uvd[..., 2],
            ],
            axis=2,
        )
        for uvd in files
    )
    error = np.linalg.norm(predicted - truth, axis=2)
    worst = error.max(axis=1)
    metrics = {f"success_max_frame_{t}mm": 100 * (worst <= t).mean() for t in (10, 20, 30, 40, 50)}
    return report(start, loaded, {"mean_error_mm": error.mean(), **metrics})


def h36m(root: Path, predictions: Path) -> Report:
    """MPJPE and PA-MPJPE, mean of actions: one batched SVD for all frames of a video."""
    import cdflib

    start = clock()
    paths = [
        path
        for subject in ("S9", "S11")
        for path in sorted(root.glob(f"{subject}/MyPoseFeatures/D3_Positions_mono/*.cdf"))
    ]
    of_32 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    truths = [np.asarray(cdflib.CDF(path)["Pose"]).reshape(-1, 32, 3)[:, of_32] for path in paths]
    predicted = np.load(predictions)["predictions"]
    loaded = clock()
    errors: dict[str, list[np.ndarray]] = {}
    done = 0
    for path, raw in zip(paths, truths, strict=True):
        p, g = predicted[done : done + len(raw)].astype(float), raw.astype(float)
        done += len(raw)
        plain = np.linalg.norm((p - p[:, :1]) - (g - g[:, :1]), axis=2)
        p, g = p - p.mean(axis=1, keepdims=True), g - g.mean(axis=1, keepdims=True)
        u, s, vt = np.linalg.svd(p.transpose(0, 2, 1) @ g)
        sign = np.sign(np.linalg.det(u @ vt))
        u[:, :, 2] *= sign[:, None]
        s[:, 2] *= sign
        scale = s.sum(axis=1) / (p**2).sum(axis=(1, 2))
        aligned = np.linalg.norm(scale[:, None, None] * p @ (u @ vt) - g, axis=2)
        pair = np.stack([plain.mean(axis=1), aligned.mean(axis=1)])
        errors.setdefault(path.name.split(".")[0].split(" ")[0], []).append(pair)
    means = np.mean([np.concatenate(e, axis=1).mean(axis=1) for e in errors.values()], axis=0)
    return report(start, loaded, {"mpjpe": means[0], "pa_mpjpe": means[1]})


def otb(root: Path, predictions: Path) -> Report:
    """AUC and precision of one-pass evaluation, sequence by sequence."""
    start = clock()
    paths = sorted(root.glob("*/groundtruth_rect.txt"))
    pairs = [
        [np.loadtxt(p, delimiter=",") for p in (path, predictions / f"{path.parent.name}.txt")]
        for path in paths
    ]
    loaded = clock()
    lines = 0.05 * np.arange(21)
    lines[11:] = 1 - 0.05 * np.arange(9, -1, -1)
    auc, p20 = [], []
    for truth, boxes in pairs:
        boxes[0] = truth[0]
        low = np.maximum(truth[:, :2], boxes[:, :2])
        high = np.minimum(truth[:, :2] + truth[:, 2:], boxes[:, :2] + boxes[:, 2:])
        common = np.maximum(high - low, 0).prod(axis=1)
        iou = common / (truth[:, 2:].prod(axis=1) + boxes[:, 2:].prod(axis=1) - common)
        centres = [b[:, :2] + (b[:, 2:] - 1) / 2 for b in (truth, boxes)]
        auc.append((iou[:, None] > lines).mean())
        p20.append((np.linalg.norm(centres[0] - centres[1], axis=1) <= 20).mean())
    return report(start, loaded, {"AUC": float(np.mean(auc)), "P20": float(np.mean(p20))})


def mot(root: Path, predictions: Path) -> Report:
    """py-motmetrics, given distances by numpy: its own do not run under numpy 2."""
    import motmetrics as mm

    start = clock()
    names = sorted(path.parents[1].name for path in root.glob("train/*/gt/gt.txt"))
    files = [
        [
            np.loadtxt(path, delimiter=",")
            for path in (root / "train" / name / "gt" / "gt.txt", predictions / f"{name}.txt")
        ]
        for name in names
    ]
    loaded = clock()
    accumulators = []
    for truth, found in files:
        accumulators.append(mm.MOTAccumulator(auto_id=True))
        for frame in np.unique(truth[:, 0]):
            t, f = truth[truth[:, 0] == frame], found[found[:, 0] == frame]
            accumulators[-1].update(t[:, 1], f[:, 1], _iou_distance(t[:, 2:6], f[:, 2:6]))
    table = mm.metrics.create().compute_many(
        accumulators, names=names, metrics=mm.metrics.motchallenge_metrics, generate_overall=True
    )
    row = table.loc["OVERALL"]
    found = {"MOTA": row["mota"], "IDF1": row["idf1"], "MOTP": 1 - row["motp"]}
    return report(start, loaded, {name: 100 * value for name, value in found.items()})


def _iou_distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum((one[:, :2] + one[:, 2:])[:, None], (other[:, :2] + other[:, 2:])[None])
    common = np.maximum(high - low, 0).prod(axis=2)
    areas = one[:, 2:].prod(axis=1)[:, None] + other[:, 2:].prod(axis=1)[None]
    distance = 1 - common / (areas - common)
    return np.where(distance <= 0.5, distance, np.nan)


def posetrack(root: Path, predictions: Path) -> Report:
    """MOTA and MOTP as poseval gets them: a py-motmetrics accumulator per joint and sequence."""
    import motmetrics as mm
    import orjson

    start = clock()
    files = [
        [orjson.loads(p.read_bytes()) for p in (path, predictions / path.name)]
        for path in sorted((root / "annotations" / "val").glob("*.json"))
    ]
    loaded = clock()
    joints = [j for j in range(17) if j not in (3, 4)]
    counts = np.zeros((17, 5))
    for truth, found in files:
        objects, hypotheses = _people(truth), _people(found)
        frames = sorted(objects)[:-1]  # the last one is left out
        for joint in joints:
            accumulator = mm.MOTAccumulator(auto_id=True)
            for frame in frames:
                true = [p for p in objects[frame] if p[0][joint, 2]]
                own = [p for p in hypotheses[frame] if p[0][joint, :2].any()]
                distance = np.array(
                    [
                        [np.linalg.norm(o[0][joint, :2] - t[0][joint, :2]) / t[2] for o in own]
                        for t in true
                    ]
                ).reshape(len(true), len(own))
                distance[distance > 0.5] = np.nan
                accumulator.update([t[1] for t in true], [o[1] for o in own], distance)
            events = accumulator.mot_events
            matched = events[events.Type.isin(["MATCH", "SWITCH"])]
            number = events.Type.value_counts()
            counts[joint] += [
                number.get("MISS", 0),
                number.get("SWITCH", 0),
                number.get("FP", 0),
                len(matched),
                matched.D.sum(),
            ]
    miss, switch, alarm, match, distance = counts[joints].T
    mota = 100 * (1 - (miss + switch + alarm) / (miss + match))
    motp = 100 * (1 - distance / match)
    return report(start, loaded, {"MOTA/total": mota.mean(), "MOTP/total": motp.mean()})


def _people(document: dict[str, Any]) -> dict[int, list[tuple[np.ndarray, int, float]]]:
    people: dict[int, list[tuple[np.ndarray, int, float]]] = {
        i["id"]: [] for i in document["images"]
    }
    for person in document["annotations"]:
        points = np.array(person["keypoints"]).reshape(17, 3)
        head = 0.6 * np.linalg.norm(person["bbox_head"][2:])
        people[person["image_id"]].append((points, person["track_id"], head))
    return people
