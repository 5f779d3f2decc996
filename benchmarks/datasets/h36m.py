"""Human3.6M on disk: the official files, the widespread npz export, and one plain JSON.

The terms of the data set forbid handing any of it on; every reader takes the user's own files.
All poses come out as 17 joints in millimetres in the frame of the camera (x right, y down, z away).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.records import Records, read_json
from benchmarks.datasets.single_person import make_dataset
from benchmarks.world.marker import NAME as MARKER
from benchmarks.world.marker import is_made
from harness.api import Dataset, PrerequisiteError
from harness.api.skeleton import H36M_17

ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "TakingPhoto", "Waiting", "Walking", "WalkingDog", "WalkTogether",
)  # fmt: skip
"""The 15 actions in the order of the data set (02 to 16)."""

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
"""The four cameras in the order of the data set (01 to 04)."""

# fx, fy, cx, cy and width, height in pixels; the distortion, up to a few pixels, is left out.
_INTRINSICS = {
    "54138969": (1145.0494384765625, 1143.7811279296875, 512.54150390625, 515.4514770507812),
    "55011271": (1149.6756591796875, 1147.5916748046875, 508.8486328125, 508.0649108886719),
    "58860488": (1149.1407470703125, 1148.7989501953125, 519.8158569335938, 501.40264892578125),
    "60457274": (1145.5113525390625, 1144.77392578125, 514.9682006835938, 501.88201904296875),
}
_SIZES = {"54138969": (1000, 1002), "60457274": (1000, 1002),
          "55011271": (1000, 1000), "58860488": (1000, 1000)}  # fmt: skip

TEST, TRAIN = ("S9", "S11"), ("S1", "S5", "S6", "S7", "S8")

OBTAIN = (
    "Register at vision.imar.ro/human3.6m (academic use only; the terms forbid redistribution) and "
    "download 'D3 Positions mono', or convert to the npz export of mmpose."
)
LAYOUT = """\
one of
  {subjects}/MyPoseFeatures/D3_Positions_mono/<Action> <n>.<camera>.cdf   (official)
  annotation_body3d/fps50/h36m_{split}.npz or fps10   (mmpose's export; images/<imgname> beside it)
  poses.json   (sequences with subject, action, subaction, camera, frames, gt in mm)"""

# 17 of the 32 joints of the official files; the others are end sites and doubles.
_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
_SPELLINGS = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog", "WakingDog": "WalkingDog"}
_EXPORTS = {"": "fps50", "-10fps": "fps10"}


@dataclass(frozen=True)
class Sequence36:
    """One video: subject, action, trial (1 or 2) and camera."""

    subject: str
    action: str
    trial: int
    camera: str

    @property
    def name(self) -> str:
        """``S9/Directions-1/54138969``."""
        return f"{self.subject}/{self.action}-{self.trial}/{self.camera}"


@dataclass(frozen=True, eq=False)
class Poses:
    """Frames of many sequences, the sequences one after another.

    Parameters
    ----------
    sequences : tuple of Sequence36
    sequence : int array (n,)
        Which sequence a frame belongs to.
    number : int array (n,)
        Frame number in its video, 0-based, at 50 frames a second.
    joints : array (n, 17, 3)
        Millimetres, frame of the camera.
    visible : bool array (n, 17)
    images : tuple of str
        Path of each frame's image; empty where the files do not name it.
    keypoints_2d : array (n, 17, 2), optional
        True 2D joints in pixels.
    boxes : array (n, 4), optional
        x, y, w, h in pixels.
    cameras : array (n, 4), optional
        fx, fy, cx, cy in pixels, where the files give them; else the data set's four cameras.
    sizes : array (n, 2), optional
        Width and height of the images, likewise.
    """

    sequences: tuple[Sequence36, ...]
    sequence: NDArray[np.int64]
    number: NDArray[np.int64]
    joints: NDArray[np.float64]
    visible: NDArray[np.bool_]
    images: tuple[str, ...] = ()
    keypoints_2d: NDArray[np.float64] | None = None
    boxes: NDArray[np.float64] | None = None
    cameras: NDArray[np.float64] | None = None
    sizes: NDArray[np.float64] | None = None

    def camera(self, frame: int) -> NDArray[np.float64]:
        """Return the camera matrix (3, 3) of a frame."""
        name = self.sequences[self.sequence[frame]].camera
        fx, fy, cx, cy = _INTRINSICS[name] if self.cameras is None else self.cameras[frame]
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def size(self, frame: int) -> NDArray[np.float64]:
        """Return the width and height of a frame's image."""
        name = self.sequences[self.sequence[frame]].camera
        return np.array(_SIZES[name] if self.sizes is None else self.sizes[frame], np.float64)

    def ids(self) -> tuple[str, ...]:
        """Return the sample ids: ``S9/Directions-1/54138969/000005``."""
        names = [sequence.name for sequence in self.sequences]
        pairs = zip(self.sequence.tolist(), self.number.tolist(), strict=True)
        return tuple(f"{names[s]}/{n:06d}" for s, n in pairs)


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose files are below ``root``."""
    embedded = [path.parent.name for path in sorted(root.glob(f"embedded-*/{MARKER}"))]
    found = ["test"] if (root / "poses.json").is_file() else []
    for split, subjects in (("test", TEST), ("train", TRAIN)):
        if any(_videos(root, subject).is_dir() for subject in subjects):
            found.append(split)
        found += [split + mark for mark in _EXPORTS if _export(root, split + mark).is_file()]
    return tuple(dict.fromkeys(found + embedded))


def layout(split: str) -> str:
    """Return the files that one split needs."""
    name = split.removesuffix("-10fps")
    return LAYOUT.format(
        split=name, subjects="{" + ",".join(TRAIN if name == "train" else TEST) + "}"
    )


def load(root: Path, split: str) -> Dataset:
    """Read a split.

    Raises
    ------
    PrerequisiteError
        If no file of it is there, or a record is wrong.
    """
    if split.startswith("embedded") and is_made(root / split):
        inner = load(root / split, "test" if split == "embedded-val" else "train")
        return replace(inner, split=split, root=root, synthetic=True)
    if split == "test" and (root / "poses.json").is_file():
        files, poses = ["poses.json"], read_poses(root / "poses.json", "gt")
    elif _export(root, split).is_file():
        path = _export(root, split)
        files, poses = [path.relative_to(root).as_posix()], _read_export(path, root)
    else:
        videos = [
            path
            for subject in (TRAIN if split == "train" else TEST)
            for path in sorted(_videos(root, subject).glob("*.cdf"))
        ]
        if not videos or split not in ("test", "train"):
            raise PrerequisiteError(
                f"Human3.6M: no poses of the split {split!r} below {root}.",
                f"Expected {layout(split)}\n{OBTAIN}",
            )
        files, poses = [path.relative_to(root).as_posix() for path in videos], _read_videos(videos)
    ids = poses.ids()
    check_unique(ids, root)
    missing = ~np.isfinite(poses.joints).all(axis=(1, 2))
    if missing.any():
        raise PrerequisiteError(
            f"{root}: the true pose of {ids[int(missing.argmax())]} is not finite "
            f"({missing.sum()} such frames).",
            "Use the files as they were published.",
        )
    return make_dataset("h36m", split, root, files, ids, poses)


def check_unique(ids: Sequence[str], where: Path) -> None:
    """Make sure that no frame is there twice.

    Raises
    ------
    PrerequisiteError
        Naming the first such frame.
    """
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
    raise PrerequisiteError(f"{where}: the frame {twice} is there twice.", "Keep one of them.")


def read_poses(path: Path, key: str) -> Poses:
    """Read poses of a plain JSON file under ``key``: ``gt`` or ``pred``.

    Raises
    ------
    PrerequisiteError
        Naming the file, the sequence and what is wrong.
    """
    expected = "an object with unit 'mm' and sequences of subject, action, subaction, camera, "
    remedy = f"Give {expected}frames (numbers) and {key} (frames x 17 x 3)."
    content = read_json(path, remedy)
    if not isinstance(content, dict) or "sequences" not in content:
        raise PrerequisiteError(f"{path} has no list of sequences.", remedy)
    if content.get("unit", "mm") != "mm":
        raise PrerequisiteError(f"{path} is in {content['unit']!r}.", "Give millimetres.")
    records = Records.of(path, "sequence", content["sequences"], remedy)
    columns = (records.texts("subject"), records.texts("action"), records.integers("subaction"))
    frames = records.values("frames")
    sequences, joints, visible = [], [], []
    for index, (subject, action, trial) in enumerate(zip(*columns, strict=True)):
        if action not in ACTIONS:
            records.fail(index, f"has action {action!r}", f"Actions: {', '.join(ACTIONS)}.")
        camera = str(records.items[index].get("camera"))
        if camera not in CAMERAS:
            records.fail(index, f"has camera {camera!r}", f"Cameras: {', '.join(CAMERAS)}.")
        sequences.append(Sequence36(subject, action, int(trial), camera))
        due = (len(frames[index]), len(H36M_17), 3)
        joints.append(_array(records, index, key, due))
        marks = records.items[index].get("visible")
        visible.append(
            np.ones(due[:2]) if marks is None else _array(records, index, "visible", due[:2])
        )
    if not sequences:
        raise PrerequisiteError(f"{path} has no sequence.", remedy)
    lengths = [len(pose) for pose in joints]
    numbers = [number for listed in frames for number in listed]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise PrerequisiteError(f"{path}: frame numbers must be whole and not negative.", remedy)
    return Poses(
        tuple(sequences),
        np.repeat(np.arange(len(sequences)), lengths),
        np.array(numbers, dtype=np.int64),
        np.concatenate(joints),
        np.concatenate(visible) > 0,
    )


def _array(records: Records, index: int, key: str, due: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the nested lists of one record as an array of the shape that is due."""
    if key not in records.items[index]:
        records.fail(index, f"has no {key!r}", f"Every sequence needs {key!r}.")
    try:
        values = np.array(records.items[index][key], dtype=np.float64)
    except (TypeError, ValueError):
        records.fail(index, f"has {key} of unequal lists or no numbers", f"Due is {due}.")
    if values.shape != due:
        hint = ": it looks transposed" if sorted(values.shape) == sorted(due) else ""
        records.fail(index, f"has {key} of shape {values.shape}, due is {due}{hint}", "Correct it.")
    return values


def _videos(root: Path, subject: str) -> Path:
    return root / subject / "MyPoseFeatures" / "D3_Positions_mono"


def _export(root: Path, split: str) -> Path:
    name = split.removesuffix("-10fps")
    folder = _EXPORTS["-10fps" if split.endswith("-10fps") else ""]
    return root / "annotation_body3d" / folder / f"h36m_{name}.npz"


def _named(names: Sequence[tuple[str, str, str]], source: Path) -> list[Sequence36]:
    """Turn (subject, video name, camera) into sequences.

    Of an action's two videos the one without a number, or with the lower one, is trial 1.
    """
    parsed = []
    for subject, video, camera in names:
        word, _, suffix = video.replace("_", " ").partition(" ")
        action = _SPELLINGS.get(word, word)
        numbered = suffix.isdigit() or not suffix
        if action not in ACTIONS or camera not in CAMERAS or not numbered:
            raise PrerequisiteError(
                f"{source}: {subject}, video {video!r}, camera {camera!r} is not of Human3.6M.",
                f"Actions: {', '.join(ACTIONS)}; cameras: {', '.join(CAMERAS)}.",
            )
        parsed.append((subject, action, int(suffix or 0), camera))
    takes: dict[tuple[str, str], list[int]] = {}
    for subject, action, number, _ in sorted(set(parsed)):
        numbers = takes.setdefault((subject, action), [])
        if number not in numbers:
            numbers.append(number)
    return [
        Sequence36(subject, action, takes[subject, action].index(number) + 1, camera)
        for subject, action, number, camera in parsed
    ]


def _read_videos(paths: Sequence[Path]) -> Poses:
    """Read the official CDF files: variable ``Pose`` (1, T, 96), the camera's frame, mm."""
    names = []
    for path in paths:
        video, _, camera = path.stem.rpartition(".")
        names.append((path.parts[-4], video, camera))
    joints = [_read_cdf(path) for path in paths]
    lengths = [len(pose) for pose in joints]
    every = np.concatenate(joints)
    return Poses(
        tuple(_named(names, paths[0].parent)),
        np.repeat(np.arange(len(paths)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        every,
        np.ones(every.shape[:2], dtype=np.bool_),
    )


def _read_cdf(path: Path) -> NDArray[np.float64]:
    import cdflib

    remedy = "Use the file as it was published."
    try:
        pose = np.asarray(cdflib.CDF(path)["Pose"], dtype=np.float64)
    except Exception as error:  # a damaged file fails in many ways
        raise PrerequisiteError(f"{path} cannot be read: {error}.", remedy) from error
    if pose.ndim != 3 or pose.shape[0] != 1 or pose.shape[2] != 96:
        raise PrerequisiteError(f"{path}: Pose has shape {pose.shape}, due is (1, T, 96).", remedy)
    return pose.reshape(-1, 32, 3)[:, _OF_32]


def _read_export(path: Path, root: Path) -> Poses:
    """Read the npz export of mmpose: imgname, center, scale, part, S (metres, last = visible).

    ``camera`` (fx, fy, cx, cy) and ``size`` of each frame may be beside them.
    """
    remedy = "Use the file as mmpose's converter writes it."
    try:
        with np.load(path, allow_pickle=False) as file:
            content: dict[str, Any] = {
                key: file[key] for key in ("imgname", "center", "scale", "part", "S")
            }
            extra = {key: file[key].astype(np.float64) for key in ("camera", "size") if key in file}
    except (OSError, KeyError, ValueError) as error:
        raise PrerequisiteError(f"{path} cannot be read: {error}.", remedy) from error
    images = [str(name) for name in content["imgname"]]
    pattern = re.compile(r"(S\d+)_([^.]+)\.(\d+)_(\d+)\.\w+$")
    parts = [pattern.search(name) for name in images]
    for name, part in zip(images, parts, strict=True):
        if part is None:
            raise PrerequisiteError(
                f"{path}: image {name!r} is no frame of Human3.6M.",
                "Names are like S9_Directions_1.54138969_000001.jpg.",
            )
    fields = [part.groups() for part in parts if part is not None]
    owner = [(subject, video, camera) for subject, video, camera, _ in fields]
    videos = list(dict.fromkeys(owner))
    where = {video: index for index, video in enumerate(videos)}
    sequence = np.array([where[video] for video in owner], dtype=np.int64)
    order = np.argsort(sequence, kind="stable")
    size = content["scale"].astype(np.float64).reshape(-1, 1) * 200.0
    boxes = np.concatenate([content["center"] - size / 2, size, size], axis=1)
    return Poses(
        tuple(_named(videos, path)),
        sequence[order],
        np.array([int(field[3]) - 1 for field in fields], dtype=np.int64)[order],
        1000.0 * content["S"][order, :, :3].astype(np.float64),
        content["S"][order, :, 3] > 0,
        tuple(str(root / "images" / images[index]) for index in order),
        content["part"][order, :, :2].astype(np.float64),
        boxes[order],
        *(extra[key][order] if key in extra else None for key in ("camera", "size")),
    )
