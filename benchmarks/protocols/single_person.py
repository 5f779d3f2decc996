"""What the single-person benchmarks share: one known person per image, rates over distances.

A benchmark adds its files, its quirks and its plan: the list of rates that its tables print.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.arrays import NESTED, NEUTRAL, check_keypoints, read_array, read_nested
from benchmarks.datasets.single_person import People, Truth, Views
from benchmarks.metrics.pck import Rate, distances, in_units, lengths, per_sample, rates
from benchmarks.metrics.pcp import Stick, stick_errors
from benchmarks.world.marker import LABELS, is_made
from harness.api import (
    PEOPLE_2D,
    Benchmark,
    Curve,
    Dataset,
    Predictions,
    PrerequisiteError,
    Protocol,
    Sample,
    Skeleton,
    Statistics,
    convert,
    missing_joints,
    quirk,
)
from harness.api.skeleton import COCO_MPII_21

ARMS_AND_LEGS = tuple(
    (joint, (f"left_{joint}", f"right_{joint}"))
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
)


@dataclass(frozen=True, kw_only=True)
class PckProtocol(Protocol):
    """What decides whether a joint is right, and which joints a printed number is about."""

    ground_truth: tuple[str, ...] = quirk(
        "Annotation file; where several are named they hold the same labels."
    )
    sides: str = quirk("Whose left and right.", default="the person's own (person-centric)")
    pixel_base: int = quirk(
        "Coordinate of the first pixel in the annotation and in prediction files; "
        "0-based predictions of a method are shifted by it."
    )
    unit: str = quirk("Length that distances are divided by.")
    unit_joints: tuple[str, ...] = quirk(
        "The two joints whose distance is that length; empty where it is given otherwise.",
        default=(),
    )
    unit_from: str = quirk(
        "Whether unit_joints are those of the 'truth' or of the 'prediction'.", default="truth"
    )
    threshold: float = quirk("Greatest distance of a right joint, in units.")
    comparison: str = quirk(
        "Whether a joint at exactly the threshold is right ('<=') or not ('<')."
    )
    groups: tuple[tuple[str, tuple[str, ...]], ...] = quirk(
        "Rows of the tables: each the plain mean of its joints' rates."
    )
    counted: str = quirk("Which joints count.", default="every labelled joint")
    not_predicted: str = quirk("A joint without prediction.", default="counts as a miss")
    several_people: str = quirk(
        "Which person counts where a method finds several in the image.",
        default="the one with the highest score, the first of equals",
    )


class Files(Interface):
    """A module of :mod:`benchmarks.datasets`: the official files of a benchmark."""

    def layout(self, split: str) -> str:
        """Return the files of a split below the root."""

    def splits(self, root: Path) -> tuple[str, ...]:
        """Return the splits whose annotation is below the root."""

    def load(self, root: Path, split: str) -> Dataset:
        """Read a split; its truth is a :class:`Truth`."""


class SinglePerson(Benchmark):
    """A benchmark with one known person per sample.

    Required beside the class attributes: ``files``, :meth:`plan`; :meth:`official` for formats
    other than .npz and .json. An embedded split is a folder of its own below the root, in the
    layout of the default split.
    """

    schema = PEOPLE_2D
    skeleton: ClassVar[Skeleton]
    files: ClassVar[Files]
    curve_thresholds: ClassVar[tuple[float, ...]]
    curve_label: ClassVar[str]

    @abstractmethod
    def plan(self, protocol: PckProtocol) -> list[Rate]:
        """Return every number that the benchmark reports."""

    def layout(self, split: str) -> str:
        return self.files.layout(split)

    def splits(self, root: Path) -> tuple[str, ...]:
        made = (name for name in ("embedded-train", "embedded-val") if is_made(root / name))
        return (*self.files.splits(root), *made)

    def load(self, root: Path, split: str) -> Dataset:
        if not split.startswith("embedded") or not is_made(root / split):
            return self.files.load(root, split)
        dataset = self.files.load(root / split, self.default_split)
        return replace(dataset, split=split, root=root, synthetic=True)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.single_person import make_split

        return make_split(root / split, self.name, progress)

    def training_samples(
        self, dataset: Dataset, skeleton: Skeleton
    ) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return the people of an embedded split, in any skeleton the world's points convert to."""
        path = dataset.root / dataset.split / LABELS
        if not path.is_file() or missing_joints(COCO_MPII_21, skeleton) is None:
            raise PrerequisiteError(
                f"{self.name} {dataset.split} has no training labels in {skeleton.name}.",
                "Train on embedded-train, on coco-mpii-21 or a skeleton that it converts to.",
            )
        keypoints = convert(np.load(path)["keypoints"], COCO_MPII_21, skeleton)
        visible = np.isfinite(keypoints[..., 0])
        points = np.nan_to_num(keypoints)
        samples = self.samples(dataset, self.protocol())
        return [
            (sample, {"keypoints": points[i, None], "visible": visible[i, None]})
            for i, sample in enumerate(samples)
        ]

    def poses(self, dataset: Dataset) -> Mapping[str, NDArray[np.float64]]:
        """Return the labels that the default protocol scores against."""
        people = self.people(dataset, cast("PckProtocol", self.protocol()))
        return dict(zip(dataset.sample_ids, people.keypoints[:, None], strict=True))

    def official(self, path: Path, dataset: Dataset) -> NDArray[np.float64] | None:
        """Read predictions in an official format, pixels as they are in the file: (n, K, 2).

        Joints that the format lacks are NaN. None if the file is in no official format.
        """
        return None

    def sticks(self, protocol: PckProtocol) -> tuple[Stick, ...]:
        """Return the body parts of strict PCP; none by default."""
        return ()

    def people(self, dataset: Dataset, protocol: PckProtocol) -> People:
        """Return the labels that a protocol scores against."""
        truth = dataset.truth
        if not isinstance(truth, Truth):
            raise PrerequisiteError(
                f"{self.name}: the split {dataset.split!r} has no ground truth.",
                "Export its predictions and submit them, or score another split.",
            )
        for name in protocol.ground_truth:
            if name in truth.people:
                return truth.people[name]
        raise PrerequisiteError(
            f"{self.name}: the protocol {protocol.variant!r} scores against "
            f"{' or '.join(protocol.ground_truth)}, which is not below {dataset.root}.",
            f"Add the file, or choose a protocol for: {', '.join(truth.people)}.",
        )

    def completed(self, keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return predictions in a known smaller skeleton in the benchmark's, NaN where it lacks."""
        return keypoints

    def repaired(
        self, predicted: NDArray[np.float64], protocol: PckProtocol
    ) -> NDArray[np.float64]:
        """Return predictions as the official tool changes them before it measures."""
        return predicted

    def unit(
        self, people: People, predicted: NDArray[np.float64], protocol: PckProtocol
    ) -> NDArray[np.float64]:
        """Return each sample's unit of length (n,) in pixels."""
        if not protocol.unit_joints:
            return np.ones(len(people)) if people.size is None else people.size
        first, second = self.rows(protocol.unit_joints)
        if protocol.unit_from == "truth":
            return lengths(people.keypoints, first, second)
        # Without a predicted unit all joints of the sample are misses.
        return np.nan_to_num(lengths(predicted, first, second), nan=0.0)

    def rows(self, joints: tuple[str, ...]) -> tuple[int, ...]:
        """Return the numbers of named joints."""
        return tuple(self.skeleton.joints.index(joint) for joint in joints)

    def views(self, dataset: Dataset) -> Views:
        """Return what methods are given of each sample."""
        truth: Truth = dataset.truth
        return truth.views

    def samples(
        self, dataset: Dataset, protocol: PckProtocol, detections: Path | None = None
    ) -> list[Sample]:
        if detections is not None:
            raise PrerequisiteError(
                f"{self.name} takes no detections ({detections}): the person is known.",
                "Leave the box source out.",
            )
        views = self.views(dataset)
        if not views.images:
            raise PrerequisiteError(
                f"{self.name}: the annotation below {dataset.root} does not name the images.",
                f"Expected:\n{self.layout(dataset.split)}",
            )
        return [
            Sample(
                sample_id,
                (views.images[i],),
                None if views.boxes is None else views.boxes[i : i + 1],
                None if views.boxes is None else np.ones(1),
                {name: values[i : i + 1] for name, values in views.inputs.items()},
            )
            for i, sample_id in enumerate(dataset.sample_ids)
        ]

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: PckProtocol
    ) -> Statistics:
        """Measure every joint.

        Columns: ``joint`` (n, K) and, with sticks, ``stick`` (n, S), errors as in
        :mod:`benchmarks.metrics.pck`.
        """
        place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
        position = np.array([place[i] for i in predictions.sample_ids], dtype=np.int64)
        people = self.people(dataset, protocol).take(position)
        predicted = self.repaired(best_person(predictions, len(self.skeleton)), protocol)
        errors = {
            "joint": in_units(
                distances(predicted, people.keypoints), self.unit(people, predicted, protocol)
            )
        }
        if sticks := self.sticks(protocol):
            errors["stick"] = stick_errors(predicted, people.keypoints, sticks)
        return Statistics(position, errors)

    def compute(
        self,
        statistics: Statistics,
        protocol: PckProtocol,
        weights: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        once = np.ones(len(statistics), dtype=np.int64) if weights is None else weights
        return {
            name: float(values[0])
            for name, values in self.resample(statistics, protocol, np.asarray(once)[None]).items()
        }

    def resample(
        self, statistics: Statistics, protocol: PckProtocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        return rates(_errors(statistics), self.plan(protocol), weights)

    def curves(self, statistics: Statistics, protocol: PckProtocol) -> list[Curve]:
        """Return accuracy ('<=') over distance, one line for each row of the tables."""
        plan = [
            Rate(f"{name} {threshold}", self.rows(joints), (threshold,))
            for name, joints in protocol.groups
            for threshold in self.curve_thresholds
        ]
        once = np.ones((1, len(statistics)), dtype=np.int64)
        values = np.array(list(rates(_errors(statistics), plan, once).values()))
        x = np.array(self.curve_thresholds)
        lines = values.reshape(len(protocol.groups), len(x))
        return [
            Curve(name, x, line, self.curve_label, "accuracy (%)")
            for (name, _), line in zip(protocol.groups, lines, strict=True)
        ]

    def breakdown(
        self, statistics: Statistics, protocol: PckProtocol
    ) -> dict[str, dict[str, float]]:
        """Return the rate of every joint that has labels, at the protocol's threshold."""
        plan = [
            Rate(name, (joint,), (protocol.threshold,), strict=protocol.comparison == "<")
            for joint, name in enumerate(self.skeleton.joints)
        ]
        once = np.ones((1, len(statistics)), dtype=np.int64)
        values = rates(_errors(statistics), plan, once)
        return {"joint": {n: float(v[0]) for n, v in values.items() if not np.isnan(v[0])}}

    def per_sample(
        self, statistics: Statistics, protocol: PckProtocol
    ) -> dict[str, NDArray[np.float64]]:
        """Return the share in percent of each person's joints that are right, as ``accuracy``."""
        joints = self.rows(tuple(joint for _, group in protocol.groups for joint in group))
        strict = protocol.comparison == "<"
        rate = Rate("accuracy", joints, (protocol.threshold,), strict=strict)
        return {"accuracy": per_sample(statistics.dense("joint"), rate)}

    def read_predictions(self, path: Path, dataset: Dataset, protocol: PckProtocol) -> Predictions:
        """Read the benchmark's official format, or ``.npz`` (``predictions``, N x K x 2), or
        ``.json`` (the same as nested lists, null for a joint that is not predicted).

        Pixels count from the protocol's ``pixel_base``; people stand in the split's order.
        """
        keypoints = self.official(path, dataset)
        neutral = keypoints is None
        if keypoints is None:
            if path.suffix.lower() == ".npz":
                keypoints = self.completed(read_array(path, "predictions", NEUTRAL))
            elif path.suffix.lower() == ".json":
                keypoints = self.completed(read_nested(path, NESTED))
            else:
                raise PrerequisiteError(
                    f"{path}: {self.name} has no result format {path.suffix!r}.",
                    f"{NEUTRAL} Other formats: see docs/protocols.md.",
                )
        check_keypoints(keypoints, path, len(dataset.sample_ids), self.skeleton, may_miss=neutral)
        return one_person_each(dataset.sample_ids, keypoints - protocol.pixel_base)


def one_person_each(ids: tuple[str, ...], keypoints: NDArray[np.float64]) -> Predictions:
    """Return predictions of one person per sample from keypoints (n, K, 2)."""
    count, joints = keypoints.shape[:2]
    return Predictions(
        PEOPLE_2D,
        ids,
        np.arange(count + 1),
        {
            "keypoints": keypoints,
            "keypoint_scores": np.ones((count, joints)),
            "score": np.ones(count),
        },
    )


def best_person(predictions: Predictions, joints: int) -> NDArray[np.float64]:
    """Return the keypoints (n, K, 2) of each sample's best-scored person; NaN if it has none.

    Raises
    ------
    ValueError
        If the predictions have another number of joints.
    """
    result = np.full((len(predictions), joints, 2), np.nan)
    if not predictions.columns or not len(predictions.columns["keypoints"]):
        return result
    keypoints = predictions.columns["keypoints"]
    if keypoints.shape[1] != joints:
        raise ValueError(f"predictions have {keypoints.shape[1]} joints, {joints} are due")
    owner = np.repeat(np.arange(len(predictions)), np.diff(predictions.offsets))
    order = np.lexsort((-predictions.columns["score"], owner))
    owners, first = np.unique(owner[order], return_index=True)
    result[owners] = keypoints[order[first]]
    return result


def _errors(statistics: Statistics) -> Mapping[str, NDArray[np.float64]]:
    return {name: statistics.dense(name) for name in statistics.columns}
