"""The embedded world as COCO keypoint data: the official files, made here instead of downloaded.

Every picture has a random stream of its own, from (version of the pictures, split, number), so
that no two splits share one and the result is the same for any number of processes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.world.marker import check_split
from benchmarks.world.pictures import alone, in_order, write_jpeg
from harness.api.errors import PrerequisiteError
from harness.api.skeleton import COCO_17, COCO_MPII_21

if TYPE_CHECKING:
    from benchmarks.world.draw import Picture

VERSION = 2
"""Changes whenever a picture or a number of its annotation changes."""
STREAM = 1
"""Changes whenever a picture changes; the start of every random stream."""

SPLITS = {"embedded-train": (1, 2000), "embedded-val": (2, 250)}
"""Each split's code in the seeds and ids, and its number of pictures."""

_LEAST_AREA = 32**2  # COCO's small people have no keypoints
_LEAST_VISIBLE = 4  # nor have those of whom next to nothing is seen


def stream(split: str, index: int) -> np.random.Generator:
    """Return the random numbers of one picture of a split; its scene takes the first."""
    return np.random.default_rng(np.random.SeedSequence([STREAM, SPLITS[split][0], index]))


def draw_picture(split: str, index: int) -> Picture:
    """Draw one picture of a split, with its ground truth."""
    from benchmarks.world.draw import draw
    from benchmarks.world.scene import sample_scene

    random = stream(split, index)
    return draw(sample_scene(random), random)


def annotation_id(image_id: int, person: int) -> int:
    """Return the id of a picture's person, counted from 1."""
    return image_id * 10 + person


def annotate(
    split: str, index: int, picture: Picture
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return COCO's record of an image and of each person seen in it.

    ``extra_keypoints`` holds, as COCO-WholeBody does with feet and faces, what COCO's 17 points
    lack: MPII's four along the middle of the body.
    """
    height, width = picture.owner.shape
    image_id = SPLITS[split][0] * 1_000_000 + index
    image = {"id": image_id, "file_name": f"{image_id:012d}.jpg", "width": width, "height": height,
             "license": 1}  # fmt: skip
    people = []
    for number, (points, visible) in enumerate(
        zip(picture.keypoints, picture.visibility, strict=True), start=1
    ):
        mask = picture.owner == number
        area = int(mask.sum())
        if not area:
            continue
        if area < _LEAST_AREA or (visible[: len(COCO_17)] == 2).sum() < _LEAST_VISIBLE:
            points, visible = np.zeros_like(points), np.zeros_like(visible)
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        x, y = int(columns[0]), int(rows[0])
        labelled = [
            value
            for (px, py), v in zip(points.tolist(), visible.tolist(), strict=True)
            for value in (px, py, v)
        ]
        people.append({
            "id": annotation_id(image_id, number), "image_id": image_id,
            "category_id": 1, "iscrowd": 0,
            "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1], "area": area,
            "num_keypoints": int((visible[: len(COCO_17)] > 0).sum()),
            "keypoints": labelled[: 3 * len(COCO_17)], "segmentation": outline(mask),
            "extra_keypoints": labelled[3 * len(COCO_17) :],
        })  # fmt: skip
    return image, people


def outline(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Return the polygons around a mask, along the edges of its pixels (COCO's convention).

    A hole is joined to its outer polygon by a cut of no width, as COCO's polygons know no holes.
    """
    import cv2

    # Two samples per pixel plus one: pixel i paints 2i .. 2i + 2, so that contours, which run
    # through the painted samples, lie on the pixels' edges.
    height, width = mask.shape
    fine = np.zeros((2 * height + 1, 2 * width + 1), dtype=np.uint8)
    for i in range(3):
        for j in range(3):
            fine[i : i + 2 * height : 2, j : j + 2 * width : 2] |= mask
    contours, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    smooth = [cv2.approxPolyDP(contour, 1.0, closed=True)[:, 0] for contour in contours]
    polygons = []
    for number, (_, _, child, parent) in enumerate(tree[0]):
        if parent >= 0 or len(smooth[number]) < 3:
            continue
        ring = smooth[number]
        while child >= 0:
            if len(smooth[child]) >= 3:
                ring = _cut_to(ring, smooth[child])
            child = tree[0][child][0]
        polygons.append((ring / 2).ravel().tolist())
    return polygons


def _cut_to(ring: NDArray[np.int32], hole: NDArray[np.int32]) -> NDArray[np.int32]:
    """Walk from the ring's nearest corner around the hole and back."""
    gap = ((ring[:, None] - hole[None]) ** 2).sum(axis=2)
    at, start = np.unravel_index(gap.argmin(), gap.shape)
    around = np.roll(hole, -start, axis=0)
    return np.concatenate([ring[: at + 1], around, around[:1], ring[at:]])


def make_split(
    root: Path,
    split: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a split's official files below ``root``; nothing is done where they are there already.

    The annotation file comes last, so that an interrupted split never looks finished.

    Parameters
    ----------
    root : Path
        Gets ``annotations/person_keypoints_SPLIT.json`` and ``SPLIT/*.jpg``.
    split : str
        A key of :data:`SPLITS`.
    progress : callable, optional
        Called with the number of pictures made and wanted.
    workers : int
        Processes; the files are the same for any number.

    Returns
    -------
    Path
        The annotation file.

    Raises
    ------
    PrerequisiteError
        If there is no such split, or ``root`` cannot be written.
    """
    check_split(split, tuple(SPLITS), "coco")
    annotations = root / "annotations" / f"person_keypoints_{split}.json"
    try:
        annotations.parent.mkdir(parents=True, exist_ok=True)
        with alone(root / f".{split}.lock"):
            if not _is_current(annotations):
                _make(root, split, annotations, progress, workers)
    except OSError as error:
        raise PrerequisiteError(
            f"The embedded split {split} cannot be written to {root}: {error}",
            "Set HARNESS_CACHE to a folder that can be written, with 100 MB free.",
        ) from error
    return annotations


def _is_current(annotations: Path) -> bool:
    """Return whether a finished split of this very generator is there."""
    if not annotations.is_file():
        return False
    with annotations.open("rb") as file:  # `info` is written first
        return file.read(len(_HEAD)) == _HEAD


_HEAD = json.dumps({"info": {"synthetic": True, "version": VERSION}})[:-2].encode()


def _make(
    root: Path, split: str, annotations: Path,
    progress: Callable[[int, int], None] | None, workers: int,
) -> None:  # fmt: skip
    total = SPLITS[split][1]
    folder, partial_folder = root / split, root / f".{split}.partial"
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir()
    images, people = [], []
    write = partial(_write_picture, partial_folder, split)
    for image, persons in in_order(write, total, workers, progress):
        images.append(image)
        people += persons
    annotations.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    partial_folder.rename(folder)
    unfinished = annotations.with_suffix(".partial")
    unfinished.write_text(json.dumps(_document(split, images, people)))
    os.replace(unfinished, annotations)


def _write_picture(
    folder: Path, split: str, index: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    picture = draw_picture(split, index)
    image, people = annotate(split, index, picture)
    write_jpeg(folder / image["file_name"], picture.image)
    return image, people


def _document(
    split: str, images: list[dict[str, Any]], people: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the whole annotation file."""
    return {
        "info": {"synthetic": True, "version": VERSION,
                 "description": f"pose-harness embedded world, split {split}"},
        "licenses": [{"id": 1, "name": "CC0-1.0",
                      "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        "categories": [{
            "id": 1, "name": "person", "supercategory": "person", "keypoints": COCO_17.joints,
            "skeleton": [[a + 1, b + 1] for a, b in COCO_17.limbs],
            "extra_keypoints": COCO_MPII_21.joints[len(COCO_17) :],
        }],
        "images": images,
        "annotations": people,
    }  # fmt: skip
