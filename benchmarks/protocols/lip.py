"""Look Into Person, single-person pose: PCKh with the distance of head top and neck as unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import lip as files
from benchmarks.metrics.pck import Rate, grid
from benchmarks.protocols.single_person import ARMS_AND_LEGS, PckProtocol, SinglePerson
from harness.api import Column, Dataset, PrerequisiteError, Protocol, quirk
from harness.api.skeleton import LIP_16

_UPPER_BODY = tuple(range(8, 16))
_AVERAGED = (*range(6), *range(8, 16))


@dataclass(frozen=True, kw_only=True)
class LipProtocol(PckProtocol):
    """PCKh on LIP."""

    invalid_prediction: float = quirk(
        "Coordinate that the tool puts where a predicted x or y is nan or negative.", default=1.0
    )
    headless: str = quirk(
        "A person without labelled head top or neck, or with both in one place.",
        default="left out",
    )


class Lip(SinglePerson):
    """Look Into Person, one person cut out per image."""

    name: ClassVar[str] = "lip"
    title: ClassVar[str] = "LIP, single-person pose"
    citation: ClassVar[str] = (
        "Gong, Liang, Zhang, Shen, Lin: Look into Person: Self-supervised Structure-sensitive "
        "Learning and A New Benchmark for Human Parsing. CVPR 2017"
    )
    obtain: ClassVar[str] = files.OBTAIN
    files = files
    skeleton = LIP_16
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "official": LipProtocol(
            variant="official",
            title="PCKh@0.5, head top to neck",
            benchmark="lip",
            box_source="ground truth",
            ground_truth=files.ANNOTATIONS,
            pixel_base=0,
            unit="head top to upper neck of the truth, without a factor",
            threshold=0.5,
            comparison="<=",
            groups=(("Head", ("neck", "head")), *((n.title(), j) for n, j in ARMS_AND_LEGS)),
            counted="labelled joints of people with a head; the visibility flag is not used",
            not_predicted="both coordinates become 1, which hits only by chance",
        )
    }
    columns = (
        Column("Head", "Head"),
        Column("Shoulder", "Sho."),
        Column("Elbow", "Elb."),
        Column("Wrist", "Wri."),
        Column("Hip", "Hip"),
        Column("Knee", "Knee"),
        Column("Ankle", "Ank."),
        Column("UpperBody", "U.Body"),
        Column("Avg", "Avg."),
    )
    primary = "Avg"
    default_split = "val"
    curve_thresholds = grid(0, 50)
    curve_label = "distance / head"

    def repaired(
        self, predicted: NDArray[np.float64], protocol: LipProtocol
    ) -> NDArray[np.float64]:
        return np.where(predicted >= 0, predicted, protocol.invalid_prediction)

    def plan(self, protocol: LipProtocol) -> list[Rate]:
        at = (protocol.threshold,)
        return [
            *(Rate(name, self.rows(joints), at) for name, joints in protocol.groups),
            Rate("UpperBody", _UPPER_BODY, at, pooled=True),
            Rate("Avg", _AVERAGED, at, pooled=True),
            *(
                Rate(f"joint/{_official_name(joint)}", (row,), at)
                for row, joint in enumerate(LIP_16.joints)
            ),
            *(Rate(f"Avg@{t}", _AVERAGED, (t,), pooled=True) for t in (0.1, 0.2, 0.3, 0.4, 0.5)),
        ]

    def official(self, path: Path, dataset: Dataset) -> NDArray[np.float64] | None:
        """Read .csv lines of the image name and x, y of 16 joints, people in the truth's order.

        The tool reads nan as -1 and pairs lines with the truth by position.
        """
        if path.suffix.lower() != ".csv":
            return None
        names, points = files.read_table(path, 2)
        for line, (name, due) in enumerate(zip(names, dataset.sample_ids, strict=False), start=1):
            if name != due:
                raise PrerequisiteError(
                    f"{path}, line {line}: {name}, where the truth has {due}.",
                    "Write the people in the order of the truth.",
                )
        return np.nan_to_num(points, nan=-1.0)


def _official_name(joint: str) -> str:
    """Return a joint's name in the official tool: r_ankle, l_wrist, b_neck."""
    side, _, rest = joint.partition("_")
    return f"{side[0]}_{rest}" if rest else f"b_{joint}"
