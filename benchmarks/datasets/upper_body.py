"""BBC Pose, ChaLearn and Poses in the Wild: upper bodies in video frames, seven joints.

- BBC Pose, ``bbcpose.mat``: ``bbcpose`` (1, 92), one struct per video with ``type`` (train, val,
  test), ``test_frames`` (m,) and ``test_joints`` (2, 7, m), labelled by hand; frames are
  ``<video>/<frame>.jpg``, videos counted from 1.
- ChaLearn, ``test.txt`` in the list format of caffe-heatmap: per line an image, ``x,y`` of the
  seven joints, the crop (``x_left,x_right,y_left,y_right,scale``) and a cluster number.
- Poses in the Wild, ``poses_in_the_wild_data.mat``: ``piw_data``, one struct per frame with ``im``,
  ``point`` (8, 2): chin, left shoulder, elbow, wrist, right ones, torso, and ``visible`` (8,).
  Its chin is not the head of the others, so the head has no label.

All pixels are 1-based, as in MATLAB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.single_person import (
    People,
    Truth,
    Views,
    check_shape,
    extent,
    make_dataset,
)
from harness.api import Dataset, PrerequisiteError

BBC, CHALEARN, WILD = "bbcpose.mat", "test.txt", "poses_in_the_wild_data.mat"

# Rows of the Poses in the Wild points: wrists, elbows, shoulders, each right then left.
_WILD_ROWS = [6, 3, 5, 2, 4, 1]


def load_bbc(root: Path, split: str) -> Dataset:
    """Read the hand-labelled frames of all videos of a split, ``test`` or ``val``."""
    videos = _struct(root / BBC, "bbcpose")
    ids, keypoints = [], [np.empty((0, 7, 2))]
    for number, video in enumerate(videos, start=1):
        if str(np.squeeze(video["type"])) != split:
            continue
        frames = np.asarray(video["test_frames"]).ravel().astype(int)
        joints = np.asarray(video["test_joints"], dtype=np.float64)
        check_shape(joints, (2, 7, len(frames)), root / BBC, f"bbcpose({number}).test_joints")
        ids += [f"{number}/{frame}" for frame in frames]
        keypoints.append(joints.transpose(2, 1, 0))
    images = [f"{name}.jpg" for name in ids]
    return _dataset("bbc-pose", split, root, BBC, ids, images, np.concatenate(keypoints))


def load_chalearn(root: Path, split: str) -> Dataset:
    """Read the frames of a caffe-heatmap list; the ids are the image names."""
    path = root / CHALEARN
    remedy = "Every line: image, x1,y1,...,x7,y7, crop, cluster, with single spaces between."
    ids, keypoints = [], []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.split()
        try:
            values = [float(value) for value in fields[1].split(",")]
        except (IndexError, ValueError) as error:
            raise PrerequisiteError(f"{path}, line {number}: {error}.", remedy) from None
        if len(values) != 14:
            raise PrerequisiteError(
                f"{path}, line {number}: {len(values)} coordinates, due are 14.", remedy
            )
        ids.append(fields[0])
        keypoints.append(values)
    points = np.array(keypoints).reshape(-1, 7, 2)
    return _dataset("chalearn", split, root, CHALEARN, ids, ids, points)


def load_wild(root: Path, split: str) -> Dataset:
    """Read all frames; the ids are the image names."""
    frames = _struct(root / WILD, "piw_data")
    ids, keypoints = [], np.full((len(frames), 7, 2), np.nan)
    for row, frame in enumerate(frames):
        points = np.asarray(frame["point"], dtype=np.float64)
        check_shape(points, (8, 2), root / WILD, f"piw_data({row + 1}).point")
        seen = np.asarray(frame["visible"]).ravel().astype(bool)
        points[~seen | (points == -1).any(axis=1)] = np.nan
        keypoints[row, 1:] = points[_WILD_ROWS]
        ids.append(str(np.squeeze(frame["im"])).lstrip("/"))
    return _dataset("poses-in-the-wild", split, root, WILD, ids, ids, keypoints)


def _dataset(
    benchmark: str,
    split: str,
    root: Path,
    name: str,
    ids: Sequence[str],
    images: Sequence[str],
    keypoints: NDArray[np.float64],
) -> Dataset:
    if not ids or len(set(ids)) < len(ids):
        problem = f"{len(ids) - len(set(ids))} frames twice" if ids else f"no frame of {split!r}"
        raise PrerequisiteError(
            f"{root / name} holds {problem}.", "Use the file as it was published."
        )
    points = keypoints - 1
    views = Views([str(root / image) for image in images], extent(points))
    return make_dataset(benchmark, split, root, [name], ids, Truth({name: People(points)}, views))


def _struct(path: Path, name: str) -> NDArray[Any]:
    import scipy.io

    try:
        return np.asarray(scipy.io.loadmat(path)[name]).ravel()
    except Exception as error:  # a damaged file fails in as many ways as scipy has readers
        raise PrerequisiteError(
            f"{path} cannot be read: {error!r}.", "Use the file as it was published."
        ) from error
