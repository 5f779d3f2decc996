"""MPII Human Pose, groups of people: the toolkit's MATLAB files, or the same records as JSON.

- ``annot/mpii_human_pose_v1_u12_1.mat`` (RELEASE): ``img_train``, ``single_person``.
- ``annot/annolist_dataset_v12.mat`` (annolist): head boxes, places, sizes and joints of the test
  people, published in 2021.
- ``annot/groups_v12.mat`` (groups): per image a list of groups, 1-based numbers of its people.
- or ``annotations/mpii_multi_annolist.json`` with ``annolist``, ``img_train``, ``single_person``
  and ``groups``.

A sample is a group of a test image, images in order, then groups; a group with a person of the
single-person benchmark is left out. All pixels in the files are 1-based; they are 0-based here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.records import read_json
from benchmarks.datasets.single_person import make_dataset, missing, present
from harness.api import PEOPLE_2D, Dataset, Predictions, PrerequisiteError, Rows
from harness.api.skeleton import MPII_16

JSON = "annotations/mpii_multi_annolist.json"
RELEASE = "annot/mpii_human_pose_v1_u12_1.mat"
ANNOLIST = "annot/annolist_dataset_v12.mat"
GROUPS = "annot/groups_v12.mat"
LAYOUT = f"""{RELEASE}   RELEASE: which images and people
{ANNOLIST}      annolist: test people with their joints
{GROUPS}                groups: who belongs together
{JSON}   or: the same records in one file
images/*.jpg                         pictures, to run methods"""

_JOINTS = len(MPII_16)
_REMEDY = "Use the files of the MPII toolkit as they were published."


@dataclass(frozen=True, eq=False)
class Group:
    """The people of one group.

    Parameters
    ----------
    image : str
        File name.
    keypoints : array (n, 16, 2)
        Pixels, 0-based; NaN where there is no label.
    head : array (n, 4)
        Head box x1, y1, x2, y2; NaN for none.
    box : array (4,)
        x, y, w, h of the extent of the people's positions: what methods may know.
    scale : float
        Mean of the people's scales; a person is about 200 x scale pixels high.
    """

    image: str
    keypoints: NDArray[np.float64]
    head: NDArray[np.float64]
    box: NDArray[np.float64]
    scale: float


def splits(root: Path) -> tuple[str, ...]:
    """Return ``test`` if its files are below ``root``."""
    there = present(root, [JSON]) or len(present(root, [RELEASE, ANNOLIST, GROUPS])) == 3
    return ("test",) if there else ()


def load(root: Path, split: str, obtain: str) -> Dataset:
    """Read the groups of the test images."""
    if split not in splits(root):
        raise missing(root, "mpii-multi", LAYOUT, obtain)
    files = present(root, [JSON]) or [RELEASE, ANNOLIST, GROUPS]
    path = root / files[0]
    records = read_json(path, _REMEDY) if files == [JSON] else _read_mat(root)
    names = ("annolist", "img_train", "single_person", "groups")
    sizes = {name: len(records.get(name, ())) for name in names}
    if len(set(sizes.values())) != 1:
        raise PrerequisiteError(f"{path}: the lists differ in length: {sizes}.", _REMEDY)
    ids, groups = [], []
    rows = zip(*(records[name] for name in names), strict=True)
    for image, (entry, train, single, people) in enumerate(rows):
        for number, members in enumerate([] if train else people, 1):
            members = [int(m) for m in _many(members)]
            if not members or set(members) & {int(m) for m in _many(single)}:
                continue
            groups.append(_group(path, image, entry, members))
            ids.append(f"{Path(groups[-1].image).stem}_{number}")
    return make_dataset("mpii-multi", split, root, files, ids, tuple(groups))


def read_submission(path: Path, dataset: Dataset) -> Predictions:
    """Read ``pred_keypoints_mpii_multi.mat`` or the same records as JSON: an entry per group."""
    if path.suffix.lower() == ".mat":
        entries: Any = _many(_variable(path, "pred"))
    else:
        document = read_json(path, "Give pred_keypoints_mpii_multi.mat, or its records as JSON.")
        entries = document.get("pred") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) != len(dataset.sample_ids):
        got = len(entries) if isinstance(entries, list) else "no"
        raise PrerequisiteError(
            f"{path} has {got} entries in 'pred', the split {len(dataset.sample_ids)} groups.",
            "Write one entry per group: test images in order, groups in order; a group without "
            "people has an empty annorect.",
        )
    samples = []
    for number, (entry, group) in enumerate(zip(entries, dataset.truth, strict=True)):
        name = _name(entry)
        if name and name != group.image:
            raise PrerequisiteError(
                f"{path}: entry {number} is of image {name}, its group of {group.image}.",
                "Write the entries in the order of the groups.",
            )
        samples.append((dataset.sample_ids[number], _predicted(path, number, entry)))
    return Predictions.from_samples(PEOPLE_2D, samples)


def _predicted(path: Path, number: int, entry: Mapping[str, Any]) -> Rows:
    keypoints, scores = [], []
    for person, rect in enumerate(_many(entry.get("annorect"))):
        points, confidence = _joints(path, f"entry {number}, person {person}", rect)
        unscored = ~np.isnan(points[:, 0]) & np.isnan(confidence)
        if unscored.any():
            raise PrerequisiteError(
                f"{path}: entry {number}, person {person}: "
                f"{MPII_16.joints[int(np.flatnonzero(unscored)[0])]} has no score.",
                "Give every predicted joint a score.",
            )
        if not np.isnan(points).all():  # the toolkit fails on a person without joints
            keypoints.append(points)
            scores.append(confidence)
    return {
        "keypoints": np.array(keypoints, dtype=np.float64).reshape(-1, _JOINTS, 2),
        "keypoint_scores": np.array(scores, dtype=np.float64).reshape(-1, _JOINTS),
        # No official number reads a person's own score.
        "score": np.ones(len(keypoints)),
    }


def _group(path: Path, image: int, entry: Mapping[str, Any], members: Sequence[int]) -> Group:
    rects = _many(entry.get("annorect"))
    if max(members) > len(rects) or min(members) < 1:
        raise PrerequisiteError(
            f"{path}: image {image} has {len(rects)} people, a group names {max(members)}.",
            _REMEDY,
        )
    points, heads, places, scales = [], [], [], []
    for member in members:
        rect, where = rects[member - 1], f"image {image}, person {member}"
        points.append(_joints(path, where, rect)[0])
        heads.append([_number(rect.get(side)) - 1 for side in ("x1", "y1", "x2", "y2")])
        place = _one(rect.get("objpos")) or {}
        places.append([_number(place.get("x")) - 1, _number(place.get("y")) - 1])
        scales.append(_number(rect.get("scale")))
        if np.isnan(heads[-1]).any() and not np.isnan(points[-1]).all():
            raise PrerequisiteError(f"{path}: {where} has joints but no head box.", _REMEDY)
    low, high = np.min(places, axis=0), np.max(places, axis=0)
    return Group(
        image=_name(entry),
        keypoints=np.array(points),
        head=np.array(heads),
        box=np.concatenate([low, high - low]),
        scale=float(np.mean(scales)),
    )


def _joints(
    path: Path, where: str, rect: Mapping[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return keypoints (16, 2) and scores (16,) of one person; the first of equal ids counts."""
    keypoints, scores = np.full((_JOINTS, 2), np.nan), np.full(_JOINTS, np.nan)
    points = _many((_one(rect.get("annopoints")) or {}).get("point"))
    for point in reversed(points):
        joint = point.get("id")
        values = [_number(point.get(key)) for key in ("x", "y")]
        if joint not in range(_JOINTS) or not np.isfinite(values).all():
            raise PrerequisiteError(
                f"{path}: {where}: the point {point} is not valid.",
                f"A point has id 0 to {_JOINTS - 1} and finite x and y in pixels.",
            )
        keypoints[int(joint)] = np.array(values) - 1
        scores[int(joint)] = _number(point.get("score"))
    return keypoints, scores


def _name(entry: Mapping[str, Any]) -> str:
    return str((_one(entry.get("image")) or {}).get("name", ""))


def _many(value: Any) -> list[Any]:
    """Return a MATLAB value as a list: one element need not be in brackets."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _one(value: Any) -> Any:
    return (value[0] if value else None) if isinstance(value, list) else value


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _read_mat(root: Path) -> dict[str, list[Any]]:
    release = _one(_variable(root / RELEASE, "RELEASE"))
    return {
        "annolist": _many(_variable(root / ANNOLIST, "annolist")),
        "img_train": _many(release.get("img_train")),
        "single_person": _many(release.get("single_person")),
        "groups": _many(_variable(root / GROUPS, "groups")),
    }


def _variable(path: Path, name: str) -> Any:
    """Read one variable of a .mat file as dicts, lists, numbers and texts."""
    from scipy.io import loadmat

    try:
        found = loadmat(path, variable_names=[name], struct_as_record=False)
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise PrerequisiteError(f"{path} cannot be read: {error}.", _REMEDY) from error
    if name not in found:
        raise PrerequisiteError(f"{path} has no variable {name!r}.", _REMEDY)
    return _plain(found[name])


def _plain(value: Any) -> Any:
    if hasattr(value, "_fieldnames"):
        return {field: _plain(getattr(value, field)) for field in value._fieldnames}
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == object:
        return [_plain(item) for item in value.ravel()]
    if value.dtype.kind == "U":
        return str(value[0]) if value.size else ""
    return value.item() if value.size == 1 else value.ravel().tolist()
