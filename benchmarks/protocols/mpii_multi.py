"""MPII multi-person: average precision of joints, group by group.

Source: Pishchulin et al., DeepCut, CVPR 2016; the numbers are those of the MPII toolkit evalMPII
(``evaluateAP``, ``assignGTmulti``, ``getRPC``, ``VOCap``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import mpii_multi as official
from benchmarks.datasets.mpii_multi import Group
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
from harness.api.skeleton import MPII_16

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The toolkit's order; pelvis and thorax are not evaluated.
_ROWS = np.array([0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9])
JOINTS = tuple(MPII_16.joints[row].removeprefix("upper_") for row in _ROWS)
GROUPS = {
    "Head": (12, 13), "Shoulder": (8, 9), "Elbow": (7, 10), "Wrist": (6, 11), "Hip": (2, 3),
    "Knee": (1, 4), "Ankle": (0, 5),
}  # fmt: skip
_UPPER_BODY = slice(6, 14)


@dataclass(frozen=True, kw_only=True)
class MpiiMultiProtocol(Protocol):
    """The evaluation of evalMPII."""

    first_groups: int | None = quirk(
        "How many groups from the start of the list count; null for all.", default=None
    )
    unanswered_groups: str = quirk(
        "The people of a group without any predicted person: 'left out' of what is to be found, "
        "or 'counted' as missed.",
        default="left out",
    )
    total: str = quirk(
        "Mean of what the total is: the '14 joints', or the '14 joints and upper body', whose own "
        "mean (wrists to head) counts as a fifteenth.",
        default="14 joints",
    )
    head_factor: float = quirk(
        "Distances are in units of this times the diagonal of the true person's head box.",
        default=0.6,
    )
    threshold: float = quirk("A joint is hit when its distance is <= this.", default=0.5)
    unit: str = quirk(
        "What is evaluated at a time.",
        default="a group of people: a correct pose of a person outside it is a false positive",
    )
    given: str = quirk(
        "What a method may use of the annotation.",
        default="the extent of the group's positions and its mean scale, not the number of people",
    )
    pose_matching: str = quirk(
        "How poses are matched.",
        default="a prediction keeps the person with the largest share of annotated joints hit, a "
        "person takes its best prediction; no second choice; a person without joints matches none",
    )
    average_precision: str = quirk(
        "How AP is computed.",
        default="per joint over all groups, equal scores in reading order, area under the monotone "
        "precision curve at every recall; 0 without predictions, no value without truth",
    )


_OFFICIAL = MpiiMultiProtocol(
    variant="evalmpii", title="MPII multi-person, full test set", benchmark="mpii-multi"
)


class MpiiMulti(Benchmark):
    """MPII, images of several people: 14 joints per person, group by group."""

    name: ClassVar[str] = "mpii-multi"
    title: ClassVar[str] = "MPII multi-person"
    citation: ClassVar[str] = (
        "Pishchulin, Insafutdinov, Tang, Andres, Andriluka, Gehler, Schiele. DeepCut: Joint Subset "
        "Partition and Labeling for Multi Person Pose Estimation. CVPR 2016"
    )
    obtain: ClassVar[str] = (
        "Pictures, annotation and the evaluation toolkit with its list of groups: "
        "human-pose.mpi-inf.mpg.de (Simplified BSD)."
    )
    schema = PEOPLE_2D
    skeleton = MPII_16
    protocols: ClassVar[Mapping[str, Protocol]] = {
        protocol.variant: protocol
        for protocol in (
            _OFFICIAL,
            replace(
                _OFFICIAL,
                variant="subset288",
                title="MPII multi-person, first 288 groups",
                first_groups=288,
            ),
            replace(
                _OFFICIAL,
                variant="strict",
                title="MPII multi-person, people of unanswered groups are missed",
                unanswered_groups="counted",
            ),
            replace(
                _OFFICIAL,
                variant="deepcut",
                title="MPII multi-person, total of the DeepCut code",
                total="14 joints and upper body",
            ),
        )
    }
    columns = (
        *(Column(f"AP/{group}", group) for group in GROUPS),
        Column("AP/total", "Total"),
    )
    primary = "AP/total"
    default_split = "test"

    def layout(self, split: str) -> str:
        return official.LAYOUT

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split, self.obtain)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        """Return one sample per group, with ``group_box`` (4,) x, y, w, h and ``scale`` (1,)."""
        if detections is not None:
            raise PrerequisiteError(
                f"mpii-multi takes no detections ({detections}).", "Leave the box source out."
            )
        return [
            Sample(
                sample_id,
                (str(dataset.root / "images" / group.image),),
                inputs={"group_box": group.box, "scale": np.array([group.scale])},
            )
            for sample_id, group in zip(dataset.sample_ids, dataset.truth, strict=False)
        ]

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read ``pred_keypoints_mpii_multi``, as .mat or with the same records as .json."""
        return official.read_submission(path, dataset)

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Compare group by group; groups after ``first_groups`` have no statistics."""
        protocol = cast("MpiiMultiProtocol", protocol)
        rows = {sample_id: i for i, sample_id in enumerate(predictions.sample_ids)}
        position = [
            place
            for place, sample_id in enumerate(dataset.sample_ids[: protocol.first_groups])
            if sample_id in rows
        ]
        compared = [
            _compare(dataset.truth[i], predictions.rows_of(rows[dataset.sample_ids[i]]), protocol)
            for i in position
        ]
        outcomes, labelled = zip(*compared, strict=True)
        return Statistics(np.array(position, dtype=np.int64), joint_columns(outcomes, labelled))

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: Ints | None = None
    ) -> dict[str, float]:
        copies = 1 if weights is None else int(weights.max())
        ranking = JointRanking.of(statistics, copies)
        return _metrics(ranking, cast("MpiiMultiProtocol", protocol), weights)

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: Ints
    ) -> dict[str, Floats]:
        ranking = JointRanking.of(statistics, int(weights.max()))
        rows = [_metrics(ranking, cast("MpiiMultiProtocol", protocol), draw) for draw in weights]
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
        return {"AP per joint": {joint: metrics[f"AP/{joint}"] for joint in JOINTS}}

    def per_sample(self, statistics: Statistics, protocol: Protocol) -> dict[str, Floats]:
        """Return the share of the group's labelled joints that were hit."""
        hits = statistics.ragged("hit")
        found = np.bincount(hits.owner, hits.values, minlength=len(statistics))
        labelled = statistics.dense("labelled").sum(axis=1)
        return {"joints_hit": found / np.where(labelled == 0, np.nan, labelled)}


def _compare(
    group: Group, own: Rows, protocol: MpiiMultiProtocol
) -> tuple[tuple[Ints, Floats, NDArray[np.bool_]], Ints]:
    """Return the outcomes of the predicted joints, and the joints to be found (14,)."""
    answered = ~absent(own["keypoints"]).all(axis=1)
    predicted = own["keypoints"][answered][:, _ROWS]
    scores = own["keypoint_scores"][answered][:, _ROWS]
    true = group.keypoints[:, _ROWS]
    labelled = ~np.isnan(true[:, :, 0])
    distance = head_distances(predicted, true, head_size(group.head, protocol.head_factor))
    counts = labelled.sum(axis=0)
    if not answered.any() and protocol.unanswered_groups == "left out":
        counts = np.zeros_like(counts)
    return joint_outcomes(predicted, scores, distance, labelled, protocol.threshold), counts


def _metrics(
    ranking: JointRanking, protocol: MpiiMultiProtocol, weights: Ints | None
) -> dict[str, float]:
    ap = 100 * ranking.average_precision(weights)[0]
    metrics = {f"AP/{joint}": float(value) for joint, value in zip(JOINTS, ap, strict=True)}
    metrics |= {f"AP/{group}": float(ap[list(rows)].mean()) for group, rows in GROUPS.items()}
    if protocol.total == "14 joints":
        return metrics | {"AP/total": float(ap.mean())}
    upper = float(ap[_UPPER_BODY].mean())
    return metrics | {"AP/upper_body": upper, "AP/total": float(np.append(ap, upper).mean())}
