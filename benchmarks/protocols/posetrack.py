"""PoseTrack 2017 and 2018: average precision of joints, and MOT metrics per joint.

Source: Andriluka et al., PoseTrack: A Benchmark for Human Pose Estimation and Tracking, CVPR 2018;
the numbers are those of leonid-pishchulin/poseval at 4258a157, with one exception: MOTP counts
every matched pair once, which that code did until motmetrics changed its event table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import posetrack as official
from benchmarks.datasets.posetrack import FramePoses
from benchmarks.metrics.clear_mot import Frame, count_events, pair_by_history
from benchmarks.metrics.overlap import inside
from benchmarks.metrics.pose_matching import (
    JointRanking,
    absent,
    head_distances,
    head_size,
    joint_columns,
    joint_outcomes,
)
from harness.api import (
    PEOPLE_2D,
    Benchmark,
    Column,
    Curve,
    Dataset,
    Predictions,
    PrerequisiteError,
    Protocol,
    Rows,
    Sample,
    Statistics,
    quirk,
)
from harness.api.skeleton import POSETRACK_15

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The evaluator's names: it calls the lower end of the head the neck.
JOINTS = tuple("neck" if joint == "head_bottom" else joint for joint in POSETRACK_15.joints)
GROUPS = {
    "Head": (14, 12, 13), "Shou": (8, 9), "Elb": (7, 10), "Wri": (6, 11), "Hip": (2, 3),
    "Knee": (1, 4), "Ankl": (0, 5),
}  # fmt: skip
_EVENTS = ("objects", "matches", "switches", "false_positives", "distance")


@dataclass(frozen=True, kw_only=True)
class PoseTrackProtocol(Protocol):
    """The evaluation of poseval."""

    head_factor: float = quirk(
        "Distances are in units of this times the diagonal of the true person's head box "
        "(x2 - x1, y2 - y1; no pixel added).",
        default=0.6,
    )
    threshold: float = quirk("A joint is hit when its distance is <= this.", default=0.5)
    missing_score: float = quirk(
        "Score of a predicted joint without one. A person's own score is never used.",
        default=-9999.0,
    )
    absent_joint: str = quirk(
        "When a joint is not annotated, or not predicted.",
        default="2018 files: x = y = v = 0, so v = 0 with coordinates counts; 2017 files: no point",
    )
    frames: str = quirk(
        "Which frames count.",
        default="those with at least one person entry in the truth, for AP and tracking; false "
        "alarms elsewhere cost nothing",
    )
    ignore_regions: str = quirk(
        "What happens in the frame's ignore regions.",
        default="true and predicted joints strictly inside a polygon are deleted, then people of "
        "such frames without joints",
    )
    pose_matching: str = quirk(
        "How poses are matched for AP.",
        default="a prediction keeps the person with the largest share of annotated joints hit, a "
        "person takes its best prediction; no second choice",
    )
    average_precision: str = quirk(
        "How AP is computed.",
        default="per joint over all sequences, area under the monotone precision curve at every "
        "recall; 0 without predictions, no value with predictions but no truth",
    )
    total: str = quirk("Mean over joints.", default="of the joints that have a value, unweighted")
    tracking_pairs: str = quirk(
        "How joints are paired over time.",
        default="per joint, not per pose: the last partner ever is kept while within the "
        "threshold, the rest by most pairs and least distance",
    )
    last_frame: str = quirk(
        "The last counting frame of a sequence in tracking.",
        default="left out, as poseval always did (AP uses it)",
    )
    one_sided_frame: str = quirk(
        "A counting frame without any predicted or without any true person, in tracking.",
        default="one miss and one false positive per joint, however many people there are",
    )
    motp: str = quirk(
        "Distances that MOTP averages.",
        default="matches and switches, each once; 0 when there are none",
    )


class PoseTrack(Benchmark):
    """People in video: 15 joints per person, tracked through a sequence.

    A sample is a frame; the statistics' unit is a sequence. Predictions without ``track_id`` have
    AP but no tracking metrics.
    """

    name: ClassVar[str] = "posetrack"
    title: ClassVar[str] = "PoseTrack"
    citation: ClassVar[str] = (
        "Andriluka, Iqbal, Insafutdinov, Pishchulin, Milan, Gall, Schiele. "
        "PoseTrack: A Benchmark for Human Pose Estimation and Tracking. CVPR 2018"
    )
    obtain: ClassVar[str] = (
        "Register at posetrack.net and download the PoseTrack17 or PoseTrack18 images and "
        "annotations (non-commercial research)."
    )
    schema = PEOPLE_2D
    skeleton = POSETRACK_15
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "poseval": PoseTrackProtocol(
            variant="poseval", title="PoseTrack, evaluator poseval", benchmark="posetrack"
        )
    }
    columns = (
        *(Column(f"AP/{group}", group, group="AP") for group in GROUPS),
        Column("AP/total", "Total", group="AP"),
        *(Column(f"MOTA/{group}", group, group="MOTA") for group in GROUPS),
        Column("MOTA/total", "Total", group="MOTA"),
        Column("MOTP/total", "MOTP"),
        Column("Pre/total", "Prec"),
        Column("Rec/total", "Rec"),
    )
    primary = "AP/total"
    default_split = "val"

    def layout(self, split: str) -> str:
        return official.LAYOUT.format(split=split)

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split, self.obtain)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        if detections is not None:
            raise PrerequisiteError(
                f"posetrack takes no detections ({detections}).", "Leave the box source out."
            )
        images = [frame.image for sequence in dataset.truth for frame in sequence.frames]
        return [
            Sample(sample_id, (str(dataset.root / image),))
            for sample_id, image in zip(dataset.sample_ids, images, strict=False)
        ]

    def poses(self, dataset: Dataset) -> Mapping[str, Floats]:
        """Return the people of every frame as annotated, regions to ignore included."""
        frames = [frame for sequence in dataset.truth for frame in sequence.frames]
        return {
            sample_id: frame.keypoints
            for sample_id, frame in zip(dataset.sample_ids, frames, strict=True)
        }

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read the official submission: a folder of one JSON file per sequence."""
        return official.read_submission(path, dataset)

    def units(self, dataset: Dataset, statistics: Statistics) -> tuple[str, ...]:
        return tuple(dataset.truth[i].name for i in statistics.position)

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Compare whole sequences; one that the predictions cover in part is cut to that part."""
        protocol = cast("PoseTrackProtocol", protocol)
        rows = {sample_id: i for i, sample_id in enumerate(predictions.sample_ids)}
        position, outcomes, labelled, events = [], [], [], []
        none = np.zeros(len(JOINTS), dtype=np.int64)
        for number, sequence in enumerate(dataset.truth):
            ids = dataset.sample_ids[sequence.first : sequence.first + len(sequence.frames)]
            covered = [
                (rows[i], f) for i, f in zip(ids, sequence.frames, strict=False) if i in rows
            ]
            if not covered:
                continue
            frames = [
                _compare(truth, predictions.rows_of(row), protocol)
                for row, truth in covered
                if truth.entries
            ]
            position.append(number)
            outcomes.append(_outcomes(frames, protocol))
            labelled.append(np.sum([f.labelled.sum(axis=0) for f in frames] or [none], axis=0))
            events.append(_track(frames[:-1], protocol, "track_id" in predictions.columns))
        columns = joint_columns(outcomes, labelled)
        columns |= {name: np.stack([e[name] for e in events]) for name in events[0]}
        return Statistics(np.array(position, dtype=np.int64), columns)

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: Ints | None = None
    ) -> dict[str, float]:
        copies = 1 if weights is None else int(weights.max())
        return _metrics(JointRanking.of(statistics, copies), statistics, weights)

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: Ints
    ) -> dict[str, Floats]:
        ranking = JointRanking.of(statistics, int(weights.max()))
        rows = [_metrics(ranking, statistics, draw) for draw in weights]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        ranking = JointRanking.of(statistics)
        lines = [ranking.curve(joint) for joint in range(len(JOINTS))]
        return [
            Curve(name, recall, precision, "Recall", "Precision")
            for name, (recall, precision) in zip(JOINTS, lines, strict=True)
            if len(recall) and not np.isnan(recall).any()
        ]

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        metrics = self.compute(statistics, protocol)
        return {
            f"{kind} per joint": {joint: metrics[f"{kind}/{joint}"] for joint in JOINTS}
            for kind in ("AP", "MOTA")
        }

    def per_sample(self, statistics: Statistics, protocol: Protocol) -> dict[str, Floats]:
        """Return the total MOTA, and the share of labelled joints that were hit, per sequence."""
        hits = statistics.ragged("hit")
        found = np.bincount(hits.owner, hits.values, len(statistics)).astype(np.float64)
        labelled = statistics.dense("labelled").sum(axis=1, dtype=np.float64)
        totals = [
            _mean(_tracking({name: statistics.dense(name)[i] for name in _EVENTS})["MOTA"])
            for i in range(len(statistics))
        ]
        return {"mota": np.array(totals), "joints_hit": _ratio(found, labelled)}


@dataclass(frozen=True, eq=False)
class _Compared:
    """One frame: P predicted people against T true ones."""

    predicted: Floats
    answered: NDArray[np.bool_]
    scores: Floats
    hypotheses: Ints
    objects: Ints
    labelled: NDArray[np.bool_]
    distance: Floats

    def joint(self, joint: int) -> Frame:
        """Return the frame as the tracking of one joint sees it."""
        if 0 in self.distance.shape:
            return Frame(np.zeros(1, np.int64), np.zeros(1, np.int64), np.full((1, 1), np.inf))
        true, own = self.labelled[:, joint], self.answered[:, joint]
        distance = self.distance[:, :, joint].T[true][:, own]
        return Frame(self.objects[true], self.hypotheses[own], distance)


def _compare(truth: FramePoses, own: Rows, protocol: PoseTrackProtocol) -> _Compared:
    true, true_kept = _outside(truth.keypoints, truth.regions)
    predicted, kept = _outside(own["keypoints"], truth.regions)
    head = head_size(truth.head[true_kept], protocol.head_factor)
    ids = own.get("track_id", np.zeros(len(kept), dtype=np.int64))
    tracks = np.zeros(0, np.int64) if truth.track_id is None else truth.track_id
    return _Compared(
        predicted=predicted,
        answered=~absent(predicted),
        scores=np.nan_to_num(own["keypoint_scores"][kept], nan=protocol.missing_score),
        hypotheses=ids[kept],
        objects=tracks[true_kept],
        labelled=~absent(true),
        distance=head_distances(predicted, true, head),
    )


def _outside(keypoints: Floats, regions: Sequence[Floats]) -> tuple[Floats, NDArray[np.bool_]]:
    """Delete joints within the regions; return the people left and who they are."""
    if not regions:
        return keypoints, np.ones(len(keypoints), dtype=np.bool_)
    points = keypoints.reshape(-1, 2)
    ignored = np.any([inside(points, region) for region in regions], axis=0)
    keypoints = np.where(ignored[:, None], np.nan, points).reshape(keypoints.shape)
    kept = np.asarray(~absent(keypoints).all(axis=1))
    return keypoints[kept], kept


def _outcomes(
    frames: Sequence[_Compared], protocol: PoseTrackProtocol
) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    parts = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))]
    for f in frames:
        parts.append(
            joint_outcomes(f.predicted, f.scores, f.distance, f.labelled, protocol.threshold)
        )
    joint, score, hit = (np.concatenate(part) for part in zip(*parts, strict=True))
    return joint, score, hit


def _track(
    frames: Sequence[_Compared], protocol: PoseTrackProtocol, tracked: bool
) -> dict[str, Floats]:
    """Return the event counts of a sequence per joint (K,); NaN where there are no track ids."""
    counts = {name: np.full(len(JOINTS), np.nan) for name in _EVENTS}
    for joint in range(len(JOINTS) if tracked else 0):
        views = [frame.joint(joint) for frame in frames]
        found = count_events(views, pair_by_history(views, protocol.threshold))
        for name in _EVENTS:
            counts[name][joint] = getattr(found, name)
    return counts


def _metrics(
    ranking: JointRanking, statistics: Statistics, weights: Ints | None
) -> dict[str, float]:
    ap, precision, recall = ranking.average_precision(weights)
    times = np.ones(len(statistics), dtype=np.int64) if weights is None else weights
    tracking = _tracking({name: times @ statistics.dense(name) for name in _EVENTS})
    percent = {"AP": ap, "AP_precision": precision, "AP_recall": recall} | tracking
    metrics: dict[str, float] = {}
    for kind, values in percent.items():
        metrics |= {f"{kind}/{j}": 100 * float(v) for j, v in zip(JOINTS, values, strict=True)}
        metrics[f"{kind}/total"] = 100 * _mean(values)
        if kind in ("AP", "MOTA"):
            for group, joints in GROUPS.items():
                metrics[f"{kind}/{group}"] = 100 * float(values[list(joints)].mean())
    return metrics


def _tracking(events: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return MOTA, Pre, Rec and MOTP per joint (K,) as fractions; NaN for no value."""
    objects, matches = events["objects"], events["matches"]
    wrong = objects - matches + events["switches"] + events["false_positives"]
    detected = np.where(matches == 0, 1.0, matches)
    return {
        "MOTA": 1 - _ratio(wrong, objects),
        "Pre": _ratio(matches, matches + events["false_positives"]),
        "Rec": _ratio(matches, objects),
        "MOTP": np.where(matches == 0, 0.0, 1 - events["distance"] / detected),
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(part / np.where(whole == 0, np.nan, whole))


def _mean(values: Floats) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
