"""Drawing a scene: surfaces, shadows, backdrop and camera, with exact ground truth per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.world import body
from benchmarks.world.backdrop import draw_backdrop
from benchmarks.world.look import paint
from benchmarks.world.poses import rotation
from benchmarks.world.raster import NEAR, Floats, Hits, Ints, rasterise
from benchmarks.world.scene import Box, Figure, Scene
from harness.api.skeleton import COCO_MPII_21


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn scene with what every pixel shows.

    Parameters
    ----------
    image : uint8 array (height, width, 3)
        BGR.
    owner : int array (height, width)
        Number of the person plus one that fills most of a pixel; 0 for things and backdrop.
    keypoints : array (people, 21, 2)
        Of COCO_MPII_21; pixels, whole numbers at pixel centres.
    visibility : int array (people, 21)
        COCO's: 2 visible, 1 hidden, 0 outside the picture or on the far side of the head.
    """

    image: NDArray[np.uint8]
    owner: Ints
    keypoints: Floats
    visibility: Ints


_FINE = 2  # people and things are drawn at twice the resolution and averaged


@dataclass(frozen=True, eq=False)
class SurfaceView:
    """What every pixel of a scene shows, at twice the picture's resolution.

    Fine pixel i covers i / 2 to (i + 1) / 2 of the picture's pixels, counted from its corner.

    Parameters
    ----------
    owner : int array (height, width)
        As in :class:`Picture`: of the picture's pixels.
    fine_owner : int array (2 height, 2 width)
    part : int array (2 height, 2 width)
        Number in :data:`benchmarks.world.body.PARTS`; of a person's pixels alone.
    rest : array (2 height, 2 width, 3)
        Place on the average body at rest in metres; of a person's pixels alone.
    """

    owner: Ints
    fine_owner: Ints
    part: Ints
    rest: Floats


def view_surface(scene: Scene) -> SurfaceView:
    """Find out which point of whose surface every pixel of :func:`draw`'s picture shows."""
    fine = _FineScene.of(scene, [person.figure() for person in scene.people])
    height, width = scene.camera.size
    size = (_FINE * height, _FINE * width)
    hits = rasterise(fine.pixels, fine.depth, fine.faces, size)
    owner, part = (np.zeros(size[0] * size[1], dtype=np.int64) for _ in range(2))
    rest = np.zeros((size[0] * size[1], 3))
    owner[hits.pixels] = fine.face_owner[hits.faces] + 1
    part[hits.pixels] = fine.face_part[hits.faces]
    rest[hits.pixels] = _blend(fine.rest, fine, hits)
    fine_owner = owner.reshape(size)
    return SurfaceView(_majority(fine_owner, len(scene.people)), fine_owner, part.reshape(size),
                       np.round(rest, 6).reshape(*size, 3))  # fmt: skip


def draw(scene: Scene, random: np.random.Generator) -> Picture:
    """Draw a scene; ``random`` makes the camera's grain."""
    figures = [person.figure() for person in scene.people]
    fine = _FineScene.of(scene, figures)
    height, width = scene.camera.size
    size = (_FINE * height, _FINE * width)
    hits = rasterise(fine.pixels, fine.depth, fine.faces, size)
    layer, cover = np.zeros((size[0] * size[1], 3)), np.zeros(size[0] * size[1])
    layer[hits.pixels] = _shade(scene, fine, hits)
    cover[hits.pixels] = 1
    backdrop = draw_backdrop(scene) * _shadows(scene, figures)[..., None]
    hidden = _mean(cover.reshape(size))[..., None]
    picture = _mean(layer.reshape(*size, 3)) + (1 - hidden) * backdrop
    owner = np.zeros(size[0] * size[1], dtype=np.int64)
    owner[hits.pixels] = fine.face_owner[hits.faces] + 1
    owner = _majority(owner.reshape(size), len(scene.people))
    keypoints, visibility = _keypoints(scene, fine, figures, hits, owner)
    return Picture(_expose(picture, scene, random), owner, keypoints, visibility)


@dataclass(frozen=True, eq=False)
class _FineScene:
    """All triangles of a scene: projected, with what their surfaces are made of."""

    pixels: Floats
    depth: Floats
    normals: Floats
    rest: Floats
    faces: Ints
    face_owner: Ints
    """Number of the person, or -1 for a thing."""
    face_part: Ints
    """Part of the body, or the number of the thing."""

    @classmethod
    def of(cls, scene: Scene, figures: list[Figure]) -> _FineScene:
        """Join the meshes of people and things."""
        mesh = body.template()
        points, normals, rest, faces, owners, parts = [], [], [], [], [], []
        start = 0
        for number, figure in enumerate(figures):
            points.append(figure.vertices)
            normals.append(body.normals(figure.vertices, figure.faces))
            rest.append(mesh.vertices)
            faces.append(figure.faces + start)
            owners.append(np.full(len(figure.faces), number))
            parts.append(mesh.vertex_part[figure.faces[:, 0]])
            start += len(figure.vertices)
        for number, thing in enumerate(scene.things):
            corners, flat, local = _box_mesh(thing)
            points.append(corners)
            normals.append(flat)
            rest.append(local)
            faces.append(_BOX_FACES + start)
            owners.append(np.full(len(_BOX_FACES), -1))
            parts.append(np.full(len(_BOX_FACES), number))
            start += len(corners)
        pixels, depth = scene.camera.project(np.concatenate(points))
        return cls((pixels + 0.5) * _FINE - 0.5, depth, np.concatenate(normals),
                   np.concatenate(rest), np.concatenate(faces), np.concatenate(owners),
                   np.concatenate(parts))  # fmt: skip


# Six sides of four own corners each, so that every side has its own normal.
_BOX_FACES: Ints = np.concatenate([[[4 * s, 4 * s + 1, 4 * s + 2], [4 * s, 4 * s + 2, 4 * s + 3]]
                                   for s in range(6)])  # fmt: skip


def _box_mesh(thing: Box) -> tuple[Floats, Floats, Floats]:
    """Return corners, normals and local positions (24, 3)."""
    local, normals = [], []
    for axis in range(3):
        for sign in (-1, 1):
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            middle = sign * np.eye(3)[axis]
            ring = [(-1, -1), (1, -1), (1, 1), (-1, 1)][::sign]
            local += [middle + a * u + b * v for a, b in ring]
            normals += [middle] * 4
    turn = np.round(rotation(1, thing.turn), 9)
    place = np.array(local) * thing.extent / 2
    corners = (place[:, None, :] * turn).sum(axis=2) + thing.centre
    return np.round(corners, 6), (np.array(normals)[:, None, :] * turn).sum(axis=2), place


def _blend(values: Floats, fine: _FineScene, hits: Hits) -> Floats:
    """Return the values (N, 3) at every hit of what the vertices (V, 3) have."""
    corner = fine.faces[hits.faces]
    return sum(values[corner[:, i]] * hits.corners[:, i, None] for i in range(3))  # type: ignore[return-value]


def _shade(scene: Scene, fine: _FineScene, hits: Hits) -> Floats:
    """Return the colour (N, 3) of every hit."""
    rest, normal = _blend(fine.rest, fine, hits), _blend(fine.normals, fine, hits)
    owner, part = fine.face_owner[hits.faces], fine.face_part[hits.faces]
    colour = np.empty((len(hits.faces), 3))
    for number, person in enumerate(scene.people):
        own = np.flatnonzero(owner == number)
        colour[own] = paint(person.look, part[own], rest[own])
    for number, thing in enumerate(scene.things):
        own = np.flatnonzero((owner == -1) & (part == number))
        grain = 0.93 + 0.07 * (np.floor(rest[own, 1] / 0.11) % 2)
        colour[own] = np.array(thing.colour) * grain[:, None]
    nx, ny, nz = normal.T
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    light = scene.light
    lit = (nx * light.direction[0] + ny * light.direction[1] + nz * light.direction[2]) / length
    lit = np.clip(0.2 + 0.8 * lit, 0, 1)  # cloth and skin scatter: light wraps around
    sky = 0.78 + 0.22 * ny / length  # less from below
    facing = np.abs((normal * scene.camera.rotation[2]).sum(axis=1)) / length
    shade = (light.ambient * sky + light.strength * lit) * (0.72 + 0.28 * facing)
    return np.asarray(colour * shade[:, None])


def _shadows(scene: Scene, figures: list[Figure]) -> Floats:
    """Return how much light (height, width) the people leave on the ground."""
    height, width = scene.camera.size
    mask = np.zeros((height, width), dtype=np.uint8)
    mesh = body.template()
    light = scene.light.direction
    bones = mesh.weights.argmax(axis=1)
    for figure in figures:
        fall = figure.vertices[:, 1:2] / light[1]
        ground = figure.vertices - fall * light
        pixels, depth = scene.camera.project(ground)
        shown = np.zeros(len(bones), dtype=bool)
        shown[figure.faces] = True
        for bone in range(len(body.JOINTS)):
            own = np.flatnonzero(shown & (bones == bone))
            if len(own) and depth[own].min() > NEAR:
                points = np.clip(np.round(pixels[own]), -4000, 4000).astype(np.int32)
                cv2.fillConvexPoly(mask, cv2.convexHull(points), 255)
    mask = cv2.GaussianBlur(mask, (5, 5), 0)
    dark = scene.light.strength / (scene.light.strength + scene.light.ambient)
    return np.asarray(1 - 0.85 * dark * mask / 255)


def _mean(fine: Floats) -> Floats:
    """Average blocks of fine pixels."""
    height, width = fine.shape[0] // _FINE, fine.shape[1] // _FINE
    total = sum(fine[i::_FINE, j::_FINE] for i in range(_FINE) for j in range(_FINE))
    return np.asarray(total / _FINE**2).reshape(height, width, *fine.shape[2:])


def _majority(owner: Ints, people: int) -> Ints:
    """Return who fills most of each pixel; of a tie the earlier."""
    counts = np.stack(
        [sum((owner[i::_FINE, j::_FINE] == number).astype(np.int64)
             for i in range(_FINE) for j in range(_FINE)) for number in range(people + 1)]
    )  # fmt: skip
    return np.asarray(counts.argmax(axis=0))


def _keypoints(
    scene: Scene, fine: _FineScene, figures: list[Figure], hits: Hits, owner: Ints
) -> tuple[Floats, Ints]:
    """Project every person's points and look up whether the surface seen there shows them."""
    height, width = owner.shape
    count = height * width * _FINE**2
    surface_owner, surface_part = np.full(count, -1), np.zeros(count, dtype=np.int64)
    surface_depth = np.zeros(count)
    surface_owner[hits.pixels] = fine.face_owner[hits.faces]
    surface_part[hits.pixels] = np.where(surface_owner[hits.pixels] >= 0,
                                         fine.face_part[hits.faces], 0)  # fmt: skip
    surface_depth[hits.pixels] = hits.depth
    keypoints, visibility = [], []
    points = np.arange(len(COCO_MPII_21))
    for number, figure in enumerate(figures):
        pixels, depth = scene.camera.project(figure.keypoints)
        pixels = np.round(pixels, 2)
        inside = (pixels >= 0).all(axis=1) & (pixels <= [width - 1, height - 1]).all(axis=1)
        inside &= depth > NEAR
        pixels = np.where(inside[:, None], pixels, 0)
        column, row = np.round((pixels + 0.5) * _FINE - 0.5).astype(np.int64).T
        at = row * width * _FINE + column
        seen = (surface_owner[at] == number) & _SHOWS[points, surface_part[at]]
        seen &= depth - surface_depth[at] < body.KEYPOINT_DEPTH
        column, row = np.round(pixels).astype(np.int64).T
        seen &= owner[row, column] == number + 1
        labelled = inside & (seen | _faces_camera(scene, figure.keypoints))
        visibility.append(np.where(labelled, np.where(seen, 2, 1), 0))
        keypoints.append(np.where(labelled[:, None], pixels, 0))
    return np.array(keypoints), np.array(visibility)


def _faces_camera(scene: Scene, points: Floats) -> NDArray[np.bool_]:
    """Return whether keypoints (21, 3) could be labelled: all but those on a face turned away.

    COCO's annotators guess where a hidden limb is, but leave out the nose, eyes and ears that are
    on the far side of the head.
    """
    outwards = points - points[3:5].mean(axis=0)  # from between the ears
    towards = scene.camera.position - points
    facing = (outwards * towards).sum(axis=1) > 0
    facing[5:] = True
    return facing


def _shows() -> NDArray[np.bool_]:
    """Return which parts (21, P) show a keypoint when they are in front of it."""
    table = np.zeros((len(COCO_MPII_21), len(body.PARTS)), dtype=bool)
    head = ("head", "nose", "left ear", "right ear")
    for row, name in enumerate(COCO_MPII_21.joints):
        side, _, joint = name.partition("_")
        parts = {
            "nose": head, "eye": head, "ear": head, "shoulder": ("torso", f"{side} arm"),
            "elbow": (f"{side} arm",), "wrist": (f"{side} arm", f"{side} hand", f"{side} thumb"),
            "hip": ("torso", f"{side} leg", "skirt"), "knee": (f"{side} leg", "skirt"),
            "ankle": (f"{side} leg", f"{side} foot"),
            "pelvis": ("torso", "left leg", "right leg", "skirt"), "thorax": ("torso", "neck"),
            "neck": ("neck", "torso", *head, "long hair"),
            "top": ("head", "hair", "long hair", "bun", "brim"),
        }[joint or side]  # fmt: skip
        table[row, [body.PART[part] for part in parts]] = True
    return table


_SHOWS = _shows()


def _expose(picture: Floats, scene: Scene, random: np.random.Generator) -> NDArray[np.uint8]:
    """Turn light into 8-bit BGR with the lens's softness and the sensor's grain."""
    gain = random.uniform(0.9, 1.1)
    values = np.clip(picture * np.array(scene.light.tint) * gain * 255, 0, 255)
    image = np.round(values[..., ::-1]).astype(np.uint8)
    if random.random() < 0.5:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    grain = int(random.integers(1, 6))
    dust = random.integers(-grain, grain + 1, (2, *image.shape), dtype=np.int8).sum(axis=0)
    return np.clip(image + dust, 0, 255).astype(np.uint8)
