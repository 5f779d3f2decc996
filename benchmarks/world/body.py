"""The embedded body: a free articulated human made of skinned surfaces.

Metres; x to the person's left, y up, z forwards; the rest pose is a T with the soles on y = 0.
A body is posed by linear blend skinning: every bone carries its vertices with the rotation of its
joint, after scaling them about the joint to the person's build.

Every point of the surface keeps its *rest position* on the average body, so that clothes, hair and
faces are functions of a point in space (a solid texture) and follow any pose and build.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# name, parent, rest position; the left side is mirrored to the right.
_MIDDLE: list[tuple[str, str, tuple[float, float, float]]] = [
    ("pelvis", "", (0, 0.95, 0)),
    ("spine", "pelvis", (0, 1.08, -0.01)),
    ("chest", "spine", (0, 1.24, -0.01)),
    ("neck", "chest", (0, 1.47, -0.015)),
    ("head", "neck", (0, 1.555, 0.0)),
]
_LEFT: list[tuple[str, str, tuple[float, float, float]]] = [
    ("collar", "chest", (0.05, 1.42, -0.015)),
    ("shoulder", "collar", (0.18, 1.42, -0.015)),
    ("elbow", "shoulder", (0.46, 1.42, -0.015)),
    ("wrist", "elbow", (0.71, 1.42, -0.015)),
    ("hip", "pelvis", (0.092, 0.92, 0)),
    ("knee", "hip", (0.10, 0.50, 0.005)),
    ("ankle", "knee", (0.105, 0.085, -0.015)),
]
_SIDES = ("left", "right")
_MIDDLE_NAMES = {name for name, _, _ in _MIDDLE}


def _side_name(side: str, name: str) -> str:
    return name if name in _MIDDLE_NAMES else f"{side}_{name}"


JOINTS: tuple[str, ...] = tuple(name for name, _, _ in _MIDDLE) + tuple(
    f"{side}_{name}" for side in _SIDES for name, _, _ in _LEFT
)
JOINT = {name: i for i, name in enumerate(JOINTS)}
PARENTS: tuple[int, ...] = tuple(JOINT.get(parent, -1) for _, parent, _ in _MIDDLE) + tuple(
    JOINT[_side_name(side, parent)] for side in _SIDES for _, parent, _ in _LEFT
)
REST: Floats = np.array(
    [place for _, _, place in _MIDDLE]
    + [place for _, _, place in _LEFT]
    + [(-x, y, z) for _, _, (x, y, z) in _LEFT]
)

# COCO's 17 points and MPII's middle four (COCO_MPII_21, in its order): the bone that carries the
# point, and its rest position.
_FACE = {"nose": (0, 1.632, 0.122), "eye": (0.033, 1.664, 0.091), "ear": (0.079, 1.648, 0.006)}
KEYPOINT_BONES: tuple[str, ...] = (
    ("head",) * 5
    + tuple(
        f"{side}_{name}"
        for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in _SIDES
    )
    + ("pelvis", "chest", "neck", "head")
)
KEYPOINT_REST: Floats = np.array(
    [_FACE["nose"]]
    + [(s * x, y, z) for x, y, z in (_FACE["eye"], _FACE["ear"]) for s in (1, -1)]
    + [tuple(REST[JOINT[name]]) for name in KEYPOINT_BONES[5:17]]
    + [(0, 0.92, 0), (0, 1.42, -0.015), (0, 1.53, -0.01), (0, 1.785, 0)]
)
# A point is hidden when the surface seen there is this much nearer (metres), or another part.
KEYPOINT_DEPTH: Floats = np.array([0.03] * 3 + [0.04] * 2 + [0.14] * 2 + [0.09] * 4
                                  + [0.2] * 2 + [0.12] * 4
                                  + [0.2, 0.14, 0.12, 0.1])  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A closed tube around an axis: rings of superellipses, smoothly joined and capped.

    Parameters
    ----------
    name : str
    axis : int
        Along which the rings are stacked: 0 x, 1 y, 2 z.
    rings : tuple of (position, centre 1, centre 2, half-width 1, half-width 2)
        Along the axis; 1 and 2 are the two other axes in the order x, y, z.
    bones : tuple of str
        Bones along the axis, the first carrying the first ring.
    breaks : tuple of (position, width)
        Where one bone hands over to the next, and over what length.
    around, along : int
        Vertices of a ring and number of rings.
    power : float
        Exponent of the superellipse: 2 an ellipse, more is squarer.
    """

    name: str
    axis: int
    rings: tuple[tuple[float, ...], ...]
    bones: tuple[str, ...]
    breaks: tuple[tuple[float, float], ...] = ()
    around: int = 12
    along: int = 12
    power: float = 2.0


def _ball(
    name: str, centre: tuple[float, float, float], radii: tuple[float, float, float], bone: str
) -> Part:
    x, y, z = centre
    angles = np.linspace(-0.46 * np.pi, 0.46 * np.pi, 7)
    rings = tuple(
        (y + radii[1] * np.sin(a), x, z, radii[0] * np.cos(a), radii[2] * np.cos(a)) for a in angles
    )
    return Part(name, 1, rings, (bone,), around=10, along=7)


_TORSO = Part("torso", 1, (
    (0.82, 0, -0.005, 0.04, 0.05), (0.86, 0, -0.008, 0.135, 0.098),
    (0.92, 0, -0.010, 0.166, 0.118), (1.00, 0, -0.006, 0.158, 0.110),
    (1.09, 0, -0.002, 0.136, 0.098), (1.18, 0, 0, 0.142, 0.104),
    (1.27, 0, 0.002, 0.162, 0.116), (1.35, 0, -0.004, 0.170, 0.108),
    (1.41, 0, -0.012, 0.158, 0.085), (1.455, 0, -0.016, 0.110, 0.066),
    (1.48, 0, -0.016, 0.066, 0.058), (1.50, 0, -0.014, 0.050, 0.05),
), ("pelvis", "spine", "chest"), ((1.04, 0.14), (1.18, 0.14)), 22, 18, 2.35)  # fmt: skip
_NECK = Part("neck", 1, (
    (1.42, 0, -0.016, 0.06, 0.058), (1.50, 0, -0.012, 0.052, 0.054),
    (1.58, 0, -0.006, 0.05, 0.052),
), ("chest", "neck", "head"), ((1.46, 0.05), (1.55, 0.06)), 12, 6)  # fmt: skip
_HEAD = Part("head", 1, (
    (1.532, 0, 0.056, 0.020, 0.022), (1.542, 0, 0.050, 0.038, 0.042),
    (1.57, 0, 0.034, 0.054, 0.066), (1.61, 0, 0.020, 0.066, 0.083),
    (1.65, 0, 0.008, 0.073, 0.094), (1.70, 0, 0.000, 0.076, 0.098),
    (1.74, 0, -0.002, 0.068, 0.088), (1.77, 0, -0.004, 0.047, 0.060),
    (1.785, 0, -0.004, 0.014, 0.018),
), ("head",), (), 24, 18, 2.1)  # fmt: skip
_SKIRT = Part("skirt", 1, (
    (0.50, 0, 0, 0.250, 0.205), (0.56, 0, 0, 0.243, 0.200),
    (0.70, 0, 0, 0.222, 0.180), (0.85, 0, -0.004, 0.190, 0.142),
    (0.94, 0, -0.008, 0.172, 0.126), (1.04, 0, -0.004, 0.150, 0.108),
), ("pelvis",), (), 24, 12, 2.2)  # fmt: skip
_LONG_HAIR = Part("long hair", 1, (
    (1.36, 0, -0.090, 0.060, 0.020), (1.42, 0, -0.085, 0.078, 0.034),
    (1.52, 0, -0.060, 0.086, 0.050), (1.62, 0, -0.040, 0.088, 0.066),
    (1.70, 0, -0.020, 0.084, 0.078), (1.76, 0, -0.010, 0.05, 0.055),
), ("chest", "head"), ((1.44, 0.16),), 16, 10)  # fmt: skip
_BUN = _ball("bun", (0, 1.735, -0.115), (0.045, 0.042, 0.042), "head")
_BRIM = Part("brim", 2, (
    (0.05, 0, 1.722, 0.074, 0.008), (0.10, 0, 1.718, 0.072, 0.008), (0.15, 0, 1.710, 0.058, 0.006),
    (0.172, 0, 1.706, 0.03, 0.004),
), ("head",), (), 12, 5, 2.6)  # fmt: skip
_NOSE = _ball("nose", (0, 1.640, 0.104), (0.015, 0.024, 0.020), "head")
_LEFT_PARTS = (
    Part("arm", 0, (
        (0.09, 1.415, -0.015, 0.045, 0.045), (0.13, 1.415, -0.015, 0.060, 0.062),
        (0.18, 1.416, -0.015, 0.062, 0.064), (0.24, 1.418, -0.015, 0.053, 0.056),
        (0.32, 1.418, -0.013, 0.049, 0.053), (0.40, 1.42, -0.015, 0.043, 0.045),
        (0.46, 1.42, -0.017, 0.040, 0.042), (0.53, 1.42, -0.013, 0.040, 0.044),
        (0.62, 1.42, -0.014, 0.033, 0.037), (0.70, 1.42, -0.015, 0.024, 0.030),
        (0.72, 1.42, -0.015, 0.023, 0.030),
    ), ("collar", "shoulder", "elbow", "wrist"),
        ((0.165, 0.09), (0.46, 0.07), (0.71, 0.03)), 12, 22),
    Part("hand", 0, (
        (0.70, 1.42, -0.015, 0.020, 0.026), (0.74, 1.42, -0.014, 0.022, 0.036),
        (0.79, 1.418, -0.012, 0.019, 0.042), (0.84, 1.414, -0.013, 0.015, 0.036),
        (0.875, 1.410, -0.014, 0.011, 0.024), (0.885, 1.409, -0.014, 0.006, 0.012),
    ), ("wrist",), (), 10, 8, 2.4),
    Part("thumb", 2, (
        (0.00, 0.745, 1.416, 0.016, 0.014), (0.03, 0.765, 1.413, 0.015, 0.013),
        (0.052, 0.785, 1.408, 0.012, 0.011), (0.066, 0.797, 1.405, 0.006, 0.006),
    ), ("wrist",), (), 8, 5),
    Part("leg", 1, (
        (0.055, 0.105, -0.015, 0.038, 0.042), (0.085, 0.105, -0.015, 0.037, 0.043),
        (0.13, 0.105, -0.016, 0.036, 0.042), (0.22, 0.104, -0.018, 0.044, 0.052),
        (0.34, 0.103, -0.016, 0.055, 0.063), (0.43, 0.101, -0.006, 0.052, 0.056),
        (0.50, 0.10, 0.004, 0.054, 0.059), (0.58, 0.099, 0.004, 0.062, 0.068),
        (0.72, 0.096, 0.002, 0.078, 0.085), (0.85, 0.090, -0.004, 0.084, 0.098),
        (0.92, 0.086, -0.006, 0.082, 0.098), (0.98, 0.080, -0.004, 0.060, 0.07),
    ), ("ankle", "knee", "hip", "pelvis"),
        ((0.085, 0.04), (0.50, 0.10), (0.915, 0.12)), 14, 24),
    Part("foot", 2, (
        (-0.078, 0.106, 0.040, 0.022, 0.026), (-0.060, 0.106, 0.044, 0.036, 0.043),
        (-0.01, 0.107, 0.050, 0.041, 0.049), (0.05, 0.111, 0.043, 0.046, 0.042),
        (0.11, 0.116, 0.032, 0.050, 0.031), (0.16, 0.116, 0.025, 0.044, 0.024),
        (0.187, 0.114, 0.020, 0.024, 0.016),
    ), ("ankle",), (), 12, 10, 2.5),
    _ball("ear", (0.075, 1.648, -0.004), (0.012, 0.032, 0.020), "head"),
)  # fmt: skip


def _left(part: Part) -> Part:
    bones = tuple(_side_name("left", bone) for bone in part.bones)
    return replace(part, name=f"left {part.name}", bones=bones)


def _mirror(part: Part) -> Part:
    """Return a left part's right twin."""
    bones = tuple(_side_name("right", bone) for bone in part.bones)
    rings, breaks = part.rings, part.breaks
    if part.axis == 0:
        rings = tuple((-s, *rest) for s, *rest in reversed(rings))
        breaks = tuple((-s, width) for s, width in reversed(breaks))
        bones = bones[::-1]
    else:
        rings = tuple((s, -c, *rest) for s, c, *rest in rings)
    return replace(part, name=f"right {part.name}", rings=rings, bones=bones, breaks=breaks)


# Worn only by some: a second skin over the head (hair or a cap), a skirt, long hair, ...
_HAIR = Part("hair", 1, _HEAD.rings, ("head",), (), 24, 18, 2.1)
PARTS: tuple[Part, ...] = (
    _TORSO, _NECK, _HEAD, _NOSE, *map(_left, _LEFT_PARTS), *map(_mirror, _LEFT_PARTS),
    _HAIR, _LONG_HAIR, _BUN, _BRIM, _SKIRT,
)  # fmt: skip
PART = {part.name: i for i, part in enumerate(PARTS)}
OPTIONAL_PARTS = ("hair", "long hair", "bun", "brim", "skirt")


@dataclass(frozen=True, eq=False)
class Template:
    """The average body at rest.

    Parameters
    ----------
    vertices, normals : array (V, 3)
    weights : array (V, J)
        Skinning weights; rows sum to one.
    faces : int array (F, 3)
        Vertex numbers, anticlockwise seen from outside.
    vertex_part, face_part : int array (V,), (F,)
        Numbers of :data:`PARTS`.
    """

    vertices: Floats
    normals: Floats
    weights: Floats
    faces: NDArray[np.int64]
    vertex_part: NDArray[np.int64]
    face_part: NDArray[np.int64]


@cache
def template() -> Template:
    """Build the average body once."""
    columns: dict[str, list[Any]] = {name: [] for name in ("v", "w", "f", "vp", "fp")}
    start = 0
    for number, part in enumerate(PARTS):
        vertices, faces, position = _tube(part)
        columns["v"].append(vertices)
        columns["w"].append(_weights(part, position, vertices))
        columns["f"].append(faces + start)
        columns["vp"].append(np.full(len(vertices), number))
        columns["fp"].append(np.full(len(faces), number))
        start += len(vertices)
    vertices, weights, faces, vertex_part, face_part = (
        np.concatenate(column) for column in columns.values()
    )
    vertices = np.round(vertices, 6)
    return Template(vertices, normals(vertices, faces), np.round(weights, 6), faces,
                    vertex_part, face_part)  # fmt: skip


def _tube(part: Part) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Return vertices, faces and each vertex's position along the part's axis."""
    from scipy.interpolate import PchipInterpolator

    rings = np.array(part.rings)
    along = np.linspace(0, len(rings) - 1, part.along)
    smooth = PchipInterpolator(np.arange(len(rings)), rings)(along)
    angle = np.linspace(0, 2 * np.pi, part.around, endpoint=False)
    cos, sin = (np.sign(f) * np.abs(f) ** (2 / part.power) for f in (np.cos(angle), np.sin(angle)))
    first, second = (axis for axis in range(3) if axis != part.axis)
    vertices = np.empty((part.along, part.around, 3))
    vertices[..., part.axis] = smooth[:, :1]
    vertices[..., first] = smooth[:, 1:2] + smooth[:, 3:4] * cos
    vertices[..., second] = smooth[:, 2:3] + smooth[:, 4:5] * sin
    caps = vertices[[0, -1]].mean(axis=1)
    number = np.arange(part.along * part.around).reshape(part.along, part.around)
    low, high = number[:-1], number[1:]
    low_next, high_next = np.roll(low, -1, axis=1), np.roll(high, -1, axis=1)
    bottom, top = number.size, number.size + 1
    faces = [
        np.stack([low, low_next, high_next], axis=-1).reshape(-1, 3),
        np.stack([low, high_next, high], axis=-1).reshape(-1, 3),
        np.stack([np.roll(number[0], -1), number[0], np.full(part.around, bottom)], axis=-1),
        np.stack([number[-1], np.roll(number[-1], -1), np.full(part.around, top)], axis=-1),
    ]
    joined = np.concatenate(faces)
    if part.axis == 1:  # (first, second, axis) is a right-handed frame for x and z, not for y
        joined = joined[:, ::-1]
    return (
        np.concatenate([vertices.reshape(-1, 3), caps]),
        joined,
        np.concatenate([np.repeat(smooth[:, 0], part.around), smooth[[0, -1], 0]]),
    )


def _weights(part: Part, position: Floats, vertices: Floats) -> Floats:
    weights = np.zeros((len(position), len(JOINTS)))
    remaining = np.ones(len(position))
    for bone, (where, width) in zip(part.bones, part.breaks, strict=False):
        passed = np.clip((position - where) / width + 0.5, 0, 1)
        passed = passed * passed * (3 - 2 * passed)
        weights[:, JOINT[bone]] = remaining * (1 - passed)
        remaining = remaining * passed
    weights[:, JOINT[part.bones[-1]]] += remaining
    if part.name == "skirt":  # its hem follows both thighs
        fall = np.clip((0.96 - vertices[:, 1]) / 0.30, 0, 1) * 0.9
        left = np.clip(vertices[:, 0] / 0.20 + 0.5, 0, 1)
        weights[:, JOINT["pelvis"]] = 1 - fall
        weights[:, JOINT["left_hip"]] = fall * left
        weights[:, JOINT["right_hip"]] = fall * (1 - left)
    return weights


def normals(vertices: Floats, faces: NDArray[np.int64]) -> Floats:
    """Return unit vertex normals (V, 3): area-weighted means of the faces around."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    u, v = b - a, c - a
    cross = np.stack([u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
                      u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
                      u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]], axis=1)  # fmt: skip
    corner = faces.reshape(-1)
    total = np.stack(
        [np.bincount(corner, np.repeat(cross[:, i], 3), len(vertices)) for i in range(3)], axis=1
    )
    length = np.sqrt(total[:, 0] ** 2 + total[:, 1] ** 2 + total[:, 2] ** 2)
    return total / np.maximum(length, 1e-12)[:, None]


def joint_transforms(rotations: Floats, scales: Floats) -> tuple[Floats, Floats]:
    """Forward kinematics.

    Parameters
    ----------
    rotations : array (J, 3, 3)
        Each joint's rotation relative to its parent; the first turns the whole body.
    scales : array (J, 3)
        Each bone's size relative to the average, along the rest pose's axes.

    Returns
    -------
    linear : array (J, 3, 3)
        Rotation times scale of each bone in the body's frame.
    positions : array (J, 3)
        Joints in metres, the pelvis at its rest place.
    """
    turn, linear = np.empty((len(JOINTS), 3, 3)), np.empty((len(JOINTS), 3, 3))
    positions = np.empty((len(JOINTS), 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            turn[joint], positions[joint] = rotations[joint], REST[joint]
        else:
            turn[joint] = turn[parent] @ rotations[joint]
            positions[joint] = positions[parent] + linear[parent] @ (REST[joint] - REST[parent])
        linear[joint] = turn[joint] * scales[joint]
    return linear, positions


def skin(points: Floats, weights: Floats, linear: Floats, positions: Floats) -> Floats:
    """Move rest points (N, 3) with their bones: weights (N, J), transforms of the joints."""
    moved = np.zeros_like(points)
    for joint in range(len(JOINTS)):
        own = np.flatnonzero(weights[:, joint])
        local = points[own] - REST[joint]
        carried = np.stack([(local * row).sum(axis=1) for row in linear[joint]], axis=1)
        moved[own] += weights[own, joint, None] * (carried + positions[joint])
    return np.asarray(np.round(moved, 6))  # the same bits on every processor


def keypoint_weights() -> Floats:
    """Return the skinning weights (21, J) of the keypoints: one bone each."""
    weights = np.zeros((len(KEYPOINT_BONES), len(JOINTS)))
    weights[np.arange(len(KEYPOINT_BONES)), [JOINT[name] for name in KEYPOINT_BONES]] = 1
    return weights
