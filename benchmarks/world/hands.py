"""The embedded hand: a palm and five fingers of rounded bones, as depth images in NYU's layout.

Bones are chains of balls, so a depth image is the nearest ball in every pixel. Millimetres; a hand
at rest points up (y) and shows its palm (z).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.world.marker import made_once
from benchmarks.world.pictures import in_order, write_mat
from benchmarks.world.poses import rotation
from harness.api.errors import PrerequisiteError
from harness.api.skeleton import NYU_14

VERSION = 1
"""Changes whenever a number of a split changes."""

SPLITS = {"embedded-train": (1, 1600), "embedded-val": (2, 250)}
"""Each split's code in the seeds, and its number of frames."""

SIZE, FOCAL, CENTRE = (480, 640), (588.03, -587.07), (320.0, 240.0)
"""Of NYU's camera as the public evaluation has it; y points up, hence the sign."""

NYU_ROWS = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)
"""Rows of the 14 joints among NYU's 36."""

Floats = NDArray[np.float64]
Points = dict[str, Floats]

# Knuckle, lengths of the three bones, direction in the palm's plane (degrees from up).
_FINGERS: dict[str, tuple[tuple[float, float], tuple[float, float, float], float]] = {
    "pinky": ((-36, 78), (32, 20, 18), 14), "ring": ((-14, 88), (40, 26, 20), 5),
    "middle": ((8, 92), (44, 29, 20), -1), "index": ((30, 88), (40, 25, 19), -8),
    "thumb": ((34, 30), (38, 32, 24), -42),
}  # fmt: skip
_RADII = {"pinky": 7.0, "ring": 8.0, "middle": 8.5, "index": 8.5, "thumb": 10.0}


def sample_hand(random: np.random.Generator) -> Points:
    """Draw a hand: named points (3,) in millimetres before the camera, y up, z away."""
    points: Points = {"wrist": np.zeros(3), "wrist_back": np.array([-22.0, -6, 0]),
                      "palm": np.array([0.0, 55, 0])}  # fmt: skip
    curl = random.uniform(0, 1)  # the fingers move together, more or less
    for name, (knuckle, lengths, aside) in _FINGERS.items():
        thumb = name == "thumb"
        bend = np.clip(curl + random.normal(0, 0.3), 0, 1) * (0.5 if thumb else 1)
        turn = rotation(2, aside + random.normal(0, 4))
        place = np.array([*knuckle, 0.0])
        points[f"{name}_0"] = place
        for bone, (length, most) in enumerate(zip(lengths, (75, 95, 60), strict=True), start=1):
            turn = turn @ rotation(0, bend * most)  # towards +z, the palm's side
            place = place + turn @ np.array([0.0, length, 0.0])
            points[f"{name}_{bone}"] = place
    whole = (
        rotation(2, random.uniform(-50, 50))
        @ rotation(0, random.uniform(-40, 30))
        @ rotation(1, random.uniform(-60, 60) + (180 if random.random() < 0.5 else 0))
    )
    size, depth = random.uniform(0.88, 1.1), random.uniform(500, 750)
    middle = np.array(
        [random.uniform(-0.15, 0.15) * depth, random.uniform(-0.1, 0.1) * depth, depth]
    )
    return {k: size * whole @ (v - points["palm"]) + middle for k, v in points.items()}


def nyu_joints(points: Points) -> Floats:
    """Return the 14 joints of NYU (14, 3)."""
    ends = {"tip": 3, "mid": 1, "root": 0}
    rows = []
    for joint in NYU_14.joints:
        finger, _, where = joint.partition("_")
        name = joint if joint in points else f"{finger}_{ends[where]}"
        if joint == "thumb_mid":
            name = "thumb_2"
        rows.append(points[name])
    return np.array(rows)


def balls(points: Points) -> tuple[Floats, Floats]:
    """Return centres (n, 3) and radii (n,) of the balls that a hand is made of."""
    centres, radii = [], []

    def bone(start: Floats, end: Floats, thick: float, thin: float) -> None:
        count = max(2, int(np.linalg.norm(end - start) / 3))
        share = np.linspace(0, 1, count)[:, None]
        centres.append(start + share * (end - start))
        radii.append(thick + share[:, 0] * (thin - thick))

    wrist, back = points["wrist"], points["wrist_back"]
    for name, radius in _RADII.items():
        knuckle = points[f"{name}_0"]
        bone(wrist if name in ("index", "middle", "thumb") else back, knuckle, 14, radius + 2)
        for number in (1, 2, 3):
            bone(points[f"{name}_{number - 1}"], points[f"{name}_{number}"], radius, radius - 1)
    names = ("pinky", "ring", "middle", "index")
    for one, two in pairwise(names):  # the flesh of the palm
        for share in (0.35, 0.6, 0.85):
            bone(back + share * (points[f"{one}_0"] - back),
                 wrist + share * (points[f"{two}_0"] - wrist), 11, 11)  # fmt: skip
    arm = wrist + 0.9 * (wrist - points["palm"])
    bone(wrist, arm, 20, 22)
    bone(back, arm + (back - wrist), 20, 22)
    return np.concatenate(centres), np.concatenate(radii)


def draw_depth(points: Points, random: np.random.Generator) -> NDArray[np.uint16]:
    """Return the depth image (480, 640) in millimetres; 0 where nothing is near."""
    depth = np.full(SIZE, np.inf)
    for (x, y, z), radius in zip(*balls(points), strict=True):
        u, v = CENTRE[0] + FOCAL[0] * x / z, CENTRE[1] + FOCAL[1] * y / z
        reach = radius * FOCAL[0] / z
        left, right = max(0, int(u - reach)), min(SIZE[1], int(u + reach) + 2)
        top, bottom = max(0, int(v - reach)), min(SIZE[0], int(v + reach) + 2)
        if left >= right or top >= bottom:
            continue
        across = (np.arange(left, right) - u) * z / FOCAL[0]
        along = (np.arange(top, bottom) - v) * z / FOCAL[1]
        height = radius**2 - across[None] ** 2 - along[:, None] ** 2
        front = np.where(height > 0, z - np.sqrt(np.maximum(height, 0)), np.inf)
        part = depth[top:bottom, left:right]
        np.minimum(part, front, out=part)
    shown = np.isfinite(depth)
    noisy = np.where(shown, depth, 0) + random.normal(0, 1, SIZE)
    return np.where(shown, np.rint(noisy), 0).astype(np.uint16)


def _frame(split: str, index: int) -> tuple[Points, np.random.Generator]:
    random = np.random.default_rng([VERSION, SPLITS[split][0], index])
    return sample_hand(random), random


def make_nyu(
    root: Path,
    split: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a split below ``root/SPLIT`` as NYU's ``test``; nothing is done where it is there.

    Raises
    ------
    PrerequisiteError
        If there is no such split, or ``root`` cannot be written.
    """
    if split not in SPLITS:
        raise PrerequisiteError(
            f"There is no embedded hand split {split!r}.", f"Choose one of: {', '.join(SPLITS)}."
        )
    return made_once(
        root / split, VERSION, lambda folder: _write(folder / "test", split, progress, workers)
    )


def _write(
    folder: Path, split: str, progress: Callable[[int, int], None] | None, workers: int
) -> None:
    folder.mkdir()
    total = SPLITS[split][1]
    write = partial(_write_image, folder, split)
    for number, _ in enumerate(in_order(write, total, workers), start=1):
        if progress:
            progress(number, total)
    hands = np.array([nyu_joints(_frame(split, i)[0]) for i in range(total)])
    uvd = np.zeros((1, total, 36, 3))
    uvd[0][:, NYU_ROWS, :2] = hands[..., :2] / hands[..., 2:] * FOCAL + CENTRE
    uvd[0][:, NYU_ROWS, 2] = hands[..., 2]
    write_mat(folder / "joint_data.mat", {"joint_uvd": uvd})


def _write_image(folder: Path, split: str, index: int) -> None:
    """Write a depth image as NYU does: green holds the upper eight bits, blue the lower."""
    import cv2

    depth = draw_depth(*_frame(split, index))
    image = np.stack([depth & 255, depth >> 8, np.zeros_like(depth)], axis=-1).astype(np.uint8)
    path = folder / f"depth_1_{index + 1:07d}.png"
    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path} could not be written")
