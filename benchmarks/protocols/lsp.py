"""Leeds Sports Poses: PCK@0.2, PDJ and strict PCP (Johnson and Everingham, BMVC 2010).

Definitions: Yang and Ramanan, TPAMI 2013 (PCK), Sapp and Taskar, CVPR 2013 and Toshev and Szegedy,
CVPR 2014 (PDJ), Pishchulin et al., CVPR 2012 (strict PCP), as computed by bearpaw/eval_pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import lsp as files
from benchmarks.datasets.arrays import read_array
from benchmarks.metrics.pck import Rate, grid, trapezoid
from benchmarks.metrics.pcp import Stick
from benchmarks.protocols.single_person import ARMS_AND_LEGS, PckProtocol, SinglePerson
from harness.api import Column, Dataset, Protocol, quirk
from harness.api.skeleton import LSP_14

_ALL = tuple(range(14))
# Rows of strict PCP: the sticks' numbers in Lsp.sticks.
_STICKS = {"lleg": (0, 1), "uleg": (2, 3), "farm": (4, 5), "uarm": (6, 7), "head": (8,),
           "torso": (9,)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LspProtocol(PckProtocol):
    """PCK and strict PCP on LSP."""

    area_thresholds: tuple[float, ...] = quirk(
        "Thresholds of the area under the curve of all joints, by the trapezoidal rule.",
        default=grid(0, 20),
    )
    stick_threshold: float = quirk(
        "Strict PCP: a stick is right with both ends within ('<=') this share of its true length.",
        default=0.5,
    )
    torso_top: tuple[str, ...] = quirk(
        "Strict PCP: the torso stick goes from the middle of the hips to the middle of these.",
        default=("left_shoulder", "right_shoulder"),
    )


_PERSON_CENTRIC = LspProtocol(
    variant="person-centric",
    title="PCK@0.2 and strict PCP, person-centric",
    benchmark="lsp",
    box_source="ground truth",
    ground_truth=files.PERSON_CENTRIC,
    pixel_base=1,
    unit="torso: left shoulder to right hip of the truth",
    unit_joints=("left_shoulder", "right_hip"),
    threshold=0.2,
    comparison="<=",
    groups=(("head", ("neck", "head_top")), *ARMS_AND_LEGS),
    counted="all 14 joints of everyone, whatever their flags say",
)
_OTHER_TORSO = replace(
    _PERSON_CENTRIC,
    variant="torso-rsho-lhip",
    title="PCK@0.2, torso from right shoulder to left hip",
    unit="torso: right shoulder to left hip of the truth",
    unit_joints=("right_shoulder", "left_hip"),
)
_OBSERVER_CENTRIC = replace(
    _PERSON_CENTRIC,
    variant="observer-centric",
    title="PCK@0.2 and strict PCP, observer-centric",
    ground_truth=files.OBSERVER_CENTRIC,
    sides="the observer's (observer-centric)",
)
_NECK_TORSO = replace(
    _PERSON_CENTRIC,
    variant="neck-torso",
    title="PCK@0.2 and strict PCP, torso stick up to the neck",
    torso_top=("neck",),
)


class Lsp(SinglePerson):
    """Leeds Sports Poses, 1000 test people."""

    name: ClassVar[str] = "lsp"
    title: ClassVar[str] = "Leeds Sports Poses"
    citation: ClassVar[str] = (
        "Johnson, Everingham: Clustered Pose and Nonlinear Appearance Models for Human Pose "
        "Estimation. BMVC 2010"
    )
    obtain: ClassVar[str] = files.OBTAIN
    files = files
    skeleton = LSP_14
    protocols: ClassVar[Mapping[str, Protocol]] = {
        protocol.variant: protocol
        for protocol in (_PERSON_CENTRIC, _OTHER_TORSO, _OBSERVER_CENTRIC, _NECK_TORSO)
    }
    columns = (
        Column("head", "Head", group="PCK@0.2"),
        Column("shoulder", "Sho.", group="PCK@0.2"),
        Column("elbow", "Elb.", group="PCK@0.2"),
        Column("wrist", "Wri.", group="PCK@0.2"),
        Column("hip", "Hip", group="PCK@0.2"),
        Column("knee", "Knee", group="PCK@0.2"),
        Column("ankle", "Ank.", group="PCK@0.2"),
        Column("mean", "Mean", group="PCK@0.2"),
        Column("auc", "AUC", group="PCK@0.2"),
        Column("pcp_torso", "Torso", group="strict PCP"),
        Column("pcp_uleg", "U.Leg", group="strict PCP"),
        Column("pcp_lleg", "L.Leg", group="strict PCP"),
        Column("pcp_uarm", "U.Arm", group="strict PCP"),
        Column("pcp_farm", "F.Arm", group="strict PCP"),
        Column("pcp_head", "Head", group="strict PCP"),
        Column("pcp_mean", "Mean", group="strict PCP"),
    )
    primary = "mean"
    default_split = "test"
    embedded_split = "embedded-val"
    curve_thresholds = grid(0, 50)
    curve_label = "distance / torso"

    def sticks(self, protocol: LspProtocol) -> tuple[Stick, ...]:
        hips = self.rows(("left_hip", "right_hip"))
        shanks: tuple[Stick, ...] = (((0,), (1,)), ((5,), (4,)))
        thighs: tuple[Stick, ...] = (((1,), (2,)), ((4,), (3,)))
        forearms: tuple[Stick, ...] = (((6,), (7,)), ((11,), (10,)))
        upper_arms: tuple[Stick, ...] = (((7,), (8,)), ((10,), (9,)))
        head: Stick = ((12,), (13,))
        torso: Stick = (hips, self.rows(protocol.torso_top))
        return (*shanks, *thighs, *forearms, *upper_arms, head, torso)

    def plan(self, protocol: LspProtocol) -> list[Rate]:
        """Return the rates by short names and by those of eval_pose (``pck@0.2/Ankle``)."""
        rows = {name: self.rows(joints) for name, joints in protocol.groups}
        area = protocol.area_thresholds
        marks = trapezoid(len(area))
        at, parts = (protocol.threshold,), (protocol.stick_threshold,)
        every = tuple(range(10))
        return [
            *(Rate(name, joints, at) for name, joints in rows.items()),
            Rate("mean", _ALL, at),
            Rate("auc", _ALL, area, marks),
            *(Rate(f"pcp_{name}", s, parts, errors="stick") for name, s in _STICKS.items()),
            Rate("pcp_mean", every, parts, errors="stick"),
            *(Rate(f"pck@0.2/{name.title()}", joints, (0.2,)) for name, joints in rows.items()),
            Rate("pck@0.2/Mean", _ALL, (0.2,), pooled=True),
            Rate("pck_auc", _ALL, area, marks, pooled=True),
            *(
                Rate(f"pdj@{t}/{name.title()}", joints, (t,))
                for t in (0.1, 0.2, 0.3, 0.4)
                for name, joints in rows.items()
            ),
            *(Rate(f"strict_pcp/{name}", s, parts, errors="stick") for name, s in _STICKS.items()),
            Rate("strict_pcp/Mean", every, parts, errors="stick"),
        ]

    def official(self, path: Path, dataset: Dataset) -> NDArray[np.float64] | None:
        """Read ``prediction_all`` (14, 2, n) of a .mat file, as CPM writes it."""
        if path.suffix.lower() != ".mat":
            return None
        remedy = "Store one array 'prediction_all' of shape (14, 2, 1000)."
        found = read_array(path, "prediction_all", remedy)
        return found.transpose(2, 0, 1) if found.shape[:2] == (14, 2) else found
