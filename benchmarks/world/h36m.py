"""The embedded world as Human3.6M: subjects, actions and four cameras, in mmpose's npz layout.

A subject has one build and four cameras around a room; every frame is a pose of its own, seen by
all four. Frames are 64 apart, so every protocol's stride keeps them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.datasets.h36m import ACTIONS, CAMERAS, TEST, TRAIN
from benchmarks.world import body
from benchmarks.world.body import Floats
from benchmarks.world.look import Build, Look, sample_build, sample_look
from benchmarks.world.marker import check_split, made_once
from benchmarks.world.pictures import in_order, write_jpeg
from benchmarks.world.poses import ACTIVITIES, Pose, rotation, to_pose
from benchmarks.world.scene import Camera, Light, Person, Scene
from harness.api.skeleton import COCO_MPII_21, H36M_17

VERSION = 1
"""Changes whenever a number of a split changes."""

SIZE, FOCAL = 224, 256.0
"""Side and focal length of the square pictures, in the proportion of the real cameras."""
STRIDE = 64


@dataclass(frozen=True)
class Split:
    """What a split holds: its code in the seeds, subjects, poses per video, and pictures."""

    code: int
    subjects: tuple[str, ...]
    frames: int
    pictures: bool


SPLITS = {
    "embedded-train": Split(1, TRAIN, 20, False),
    "embedded-pictures": Split(2, TRAIN, 5, True),
    "embedded-val": Split(3, TEST, 3, True),
}
"""``embedded-pictures`` is for methods that look at images; lifting needs none."""

_ACTIVITIES: dict[str, tuple[str, ...]] = {
    "Directions": ("standing", "arms raised"), "Discussion": ("standing",),
    "Eating": ("sitting", "standing"), "Greeting": ("arms raised", "standing"),
    "Phoning": ("standing", "walking"), "Posing": ("arms apart", "lunging"),
    "Purchases": ("bending", "standing"), "Sitting": ("sitting",), "SittingDown": ("crouching",),
    "Smoking": ("standing", "sitting"), "TakingPhoto": ("standing", "crouching"),
    "Waiting": ("standing",), "Walking": ("walking",), "WalkingDog": ("walking", "lunging"),
    "WalkTogether": ("walking", "running"),
}  # fmt: skip
_TRIALS = ("", " 1")
"""What follows the action in the names of its two videos."""

# Each of the 17 joints: a joint of the body, or one of its labelled points.
_OF_BODY = {
    "spine": "chest", "thorax": "neck",
    **{name: name for name in H36M_17.joints if name in body.JOINT and name != "pelvis"},
}  # fmt: skip
_OF_POINTS = {"pelvis": "pelvis", "neck_nose": "nose", "head": "head_top"}


def rest_joints() -> Floats:
    """Return the 17 joints (17, 3) on the average body at rest, metres."""
    points = COCO_MPII_21.joints
    return np.stack(
        [body.REST[body.JOINT[_OF_BODY[joint]]] if joint in _OF_BODY
         else body.KEYPOINT_REST[points.index(_OF_POINTS[joint])] for joint in H36M_17.joints]
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """One pose in front of one camera.

    Parameters
    ----------
    name : str
        ``S9/S9_Sitting 1.54138969/S9_Sitting 1.54138969_000065.jpg``.
    person : Person
        At its place before this camera.
    camera : Camera
    joints : array (17, 3)
        Metres, the camera's frame.
    box : array (4,)
        x, y, w, h in pixels around the body's surface.
    """

    name: str
    person: Person
    camera: Camera
    joints: Floats
    box: Floats

    def keypoints(self) -> Floats:
        """Return the joints' pixels (17, 2)."""
        middle = (SIZE - 1) / 2
        return np.asarray(FOCAL * self.joints[:, :2] / self.joints[:, 2:] + middle)


@cache
def frames(split: str) -> list[Frame]:
    """Compute all frames of a split, video by video."""
    return [
        frame
        for number in range(len(SPLITS[split].subjects))
        for action in range(len(ACTIONS))
        for trial in range(len(_TRIALS))
        for frame in _video(split, number, action, trial)
    ]


def _video(split: str, subject: int, action: int, trial: int) -> list[Frame]:
    """Return the frames of one video as all four cameras see them, camera by camera."""
    settings = SPLITS[split]
    # A subject has the same build and cameras in every split that it is in.
    name = settings.subjects[subject]
    own = np.random.default_rng([VERSION, 0, int(name[1:])])
    build = sample_build(own)
    rig = [_camera(own, index) for index in range(len(CAMERAS))]
    random = np.random.default_rng([VERSION, settings.code, subject, action, trial])
    seen: list[list[Frame]] = [[] for _ in CAMERAS]
    for number in range(settings.frames):
        choice = _ACTIVITIES[ACTIONS[action]]
        activity = choice[int(random.integers(len(choice)))]
        pose = to_pose(activity, ACTIVITIES[activity][0](random))
        look = sample_look(random)  # other clothes in every frame: there are few subjects
        place, turn = random.uniform(-0.9, 0.9, 2), float(random.uniform(-180, 180))
        still = Person(build, look, pose, np.zeros(2), 0.0).figure()
        joints = np.stack(
            [still.joints[body.JOINT[_OF_BODY[joint]]] if joint in _OF_BODY
             else still.keypoints[COCO_MPII_21.joints.index(_OF_POINTS[joint])]
             for joint in H36M_17.joints]
        )  # fmt: skip
        for index, (azimuth, distance, camera) in enumerate(rig):
            video = f"{name}_{ACTIONS[action]}{_TRIALS[trial]}.{CAMERAS[index]}"
            file = f"{name}/{video}/{video}_{1 + STRIDE * number:06d}.jpg"
            seen[index].append(
                _frame(file, build, look, pose, camera, joints,
                       still.vertices[np.unique(still.faces)],
                       rotation(1, azimuth), turn + azimuth, place, distance)
            )  # fmt: skip
    return [frame for view in seen for frame in view]


def _camera(random: np.random.Generator, index: int) -> tuple[float, float, Camera]:
    """Return a camera's direction in degrees, its distance from the room's middle, and itself."""
    azimuth = (70.0, -70.0, 110.0, -110.0)[index] + random.normal(0, 4)
    distance, height = random.uniform(4.6, 5.4), random.uniform(1.4, 1.7)
    tilt = np.rad2deg(np.arctan2(height - 0.9, distance))
    turned = rotation(2, random.normal(0, 1)) @ rotation(0, tilt) @ np.diag([1.0, -1.0, -1.0])
    camera = Camera(np.round(turned, 9), np.array([0.0, height, 0.0]), FOCAL, (SIZE, SIZE))
    return azimuth, distance, camera


def _frame(
    name: str, build: Build, look: Look, pose: Pose, camera: Camera, joints: Floats,
    surface: Floats, around: Floats, turn: float, place: Floats, distance: float,
) -> Frame:  # fmt: skip
    """Place a body that stands at the origin, turned by 0 degrees, before a camera."""
    moved = around @ np.array([place[0], 0.0, place[1]]) - [0, 0, distance]
    turned = rotation(1, turn)

    def local(points: Floats) -> Floats:
        return np.asarray((points @ turned.T + moved - camera.position) @ camera.rotation.T)

    away = local(surface)
    pixels = FOCAL * away[:, :2] / away[:, 2:] + (SIZE - 1) / 2
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    person = Person(build, look, pose, np.round(moved[[0, 2]], 6), turn)
    return Frame(name, person, camera, np.round(local(joints), 6), np.append(low, high - low))


def make_split(
    root: Path,
    split: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a split below ``root/SPLIT``; nothing is done where it is there already.

    Returns
    -------
    Path
        The marker, which comes last.

    Raises
    ------
    PrerequisiteError
        If there is no such split, or ``root`` cannot be written.
    """
    check_split(split, tuple(SPLITS), "h36m")
    return made_once(root / split, VERSION, lambda folder: _write(folder, split, progress, workers))


def _write(
    folder: Path, split: str, progress: Callable[[int, int], None] | None, workers: int
) -> None:
    made = frames(split)
    name = "train" if SPLITS[split].subjects == TRAIN else "test"
    path = folder / "annotation_body3d" / "fps50" / f"h36m_{name}.npz"
    path.parent.mkdir(parents=True)
    boxes = np.array([frame.box for frame in made])
    count = len(made)
    np.savez(
        path,
        imgname=np.array([frame.name for frame in made]),
        center=boxes[:, :2] + boxes[:, 2:] / 2,
        scale=1.25 * boxes[:, 2:].max(axis=1) / 200,
        part=_labelled(np.array([frame.keypoints() for frame in made])),
        S=_labelled(np.array([frame.joints for frame in made])),
        camera=np.tile([FOCAL, FOCAL, (SIZE - 1) / 2, (SIZE - 1) / 2], (count, 1)),
        size=np.full((count, 2), SIZE),
    )
    if not SPLITS[split].pictures:
        if progress:
            progress(count, count)
        return
    for frame in made:
        (folder / "images" / frame.name).parent.mkdir(parents=True, exist_ok=True)
    draw_one = partial(draw_frame, folder / "images", split)
    for _ in in_order(draw_one, count, workers, progress):
        pass


def _labelled(points: Floats) -> Floats:
    """Append a last coordinate of 1: visible."""
    return np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2)


def draw_frame(folder: Path, split: str, index: int) -> None:
    """Draw one of :func:`frames` as a picture below a folder, which has its video's folder."""
    from benchmarks.world.draw import draw

    frame = frames(split)[index]
    random = np.random.default_rng([VERSION, 9, *frame.name.encode()])
    side, strength = random.uniform(-0.8, 0.8), random.uniform(0.4, 0.6)
    light = Light(np.array([side, 0.8, 0.6]) / np.hypot(side, 1.0), strength, 0.5, (1.0, 1.0, 1.0))
    scene = Scene(frame.camera, light, (frame.person,), (), False, int(random.integers(2**31)))
    write_jpeg(folder / frame.name, draw(scene, random).image)
