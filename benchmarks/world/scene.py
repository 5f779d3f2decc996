"""Scenes of the embedded world: people, things, light and a camera, all in three dimensions.

World: metres, x to the right, y up, the ground at y = 0, the camera above the origin looking
towards negative z; a person turned by 0 degrees faces the camera. Camera: x right, y down,
z forwards. A scene holds everything, so that any ground truth (2D and 3D joints, cameras, meshes,
depth) can be computed from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.world import body
from benchmarks.world.body import Floats
from benchmarks.world.look import Build, Colour, Look, dressed_vertices, sample_build, sample_look
from benchmarks.world.poses import Pose, rotation, sample_pose

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera without distortion.

    Parameters
    ----------
    rotation : array (3, 3)
        World to camera.
    position : array (3,)
        In the world, metres.
    focal : float
        Pixels.
    size : (height, width)
        The principal point is the image's centre.
    """

    rotation: Floats
    position: Floats
    focal: float
    size: tuple[int, int]

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Return pixels (N, 2), whole numbers at pixel centres, and depths (N,) of world points."""
        local = points - self.position
        x, y, z = ((local * row).sum(axis=1) for row in self.rotation)
        safe = np.where(np.abs(z) < 1e-6, 1e-6, z)
        height, width = self.size
        pixels = np.stack(
            [self.focal * x / safe + (width - 1) / 2, self.focal * y / safe + (height - 1) / 2],
            axis=1,
        )
        return pixels, z


@dataclass(frozen=True, eq=False)
class Light:
    """A distant lamp (unit vector towards it), its strength, and light from everywhere."""

    direction: Floats
    strength: float
    ambient: float
    tint: Colour


@dataclass(frozen=True, eq=False)
class Person:
    """One person: build, look, pose and place on the ground.

    Parameters
    ----------
    build, look, pose
    place : array (2,)
        World x, z of the pelvis in metres.
    turn : float
        Degrees about the vertical; 0 faces the camera's side, 90 the right of the image.
    """

    build: Build
    look: Look
    pose: Pose
    place: Floats
    turn: float

    def figure(self) -> Figure:
        """Compute the surface and the joints in the world."""
        mesh = body.template()
        linear, positions = body.joint_transforms(self.pose.rotations, self.build.scales())
        surface = body.skin(dressed_vertices(self.look), mesh.weights, linear, positions)
        points = body.skin(body.KEYPOINT_REST, body.keypoint_weights(), linear, positions)
        worn = np.array([part.name not in body.OPTIONAL_PARTS or part.name in self.look.parts()
                         for part in body.PARTS])  # fmt: skip
        shown = worn[mesh.vertex_part]
        lowest = surface[shown, 1].min() - self.pose.lift
        shift = np.array([-positions[0, 0], -lowest, -positions[0, 2]])
        turn = np.round(rotation(1, self.turn), 9)
        place = np.array([self.place[0], 0.0, self.place[1]])

        def to_world(local: Floats) -> Floats:
            moved = local + shift
            x, y, z = ((moved * row).sum(axis=1) for row in turn)
            return np.asarray(np.round(np.stack([x, y, z], axis=1) + place, 6))

        return Figure(to_world(surface), to_world(positions), to_world(points),
                      mesh.faces[worn[mesh.face_part]])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Figure:
    """A person's geometry in the world, metres.

    Parameters
    ----------
    vertices : array (V, 3)
        Of the template's topology.
    joints : array (J, 3)
        In the order of :data:`benchmarks.world.body.JOINTS`.
    keypoints : array (21, 3)
        In the order of COCO_MPII_21.
    faces : int array (F, 3)
        The faces that this person shows.
    """

    vertices: Floats
    joints: Floats
    keypoints: Floats
    faces: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Box:
    """A thing on the ground, or standing above it: a seat, crate, table top, post.

    Parameters
    ----------
    centre, extent : array (3,)
        Metres; the extent before turning.
    turn : float
        Degrees about the vertical.
    colour : (r, g, b)
    """

    centre: Floats
    extent: Floats
    turn: float
    colour: Colour


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything in a picture. ``backdrop_seed`` draws what is too far away to hide anything."""

    camera: Camera
    light: Light
    people: tuple[Person, ...]
    things: tuple[Box, ...]
    outdoors: bool
    backdrop_seed: int


def sample_scene(
    random: Random,
    count: int | None = None,
    tall: tuple[float, float] = (0.55, 1.05),
    aim: float = 0.9,
) -> Scene:
    """Draw a scene: a camera, people in front of it, and things between them.

    Parameters
    ----------
    random : Generator
    count : int, optional
        People; one to five by default.
    tall : (float, float)
        Limits of the first person's height, in heights of the picture.
    aim : float
        Metres above the ground that the camera looks at.
    """
    size = (4 * int(random.integers(64, 81)), 4 * int(random.integers(80, 101)))
    focal = size[1] * random.uniform(0.85, 1.6)
    main = focal * 1.7 / (size[0] * random.uniform(*tall))  # distance of the first person
    high = random.random() < 0.15
    height = random.uniform(2.2, 4.0) if high else random.uniform(0.8, 2.0)
    height = min(height, aim + 0.7 * main)
    tilt = np.rad2deg(np.arctan2(height - aim, main)) + random.normal(0, 2.5)
    turned = rotation(2, random.normal(0, 2)) @ rotation(0, tilt) @ np.diag([1.0, -1.0, -1.0])
    camera = Camera(np.round(turned, 9), np.array([0.0, height, 0.0]), focal, size)
    people = _sample_people(random, camera, main, count)
    things = [seat for person in people if person.pose.seat for seat in _seat(random, person)]
    things += _sample_things(random, camera, people)
    outdoors = bool(random.random() < 0.5)
    return Scene(camera, _sample_light(random, outdoors), tuple(people), tuple(things), outdoors,
                 int(random.integers(2**31)))  # fmt: skip


def _sample_people(random: Random, camera: Camera, main: float, count: int | None) -> list[Person]:
    if count is None:
        count = 1 + int(np.searchsorted([0.10, 0.40, 0.74, 0.95], random.random()))
    spread = camera.size[1] / (2 * camera.focal)
    people: list[Person] = []
    for _ in range(40):
        distance = main if not people else main * float(np.exp(random.uniform(-0.12, 0.85)))
        place = np.array([distance * spread * random.uniform(-0.85, 0.85), -distance])
        if people and random.random() < 0.25:  # beside or partly behind somebody
            other = people[int(random.integers(len(people)))].place
            place = other + random.uniform(-1, 1, 2) * [0.75, 0.6]
        if all(np.hypot(*(place - person.place)) > 0.5 for person in people):
            people.append(_sample_person(random, place))
        if len(people) == count:
            break
    return people


def _sample_person(random: Random, place: Floats) -> Person:
    way = random.random()
    turn = random.normal(0, 40) if way < 0.6 else random.uniform(-180, 180)
    return Person(sample_build(random), sample_look(random), sample_pose(random),
                  np.round(place, 6), float(turn))  # fmt: skip


def _seat(random: Random, person: Person) -> list[Box]:
    """Put a block, stool or chair under a sitting person."""
    figure = person.figure()
    torso = body.template().vertex_part == body.PART["torso"]
    top = float(figure.vertices[torso, 1].min()) + 0.015
    wood = random.uniform(0.2, 0.6)
    colour = (wood, 0.75 * wood, 0.5 * wood)
    back = np.array([-np.sin(np.deg2rad(person.turn)), 0, -np.cos(np.deg2rad(person.turn))])
    middle = np.array([person.place[0], 0.0, person.place[1]]) - 0.06 * back
    up = np.array([0.0, 1.0, 0.0])
    width = random.uniform(0.42, 0.55)
    if random.random() < 0.4:
        seat = [Box(middle + up * top / 2, np.array([width, top, 0.44]), person.turn, colour)]
    else:
        seat = [
            Box(middle + up * (top - 0.025), np.array([width, 0.05, 0.44]), person.turn, colour)
        ]
        seat += [
            Box(middle + right * np.array([back[2], 0, -back[0]]) + forth * back + up * top / 2,
                np.array([0.04, top - 0.05, 0.04]), person.turn, colour)
            for right in (-width / 2 + 0.03, width / 2 - 0.03) for forth in (-0.18, 0.18)
        ]  # fmt: skip
    if random.random() < 0.5:
        seat.append(Box(middle + 0.22 * back + up * (top + 0.2),
                        np.array([width, 0.4, 0.04]), person.turn, colour))  # fmt: skip
    return seat


def _sample_things(random: Random, camera: Camera, people: list[Person]) -> list[Box]:
    """Draw up to two things that hide a part of somebody, and a few that stand free."""
    things = []
    for _ in range(int(random.random() < 0.35) + int(random.random() < 0.12)):
        x, z = people[int(random.integers(len(people)))].place
        nearer = random.uniform(0.7, 0.9)
        aside = random.uniform(-0.45, 0.45)
        things.append(_thing(random, x * nearer + aside, z * nearer, int(random.integers(3))))
    far = max(-person.place[1] for person in people)
    for _ in range(int(random.integers(4))):
        z = -far * random.uniform(1.1, 2.0) - 0.5
        x = -z * camera.size[1] / (2 * camera.focal) * random.uniform(-1, 1)
        things.append(_thing(random, x, z, int(random.integers(4))))
    return things


def _thing(random: Random, x: float, z: float, kind: int) -> Box:
    tint = random.uniform(0.15, 0.85, 3)
    colour = tuple((0.5 * tint + 0.5 * tint.mean()).tolist())
    width, height, depth = (
        (random.uniform(0.4, 0.9), random.uniform(0.3, 0.6), random.uniform(0.3, 0.6)),  # a crate
        (random.uniform(0.05, 0.11), random.uniform(1.6, 2.8), 0.07),  # a post
        (random.uniform(0.6, 1.3), random.uniform(0.35, 0.75), 0.08),  # a board
        (random.uniform(0.7, 1.4), random.uniform(1.2, 2.1), 0.5),  # a cupboard
    )[kind]
    return Box(np.array([x, height / 2, z]), np.array([width, height, depth]),
               random.uniform(-40, 40), colour)  # fmt: skip


def _sample_light(random: Random, outdoors: bool) -> Light:
    azimuth, elevation = random.uniform(-np.pi, np.pi), random.uniform(0.5, 1.2)
    if np.cos(azimuth) < -0.3:  # rarely straight from behind
        azimuth *= 0.5
    direction = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation),
                          np.cos(azimuth) * np.cos(elevation)])  # fmt: skip
    warmth = random.uniform(-0.06, 0.08)
    ambient = random.uniform(0.38, 0.62)
    strength = random.uniform(0.55, 0.85) if outdoors else random.uniform(0.35, 0.65)
    return Light(np.round(direction, 9), strength, ambient, (1 + warmth, 1.0, 1 - warmth))
