"""Upper bodies in video: accuracy within d pixels (Pfister, Charles, Zisserman, ICCV 2015).

BBC Pose, ChaLearn and Poses in the Wild share joints, metric and curves, and differ in files, in
the pixels that count as one and in the distance that papers quote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import upper_body as files
from benchmarks.datasets.single_person import People, missing, present
from benchmarks.metrics.pck import Rate
from benchmarks.protocols.single_person import ARMS_AND_LEGS, PckProtocol, SinglePerson
from harness.api import Column, Dataset, Protocol, quirk
from harness.api.skeleton import UPPER_BODY_7

_ARMS = tuple(reversed(ARMS_AND_LEGS[:3]))


@dataclass(frozen=True, kw_only=True)
class UpperBodyProtocol(PckProtocol):
    """Accuracy within d pixels."""

    pixel_scale: float = quirk(
        "Size of the frame in which distances are measured, relative to the frame as distributed."
    )


class UpperBody(SinglePerson):
    """A benchmark of this kind; each is described by its class attributes alone."""

    skeleton = UPPER_BODY_7
    columns = (
        Column("head", "Head"),
        Column("wrist", "Wrist"),
        Column("elbow", "Elbow"),
        Column("shoulder", "Shoulder"),
        Column("average", "Average"),
    )
    primary = "average"
    default_split = "test"
    curve_thresholds = tuple(float(d) for d in range(21))
    curve_label = "distance (pixels)"
    annotation: ClassVar[str]
    files_below: ClassVar[str]
    available: ClassVar[tuple[str, ...]] = ("test",)
    reader: ClassVar[Callable[[Path, str], Dataset]]

    def layout(self, split: str) -> str:
        return self.files_below

    def splits(self, root: Path) -> tuple[str, ...]:
        return self.available if present(root, [self.annotation]) else ()

    def load(self, root: Path, split: str) -> Dataset:
        if split not in self.splits(root):
            raise missing(root, self.name, self.layout(split), self.obtain)
        return type(self).reader(root, split)

    def unit(
        self, people: People, predicted: NDArray[np.float64], protocol: UpperBodyProtocol
    ) -> NDArray[np.float64]:
        return np.full(len(people), 1 / protocol.pixel_scale)

    def plan(self, protocol: UpperBodyProtocol) -> list[Rate]:
        rows = {name: self.rows(joints) for name, joints in protocol.groups}
        every = tuple(joint for joints in rows.values() for joint in joints)
        at = (protocol.threshold,)
        return [
            *(Rate(name, joints, at) for name, joints in rows.items()),
            Rate("average", every, at),
        ]


_BBC = UpperBodyProtocol(
    variant="toolkit",
    title="accuracy within 6 pixels of the half-size frame",
    benchmark="bbc-pose",
    box_source="ground truth",
    ground_truth=(files.BBC,),
    pixel_base=1,
    unit="pixels of the frame at half its size, as the dataset's toolkit measures",
    pixel_scale=0.5,
    threshold=6.0,
    comparison="<=",
    groups=(("head", ("head",)), *_ARMS),
    counted="all seven joints of every frame labelled by hand",
)


class BbcPose(UpperBody):
    """Signers in BBC news, 1000 hand-labelled test frames of 5 videos."""

    name: ClassVar[str] = "bbc-pose"
    title: ClassVar[str] = "BBC Pose"
    citation: ClassVar[str] = (
        "Charles, Pfister, Everingham, Zisserman: Automatic and Efficient Human Pose Estimation "
        "for Sign Language Videos. IJCV 2014"
    )
    obtain: ClassVar[str] = (
        "BBC Pose of the Visual Geometry Group, Oxford (www.robots.ox.ac.uk/~vgg/data/pose): "
        "frames on request from the BBC, labels in bbcpose_extbbcpose_code."
    )
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "toolkit": _BBC,
        "full-size": replace(
            _BBC,
            variant="full-size",
            title="accuracy within 6 pixels of the frame as distributed",
            unit="pixels of the frame as distributed",
            pixel_scale=1.0,
        ),
    }
    annotation = files.BBC
    files_below = f"{files.BBC}\n<video>/<frame>.jpg    frames, to run methods"
    available = ("test", "val")
    reader = staticmethod(files.load_bbc)


class Chalearn(UpperBody):
    """Gestures before a Kinect; labels made from its skeletons."""

    name: ClassVar[str] = "chalearn"
    title: ClassVar[str] = "ChaLearn, upper body"
    citation: ClassVar[str] = (
        "Escalera et al.: Multi-modal Gesture Recognition Challenge 2013. ICMI 2013; labels after "
        "Pfister, Simonyan, Charles, Zisserman. ACCV 2014"
    )
    obtain: ClassVar[str] = (
        "Videos and Kinect skeletons: ChaLearn Multi-modal Gesture Recognition Challenge 2013. "
        "Write the test frames as a caffe-heatmap list."
    )
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "pixels": replace(
            _BBC,
            variant="pixels",
            title="accuracy within 6 pixels",
            benchmark="chalearn",
            ground_truth=(files.CHALEARN,),
            unit="pixels of the frame as distributed",
            pixel_scale=1.0,
            counted="all seven joints of every frame of the list",
        )
    }
    annotation = files.CHALEARN
    files_below = (
        f"{files.CHALEARN}    lines: image x1,y1,...,x7,y7 crop cluster\nimages as named there"
    )
    reader = staticmethod(files.load_chalearn)


class PosesInTheWild(UpperBody):
    """Upper bodies in films, 30 sequences of about 30 frames."""

    name: ClassVar[str] = "poses-in-the-wild"
    title: ClassVar[str] = "Poses in the Wild"
    citation: ClassVar[str] = (
        "Cherian, Mairal, Alahari, Schmid: Mixing Body-Part Sequences for Human Pose Estimation. "
        "CVPR 2014"
    )
    obtain: ClassVar[str] = (
        "Poses in the Wild of INRIA (lear.inrialpes.fr/research/posesinthewild), for research."
    )
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "pixels": replace(
            _BBC,
            variant="pixels",
            title="accuracy within 15 pixels",
            benchmark="poses-in-the-wild",
            ground_truth=(files.WILD,),
            unit="pixels of the frame as distributed",
            pixel_scale=1.0,
            threshold=15.0,
            groups=_ARMS,
            counted="visible wrists, elbows and shoulders; the file's chin is no head",
        )
    }
    columns = UpperBody.columns[1:]
    curve_thresholds = tuple(float(d) for d in range(41))
    annotation = files.WILD
    files_below = f"{files.WILD}\nframes as named there"
    reader = staticmethod(files.load_wild)
