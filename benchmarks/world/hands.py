"""The embedded hand: a palm and five fingers of rounded bones, as depth images.

Bones are chains of balls, so a depth image is the nearest ball in every pixel. Millimetres; a hand
at rest points up (y) and shows its palm (z). The files of the splits are written by
:mod:`benchmarks.world.hand_files`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.world.poses import rotation
from harness.api.skeleton import ICVL_16, MSRA_21, NYU_14

Floats = NDArray[np.float64]
Points = dict[str, Floats]

# Knuckle, lengths of the three bones, direction in the palm's plane (degrees from up).
_FINGERS: dict[str, tuple[tuple[float, float], tuple[float, float, float], float]] = {
    "pinky": ((-36, 78), (32, 20, 18), 14), "ring": ((-14, 88), (40, 26, 20), 5),
    "middle": ((8, 92), (44, 29, 20), -1), "index": ((30, 88), (40, 25, 19), -8),
    "thumb": ((34, 30), (38, 32, 24), -42),
}  # fmt: skip
SIZES = (0.88, 1.1)
"""Smallest and largest hand, in hands at rest."""

_RADII = {"pinky": 7.0, "ring": 8.0, "middle": 8.5, "index": 8.5, "thumb": 10.0}


@dataclass(frozen=True)
class DepthCamera:
    """A depth camera, and how far from it hands are held.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image in pixels.
    focal : (float, float)
        Focal lengths in pixels; the second is negative, for the world's y points up.
    centre : (float, float)
        Principal point in pixels.
    depth : (float, float)
        Nearest and farthest palm in millimetres; a stretched hand just fits in at the nearest.
    """

    size: tuple[int, int]
    focal: tuple[float, float]
    centre: tuple[float, float]
    depth: tuple[float, float]

    def project(self, points: Floats) -> Floats:
        """Return points (..., 3) in millimetres as u v d: pixel, pixel, millimetre."""
        pixels = points[..., :2] / points[..., 2:] * self.focal + self.centre
        return np.concatenate([pixels, points[..., 2:]], axis=-1)


def sample_hand(
    random: np.random.Generator,
    depth: tuple[float, float],
    curl: float | None = None,
    size: float | None = None,
) -> Points:
    """Draw a hand: named points (3,) in millimetres before the camera, y up, z away.

    Parameters
    ----------
    random : numpy.random.Generator
    depth : (float, float)
        Between which distances its palm is.
    curl : float, optional
        How far its fingers are bent, 0 to 1, more or less; drawn where it is not given.
    size : float, optional
        Drawn where it is not given, 0.88 to 1.1.
    """
    points: Points = {"wrist": np.zeros(3), "wrist_back": np.array([-22.0, -6, 0]),
                      "palm": np.array([0.0, 55, 0])}  # fmt: skip
    if curl is None:
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
    if size is None:
        size = random.uniform(*SIZES)
    away = random.uniform(*depth)
    middle = np.array([random.uniform(-0.15, 0.15) * away, random.uniform(-0.1, 0.1) * away, away])
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


def icvl_joints(points: Points) -> Floats:
    """Return the 16 joints of ICVL (16, 3): the palm, and the middles of the fingers' bones.

    The public ground truth says so: from a finger's root to its mid and on to its tip it is half a
    bone and half the next one, 0.9 times the lengths of the embedded hand.
    """
    bones = {"root": 1, "mid": 2, "tip": 3}
    rows = [points["palm"]]
    for joint in ICVL_16.joints[1:]:
        finger, _, where = joint.partition("_")
        near, far = bones[where] - 1, bones[where]
        rows.append((points[f"{finger}_{near}"] + points[f"{finger}_{far}"]) / 2)
    return np.array(rows)


def msra_joints(points: Points) -> Floats:
    """Return the 21 joints of MSRA (21, 3)."""
    ends = {"mcp": 0, "pip": 1, "dip": 2, "tip": 3}
    rows = [points["wrist"]]
    for joint in MSRA_21.joints[1:]:
        finger, _, where = joint.partition("_")
        rows.append(points[f"{'pinky' if finger == 'little' else finger}_{ends[where]}"])
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


def draw_depth(
    points: Points, camera: DepthCamera, random: np.random.Generator
) -> NDArray[np.uint16]:
    """Return the depth image (height, width) in millimetres; 0 where nothing is near."""
    depth, focal = np.full(camera.size, np.inf), camera.focal[0]
    centres, radii = balls(points)
    for (u, v, z), radius in zip(camera.project(centres), radii, strict=True):
        reach = radius * focal / z
        left, right = max(0, int(u - reach)), min(camera.size[1], int(u + reach) + 2)
        top, bottom = max(0, int(v - reach)), min(camera.size[0], int(v + reach) + 2)
        if left >= right or top >= bottom:
            continue
        across = (np.arange(left, right) - u) * z / focal
        along = (np.arange(top, bottom) - v) * z / camera.focal[1]
        height = radius**2 - across[None] ** 2 - along[:, None] ** 2
        front = np.where(height > 0, z - np.sqrt(np.maximum(height, 0)), np.inf)
        part = depth[top:bottom, left:right]
        np.minimum(part, front, out=part)
    shown = np.isfinite(depth)
    noisy = np.where(shown, depth, 0) + random.normal(0, 1, camera.size)
    return np.where(shown, np.rint(noisy), 0).astype(np.uint16)
