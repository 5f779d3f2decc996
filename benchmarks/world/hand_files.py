"""The embedded hand in the files of NYU, ICVL and MSRA: their test sets' own layouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.hands import GESTURES, MSRA_FOLDER, NYU_ROWS, SUBJECTS
from benchmarks.world.hands import (
    SIZES,
    DepthCamera,
    draw_depth,
    icvl_joints,
    msra_joints,
    nyu_joints,
    sample_hand,
)
from benchmarks.world.marker import check_split, made_once
from benchmarks.world.pictures import in_order, write_mat

VERSION = 1
"""Changes whenever a number of a split changes."""

SPLITS = {"embedded-train": (1, 1600), "embedded-val": (2, 250)}
"""Each split's code in the seeds, and how many frames it has; MSRA's gestures round them up."""

NYU = DepthCamera((480, 640), (588.03, -587.07), (320.0, 240.0), (500, 750))
ICVL = DepthCamera((240, 320), (240.99, -240.96), (160.0, 120.0), (360, 460))
MSRA = replace(ICVL, focal=(241.42, -241.42))

Floats = NDArray[np.float64]
Frame = Callable[[int], Floats]
"""Writes the depth image of a frame and returns its joints."""


def make_nyu(
    root: Path,
    split: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a split below ``root/SPLIT`` as NYU's ``test``; nothing is done where it is there.

    Raises
    ------
    PrerequisiteError
        If there is no such split, or ``root`` cannot be written.
    """

    def write(folder: Path, seed: int, total: int) -> None:
        folder /= "test"
        folder.mkdir()
        uvd = np.zeros((1, total, 36, 3))
        uvd[0][:, NYU_ROWS] = _drawn(partial(_nyu_frame, folder, seed), total, progress, workers)
        write_mat(folder / "joint_data.mat", {"joint_uvd": uvd})

    return _make(root, split, write)


def make_icvl(
    root: Path,
    split: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a split below ``root/SPLIT`` as ICVL's ``Testing``, in two sequences.

    See :func:`make_nyu`.
    """

    def write(folder: Path, seed: int, total: int) -> None:
        folder /= "Testing"
        first = total * 702 // 1596  # of the frames, as in the real test set
        names = [f"test_seq_1/image_{i:04d}.png" for i in range(first)]
        names += [f"test_seq_2/image_{i:04d}.png" for i in range(total - first)]
        for number in (1, 2):
            (folder / "Depth" / f"test_seq_{number}").mkdir(parents=True)
        frame = partial(_icvl_frame, folder / "Depth", seed, names)
        uvd = _drawn(frame, total, progress, workers)
        rows = [f"{name} {_row(hand)}\n" for name, hand in zip(names, uvd, strict=True)]
        for number, part in ((1, rows[:first]), (2, rows[first:])):
            (folder / f"test_seq_{number}.txt").write_text("".join(part), encoding="utf-8")

    return _make(root, split, write)


def make_msra(
    root: Path,
    split: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Path:
    """Write a split below ``root/SPLIT`` as MSRA's nine subjects of 17 gestures.

    A subject has a hand of one size, a gesture is a grade of bending. The subjects of one split
    are in no other, so that one training leaves all nine out. See :func:`make_nyu`.
    """

    def write(folder: Path, seed: int, total: int) -> None:
        places = [folder / MSRA_FOLDER / one / gesture for one in SUBJECTS for gesture in GESTURES]
        for place in places:
            place.mkdir(parents=True)
        each = -(-total // len(places))
        frame = partial(_msra_frame, places, each, seed)
        xyz = _drawn(frame, each * len(places), progress, workers)
        for place, part in zip(places, np.split(xyz, len(places)), strict=True):
            rows = [str(each), *map(_row, part)]
            (place / "joint.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")

    return _make(root, split, write)


def _make(root: Path, split: str, write: Callable[[Path, int, int], None]) -> Path:
    check_split(split, tuple(SPLITS), "hands")
    return made_once(root / split, VERSION, lambda folder: write(folder, *SPLITS[split]))


def _drawn(
    frame: Frame, total: int, progress: Callable[[int, int], None] | None, workers: int
) -> Floats:
    """Let several processes draw the frames; return their joints (total, K, 3)."""
    return np.array(list(in_order(frame, total, workers, progress)))


def _row(joints: Floats) -> str:
    return " ".join(f"{number:.3f}" for number in joints.ravel())


def _nyu_frame(folder: Path, seed: int, index: int) -> Floats:
    """Draw a frame: green holds the upper eight bits, blue the lower."""
    random = np.random.default_rng([VERSION, seed, index])
    points = sample_hand(random, NYU.depth)
    depth = draw_depth(points, NYU, random)
    image = np.stack([depth & 255, depth >> 8, np.zeros_like(depth)], axis=-1).astype(np.uint8)
    _write_png(folder / f"depth_1_{index + 1:07d}.png", image)
    return NYU.project(nyu_joints(points))


def _icvl_frame(folder: Path, seed: int, names: list[str], index: int) -> Floats:
    """Draw a frame of 16 bits."""
    random = np.random.default_rng([VERSION, seed + 2, index])  # other hands than NYU's
    points = sample_hand(random, ICVL.depth)
    _write_png(folder / names[index], draw_depth(points, ICVL, random))
    return ICVL.project(icvl_joints(points))


def msra_sizes(seed: int) -> Floats:
    """Return the sizes of the nine subjects' hands (9,)."""
    return np.random.default_rng([VERSION, seed + 4]).uniform(*SIZES, size=len(SUBJECTS))


def _msra_frame(places: list[Path], each: int, seed: int, index: int) -> Floats:
    """Draw a frame: the part around the joints as float32; x y z with y up and z below 0."""
    place, frame = divmod(index, each)
    subject, gesture = divmod(place, len(GESTURES))
    random = np.random.default_rng([VERSION, seed + 4, index])
    curl = gesture / (len(GESTURES) - 1)
    points = sample_hand(random, MSRA.depth, curl, float(msra_sizes(seed)[subject]))
    joints, depth = msra_joints(points), draw_depth(points, MSRA, random)
    height, width = MSRA.size
    pixels = MSRA.project(joints)[:, :2]
    left, top = np.clip(pixels.min(axis=0).astype(int) - 20, 0, (width - 1, height - 1))
    right, bottom = np.clip(pixels.max(axis=0).astype(int) + 20, 1, (width, height))
    header = np.array([width, height, left, top, right, bottom], "<i4")
    part = depth[top:bottom, left:right].astype("<f4")
    path = places[place] / f"{frame:06d}_depth.bin"
    path.write_bytes(header.tobytes() + part.tobytes())
    return joints * [1, 1, -1]


def _write_png(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    import cv2

    if not cv2.imwrite(str(path), image):
        raise OSError(f"{path} could not be written")
