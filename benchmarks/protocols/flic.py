"""FLIC: accuracy of elbows and wrists over distance (Sapp and Taskar, CVPR 2013)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import flic as files
from benchmarks.datasets.arrays import read_array, read_nested
from benchmarks.datasets.records import read_json
from benchmarks.datasets.single_person import People
from benchmarks.metrics.pck import Rate, grid, trapezoid
from benchmarks.metrics.pcp import Stick
from benchmarks.protocols.single_person import ARMS_AND_LEGS, PckProtocol, SinglePerson
from harness.api import Column, Dataset, PrerequisiteError, Protocol, convert, quirk
from harness.api.skeleton import FLIC_9, FLIC_11

_ARMS = ARMS_AND_LEGS[:3]
# Joint names of MODEC's files.
_SHORT = {
    side[0] + joint[:3]: f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("shoulder", "elbow", "wrist", "hip", "eye")
} | {"nose": "nose"}


@dataclass(frozen=True, kw_only=True)
class FlicProtocol(PckProtocol):
    """Accuracy over distance on FLIC."""

    turn_backs: bool = quirk(
        "Whether a person whose left shoulder, elbow and wrist all lie left of the right ones has "
        "these three pairs of the truth exchanged first.",
        default=False,
    )
    stick_threshold: float = quirk(
        "Strict PCP: a stick is right with both ends within ('<=') this share of its true length.",
        default=0.5,
    )


_OBSERVER_CENTRIC = FlicProtocol(
    variant="observer-centric",
    title="PCK@0.2, observer-centric",
    benchmark="flic",
    box_source="ground truth",
    ground_truth=files.OBSERVER_CENTRIC,
    sides="the observer's (observer-centric)",
    pixel_base=1,
    unit="torso: left shoulder to right hip of the truth",
    unit_joints=("left_shoulder", "right_hip"),
    threshold=0.2,
    comparison="<=",
    groups=(*_ARMS, ("hip", ("left_hip", "right_hip")), ("nose", ("nose",))),
    counted="every labelled joint but the eyes",
)
_PERSON_CENTRIC = replace(
    _OBSERVER_CENTRIC,
    variant="person-centric",
    title="PCK@0.2, person-centric",
    ground_truth=files.PERSON_CENTRIC,
    sides="the person's own (person-centric)",
)
_PREDICTED_TORSO = replace(
    _OBSERVER_CENTRIC,
    variant="predicted-torso",
    title="PCK@0.2, torso of the prediction (a CPM script)",
    unit="torso: left shoulder to right hip of the prediction",
    unit_from="prediction",
)
_MODEC = replace(
    _OBSERVER_CENTRIC,
    variant="modec",
    title="MODEC accuracy curve",
    groups=_ARMS,
    counted="every labelled shoulder, elbow and wrist",
    turn_backs=True,
)


class Flic(SinglePerson):
    """Frames Labeled In Cinema, 1016 test people."""

    name: ClassVar[str] = "flic"
    title: ClassVar[str] = "FLIC"
    citation: ClassVar[str] = (
        "Sapp, Taskar: MODEC: Multimodal Decomposable Models for Human Pose Estimation. CVPR 2013"
    )
    obtain: ClassVar[str] = files.OBTAIN
    files = files
    skeleton = FLIC_11
    protocols: ClassVar[Mapping[str, Protocol]] = {
        protocol.variant: protocol
        for protocol in (_OBSERVER_CENTRIC, _PERSON_CENTRIC, _PREDICTED_TORSO, _MODEC)
    }
    columns = (
        Column("elbow", "Elbow", group="PCK@0.2"),
        Column("wrist", "Wrist", group="PCK@0.2"),
        Column("shoulder", "Shoulder", group="PCK@0.2"),
        Column("elbow@0.1", "Elbow", group="PCK@0.1"),
        Column("wrist@0.1", "Wrist", group="PCK@0.1"),
        Column("shoulder@0.1", "Shoulder", group="PCK@0.1"),
        Column("elbow/auc", "Elbow", group="AUC"),
        Column("wrist/auc", "Wrist", group="AUC"),
        Column("pcp_uarm", "U.Arm", group="strict PCP"),
        Column("pcp_farm", "F.Arm", group="strict PCP"),
    )
    primary = "wrist"
    default_split = "test"
    embedded_split = "embedded-val"
    curve_thresholds = grid(0, 20)
    curve_label = "distance / torso"

    def people(self, dataset: Dataset, protocol: FlicProtocol) -> People:
        people = super().people(dataset, protocol)
        return People(facing(people.keypoints)) if protocol.turn_backs else people

    def sticks(self, protocol: FlicProtocol) -> tuple[Stick, ...]:
        return (((0,), (1,)), ((3,), (4,)), ((1,), (2,)), ((4,), (5,)))

    def plan(self, protocol: FlicProtocol) -> list[Rate]:
        """Return the rates by short names, and those of the arms by MODEC's (``elbow/acc@5``:
        within 5 pixels at a torso of 100).
        """
        rows = {name: self.rows(joints) for name, joints in protocol.groups}
        scored = tuple(joint for joints in rows.values() for joint in joints)
        mean, parts = f"mean{len(scored)}", (protocol.stick_threshold,)
        modec = {name: self.rows(joints) for name, joints in _ARMS}
        return [
            *(Rate(name, joints, (protocol.threshold,)) for name, joints in rows.items()),
            Rate(mean, scored, (protocol.threshold,)),
            *(Rate(f"{name}@0.1", joints, (0.1,)) for name, joints in rows.items()),
            Rate(f"{mean}@0.1", scored, (0.1,)),
            Rate("pcp_uarm", (0, 1), parts, errors="stick"),
            Rate("pcp_farm", (2, 3), parts, errors="stick"),
            Rate("pcp_arms_mean", (0, 1, 2, 3), parts, errors="stick"),
            *(
                Rate(f"{name}/auc", joints, grid(1, 20), trapezoid(20), pooled=True)
                for name, joints in modec.items()
            ),
            *(
                Rate(f"{name}/acc@{t}", joints, (t / 100,), pooled=True)
                for name, joints in modec.items()
                for t in (1, 5, 10, 15, 20)
            ),
        ]

    def official(self, path: Path, dataset: Dataset) -> NDArray[np.float64] | None:
        """Read ``prediction_all`` (9, 2, n) of a .mat file, as CPM writes it, or a .json object
        with MODEC's joint names in ``order`` and ``coords`` [person][joint][x, y].
        """
        if path.suffix.lower() == ".mat":
            remedy = "Store one array 'prediction_all' of shape (9, 2, 1016)."
            found = read_array(path, "prediction_all", remedy)
            return self.completed(found.transpose(2, 0, 1) if found.shape[:2] == (9, 2) else found)
        if path.suffix.lower() != ".json":
            return None
        remedy = f"Write 'order' (some of {' '.join(_SHORT)}) and 'coords' [person][joint][x, y]."
        content = read_json(path, remedy)
        if not isinstance(content, dict):
            return None
        coords = read_nested(path, remedy, "coords")
        order = content.get("order", [])
        if not set(order) <= set(_SHORT) or coords.ndim != 3 or coords.shape[1] != len(order):
            raise PrerequisiteError(
                f"{path}: 'order' {order} does not name the joints of 'coords' {coords.shape}.",
                remedy,
            )
        result = np.full((len(coords), len(FLIC_11), coords.shape[2]), np.nan)
        result[:, self.rows(tuple(_SHORT[name] for name in order))] = coords
        return result

    def completed(self, keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the nine joints of CPM with unpredicted eyes as the eleven of FLIC."""
        if keypoints.ndim == 3 and keypoints.shape[1] == len(FLIC_9):
            return convert(keypoints, FLIC_9, FLIC_11)
        return keypoints


def facing(keypoints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exchange the arms of people who turn their back, as MODEC does with the truth.

    Hips and eyes keep their places, and with them the torso's lower end.
    """
    left, right = [0, 1, 2], [3, 4, 5]
    back = (keypoints[:, left, 0] < keypoints[:, right, 0]).all(axis=1)
    result = keypoints.copy()
    result[np.ix_(back, left)] = keypoints[np.ix_(back, right)]
    result[np.ix_(back, right)] = keypoints[np.ix_(back, left)]
    return result
