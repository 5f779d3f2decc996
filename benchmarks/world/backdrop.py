"""What stands behind the people: sky, land and buildings, or a room with its wall and floor."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.world.body import Floats
from benchmarks.world.scene import Camera, Scene

Random = np.random.Generator

_WALLS = ((0.82, 0.80, 0.74), (0.70, 0.76, 0.80), (0.78, 0.72, 0.62), (0.60, 0.66, 0.60),
          (0.74, 0.62, 0.58), (0.55, 0.56, 0.60), (0.86, 0.86, 0.88))  # fmt: skip
_FLOORS = ((0.55, 0.40, 0.26), (0.42, 0.30, 0.20), (0.62, 0.60, 0.57), (0.48, 0.44, 0.42),
           (0.36, 0.38, 0.44), (0.70, 0.60, 0.46))  # fmt: skip
_GROUNDS = ((0.30, 0.44, 0.20), (0.38, 0.50, 0.24), (0.46, 0.46, 0.47), (0.76, 0.68, 0.52),
            (0.55, 0.38, 0.30), (0.35, 0.36, 0.38))  # fmt: skip


def draw_backdrop(scene: Scene) -> Floats:
    """Return the empty picture (height, width, 3), RGB in 0..1."""
    random = np.random.default_rng(scene.backdrop_seed)
    camera = scene.camera
    ray = _rays(camera)
    steepness = np.maximum(-ray[..., 1], 1e-4)
    distance = camera.position[1] / steepness  # along the ray's horizontal part, to the ground
    ground_x, ground_z = ray[..., 0] * distance, ray[..., 2] * distance
    far = max(-person.place[1] for person in scene.people)
    limit = far * random.uniform(1.3, 2.5) + 1.0 if not scene.outdoors else far * 3 + 12
    is_ground = (ray[..., 1] < 0) & (-ground_z < limit)
    if scene.outdoors:
        behind = _landscape(random, camera, ray)
        below = _land(random, ground_x, ground_z)
    else:
        reach = limit / np.maximum(-ray[..., 2], 1e-4)
        behind = _wall(random, ray[..., 0] * reach, camera.position[1] + ray[..., 1] * reach)
        below = _floor(random, ground_x, ground_z)
    haze = np.clip(-ground_z / limit, 0, 1)[..., None] * (0.5 if scene.outdoors else 0.15)
    below = below * (1 - haze) + behind.mean(axis=(0, 1)) * haze
    picture = np.where(is_ground[..., None], below, behind)
    picture *= 0.88 + 0.24 * noise(random, camera.size, 5)[..., None]
    soft = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)  # 8 bits blur exactly
    return np.asarray(cv2.GaussianBlur(soft, (3, 3), 0) / 255)


def _rays(camera: Camera) -> Floats:
    """Return each pixel's direction (height, width, 3) in the world, not normalised."""
    height, width = camera.size
    x = (np.arange(width) - (width - 1) / 2) / camera.focal
    y = (np.arange(height) - (height - 1) / 2) / camera.focal
    x, y = np.meshgrid(x, y)
    turn = camera.rotation
    return np.stack([turn[0, i] * x + turn[1, i] * y + turn[2, i] for i in range(3)], axis=-1)


def noise(random: Random, size: tuple[int, int], cells: int, octaves: int = 3) -> Floats:
    """Return smooth noise (height, width) in 0..1, the same on every processor."""
    total, weight = np.zeros(size), 0.0
    for octave in range(octaves):
        grid = random.integers(0, 256, (cells << octave, cells << octave), dtype=np.uint8)
        layer = cv2.resize(grid, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
        total += layer * 0.5**octave
        weight += 255 * 0.5**octave
    return total / weight


def _pick(random: Random, colours: tuple[tuple[float, float, float], ...]) -> Floats:
    return np.clip(
        np.array(colours[int(random.integers(len(colours)))]) + random.uniform(-0.07, 0.07, 3), 0, 1
    )


def _land(random: Random, x: Floats, z: Floats) -> Floats:
    """Grass, sand, asphalt or a court, with lines or paving."""
    colour = np.broadcast_to(_pick(random, _GROUNDS), (*x.shape, 3)).copy()
    colour *= 0.8 + 0.4 * noise(random, x.shape, 24, 2)[..., None]
    kind = int(random.integers(4))
    if kind == 0:  # painted lines
        width, gap = 0.06, random.uniform(1.5, 4.0)
        lines = (np.abs(x / gap % 1 - 0.5) * gap < width) | (
            np.abs(z / gap % 1 - 0.5) * gap < width
        )
        colour[lines] = 0.88
    elif kind == 1:  # paving
        stone = random.uniform(0.4, 1.0)
        checker = (np.floor(x / stone) + np.floor(z / stone)) % 2
        colour *= (0.92 + 0.12 * checker)[..., None]
    elif kind == 2:  # a path
        middle, half = random.uniform(-2, 2), random.uniform(0.7, 1.8)
        colour[np.abs(x - middle - 0.1 * z) < half] = _pick(random, _GROUNDS)
    return colour


def _floor(random: Random, x: Floats, z: Floats) -> Floats:
    """Boards, tiles or a carpet."""
    colour = np.broadcast_to(_pick(random, _FLOORS), (*x.shape, 3)).copy()
    kind = int(random.integers(3))
    if kind == 0:
        board = np.floor(x / 0.16)
        colour *= (0.88 + 0.06 * (board * 7 % 5) / 2)[..., None]
        colour *= np.where(np.abs(x / 0.16 % 1) < 0.06, 0.75, 1.0)[..., None]
    elif kind == 1:
        tile = random.uniform(0.3, 0.6)
        checker = (np.floor(x / tile) + np.floor(z / tile)) % 2
        colour *= (0.82 + 0.25 * checker)[..., None]
    else:
        half = random.uniform(1.0, 2.2)
        rug = (np.abs(x - random.uniform(-1, 1)) < half) & (np.abs(z + 4) < 2.2)
        colour[rug] = _pick(random, _WALLS) * 0.8
    return colour * (0.92 + 0.16 * noise(random, x.shape, 20, 2)[..., None])


def _landscape(random: Random, camera: Camera, ray: Floats) -> Floats:
    """Sky with clouds, and hills, trees or houses along the horizon."""
    flat = np.sqrt(ray[..., 0] ** 2 + ray[..., 2] ** 2)
    rise = ray[..., 1] / flat
    bearing = ray[..., 0] / np.maximum(-ray[..., 2], 0.05)
    zenith = _pick(random, ((0.30, 0.52, 0.80), (0.45, 0.62, 0.82), (0.62, 0.66, 0.72)))
    low = _pick(random, ((0.80, 0.87, 0.93), (0.90, 0.85, 0.78), (0.82, 0.84, 0.86)))
    share = np.clip(rise * 2.5, 0, 1)[..., None]
    sky = low * (1 - share) + zenith * share
    clouds = np.clip(noise(random, camera.size, 4, 4) * 3 - 1.4, 0, 1)[..., None] * 0.6
    sky = sky * (1 - clouds) + clouds * 0.96
    leaves = 0.75 + 0.5 * noise(random, camera.size, 40, 2)[..., None]
    for layer in range(2):
        kind = int(random.integers(3))
        colour = _pick(random, ((0.22, 0.34, 0.18), (0.30, 0.38, 0.24), (0.36, 0.40, 0.42)))
        if kind < 2:  # hills or trees: a bumpy skyline
            bumps = 90 if kind else 12
            line = random.integers(0, 256, (1, bumps), dtype=np.uint8)
            line = cv2.resize(line, (1024, 1), interpolation=cv2.INTER_LINEAR_EXACT)[0] / 255
            top = line[np.clip((bearing + 1) * 512, 0, 1023).astype(np.int64)]
            shade = colour * (leaves if kind else 1.0)
            sky = np.where((rise < (0.16 - 0.06 * layer) * (0.3 + top))[..., None], shade, sky)
        else:
            _houses(random, sky, bearing, rise, 0.28 - 0.1 * layer)
    return sky


def _houses(random: Random, picture: Floats, bearing: Floats, rise: Floats, tall: float) -> None:
    """Put a row of houses along the horizon, in place."""
    edge = -1.2
    while edge < 1.2:
        width, top = random.uniform(0.08, 0.3), random.uniform(0.3, 1.0) * tall
        wall = _pick(random, _WALLS) * random.uniform(0.6, 1.0)
        pane = random.uniform(0.02, 0.035)
        inside = np.nonzero((bearing >= edge) & (bearing < edge + width) & (rise < top))
        u, v = bearing[inside] / pane % 1 - 0.5, rise[inside] / pane % 1 - 0.5
        panes = (np.abs(u) < 0.28) & (np.abs(v) < 0.3)
        picture[inside] = np.where(panes[:, None], 0.45 * wall, wall)
        edge += width + random.uniform(0, 0.12)


def _wall(random: Random, x: Floats, y: Floats) -> Floats:
    """A wall: plain, papered or of bricks, with pictures, shelves, a door or a window."""
    base = _pick(random, _WALLS)
    colour = np.broadcast_to(base, (*x.shape, 3)).copy()
    kind = int(random.integers(4))
    if kind == 0:
        row = np.floor(y / 0.12)
        joint = (np.abs(y / 0.12 % 1) < 0.12) | (np.abs((x / 0.3 + 0.5 * (row % 2)) % 1) < 0.06)
        colour = np.where(joint[..., None], 0.85 * base + 0.1, base * (0.85, 0.7, 0.62))
    elif kind == 1:
        colour *= np.where(np.floor(x / random.uniform(0.15, 0.4)) % 2 == 0, 0.93, 1.0)[..., None]
    elif kind == 2:
        colour[y < 1.0] *= 0.72
    colour[(y > 0) & (y < 0.1)] = 0.9 * base + 0.08
    for _ in range(int(random.integers(6))):
        _hang(random, colour, x, y)
    return colour


def _hang(random: Random, colour: Floats, x: Floats, y: Floats) -> None:
    """Put a picture, window, door, shelf or lamp on the wall, in place."""
    cx, kind = random.uniform(-4, 4), int(random.integers(4))
    half, low, high = (
        (random.uniform(0.2, 0.6), 1.3, random.uniform(1.7, 2.2)),  # a picture
        (random.uniform(0.4, 0.9), 0.9, 2.2),  # a window
        (0.45, 0.0, 2.05),  # a door
        (random.uniform(0.4, 1.0), 1.45, 1.5),  # a shelf
    )[kind]

    def inside(margin: float) -> NDArray[np.bool_]:
        return (np.abs(x - cx) < half - margin) & (y > low + margin) & (y < high - margin)

    colour[inside(0.0)] = _pick(random, _FLOORS) if kind != 1 else 0.92
    if kind == 0:
        colour[inside(0.05)] = random.uniform(0.1, 0.9, 3)
        colour[inside(random.uniform(0.1, 0.18))] = random.uniform(0.1, 0.9, 3)
    elif kind == 1:
        pane = inside(0.05) & (np.abs(x - cx) > 0.03)
        colour[pane] = (0.72, 0.82, 0.92)
    elif kind == 2:
        colour[inside(0.08)] *= 0.9
