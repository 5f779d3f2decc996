"""The embedded body unfolded: 24 parts with u, v, and the distances along its surface.

The numbers of the parts are DensePose's; the body, its chart and its distances are the embedded
world's own. Every region of the body has a straight axis at rest. V is the place along the axis, U
the angle about it; limbs, torso and head are two halves, hands and feet one piece, cut open
at the little finger and the sole:

=============  ==============  ===================  =====================  ============
region         right; left     V from 0 to 1        U from 0 to 1          halves
=============  ==============  ===================  =====================  ============
torso          1, 2            crotch to neck       its right to its left  back, front
hand           3; 4            wrist to fingertips  around
foot           6; 5            heel to toes         around
upper leg      7, 9; 8, 10     hip to knee          inner to outer side    back, front
lower leg      11, 13; 12, 14  knee to ankle        inner to outer side    back, front
upper arm      16, 18; 15, 17  collar to elbow      lower to upper side    back, front
lower arm      20, 22; 19, 21  elbow to wrist       lower to upper side    back, front
head and neck  23; 24          collar to crown      back to front          right, left
=============  ==============  ===================  =====================  ============

A point's mirror image has the same V, the part of :data:`MIRRORED` and the same U, on the torso
(:data:`TORSO`) 1 - U. Hair, caps and skirts count as the body below them: they have its angle and
height.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.geodesic import Surface
from benchmarks.world import body
from benchmarks.world.body import Floats

Ints = NDArray[np.int64]

TORSO = (1, 2)
MIRRORED: tuple[int, ...] = (
    0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23,
)  # fmt: skip
"""Part of the mirror image of each part; 0 is the background."""

COARSE: Ints = np.array(
    [0, 1, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 8, 9, 10, 11, 10, 11, 12, 13, 12, 13, 14, 14]
)
"""Which of DensePose's 14 masks holds each of the 24 parts."""

_X, _Y, _Z, _OUT = range(4)  # the person's left, up, forwards; away from the middle


@dataclass(frozen=True)
class _Region:
    """A piece of the body around an axis.

    Parameters
    ----------
    along : (axis, value at V = 0, value at V = 1)
    side, other : (axis, place of the region's axis)
        U grows with the angle from ``other`` towards ``side``.
    parts : ((right, right), (left, left))
        On each side of the body the parts where ``other`` is below and above its place.
    """

    along: tuple[int, float, float]
    side: tuple[int, float]
    other: tuple[int, float]
    parts: tuple[tuple[int, int], tuple[int, int]]

    @property
    def closed(self) -> bool:
        """Whether the region is one piece all around."""
        return all(first == second for first, second in self.parts)


_REGIONS = {
    "torso": _Region((_Y, 0.82, 1.50), (_X, 0.0), (_Z, -0.005), ((1, 2), (1, 2))),
    "head": _Region((_Y, 1.42, 1.785), (_Z, 0.0), (_X, 0.0), ((23, 24), (23, 24))),
    "upper arm": _Region((_OUT, 0.09, 0.46), (_Y, 1.418), (_Z, -0.015), ((16, 18), (15, 17))),
    "lower arm": _Region((_OUT, 0.46, 0.72), (_Y, 1.420), (_Z, -0.014), ((20, 22), (19, 21))),
    "hand": _Region((_OUT, 0.70, 0.885), (_Y, 1.415), (_Z, -0.013), ((3, 3), (4, 4))),
    "upper leg": _Region((_Y, 0.98, 0.50), (_OUT, 0.092), (_Z, -0.002), ((7, 9), (8, 10))),
    "lower leg": _Region((_Y, 0.50, 0.055), (_OUT, 0.104), (_Z, -0.012), ((11, 13), (12, 14))),
    "foot": _Region((_Z, -0.078, 0.187), (_OUT, 0.110), (_Y, 0.035), ((6, 6), (5, 5))),
}
_NAMES = tuple(_REGIONS)

# Pieces that hang together; thighs and feet that only come close do not.
_JOINS = (
    ("torso", "neck"), ("neck", "head"), ("head", "nose"),
    *(
        (first if first in ("torso", "head") else f"{side} {first}", f"{side} {second}")
        for side in ("left", "right")
        for first, second in (("head", "ear"), ("torso", "arm"), ("arm", "hand"),
                              ("hand", "thumb"), ("torso", "leg"), ("leg", "foot"))
    ),
)  # fmt: skip
_REACH = 0.05
"""Metres over which pieces that hang together are joined."""


def _region(piece: Ints, rest: Floats) -> Ints:
    """Return the number in ``_NAMES`` of the region (n,) of points."""
    out, height = np.abs(rest[:, 0]), rest[:, 1]
    arm = np.where(out < 0.46, _NAMES.index("upper arm"), _NAMES.index("lower arm"))
    leg = np.where(height > 0.50, _NAMES.index("upper leg"), _NAMES.index("lower leg"))
    head, torso = _NAMES.index("head"), _NAMES.index("torso")
    found = np.full(len(piece), head)
    for number, part in enumerate(body.PARTS):
        own = piece == number
        match part.name.removeprefix("left ").removeprefix("right "):
            case "torso":
                found[own] = torso
            case "arm":
                found[own] = arm[own]
            case "leg":
                found[own] = leg[own]
            case "hand" | "thumb":
                found[own] = _NAMES.index("hand")
            case "foot":
                found[own] = _NAMES.index("foot")
            case "skirt":
                found[own] = np.where(height > 0.92, torso, leg)[own]
            case "long hair":
                found[own] = np.where(height > 1.46, head, torso)[own]
    return found


def unfold(piece: Ints, rest: Floats) -> tuple[Ints, Floats, Floats]:
    """Return part (1 to 24), u and v (0 to 1) of points of the embedded body, (n,) each.

    Parameters
    ----------
    piece : int array (n,)
        Numbers in :data:`benchmarks.world.body.PARTS`.
    rest : array (n, 3)
        Places on the average body at rest in metres.
    """
    part = np.zeros(len(piece), dtype=np.int64)
    u, v = np.zeros(len(piece)), np.zeros(len(piece))
    places = np.column_stack([rest, np.abs(rest[:, 0])])
    regions = _region(piece, rest)
    for number, region in enumerate(_REGIONS.values()):
        own = np.flatnonzero(regions == number)
        axis, start, end = region.along
        side, other = (places[own, axis] - middle for axis, middle in (region.side, region.other))
        angle = np.arctan2(side, other if region.closed else np.abs(other))
        u[own] = 0.5 + angle / (2 * np.pi if region.closed else np.pi)
        v[own] = np.clip((places[own, axis] - start) / (end - start), 0, 1)
        part[own] = np.array(region.parts)[(rest[own, 0] > 0) * 1, (other > 0) * 1]
    return part, np.round(u, 4), np.round(v, 4)


@cache
def surface() -> Surface:
    """Return the unfolded average body, with distances along the edges of its mesh.

    Vertices inside another piece of the body are left out; pieces that hang together are joined
    where they are near.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial import cKDTree

    mesh = body.template()
    kept = np.flatnonzero(_outside())
    points, piece = mesh.vertices[kept], mesh.vertex_part[kept]
    place = np.full(len(mesh.vertices), -1)
    place[kept] = np.arange(len(kept))
    faces = place[mesh.faces]
    faces = faces[(faces >= 0).all(axis=1)]
    edges = [faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]
    for names in _JOINS:
        first, second = (np.flatnonzero(piece == body.PART[name]) for name in names)
        for own, others in ((first, second), (second, first)):
            away, nearest = cKDTree(points[others]).query(points[own])
            near = away < _REACH
            edges.append(np.stack([own[near], others[nearest[near]]], axis=1))
    ends = np.unique(np.sort(np.concatenate(edges), axis=1), axis=0)
    length = np.sqrt(((points[ends[:, 0]] - points[ends[:, 1]]) ** 2).sum(axis=1))
    graph = coo_array((length, tuple(ends.T)), shape=(len(points), len(points)))
    away = dijkstra(graph.tocsr(), directed=False)
    part, u, v = unfold(piece, points)
    rows, columns = np.tril_indices(len(points), -1)
    distances = np.round(away[rows, columns], 5).astype(np.float32)
    return Surface(part, u, v, np.arange(len(points)), distances)


def _outside() -> NDArray[np.bool_]:
    """Return which vertices (V,) of the template are the body's skin.

    A vertex is inside a closed mesh if its faces are seen from there under the angle of a whole
    sphere (van Oosterom, Strackee 1983).
    """
    mesh = body.template()
    worn = np.array([part.name in body.OPTIONAL_PARTS for part in body.PARTS])
    kept = ~worn[mesh.vertex_part]
    for number in np.flatnonzero(~worn):
        corners = mesh.vertices[mesh.faces[mesh.face_part == number]]
        low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        near = ((mesh.vertices > low) & (mesh.vertices < high)).all(axis=1)
        others = np.flatnonzero(kept & near & (mesh.vertex_part != number))
        for vertex in others:
            a, b, c = np.moveaxis(corners - mesh.vertices[vertex], 1, 0)
            la, lb, lc = (np.sqrt((side**2).sum(axis=1)) for side in (a, b, c))
            volume = (a * np.cross(b, c)).sum(axis=1)
            flat = la * lb * lc + (a * b).sum(axis=1) * lc
            flat += (b * c).sum(axis=1) * la + (c * a).sum(axis=1) * lb
            if 2 * np.arctan2(volume, flat).sum() > 2 * np.pi:
                kept[vertex] = False
    return kept
