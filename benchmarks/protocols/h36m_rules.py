"""The protocols of Human3.6M: what each paper and each official evaluator means by its numbers.

"Protocol 1" alone says nothing: Martinez et al. mean no alignment on S9 and S11, Chen and Ramanan
an alignment on S11, HMR all cameras under both metrics. Every variant states its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from benchmarks.datasets.h36m import CAMERAS
from harness.api import Protocol, quirk
from harness.api.skeleton import H36M_14, H36M_17

FRONTAL = "60457274"
"""The camera that HMR, SPIN and GraphCMR call frontal."""

TREE_17 = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
"""Parents of the 17 joints: the kinematic tree of Human3.6M."""

TREE_18 = (-1, 0, 1, 2, 0, 4, 5, 0, 17, 17, 8, 17, 11, 12, 17, 14, 15)
"""Parents of the 17 joints where point 17 is the middle of the shoulders (Sun et al.)."""


class Number(NamedTuple):
    """One metric: an error of the frames and the average that makes a number of it.

    A tuple, so that records of results can keep it as JSON.

    Parameters
    ----------
    name : str
        With ``{action}`` in it: one metric for every action.
    error : str
        ``mpjpe``: joint distances after the roots are subtracted. ``pa_mpjpe``: after the
        protocol's alignment. ``n_mpjpe``: after one scale per frame. ``rigid``: after rotation and
        translation. ``integral``: after rotation and translation fitted on the 17 joints and the
        middle of the shoulders, the roots subtracted again. ``axis``: absolute error along x, y, z.
        ``velocity``: of first differences in time, mean over a sequence. ``bone_error_17``,
        ``bone_error_18``: of bone vectors. ``bone_length``: length of the predicted bones.
        ``illegal_angle``: share of joint angles beyond their limits.
    average : str
        ``frames``: mean of all frames. ``median``: median of the frames. ``actions``: mean of the
        actions' means. ``each action``: mean of the frames of an action. ``sequences``: mean of
        the actions' means of the sequences' means. ``deviation``: standard deviation over frames,
        mean over bones. ``subjects``: mean of the subjects' deviations. ``count``: how many frames.
    columns : tuple of int
        The joints (or axes) that count; empty for all.
    cameras : tuple of str
        Only these; empty for the protocol's.
    stride : int
        Only frames whose number is a multiple.
    """

    name: str
    error: str
    average: str
    columns: tuple[int, ...] = ()
    cameras: tuple[str, ...] = ()
    stride: int = 1

    def __repr__(self) -> str:
        """Return one line for people: ``p2/mpjpe: mpjpe, frames, cameras 60457274``."""
        columns = " ".join(map(str, self.columns))
        limits = {"columns": columns, "cameras": " ".join(self.cameras)}
        if self.stride > 1:
            limits["every"] = str(self.stride)
        words = [f"{name} {value}" for name, value in limits.items() if value]
        return f"{self.name}: {', '.join([self.error, self.average, *words])}"


@dataclass(frozen=True, kw_only=True)
class H36MProtocol(Protocol):
    """Which frames are scored, how two poses are compared, and what is averaged."""

    benchmark: str = quirk("The benchmark that this protocol scores.", default="h36m")
    box_source: str = quirk(
        "Where the 2D joints or boxes come from that a method is given.", default="ground truth"
    )
    root_depth: str = quirk(
        "Where the depth of the pelvis comes from that methods of image space are given.",
        default="ground truth",
    )
    trained_on: tuple[str, ...] = quirk(
        "Subjects that the protocol allows for training.", default=("S1", "S5", "S6", "S7", "S8")
    )
    subjects: tuple[str, ...] = quirk("Subjects that are scored.", default=("S9", "S11"))
    cameras: tuple[str, ...] = quirk("Cameras that are scored.", default=CAMERAS)
    trials: tuple[int, ...] = quirk("Trials of each action that are scored.", default=(1, 2))
    left_out: tuple[tuple[str, str, int, str], ...] = quirk(
        "Sequences left out all the same: subject, action, trial, camera.", default=()
    )
    stride: int = quirk(
        "Only frames whose 0-based number in the video is a multiple are scored.", default=1
    )
    whole_batches: int = quirk(
        "Of each action's frames, in the split's order, the last n modulo this number are dropped.",
        default=1,
    )
    joints: tuple[str, ...] = quirk("Joints that count.", default=H36M_17.joints)
    root: tuple[str, ...] = quirk(
        "Joints whose mean is subtracted from each pose before MPJPE; empty: nothing is.",
        default=("pelvis",),
    )
    alignment: str = quirk(
        "What PA-MPJPE fits to each frame: 'similarity' (rotation, translation, scale), 'rigid' "
        "(no scale), 'similarity or reflection' (mirrored poses are forgiven), 'integral' (rigid, "
        "fitted on the 17 joints and the middle of the shoulders, roots subtracted again).",
        default="similarity",
    )
    hidden_joints: str = quirk(
        "Joints marked as not visible: 'counted', or 'left out' of the mean (the alignment still "
        "uses them).",
        default="counted",
    )
    numbers: tuple[Number, ...] = quirk("The metrics: error of a frame, and its average.")


def _core(average: str) -> tuple[Number, ...]:
    """MPJPE and PA-MPJPE by the protocol's average, and by action: what every variant has."""
    return tuple(
        Number(name, error, how)
        for error in ("mpjpe", "pa_mpjpe")
        for name, how in ((error, average), (f"{error}/{{action}}", "each action"))
    )


def _table(error: str, average: str) -> tuple[Number, ...]:
    """The row of a paper's table: its columns are the actions."""
    return (
        *_core(average),
        Number("avg", error, average),
        Number("{action}", error, "each action"),
    )


_ACTIONS, _FRAMES = _core("actions"), _core("frames")
_HIPS = ("right_hip", "left_hip")
_FOURTEEN = tuple(j for j in H36M_17.joints if j not in ("pelvis", "spine", "neck_nose"))
_GROUPS = (
    ("root", (0,)), ("Hip", (1, 4)), ("Knee", (2, 5)), ("Ankle", (3, 6)), ("Torso", (7,)),
    ("Neck", (8,)), ("Nose", (9,)), ("Head", (10,)), ("Shoulder", (11, 14)), ("Elbow", (12, 15)),
    ("Wrist", (13, 16)),
)  # fmt: skip
_BONES = (
    Number("bone_error_18tree", "bone_error_18", "frames"),
    Number("bone_error_17tree", "bone_error_17", "frames"),
    Number("bone_std_pooled", "bone_length", "deviation"),
    Number("bone_std_per_subject", "bone_length", "subjects"),
)

MARTINEZ_P1 = H36MProtocol(
    variant="martinez-p1",
    title="Protocol #1 of Martinez et al.: no alignment, S9 and S11, all frames, mean of actions",
    numbers=_table("mpjpe", "actions"),
)
MARTINEZ_P2 = replace(
    MARTINEZ_P1,
    variant="martinez-p2",
    title="Protocol #2 of Martinez et al.: similarity alignment per frame",
    numbers=_table("pa_mpjpe", "actions"),
)
_TUTORIAL_P1 = replace(
    MARTINEZ_P1,
    variant="tutorial-p1",
    title="Protocol 1 of Yasin, Rogez, Chen and Ramanan: S11, every 64th frame, aligned, 14 joints",
    trained_on=("S1", "S5", "S6", "S7", "S8", "S9"),
    subjects=("S11",),
    stride=64,
    joints=H36M_14.joints,
    root=_HIPS,
    numbers=(*_table("pa_mpjpe", "frames"), Number("median", "pa_mpjpe", "median")),
)
_TUTORIAL_P2 = replace(
    MARTINEZ_P1,
    variant="tutorial-p2",
    title="Protocol 2 of Sun et al.: S9 and S11, every 64th frame, no alignment, 17 joints",
    stride=64,
    numbers=(*_table("mpjpe", "actions"), Number("median", "mpjpe", "median")),
)
_HMR_P1 = replace(
    MARTINEZ_P1,
    variant="hmr-p1",
    title="HMR protocol 1: all cameras, 14 joints, middle of the hips as root, mean of frames",
    left_out=(("S11", "Directions", 2, "54138969"),),
    joints=H36M_14.joints,
    root=_HIPS,
    numbers=(
        *_FRAMES,
        Number("median", "mpjpe", "median"),
        Number("pa_median", "pa_mpjpe", "median"),
        Number("mpjpe_actions", "mpjpe", "sequences"),
        Number("pa_mpjpe_actions", "pa_mpjpe", "sequences"),
    ),
)

VARIANTS: tuple[H36MProtocol, ...] = (
    MARTINEZ_P1,
    MARTINEZ_P2,
    replace(
        MARTINEZ_P2,
        variant="martinez-p2-14j",
        title="Protocol #2 of Martinez et al. over 14 joints (without pelvis, spine, neck)",
        joints=_FOURTEEN,
    ),
    replace(
        MARTINEZ_P1,
        variant="martinez-no-drop",
        title="Protocols #1 and #2 of Martinez et al. in one",
        numbers=(*_ACTIONS, Number("p1", "mpjpe", "actions"), Number("p2", "pa_mpjpe", "actions")),
    ),
    replace(
        MARTINEZ_P1,
        variant="martinez-p1-batch64",
        title="Protocol #1 as 3d-pose-baseline logs it: whole batches of 64 only",
        whole_batches=64,
    ),
    replace(
        MARTINEZ_P2,
        variant="martinez-p2-batch64",
        title="Protocol #2 as 3d-pose-baseline logs it: whole batches of 64 only",
        whole_batches=64,
    ),
    replace(
        MARTINEZ_P1,
        variant="videopose3d",
        title="VideoPose3D: its protocols 1 (mpjpe), 2 (p_mpjpe), 3 (n_mpjpe) and velocity",
        numbers=(
            *_ACTIONS,
            Number("p_mpjpe", "pa_mpjpe", "actions"),
            Number("p_mpjpe/{action}", "pa_mpjpe", "each action"),
            Number("n_mpjpe", "n_mpjpe", "actions"),
            Number("velocity", "velocity", "actions"),
        ),
    ),
    _TUTORIAL_P1,
    _TUTORIAL_P2,
    replace(
        _TUTORIAL_P2,
        variant="chen-ramanan-p2",
        title="Protocol 2 of Chen and Ramanan: every 64th frame, 14 joints, middle of the hips",
        joints=H36M_14.joints,
        root=_HIPS,
        numbers=(*_table("mpjpe", "frames"), Number("median", "mpjpe", "median")),
    ),
    replace(
        _TUTORIAL_P1,
        variant="chen-ramanan-p1",
        title="The three errors of Chen and Ramanan on the frames given: S11, 14 joints",
        stride=1,
        numbers=(
            *_FRAMES,
            Number("rigid", "rigid", "frames"),
            Number("midhip", "mpjpe", "frames"),
        ),
    ),
    _HMR_P1,
    replace(
        _HMR_P1,
        variant="hmr-p2",
        title="HMR protocol 2 (Bogo et al.): frontal camera, first trial, similarity alignment",
        cameras=(FRONTAL,),
        trials=(1,),
        left_out=(),
    ),
    replace(
        MARTINEZ_P1,
        variant="spin-graphcmr",
        title="SPIN and GraphCMR: 14 joints, pelvis joint as root; p1 all cameras, p2 frontal",
        joints=H36M_14.joints,
        numbers=(
            *_FRAMES,
            Number("p1/mpjpe", "mpjpe", "frames"),
            Number("p1/reconstruction_error", "pa_mpjpe", "frames"),
            Number("p2/mpjpe", "mpjpe", "frames", cameras=(FRONTAL,)),
            Number("p2/reconstruction_error", "pa_mpjpe", "frames", cameras=(FRONTAL,)),
        ),
    ),
    replace(
        MARTINEZ_P1,
        variant="integral",
        title="Integral Pose Regression: 17 joints, rigid alignment on 18 points, mean of frames",
        alignment="integral",
        numbers=(
            *_FRAMES,
            *(Number(f"hm36_{name}", "mpjpe", "frames", columns) for name, columns in _GROUPS),
            Number("hm36_17j", "mpjpe", "frames"),
            Number("hm36_17j_align", "integral", "frames"),
            *(Number(f"hm36_17j_{a}", "axis", "frames", (i,)) for i, a in enumerate("xyz")),
        ),
    ),
    replace(
        _TUTORIAL_P1,
        variant="integral-p1",
        title="The aligned error of Compositional and Integral Regression: S11, every 64th frame",
        joints=H36M_17.joints,
        root=("pelvis",),
        alignment="integral",
        numbers=_table("pa_mpjpe", "frames"),
    ),
    replace(
        _TUTORIAL_P2,
        variant="compositional",
        title="Compositional Pose Regression: joint, aligned and bone errors, every 64th frame",
        alignment="integral",
        numbers=(
            *_ACTIONS,
            Number("bone_error", "bone_error_18", "frames"),
            Number("bone_std", "bone_length", "deviation"),
        ),
    ),
    replace(
        _TUTORIAL_P2,
        variant="illegal-angle",
        title="Illegal Angle of Compositional Regression: needs the limits of Akhter and Black",
        numbers=(*_ACTIONS, Number("illegal_angle", "illegal_angle", "frames")),
    ),
    replace(
        MARTINEZ_P1,
        variant="bones",
        title="Bone error under both trees, and the deviation of bone lengths",
        numbers=(*_FRAMES, *_BONES),
    ),
    replace(
        MARTINEZ_P1,
        variant="lcn",
        title="LCN: no root subtracted, similarity that may mirror, mean of actions",
        root=(),
        alignment="similarity or reflection",
        numbers=(
            *_ACTIONS,
            Number("p1", "mpjpe", "actions"),
            Number("p1/{action}", "mpjpe", "each action"),
            Number("p2", "pa_mpjpe", "actions"),
        ),
    ),
    replace(
        MARTINEZ_P1,
        variant="mmpose",
        title="mmpose: visible joints of all frames, not of actions",
        hidden_joints="left out",
        numbers=(
            *_FRAMES,
            Number("p_mpjpe", "pa_mpjpe", "frames"),
            Number("n_mpjpe", "n_mpjpe", "frames"),
        ),
    ),
    replace(
        MARTINEZ_P1,
        variant="sarandi",
        title="Sarandi et al. (ECCV 2018 challenge): every 64th frame, no alignment, 17 joints",
        stride=64,
    ),
    replace(
        MARTINEZ_P1,
        variant="smplr",
        title="SMPLR: 'Prot. 1' is mpjpe, 'Prot. 2' is pa_mpjpe",
        numbers=_FRAMES,
    ),
    replace(
        MARTINEZ_P1,
        variant="averaging",
        title="The same frame errors under four averages",
        numbers=(
            *_ACTIONS,
            *(
                Number(f"{error}/{name}", error, average)
                for error in ("mpjpe", "pa_mpjpe", "n_mpjpe")
                for name, average in (
                    ("mean_of_actions", "actions"),
                    ("mean_of_frames", "frames"),
                    ("median_of_frames", "median"),
                    ("mean_of_actions_of_sequences", "sequences"),
                )
            ),
        ),
    ),
    replace(
        MARTINEZ_P1,
        variant="strides",
        title="Every 1st, 2nd, 5th, 10th and 64th frame",
        numbers=(
            *_FRAMES,
            *(
                Number(f"stride{stride}/{name}", error, average, stride=stride)
                for stride in (1, 2, 5, 10, 64)
                for name, error, average in (
                    ("frames", "mpjpe", "count"),
                    ("mpjpe", "mpjpe", "frames"),
                    ("pa_mpjpe", "pa_mpjpe", "frames"),
                    ("mpjpe_actions", "mpjpe", "actions"),
                )
            ),
        ),
    ),
)

PROTOCOLS: Mapping[str, H36MProtocol] = {protocol.variant: protocol for protocol in VARIANTS}
