"""What embedded people look like: build, skin, hair, face and clothes.

Colours are RGB in 0..1. Clothes and faces are functions of the rest position on the average body
(see :mod:`benchmarks.world.body`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.world.body import JOINT, JOINTS, PART, Floats, template

Random = np.random.Generator
Colour = tuple[float, float, float]

_SKINS: tuple[Colour, ...] = (
    (0.96, 0.80, 0.69), (0.91, 0.72, 0.58), (0.84, 0.63, 0.47), (0.74, 0.53, 0.37),
    (0.60, 0.41, 0.28), (0.45, 0.30, 0.20), (0.34, 0.22, 0.16),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (0.08, 0.07, 0.07), (0.20, 0.13, 0.09), (0.33, 0.21, 0.12), (0.50, 0.33, 0.18),
    (0.76, 0.60, 0.36), (0.55, 0.24, 0.12), (0.62, 0.61, 0.60),
)  # fmt: skip
_CLOTHES: tuple[Colour, ...] = (
    (0.92, 0.92, 0.90), (0.13, 0.14, 0.16), (0.45, 0.46, 0.48), (0.75, 0.16, 0.15),
    (0.15, 0.27, 0.55), (0.35, 0.58, 0.80), (0.14, 0.42, 0.26), (0.52, 0.68, 0.35),
    (0.93, 0.76, 0.20), (0.90, 0.47, 0.15), (0.45, 0.20, 0.45), (0.90, 0.58, 0.66),
    (0.43, 0.28, 0.18), (0.78, 0.68, 0.52), (0.10, 0.45, 0.48), (0.40, 0.10, 0.14),
)  # fmt: skip
_BOTTOMS: tuple[Colour, ...] = (
    (0.16, 0.20, 0.32), (0.25, 0.33, 0.48), (0.12, 0.12, 0.13), (0.33, 0.33, 0.35),
    (0.70, 0.62, 0.47), (0.36, 0.29, 0.22), (0.30, 0.34, 0.22), (0.85, 0.84, 0.80),
    (0.50, 0.14, 0.16), (0.44, 0.52, 0.62),
)  # fmt: skip
PATTERNS = ("plain", "stripes", "bars", "checks", "yoke", "dots", "band")
HAIR_STYLES = ("short", "long", "bun", "cap", "bald")


@dataclass(frozen=True)
class Build:
    """Proportions relative to the average body (1.79 m tall)."""

    height: float
    leg: float
    arm: float
    shoulders: float
    girth: float
    limbs: float
    head: float

    def scales(self) -> Floats:
        """Return each bone's scale (J, 3) along the rest pose's axes."""
        scales = np.full((len(JOINTS), 3), self.height, dtype=np.float64)
        for name, joint in JOINT.items():
            base = name.split("_")[-1]
            if base in ("pelvis", "spine", "chest"):
                scales[joint] *= (self.girth, 1.0, self.girth)
            if base == "chest":
                scales[joint, 0] *= self.shoulders
            if base == "collar":
                scales[joint] *= (self.shoulders, self.limbs, self.limbs)
            if base in ("shoulder", "elbow"):
                scales[joint] *= (self.arm, self.limbs, self.limbs)
            if base in ("hip", "knee"):
                scales[joint] *= (self.limbs, self.leg, self.limbs)
            if base == "head":
                scales[joint] *= self.head / self.height**0.6  # heads vary less than bodies
        return scales


@dataclass(frozen=True)
class Look:
    """Colours and cut of everything that is seen of a person."""

    skin: Colour
    hair: Colour
    hair_style: str
    cap: Colour
    beard: bool
    glasses: bool
    top: Colour
    top_second: Colour
    pattern: str
    pattern_size: float
    jacket: bool
    sleeve: float
    """Distance from the spine at which a sleeve ends: 0.18 shoulder, 0.71 wrist."""
    neckline: float
    waist: float
    bottom: Colour
    hem: float
    """Height at which trousers end."""
    skirt: bool
    shoes: Colour
    sock: float
    loose: float
    """Metres between skin and cloth."""

    def parts(self) -> set[str]:
        """Return the names of the optional parts that this person wears."""
        worn = {"short": {"hair"}, "long": {"hair", "long hair"}, "bun": {"hair", "bun"},
                "cap": {"hair", "brim"}, "bald": set()}[self.hair_style]  # fmt: skip
        return worn | ({"skirt"} if self.skirt else set())


def _pick(random: Random, colours: tuple[Colour, ...], spread: float = 0.05) -> Colour:
    colour = np.array(colours[int(random.integers(len(colours)))])
    r, g, b = np.clip(colour + random.uniform(-spread, spread, 3), 0.03, 0.97).tolist()
    return (r, g, b)


def sample_build(random: Random) -> Build:
    """Draw a person's proportions; about one in eight is a child."""
    child = random.random() < 0.12
    height = (
        random.uniform(0.62, 0.85)
        if child
        else float(np.clip(random.normal(0.97, 0.05), 0.86, 1.1))
    )
    return Build(
        height=height,
        leg=random.uniform(0.95, 1.04),
        arm=random.uniform(0.95, 1.04),
        shoulders=random.uniform(0.90, 1.08),
        girth=random.uniform(0.86, 1.20),
        limbs=random.uniform(0.88, 1.16),
        head=random.uniform(0.97, 1.07) * (1.10 if child else 1.0),
    )  # fmt: skip


def sample_look(random: Random) -> Look:
    """Draw skin, hair and clothes."""
    sleeve = float(random.choice([0.20, 0.30, 0.36, 0.69, 0.70], p=[0.1, 0.3, 0.15, 0.15, 0.3]))
    hem = float(random.choice([0.06, 0.09, 0.30, 0.52, 0.66], p=[0.4, 0.25, 0.05, 0.18, 0.12]))
    return Look(
        skin=_pick(random, _SKINS, 0.03),
        hair=_pick(random, _HAIRS, 0.03),
        hair_style=str(random.choice(HAIR_STYLES, p=[0.46, 0.24, 0.08, 0.14, 0.08])),
        cap=_pick(random, _CLOTHES),
        beard=bool(random.random() < 0.15),
        glasses=bool(random.random() < 0.15),
        top=_pick(random, _CLOTHES),
        top_second=_pick(random, _CLOTHES),
        pattern=str(random.choice(PATTERNS, p=[0.44, 0.14, 0.08, 0.08, 0.10, 0.06, 0.10])),
        pattern_size=random.uniform(0.03, 0.08),
        jacket=bool(sleeve > 0.6 and random.random() < 0.45),
        sleeve=sleeve,
        neckline=random.uniform(1.425, 1.47),
        waist=random.uniform(0.93, 1.03),
        bottom=_pick(random, _BOTTOMS),
        hem=hem,
        skirt=bool(random.random() < 0.10),
        shoes=_pick(random, _CLOTHES),
        sock=random.uniform(0.09, 0.24),
        loose=random.uniform(0.004, 0.016),
    )


def dressed_vertices(look: Look) -> Floats:
    """Return the average body's rest vertices (V, 3) with this person's clothes and hair on."""
    body = template()
    x, y, _ = body.vertices.T
    part = body.vertex_part
    offset = np.zeros(len(body.vertices))
    torso = part == PART["torso"]
    offset[torso] = look.loose
    offset[torso & (np.abs(y - look.waist + 0.03) < 0.04)] += 0.006
    for side in ("left", "right"):
        arm, leg = part == PART[f"{side} arm"], part == PART[f"{side} leg"]
        offset[arm & (np.abs(x) < look.sleeve)] = 0.8 * look.loose
        bare = y < look.hem if not look.skirt else y < 2
        offset[leg & ~bare] = look.loose * (0.8 + 1.2 * np.clip(0.5 - y, 0, 0.5))[leg & ~bare]
    hair = part == PART["hair"]
    above = np.clip(_above_hairline(look, body.vertices) / 0.03, -1, 1)
    volume = 0.010 if look.hair_style == "cap" else 0.016
    offset[hair] = (-0.004 + volume * above)[hair]
    skirt = part == PART["skirt"]
    offset[skirt] = 0.01
    return np.asarray(body.vertices + body.normals * offset[:, None])


def _above_hairline(look: Look, rest: Floats) -> Floats:
    """Return how far points lie on the hairy side of a slanted plane through the head."""
    slope, height = (0.35, 1.672) if look.hair_style == "cap" else (0.85, 1.648)
    return np.asarray(rest[:, 1] - slope * rest[:, 2] - height)


def paint(look: Look, part: NDArray[np.int64], rest: Floats) -> Floats:
    """Return the colour (N, 3) of surface points: their parts (N,) and rest positions (N, 3)."""
    colour = np.empty((len(part), 3))
    colour[:] = look.skin
    kind = _KIND[part]
    painters = {_TORSO: _paint_torso, _ARM: _paint_arm, _LEG: _paint_leg, _HEAD: _paint_head,
                _HAIR: _paint_hair, _FOOT: _paint_foot}  # fmt: skip
    for number, painter in painters.items():
        chosen = np.flatnonzero(kind == number)
        if len(chosen):
            colour[chosen] = painter(look, rest[chosen], colour[chosen])
    colour[kind == _SKIRT] = look.bottom
    colour[kind == _BRIM] = [0.8 * c for c in look.cap]
    return colour


_SKIN, _TORSO, _ARM, _LEG, _FOOT, _HEAD, _HAIR, _SKIRT, _BRIM = range(9)
_KIND = np.zeros(len(PART), dtype=np.int64)
for _name, _number in PART.items():
    _KIND[_number] = {
        "torso": _TORSO, "arm": _ARM, "leg": _LEG, "foot": _FOOT, "head": _HEAD, "hair": _HAIR,
        "bun": _HAIR, "long hair": _HAIR, "skirt": _SKIRT, "brim": _BRIM,
    }.get(_name.removeprefix("left ").removeprefix("right "), _SKIN)  # fmt: skip


def _pattern(look: Look, height: Floats, across: Floats) -> NDArray[np.bool_]:
    """Return where the second colour of the top shows."""
    size = look.pattern_size
    row = np.floor(height / size).astype(np.int64) % 2 == 1
    column = np.floor(across / size + 0.5).astype(np.int64) % 2 == 1
    match look.pattern:
        case "stripes":
            return row
        case "bars":
            return column
        case "checks":
            return row ^ column
        case "yoke":
            return height > 1.32
        case "band":
            return np.abs(height - 1.27) < 0.045
        case "dots":
            u, v = height / size % 1 - 0.5, across / size % 1 - 0.5
            return u * u + v * v < 0.07
    return np.zeros(len(height), dtype=bool)


def _paint_torso(look: Look, rest: Floats, skin: Floats) -> Floats:
    x, y, z = rest.T
    front = z > 0.0
    colour = np.where(_pattern(look, y, x)[:, None], look.top_second, look.top)
    if look.jacket:  # open in front over a plain shirt, with lapels
        opening = 0.022 + 0.10 * np.clip(y - 1.18, 0, 1)
        colour[:] = look.top
        colour[front & (np.abs(x) < opening + 0.018)] = [0.7 * c for c in look.top]
        colour[front & (np.abs(x) < opening)] = look.top_second
    elif look.pattern == "plain":  # a badge on the chest: only the front has it
        colour[front & (((x - 0.02) / 0.055) ** 2 + ((y - 1.29) / 0.035) ** 2 < 1)] = (
            look.top_second
        )
    scoop = np.where(front, 0.35 * np.clip(0.09 - np.abs(x), 0, 1), 0)
    colour = np.where((y > look.neckline - scoop)[:, None], skin, colour)
    belt = (np.abs(y - look.waist) < 0.014) & ~np.array(look.skirt)
    colour = np.where((y < look.waist)[:, None], look.bottom, colour)
    colour[belt] = (0.13, 0.10, 0.08)
    colour[belt & front & (np.abs(x) < 0.02)] = (0.75, 0.70, 0.50)
    return colour


def _paint_arm(look: Look, rest: Floats, skin: Floats) -> Floats:
    out = np.abs(rest[:, 0])
    sleeve = np.where(_pattern(look, 1.42 - (out - 0.16), rest[:, 2])[:, None] & (not look.jacket),
                      look.top_second, look.top)  # fmt: skip
    cuff = np.abs(out - look.sleeve + 0.012) < 0.012
    sleeve = np.where(cuff[:, None], 0.75 * sleeve, sleeve)
    return np.where((out < look.sleeve)[:, None], sleeve, skin)


def _paint_leg(look: Look, rest: Floats, skin: Floats) -> Floats:
    y = rest[:, 1]
    colour = np.where((y < look.sock)[:, None], 0.85, skin) if look.hem > 0.2 else skin.copy()
    hem = 0.80 if look.skirt else look.hem
    colour = np.where((y > hem)[:, None], look.bottom, colour)
    seam = (np.abs(np.abs(rest[:, 0]) - 0.165) < 0.006) & (y > hem)
    return np.where(seam[:, None], 0.8 * colour, colour)


def _paint_foot(look: Look, rest: Floats, skin: Floats) -> Floats:
    _, y, z = rest.T
    colour = np.tile(np.array(look.shoes), (len(rest), 1))
    colour[(z > 0.02) & (z < 0.09) & (y > 0.05)] = (0.9, 0.9, 0.9)  # laces
    colour[y < 0.018] = (0.88, 0.87, 0.85) if sum(look.shoes) < 1.5 else (0.2, 0.2, 0.2)
    return colour


def _paint_head(look: Look, rest: Floats, skin: Floats) -> Floats:
    x, y, z = rest.T
    colour, out = skin.copy(), np.abs(x)
    front = z > 0.02

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.bool_]:
        return front & (((out - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1)

    colour[ellipse(0.040, 1.622, 0.020, 0.016)] *= (1.0, 0.90, 0.88)  # cheeks
    colour[ellipse(0.033, 1.668, 0.021, 0.014)] *= 0.86  # sockets
    if look.beard:
        jaw = (y < 1.605 + 0.4 * np.clip(out - 0.03, 0, 1)) & (z > -0.02) & (y > 1.50)
        colour[jaw | ellipse(0, 1.607, 0.028, 0.010)] = look.hair
    colour[ellipse(0.0, 1.583, 0.024, 0.0085)] = np.array(look.skin) * (0.80, 0.50, 0.50)
    colour[ellipse(0.033, 1.688, 0.020, 0.0055)] = np.array(look.hair) * 0.8  # brows
    colour[ellipse(0.033, 1.664, 0.0165, 0.0095)] = (0.95, 0.95, 0.94)
    colour[ellipse(0.032, 1.664, 0.0085, 0.0090)] = (0.12, 0.10, 0.09)
    if look.glasses:
        rim = ellipse(0.034, 1.664, 0.028, 0.023) & ~ellipse(0.034, 1.664, 0.0235, 0.0185)
        bar = (np.abs(y - 1.672) < 0.004) & (z > 0.0) & ((out < 0.010) | (out > 0.058))
        colour[rim | bar] = (0.08, 0.08, 0.09)
    if look.hair_style != "bald":
        colour[_above_hairline(look, rest) > -0.004] = look.hair
    if look.hair_style == "cap":  # hair shows below the cap at the back and sides
        colour[(z < 0.0) & (y > 1.60)] = look.hair
    return colour


def _paint_hair(look: Look, rest: Floats, skin: Floats) -> Floats:
    if look.hair_style == "cap":
        return np.tile(np.array(look.cap), (len(rest), 1))
    strands = np.sin(160 * rest[:, 0]) + np.sin(110 * rest[:, 2] + 40 * rest[:, 0])
    return np.asarray(np.array(look.hair) * (1 + 0.09 * strands)[:, None])
