"""MPII Human Pose, single person: the files that its validation and test results are made with.

- ``annot/gt_valid.mat`` (HRNet, SimpleBaselines, eval_pose): ``pos_gt_src`` (16, 2, n),
  ``jnt_missing`` (16, n), ``headboxes_src`` (2, 2, n), the head box's two corners.
- ``annot/valid.h5`` (stacked hourglass): ``part`` (n, 16, 2), ``normalize`` (n,), ``center``,
  ``scale``, ``imgname``. Necks and head tops are cut to whole pixels there, ``center`` is moved
  down by 15 x scale and ``scale`` enlarged by 1.25; both are undone here.
- ``annot/valid.json`` (HRNet): ``image``, ``center``, ``scale`` as in the official annotation.
- ``annot/mpii_human_pose_v1_u12_1.mat``: the official annotation; its test people have a place and
  a size but no joints.

All pixels in them are 1-based, as in MATLAB. A person is 200 x scale pixels high.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.arrays import read_array
from benchmarks.datasets.records import Records, read_json
from benchmarks.datasets.single_person import (
    People,
    Truth,
    Views,
    check_shape,
    make_dataset,
    missing,
    present,
)
from harness.api import Dataset, Predictions, PrerequisiteError

MAT, H5, JSON = "annot/gt_valid.mat", "annot/valid.h5", "annot/valid.json"
OFFICIAL = "annot/mpii_human_pose_v1_u12_1.mat"
OBTAIN = (
    "Pictures and official annotation: human-pose.mpi-inf.mpg.de (Simplified BSD). The files of "
    "the validation split come with SimpleBaselines, HRNet and stacked hourglass."
)
_LAYOUTS = {
    "val": f"""{MAT}      labels (protocols official, devkit)
{H5}          labels (protocol h5), image names, places, sizes
{JSON}        or: image names, places, sizes
images/*.jpg              pictures, to run methods""",
    "test": f"""{OFFICIAL}
images/*.jpg              pictures""",
}


def layout(split: str) -> str:
    """Return the files of a split below the root."""
    return _LAYOUTS.get(split, _LAYOUTS["val"])


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose annotation is below ``root``."""
    files = {"val": (MAT, H5), "test": (OFFICIAL,)}
    return tuple(split for split, names in files.items() if present(root, names))


def load(root: Path, split: str) -> Dataset:
    """Read ``val`` with its labels, or ``test`` without."""
    if split not in splits(root):
        raise missing(root, "mpii", layout(split), OBTAIN)
    if split == "test":
        ids = [f"{image}-{person}" for image, person in test_people(_release(root / OFFICIAL))]
        return make_dataset("mpii", split, root, [OFFICIAL], ids, None)
    readers = {MAT: _from_mat, H5: _from_h5}
    people = {name: readers[name](root / name) for name in present(root, (MAT, H5))}
    views = _val_views(root)
    counts = {name: len(labels) for name, labels in people.items()}
    if views.images:
        counts[JSON if present(root, [JSON]) else H5] = len(views.images)
    if len(set(counts.values())) > 1:
        raise PrerequisiteError(
            f"{root}: the annotation files hold different numbers of people: {counts}.",
            "Use files of the same validation split (2958 people).",
        )
    count = next(iter(counts.values()))
    return make_dataset(
        "mpii",
        split,
        root,
        present(root, (MAT, H5, JSON)),
        [f"{i:04d}" for i in range(count)],
        Truth(people, views),
    )


def test_views(root: Path) -> Views:
    """Return what the official annotation says of the single people of the test set."""
    release = _release(root / OFFICIAL)
    annolist = release["annolist"][0]
    names, centers, scales = [], [], []
    for image, person in test_people(release):
        rect = annolist[image]["annorect"].ravel()[person]
        names.append(str(annolist[image]["image"][0, 0]["name"][0]))
        centers.append([float(rect["objpos"][0, 0][axis].squeeze()) for axis in "xy"])
        scales.append(float(rect["scale"].squeeze()))
    return _views(root, names, np.array(centers), np.array(scales))


def test_people(release: Any) -> list[tuple[int, int]]:
    """Return (image, person), 0-based, of the well separated people in test images."""
    test_images = np.flatnonzero(release["img_train"].ravel() == 0)
    alone = release["single_person"].ravel()
    return [
        (int(image), int(person) - 1)
        for image in test_images
        for person in np.asarray(alone[image]).ravel()
    ]


def write_submission(predictions: Predictions, dataset: Dataset, path: Path) -> None:
    """Write ``pred_keypoints_mpii.mat``, the file that the benchmark's authors score.

    Its variable ``pred`` is the official list of test images; the single people of it get
    ``annopoints.point`` with ``x``, ``y`` (1-based pixels) and ``id`` (joint, 0-based).

    Raises
    ------
    PrerequisiteError
        If the split is not the test set, or a joint is not predicted: the official tool counts it
        as a miss, but wants a number.
    """
    import scipy.io

    if dataset.split != "test" or path.suffix != ".mat":
        raise PrerequisiteError(
            f"mpii: {path} for the split {dataset.split!r} is no submission.",
            "The authors score a .mat file of the split 'test'.",
        )
    release = _release(dataset.root / OFFICIAL)
    annolist, train = release["annolist"][0], release["img_train"].ravel()
    keypoints = predictions.select(dataset.sample_ids).columns["keypoints"] + 1
    if keypoints.shape != (len(dataset.sample_ids), 16, 2) or np.isnan(keypoints).any():
        raise PrerequisiteError(
            f"The submission needs all 16 joints of each of {len(dataset.sample_ids)} people.",
            "Use a method that predicts mpii-16, one person per sample.",
        )
    points = dict(zip(test_people(release), keypoints, strict=True))
    images = np.flatnonzero(train == 0)
    pred = np.empty((1, len(images)), dtype=[("image", object), ("annorect", object)])
    for row, image in enumerate(images):
        count = annolist[image]["annorect"].size
        rects = np.empty((1, count), dtype=[("annopoints", object)])
        for person in range(count):
            known = points.get((int(image), person))
            rects[0, person]["annopoints"] = np.empty((0, 0)) if known is None else _points(known)
        pred[0, row] = (annolist[image]["image"], rects)
    scipy.io.savemat(path, {"pred": pred}, do_compression=True)


def _points(keypoints: NDArray[np.float64]) -> dict[str, Any]:
    point = np.empty((1, len(keypoints)), dtype=[("x", object), ("y", object), ("id", object)])
    for joint, (x, y) in enumerate(keypoints):
        point[0, joint] = (x, y, float(joint))
    return {"point": point}


def _from_mat(path: Path) -> People:
    joints = read_array(path, "pos_gt_src", OBTAIN)
    absent = read_array(path, "jnt_missing", OBTAIN)
    heads = read_array(path, "headboxes_src", OBTAIN)
    check_shape(joints, (16, 2, None), path, "pos_gt_src")
    check_shape(absent, (16, joints.shape[2]), path, "jnt_missing")
    check_shape(heads, (2, 2, joints.shape[2]), path, "headboxes_src")
    keypoints = joints.transpose(2, 0, 1) - 1
    keypoints[absent.T == 1] = np.nan
    return People(keypoints, 0.6 * np.linalg.norm(heads[1] - heads[0], axis=0))


def _from_h5(path: Path) -> People:
    joints = read_array(path, "part", OBTAIN)
    size = read_array(path, "normalize", OBTAIN)
    check_shape(joints, (None, 16, 2), path, "part")
    check_shape(size, (len(joints),), path, "normalize")
    unlabelled = ~((joints[..., 0] > 1) & (joints[..., 1] > 1))
    keypoints = joints - 1
    keypoints[unlabelled] = np.nan
    return People(keypoints, size)


def _val_views(root: Path) -> Views:
    if present(root, [JSON]):
        expected = "a list of objects with image, center [x, y] and scale"
        path = root / JSON
        records = Records.of(path, "person", read_json(path, OBTAIN), expected)
        centers = records.rows("center", 2, "x, y in pixels")
        return _views(root, records.texts("image"), centers, records.numbers("scale"))
    if present(root, [H5]):
        import h5py

        with h5py.File(root / H5) as file:
            names = [name.decode() for name in file["imgname"][()]]
            centers, scales = file["center"][()], file["scale"][()] / 1.25
        return _views(root, names, centers - np.stack([0 * scales, 15 * scales], axis=1), scales)
    return Views(())


def _views(
    root: Path, names: Any, centers: NDArray[np.float64], scales: NDArray[np.float64]
) -> Views:
    centers = centers - 1
    half = 100 * scales[:, None]
    return Views(
        [str(root / "images" / name) for name in names],
        np.concatenate([centers - half, 2 * half, 2 * half], axis=1),
        {"center": centers, "scale": scales},
    )


def _release(path: Path) -> Any:
    import scipy.io

    try:
        return scipy.io.loadmat(path)["RELEASE"][0, 0]
    except Exception as error:  # a damaged file fails in as many ways as scipy has readers
        raise PrerequisiteError(f"{path} cannot be read: {error}.", OBTAIN) from error
