"""How embedded people stand, walk, run, sit, crouch, bend, reach and jump.

Angles are degrees from the body's rest pose (a T). The right side mirrors the left, so the same
numbers mean the same movement on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.world.body import JOINT, JOINTS, Floats

Random = np.random.Generator


@dataclass(eq=False)
class Angles:
    """Joint angles, before they become rotations.

    Parameters
    ----------
    arm : array (2, 5)
        Left and right: drop from the horizontal, swing forwards, twist, elbow flexion, wrist bend.
    leg : array (2, 5)
        Left and right: hip flexion, abduction, outward twist, knee flexion, foot pointing down.
    spine : array (3,)
        Bend forwards, lean to the left, turn to the left.
    head : array (3,)
        Nod, tilt to the left, turn to the left.
    tilt : array (2,)
        Whole body: forwards, to the left.
    lift : float
        Metres between the lowest point of the body and the ground.
    seat : float
        Height of what the person sits on, in metres; 0 for nothing.
    """

    arm: Floats
    leg: Floats
    spine: Floats = field(default_factory=lambda: np.zeros(3))
    head: Floats = field(default_factory=lambda: np.zeros(3))
    tilt: Floats = field(default_factory=lambda: np.zeros(2))
    lift: float = 0.0
    seat: float = 0.0


@dataclass(frozen=True, eq=False)
class Pose:
    """A sampled pose: relative rotations (J, 3, 3) of all joints and the body's support."""

    activity: str
    rotations: Floats
    lift: float = 0.0
    seat: float = 0.0


def rotation(axis: int, degrees: float) -> Floats:
    """Return the (3, 3) right-handed rotation about a coordinate axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def to_pose(activity: str, angles: Angles) -> Pose:
    """Turn joint angles into rotations."""
    turns = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    forward, left = angles.tilt
    turns[JOINT["pelvis"]] = rotation(0, forward) @ rotation(2, -left)
    bend, lean, twist = angles.spine
    for name, share in (("spine", 0.55), ("chest", 0.45)):
        turns[JOINT[name]] = _bent(share * bend, share * lean, share * twist)
    nod, tilt, turn = angles.head
    turns[JOINT["neck"]] = _bent(0.4 * nod, 0.4 * tilt, 0.4 * turn)
    turns[JOINT["head"]] = _bent(0.6 * nod, 0.6 * tilt, 0.6 * turn)
    for side, mirror in (("left", 1), ("right", -1)):
        drop, swing, twist, elbow, wrist = angles.arm[int(mirror < 0)]
        raised = max(0.0, -drop)  # the shoulder blade helps an arm above the horizontal
        turns[JOINT[f"{side}_collar"]] = rotation(2, mirror * 0.3 * raised)
        turns[JOINT[f"{side}_shoulder"]] = (
            rotation(0, -swing) @ rotation(2, -mirror * (drop + 0.3 * raised)) @ rotation(0, twist)
        )
        turns[JOINT[f"{side}_elbow"]] = rotation(1, -mirror * elbow)
        turns[JOINT[f"{side}_wrist"]] = rotation(2, -mirror * wrist)
        flex, apart, out, knee, point = angles.leg[int(mirror < 0)]
        turns[JOINT[f"{side}_hip"]] = (
            rotation(0, -flex) @ rotation(2, mirror * apart) @ rotation(1, mirror * out)
        )
        turns[JOINT[f"{side}_knee"]] = rotation(0, knee)
        turns[JOINT[f"{side}_ankle"]] = rotation(0, point)
    return Pose(activity, np.round(turns, 9), angles.lift, angles.seat)


def _bent(forward: float, left: float, turn: float) -> Floats:
    return rotation(1, turn) @ rotation(0, forward) @ rotation(2, -left)


def _around(random: Random, mean: list[float], spread: list[float]) -> Floats:
    """Draw both sides: (2, len(mean)) around the means, never further than two spreads."""
    draws = np.clip(random.standard_normal((2, len(mean))), -2, 2)
    return np.array(mean) + draws * np.array(spread)


def _relaxed(random: Random) -> Angles:
    return Angles(
        arm=_around(random, [76, 4, 0, 18, 0], [5, 9, 15, 10, 8]),
        leg=_around(random, [2, 4, 6, 4, 0], [5, 3, 7, 4, 2]),
        spine=random.normal(0, 1, 3) * [4, 3, 5],
        head=random.normal(0, 1, 3) * [8, 6, 16],
    )


def standing(random: Random) -> Angles:
    """Weight on both feet, arms hanging, akimbo, folded or gesturing."""
    angles = _relaxed(random)
    way = random.integers(5)
    if way == 0:  # hands on the hips
        angles.arm = _around(random, [52, -18, -62, 92, 0], [4, 5, 6, 8, 5])
    elif way == 1:  # forearms before the belly
        angles.arm = _around(random, [74, 14, -50, 88, 0], [4, 6, 8, 12, 8])
    elif way == 2:  # one hand up at the face or telephone
        side = int(random.integers(2))
        angles.arm[side] = _around(random, [62, 32, -10, 132, 0], [8, 8, 8, 6, 6])[0]
    elif way == 3:  # pointing or showing
        side = int(random.integers(2))
        angles.arm[side] = _around(random, [25, 40, 0, 20, 0], [20, 30, 20, 14, 8])[0]
    return angles


def walking(random: Random) -> Angles:
    """A stride: arms against legs."""
    angles = _relaxed(random)
    stride = random.uniform(14, 30) * random.choice([-1, 1])
    for side, sign in ((0, 1), (1, -1)):
        swing = sign * stride
        angles.leg[side, 0] = 6 + swing
        angles.leg[side, 3] = 8 + max(0.0, -swing) * random.uniform(0.7, 1.5)
        angles.leg[side, 4] = max(0.0, -swing) * 0.5
        angles.arm[side, 1] = -0.9 * swing
        angles.arm[side, 3] = 18 + max(0.0, -swing) * 0.6
    angles.tilt[0] = random.uniform(0, 5)
    return angles


def running(random: Random) -> Angles:
    """A long stride, bent elbows, leaning forwards, often off the ground."""
    angles = _relaxed(random)
    stride = random.uniform(30, 52) * random.choice([-1, 1])
    for side, sign in ((0, 1), (1, -1)):
        swing = sign * stride
        angles.leg[side, 0] = 12 + swing
        angles.leg[side, 3] = random.uniform(20, 60) if swing > 0 else random.uniform(40, 105)
        angles.leg[side, 4] = random.uniform(0, 30)
        angles.arm[side, 0] = random.uniform(66, 78)
        angles.arm[side, 1] = -0.9 * swing
        angles.arm[side, 3] = random.uniform(65, 105)
    angles.tilt[0] = random.uniform(5, 18)
    angles.head[0] -= 6
    angles.lift = random.uniform(0, 0.12)
    return angles


def sitting(random: Random) -> Angles:
    """On a seat: thighs forwards, hands on the lap, on the knees or moving."""
    angles = _relaxed(random)
    angles.leg = _around(random, [84, 8, 4, 82, 0], [5, 5, 6, 10, 5])
    angles.spine[0] += random.uniform(-6, 22)
    if random.random() < 0.7:
        angles.arm = _around(random, [72, 22, -20, 58, 0], [5, 8, 12, 14, 6])
    angles.seat = random.uniform(0.40, 0.50)
    return angles


def arms_raised(random: Random) -> Angles:
    """One or both arms up: cheering, waving, stretching."""
    angles = _relaxed(random)
    up = _around(random, [-52, 6, 0, 30, 0], [18, 14, 20, 24, 10])
    both = random.random() < 0.6
    for side in (0, 1) if both else (int(random.integers(2)),):
        angles.arm[side] = up[side]
        angles.arm[side, 3] = max(0.0, up[side, 3])
    angles.head[0] -= random.uniform(0, 15)
    return angles


def arms_apart(random: Random) -> Angles:
    """Arms out to the sides, legs apart: balancing, dancing, exercising."""
    angles = _relaxed(random)
    angles.arm = _around(random, [8, 8, 0, 22, 0], [20, 16, 20, 18, 10])
    angles.leg[:, 1] = random.uniform(6, 20)
    angles.spine[1] += random.normal(0, 6)
    return angles


def bending(random: Random) -> Angles:
    """Bowing down from the hips, arms hanging or reaching for the ground."""
    angles = _relaxed(random)
    bow = random.uniform(25, 75)
    angles.tilt[0] = 0.55 * bow
    angles.spine[0] = 0.6 * bow
    angles.head[0] = -0.35 * bow
    knee = random.uniform(0, 30)
    angles.leg = _around(random, [0.55 * bow + 0.6 * knee, 6, 6, knee, 0], [5, 4, 5, 5, 3])
    angles.arm = _around(random, [78, 0.9 * bow, 0, 18, 0], [6, 14, 15, 12, 6])
    return angles


def crouching(random: Random) -> Angles:
    """Squatting, low or high."""
    angles = _relaxed(random)
    depth = random.uniform(0.45, 1.0)
    angles.leg = _around(random, [115 * depth, 16, 10, 125 * depth, -22 * depth], [5, 5, 5, 6, 3])
    angles.tilt[0] = 22 * depth
    angles.spine[0] = random.uniform(5, 25)
    angles.head[0] = -20
    angles.arm = _around(random, [62, 50, 0, 45, 0], [10, 16, 15, 22, 6])
    return angles


def lunging(random: Random) -> Angles:
    """A wide step: fencing, bowling, throwing, serving."""
    angles = _relaxed(random)
    front = int(random.integers(2))
    angles.leg[front] = _around(random, [55, 6, 4, 55, 0], [10, 5, 5, 12, 3])[0]
    angles.leg[1 - front] = _around(random, [-22, 6, 8, 18, 18], [8, 4, 5, 10, 6])[0]
    angles.arm = np.stack([_around(random, [30, 30, 0, 40, 0], [36, 40, 20, 26, 8])[0]
                           for _ in range(2)])  # fmt: skip
    angles.arm[:, 3] = np.abs(angles.arm[:, 3])
    angles.tilt[0] = random.uniform(-4, 20)
    angles.spine[2] += random.normal(0, 12)
    return angles


def jumping(random: Random) -> Angles:
    """In the air, limbs thrown about."""
    angles = _relaxed(random)
    angles.arm = _around(random, [-15, 20, 0, 35, 0], [35, 30, 20, 25, 10])
    angles.arm[:, 3] = np.abs(angles.arm[:, 3])
    angles.leg = _around(random, [28, 14, 8, 50, 25], [20, 7, 6, 24, 8])
    angles.leg[:, 3] = np.abs(angles.leg[:, 3])
    angles.tilt = random.normal(0, 7, 2)
    angles.lift = random.uniform(0.10, 0.40)
    return angles


ACTIVITIES: dict[str, tuple[Callable[[Random], Angles], float]] = {
    "standing": (standing, 0.27),
    "walking": (walking, 0.17),
    "running": (running, 0.12),
    "sitting": (sitting, 0.11),
    "arms raised": (arms_raised, 0.10),
    "arms apart": (arms_apart, 0.07),
    "bending": (bending, 0.04),
    "crouching": (crouching, 0.04),
    "lunging": (lunging, 0.05),
    "jumping": (jumping, 0.03),
}
"""Each activity and its share of the people."""


def sample_pose(random: Random) -> Pose:
    """Draw an activity and a pose of it."""
    names = list(ACTIVITIES)
    shares = np.array([share for _, share in ACTIVITIES.values()])
    name = names[int(np.searchsorted(np.cumsum(shares), random.random() * shares.sum()))]
    return to_pose(name, ACTIVITIES[name][0](random))
