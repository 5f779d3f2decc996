"""The embedded world as pictures of single people with their meshes: every one a body of its own.

The mesh is the body's own, without hair and clothes, in the topology of
:func:`benchmarks.world.mesh.body_model`. Model space has the camera's axes (x right, y down, z
away) and the pelvis where the model has it at rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.world import body
from benchmarks.world.body import Floats
from benchmarks.world.h36m import FOCAL, SIZE
from benchmarks.world.look import sample_build, sample_look
from benchmarks.world.marker import check_split, made_once
from benchmarks.world.mesh import STEP, body_model, kept_vertices
from benchmarks.world.pictures import in_order, write_jpeg
from benchmarks.world.poses import rotation, sample_pose
from benchmarks.world.scene import Camera, Light, Person, Scene
from harness.api.skeleton import H36M_17, H36M_17_REGRESSOR

VERSION = 1
"""Changes whenever a number of a split changes."""

SPLITS = {"embedded-train": (1, 3000), "embedded-val": (2, 400)}
"""Each split's code in the seeds, and its number of pictures."""

FILE = "mesh.npz"


@dataclass(frozen=True, eq=False)
class Shown:
    """One person before a camera.

    Parameters
    ----------
    person : Person
    camera : Camera
    vertices : array (V, 3)
        Of the naked body in model space, metres.
    keypoints : array (17, 2)
        Pixels of the joints that the regressor makes of the mesh.
    box : array (4,)
        x, y, w, h in pixels around the mesh.
    rotations : array (J, 3, 3)
        Each joint's relative to its parent; the first turns the body into the camera's axes.
    shape : array (7,)
        Of the body model.
    """

    person: Person
    camera: Camera
    vertices: Floats
    keypoints: Floats
    box: Floats
    rotations: Floats
    shape: Floats


@cache
def regressor() -> Floats:
    """Return the body model's regressor (17, V) in the order of body models: the left leg first."""
    order = [H36M_17.joints.index(joint) for joint in H36M_17_REGRESSOR.joints]
    return body_model()["h36m_regressor"][order].astype(np.float64)


def show(split: str, index: int) -> Shown:
    """Draw the person of a picture, and compute what is true of it."""
    random = np.random.default_rng([VERSION, SPLITS[split][0], index])
    height, distance = random.uniform(1.2, 1.8), random.uniform(4.2, 5.6)
    tilt = np.rad2deg(np.arctan2(height - 0.9, distance))
    turned = rotation(2, random.normal(0, 2)) @ rotation(0, tilt) @ np.diag([1.0, -1.0, -1.0])
    camera = Camera(np.round(turned, 9), np.array([0.0, height, 0.0]), FOCAL, (SIZE, SIZE))
    person = Person(sample_build(random), sample_look(random), sample_pose(random),
                    np.round([random.uniform(-0.6, 0.6), -distance], 6),
                    float(random.uniform(-180, 180)))  # fmt: skip
    rotations = person.pose.rotations.copy()
    rotations[0] = np.round(camera.rotation @ rotation(1, person.turn) @ rotations[0], 9)
    template, kept = body.template(), kept_vertices()
    moves = body.joint_transforms(rotations, person.build.scales())
    vertices = body.skin(template.vertices[kept], template.weights[kept], *moves)
    pelvis = camera.rotation @ (person.figure().joints[0] - camera.position)
    away = vertices + (pelvis - body.REST[0])
    pixels = _pixels(away)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    proportions = np.array(list(vars(person.build).values()))
    return Shown(person, camera, vertices, _pixels(regressor() @ away),
                 np.append(low, high - low), rotations, (proportions - 1) / STEP)  # fmt: skip


def _pixels(points: Floats) -> Floats:
    """Return the pixels (n, 2) of points in the camera's frame (n, 3), metres."""
    return np.asarray(FOCAL * points[:, :2] / points[:, 2:] + (SIZE - 1) / 2)


def make_split(
    root: Path,
    split: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a split below ``root/SPLIT``: ``mesh.npz`` and ``images``; once.

    Raises
    ------
    PrerequisiteError
        If there is no such split, or ``root`` cannot be written.
    """
    check_split(split, tuple(SPLITS), "h36m-mesh")
    return made_once(root / split, VERSION, lambda folder: _write(folder, split, progress, workers))


def _write(
    folder: Path, split: str, progress: Callable[[int, int], None] | None, workers: int
) -> None:
    from scipy.spatial.transform import Rotation

    (folder / "images").mkdir()
    count = SPLITS[split][1]
    shown = list(in_order(partial(_draw, folder, split), count, workers, progress))

    def every(name: str) -> NDArray[Any]:
        return np.array([getattr(one, name) for one in shown])

    turns = Rotation.from_matrix(every("rotations").reshape(-1, 3, 3)).as_rotvec()
    np.savez(
        folder / FILE,
        unit="metre",
        gt_vertices=every("vertices").astype(np.float32),
        J_regressor_h36m=regressor().astype(np.float32),
        f=body_model()["f"],
        imgname=np.array([_name(index) for index in range(count)]),
        box=np.round(every("box"), 3),
        part=np.round(every("keypoints"), 3),
        pose=np.round(turns.reshape(count, -1), 6),
        shape=np.round(every("shape"), 6),
    )


def _name(index: int) -> str:
    return f"images/{index:06d}.jpg"


def _draw(folder: Path, split: str, index: int) -> Shown:
    from benchmarks.world.draw import draw

    shown = show(split, index)
    random = np.random.default_rng([VERSION, SPLITS[split][0], index, 9])
    side, strength = random.uniform(-0.8, 0.8), random.uniform(0.4, 0.6)
    light = Light(np.array([side, 0.8, 0.6]) / np.hypot(side, 1.0), strength, 0.5, (1.0, 1.0, 1.0))
    scene = Scene(shown.camera, light, (shown.person,), (), False, int(random.integers(2**31)))
    write_jpeg(folder / _name(index), draw(scene, random).image)
    return shown
