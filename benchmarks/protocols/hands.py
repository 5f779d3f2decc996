"""The three hand benchmarks: NYU, ICVL and MSRA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from benchmarks.datasets import hands as official
from benchmarks.protocols.depth_hand import HandBenchmark, HandProtocol
from harness.api import Dataset, Protocol
from harness.api.skeleton import ICVL_16, MSRA_21, NYU_14

_NYU = HandProtocol(
    variant="official",
    title="Public evaluation of NYU: 14 of 36 joints",
    benchmark="nyu-hand",
    joints=NYU_14.joints,
    focal=(588.03, -587.07),
    centre=(320.0, 240.0),
    image=(640, 480),
)
_ICVL = HandProtocol(
    variant="official",
    title="Public evaluation of ICVL: 16 joints",
    benchmark="icvl-hand",
    joints=ICVL_16.joints,
    focal=(240.99, 240.96),
    centre=(160.0, 120.0),
    image=(320, 240),
)
_MSRA = replace(
    _ICVL,
    title="Public evaluation of MSRA: 21 joints, the nine left-out subjects pooled",
    benchmark="msra-hand",
    joints=MSRA_21.joints,
    focal=(241.42, 241.42),
)


class NyuHand(HandBenchmark):
    """NYU hand: 8252 test frames of two subjects."""

    name: ClassVar[str] = "nyu-hand"
    title: ClassVar[str] = "NYU hand"
    citation: ClassVar[str] = (
        "Tompson, Stein, LeCun, Perlin: Real-Time Continuous Pose Recovery of Human Hands Using "
        "Convolutional Networks. SIGGRAPH 2014"
    )
    obtain: ClassVar[str] = "Download the NYU Hand Pose Dataset (J. Tompson, New York University)."
    skeleton = NYU_14
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "official": _NYU,
        "v2v": replace(
            _NYU,
            variant="v2v",
            title="With the camera of the V2V-PoseNet code",
            focal=(588.036865, 587.075073),
        ),
    }
    embedded_split = "embedded-val"
    own_files = "test/joint_data.mat (joint_uvd), test/depth_1_0000001.png ..."

    def has_own(self, root: Path) -> bool:
        return (root / "test" / "joint_data.mat").is_file()

    def load_own(self, root: Path) -> Dataset:
        return official.load_nyu(root)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.hand_files import make_nyu

        return make_nyu(root, split, progress)


class IcvlHand(HandBenchmark):
    """ICVL hand: 702 and 894 test frames of two sequences."""

    name: ClassVar[str] = "icvl-hand"
    title: ClassVar[str] = "ICVL hand"
    citation: ClassVar[str] = (
        "Tang, Chang, Tejani, Kim: Latent Regression Forest: Structured Estimation of 3D "
        "Articulated Hand Posture. CVPR 2014"
    )
    obtain: ClassVar[str] = "Download the ICVL Hand Posture Dataset (Imperial College London)."
    skeleton = ICVL_16
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "official": _ICVL,
        "v2v": replace(
            _ICVL,
            variant="v2v",
            title="With the camera of the V2V-PoseNet code",
            focal=(241.42, 241.42),
        ),
    }
    embedded_split = "embedded-val"
    own_files = "Testing/test_seq_1.txt and test_seq_2.txt, Testing/Depth/test_seq_1/..."

    def has_own(self, root: Path) -> bool:
        return all((root / "Testing" / f"test_seq_{n}.txt").is_file() for n in (1, 2))

    def load_own(self, root: Path) -> Dataset:
        return official.load_icvl(root, self.skeleton)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.hand_files import make_icvl

        return make_icvl(root, split, progress)


class MsraHand(HandBenchmark):
    """MSRA hand: nine subjects, each left out once; the rows of the nine tests one after another.

    ``mean_error_mm`` pools the frames; ``mean_over_subjects_mm`` is the mean of the nine means.
    """

    name: ClassVar[str] = "msra-hand"
    title: ClassVar[str] = "MSRA hand"
    citation: ClassVar[str] = "Sun, Wei, Liang, Tang, Sun: Cascaded Hand Pose Regression. CVPR 2015"
    obtain: ClassVar[str] = "Download the MSRA Hand Gesture Database (CVPR 2015)."
    skeleton = MSRA_21
    protocols: ClassVar[Mapping[str, Protocol]] = {"official": _MSRA}
    embedded_split = "embedded-val"
    own_files = "cvpr15_MSRAHandGestureDB/P0/1/joint.txt ..., 000000_depth.bin"

    def has_own(self, root: Path) -> bool:
        return official.is_msra_tree(root)

    def load_own(self, root: Path) -> Dataset:
        return official.load_msra(root, self.skeleton)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.hand_files import make_msra

        return make_msra(root, split, progress)
