"""The embedded world as single-person data: MPII, LSP and FLIC, in their official layouts.

Every picture shows one person. For LSP all of its 14 joints are inside the picture; for FLIC an
upper body that fills the frame faces the camera. Random streams are like those of
:mod:`benchmarks.world.coco`, so no picture is in two splits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.world.marker import LABELS, check_split, made_once
from benchmarks.world.pictures import in_order, write_jpeg, write_mat
from harness.api import convert
from harness.api.skeleton import COCO_MPII_21, FLIC_11, LSP_14, MPII_16

if TYPE_CHECKING:
    from benchmarks.world.draw import Picture
    from benchmarks.world.scene import Scene

VERSION = 1
"""Changes whenever a picture or a number of its annotation changes."""

SPLITS = {
    ("mpii", "embedded-val"): (11, 250),
    ("lsp", "embedded-val"): (12, 250),
    ("flic", "embedded-val"): (13, 250),
    ("mpii", "embedded-train"): (14, 3000),
}
"""Benchmark and split: its code in the seeds (COCO's have 1 and 2), its number of pictures."""


@dataclass(frozen=True, eq=False)
class Labels:
    """One picture's person, pixels 0-based.

    Parameters
    ----------
    keypoints : array (21, 2)
        Of COCO_MPII_21; NaN outside the picture.
    box : array (4,)
        x, y, w, h around the pixels that show the person.
    head : array (4,)
        x, y, w, h around the head, hidden or not.
    """

    keypoints: NDArray[np.float64]
    box: NDArray[np.float64]
    head: NDArray[np.float64]


def draw_person(benchmark: str, split: str, index: int) -> tuple[NDArray[np.uint8], Labels]:
    """Draw one picture (height, width, 3), BGR, with its labels."""
    from benchmarks.world.draw import draw

    code, _ = SPLITS[benchmark, split]
    random = np.random.default_rng(np.random.SeedSequence([VERSION, code, index]))
    while True:
        scene = _scene(benchmark, random)
        if not _fits(benchmark, scene):
            continue
        picture = draw(scene, random)
        if (picture.owner == 1).mean() > 0.01:  # not hidden behind a thing
            return picture.image, _labels(scene, picture)


def _scene(benchmark: str, random: np.random.Generator) -> Scene:
    from benchmarks.world.scene import sample_scene

    if benchmark == "flic":
        return sample_scene(random, count=1, tall=(1.3, 1.9), aim=1.3)
    return sample_scene(random, count=1)


def _fits(benchmark: str, scene: Scene) -> bool:
    """Return whether the person is in the picture as the benchmark wants it."""
    points = scene.people[0].figure().keypoints
    pixels, depth = scene.camera.project(points)
    height, width = scene.camera.size
    inside = ((pixels >= 1) & (pixels <= [width - 2, height - 2])).all(axis=1) & (depth > 0)
    rows = {"mpii": range(5, 21), "lsp": range(5, 21), "flic": range(13)}[benchmark]
    if benchmark == "mpii":
        return bool(inside[rows].sum() >= 12)
    if benchmark == "flic" and abs((scene.people[0].turn + 180) % 360 - 180) > 50:
        return False
    return bool(inside[rows].all())


def _labels(scene: Scene, picture: Picture) -> Labels:
    from benchmarks.world import body

    seen = picture.visibility[0] > 0
    mask = picture.owner == 1
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    own = body.template().vertex_part == body.PART["head"]
    head, _ = scene.camera.project(scene.people[0].figure().vertices[own])
    low, high = head.min(axis=0), head.max(axis=0)
    return Labels(
        np.where(seen[:, None], picture.keypoints[0], np.nan),
        np.array(box, dtype=np.float64),
        np.round(np.concatenate([low, high - low]), 2),
    )


def make_split(
    folder: Path,
    benchmark: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a benchmark's embedded split into the folder of its name, unless it is there already.

    Beside the official files lies ``labels.npz``: all 21 points of everyone, for training. Returns
    the marker, which comes last; the folder appears as a whole.

    Raises
    ------
    PrerequisiteError
        If there is no such split, or the folder cannot be written.
    """
    own = [split for name, split in SPLITS if name == benchmark]
    check_split(folder.name, own, benchmark)

    def write(unfinished: Path) -> None:
        _write(unfinished, benchmark, folder.name, progress, workers)

    return made_once(folder, VERSION, write)


def _write(
    folder: Path,
    benchmark: str,
    split: str,
    progress: Callable[[int, int], None] | None,
    workers: int,
) -> None:
    (folder / "images").mkdir()
    draw_one = partial(_write_picture, folder / "images", benchmark, split)
    total = SPLITS[benchmark, split][1]
    people: list[Labels] = list(in_order(draw_one, total, workers, progress))
    np.savez(folder / LABELS, keypoints=np.stack([person.keypoints for person in people]))
    {"mpii": _write_mpii, "lsp": _write_lsp, "flic": _write_flic}[benchmark](folder, people)


def _write_picture(folder: Path, benchmark: str, split: str, index: int) -> Labels:
    image, labels = draw_person(benchmark, split, index)
    write_jpeg(folder / _name(index), image)
    return labels


def _name(index: int) -> str:
    return f"im{index + 1:04d}.jpg"


def _write_mpii(root: Path, people: list[Labels]) -> None:
    """Write ``gt_valid.mat`` and ``valid.json``; pixels 1-based, as in MATLAB."""
    keypoints = _keypoints(people, MPII_16)
    absent = np.isnan(keypoints[..., 0])
    heads = np.stack([person.head for person in people])
    corners = np.stack([heads[:, :2], heads[:, :2] + heads[:, 2:]]) + 1
    (root / "annot").mkdir()
    write_mat(
        root / "annot" / "gt_valid.mat",
        {
            "pos_gt_src": np.where(absent[..., None], 0, keypoints + 1).transpose(1, 2, 0),
            "jnt_missing": absent.T.astype(np.uint8),
            "headboxes_src": corners.transpose(0, 2, 1),
        },
    )
    views = [
        {
            "image": _name(index),
            "center": (person.box[:2] + person.box[2:] / 2 + 1).tolist(),
            "scale": float(person.box[2:].max()) / 200,
        }
        for index, person in enumerate(people)
    ]
    (root / "annot" / "valid.json").write_text(json.dumps(views))


def _write_lsp(root: Path, people: list[Labels]) -> None:
    """Write ``joints.json``, person-centric."""
    points = _keypoints(people, LSP_14) + 1
    joints = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2)
    names = [_name(index) for index in range(len(people))]
    (root / "joints.json").write_text(json.dumps({"joints": joints.tolist(), "images": names}))


def _write_flic(root: Path, people: list[Labels]) -> None:
    """Write ``annot/valid.h5``; 1-based, the centre at the torso."""
    import h5py

    points = _keypoints(people, FLIC_11)
    (root / "annot").mkdir()
    with h5py.File(root / "annot" / "valid.h5", "w") as file:
        file["part"] = points + 1
        file["imgname"] = np.array([_name(index) for index in range(len(people))], dtype="S10")
        file["center"] = np.nanmean(points[:, [0, 3, 6, 7]], axis=1) + 1
        file["scale"] = np.full(len(people), 2.2)


def _keypoints(people: list[Labels], skeleton: Any) -> NDArray[np.float64]:
    return convert(np.stack([person.keypoints for person in people]), COCO_MPII_21, skeleton)
