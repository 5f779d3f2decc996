"""Reader of the COCO person keypoints, in their official layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.coco_results import PERSON, read_boxes
from benchmarks.datasets.records import Records, positions, read_json
from harness.api import (
    Dataset,
    PrerequisiteError,
    Sample,
    file_digest,
)

_PREFIX = "person_keypoints_"
_BARE_PREFIX = "image_info_"  # of the test sets, whose annotations are not published


@dataclass(frozen=True, eq=False)
class CocoImages:
    """The images of one split, in the order of their ids.

    Parameters
    ----------
    image_id : int array (n,)
        Sorted.
    file_name : tuple of str
    width, height : int array (n,)
        Pixels.
    """

    image_id: NDArray[np.int64]
    file_name: tuple[str, ...]
    width: NDArray[np.int64]
    height: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CocoTruth(CocoImages):
    """The annotated people of one split, image by image in the order of the image ids.

    Image ``i`` owns the annotations ``offsets[i]:offsets[i + 1]``, in the file's order.

    Parameters
    ----------
    offsets : int array (n + 1,)
    id : int array (M,)
        Annotation ids.
    keypoints : array (M, K, 3)
        x, y in pixels and v: 0 not labelled, 1 labelled but hidden, 2 visible.
    num_keypoints : int array (M,)
        The field of that name.
    area : array (M,)
        Square pixels of the segmentation.
    box : array (M, 4)
        x, y, w, h in pixels.
    crowd : bool array (M,)
        Whether the annotation is a group of people that were not told apart.
    """

    offsets: NDArray[np.int64]
    id: NDArray[np.int64]
    keypoints: NDArray[np.float64]
    num_keypoints: NDArray[np.int64]
    area: NDArray[np.float64]
    box: NDArray[np.float64]
    crowd: NDArray[np.bool_]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether each joint is labelled, (M, K)."""
        return self.keypoints[:, :, 2] > 0

    @property
    def image(self) -> NDArray[np.int64]:
        """Row of each annotation's image, (M,)."""
        return np.repeat(np.arange(len(self.image_id)), np.diff(self.offsets))


def layout(split: str) -> str:
    """Return the files of a split below the root."""
    prefix = _BARE_PREFIX if split.startswith("test") else _PREFIX
    pictures = _picture_name(split)
    return "\n".join(
        (
            f"annotations/{prefix}{split}.json",
            f"{pictures}/*.jpg (or images/{pictures}/*.jpg)",
            "person_detection_results/*.json (only for --boxes with a detections file)",
        )
    )


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits whose annotation file, or list of images, is below the root."""
    return _splits_named(root, (_PREFIX, _BARE_PREFIX))


def _splits_named(root: Path, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    found = {
        file.stem.removeprefix(prefix)
        for prefix in prefixes
        for file in (root / "annotations").glob(f"{prefix}*.json")
    }
    return tuple(sorted(found))


def load(root: Path, split: str) -> Dataset:
    """Read a split; a test set's list of images gives a dataset without truth.

    Raises
    ------
    PrerequisiteError
        If the annotation file is missing or one of its records is wrong.
    """
    path = root / "annotations" / f"{_PREFIX}{split}.json"
    bare = path.parent / f"{_BARE_PREFIX}{split}.json"
    if bare.is_file() and not path.is_file():
        content = read_annotations(bare, root, splits(root), layout(split))
        return dataset_of("coco", split, root, bare, content, _read_images(bare, content))
    content = read_annotations(path, root, splits(root), layout(split))
    return dataset_of("coco", split, root, path, content, read_truth(path, content, joints=17))


def images_of(dataset: Dataset) -> CocoImages:
    """Return the images of a split; those of one without truth are read again."""
    if isinstance(dataset.truth, CocoImages):
        return dataset.truth
    path = dataset.root / "annotations" / f"{_BARE_PREFIX}{dataset.split}.json"
    return _read_images(path, read_json(path, "Unpack the official annotations again."))


def read_annotations(path: Path, root: Path, found: tuple[str, ...], expected: str) -> Any:
    """Return the content of an annotation file.

    Raises
    ------
    PrerequisiteError
        If it is missing (the message lists the splits found and the files expected) or no JSON.
    """
    if not path.is_file():
        raise PrerequisiteError(
            f"{path} does not exist (splits found in {root}: {', '.join(found) or 'none'}).",
            f"Expected below {root}:\n{expected}",
        )
    return read_json(path, "Unpack the official annotations again.")


def dataset_of(
    benchmark: str, split: str, root: Path, path: Path, content: Any, images: CocoImages
) -> Dataset:
    """Return the dataset of one annotation file; it has truth if ``images`` is a CocoTruth."""
    return Dataset(
        benchmark=benchmark,
        split=split,
        root=root,
        digest=file_digest(path),
        synthetic=is_synthetic(content),
        sample_ids=tuple(str(image_id) for image_id in images.image_id),
        truth=images if isinstance(images, CocoTruth) else None,
    )


def is_synthetic(content: dict[str, Any]) -> bool:
    """Return whether an annotation file says that it is part of the embedded world."""
    info = content.get("info")
    return isinstance(info, dict) and info.get("synthetic") is True


def picture_folder(dataset: Dataset) -> Path:
    """Return the folder that holds the split's pictures.

    Raises
    ------
    PrerequisiteError
        If there is none.
    """
    name = _picture_name(dataset.split)
    for folder in (dataset.root / name, dataset.root / "images" / name):
        if folder.is_dir():
            return folder
    raise PrerequisiteError(
        f"{dataset.root} holds no pictures of {dataset.split}.",
        f"Expected below {dataset.root}:\n{layout(dataset.split)}",
    )


def _picture_name(split: str) -> str:
    """Return the folder's name: test-dev is a part of the test set, whose pictures it shares."""
    return split.replace("test-dev", "test")


def read_truth(path: Path, content: Any, joints: int, box_area: float | None = None) -> CocoTruth:
    """Take the content of a COCO annotation file apart.

    Parameters
    ----------
    path : Path
        The file, for messages.
    content : object
        What is in it.
    joints : int
        Number of keypoints K of each person; 0 for files without keypoints.
    box_area : float, optional
        The area is this share of the box, in place of the annotation's field.

    Raises
    ------
    PrerequisiteError
        Naming file, record, value and remedy.
    """
    remedy = "Use the official annotation file, or correct this record."
    images = _read_images(path, content)
    people = _section(path, content, "annotation", "annotations")
    people = people.where(people.integers("category_id") == PERSON)
    image = positions(people, "image_id", images.image_id, remedy)
    order = np.argsort(image, kind="stable")
    meaning = f"{joints} times x, y, v in one flat list"
    keypoints = np.zeros((len(people), joints, 3))
    num_keypoints = np.zeros(len(people), dtype=np.int64)
    if joints:
        keypoints = people.rows("keypoints", joints * 3, meaning).reshape(-1, joints, 3)
        num_keypoints = people.integers("num_keypoints")
    box = people.rows("bbox", 4, "x, y, width, height")
    area = people.numbers("area") if box_area is None else box[:, 2] * box[:, 3] * box_area
    ids = people.integers("id")
    _check_unique(people, ids)
    return CocoTruth(
        **vars(images),
        offsets=np.searchsorted(image[order], np.arange(len(images.image_id) + 1)),
        id=ids[order],
        keypoints=keypoints[order],
        num_keypoints=num_keypoints[order],
        area=area[order],
        box=box[order],
        crowd=people.integers("iscrowd")[order] != 0,
    )


def _read_images(path: Path, content: Any) -> CocoImages:
    images = image_records(path, content)
    by_id = np.argsort(images.integers("id"))
    file_name = images.texts("file_name")
    return CocoImages(
        image_id=images.integers("id")[by_id],
        file_name=tuple(file_name[i] for i in by_id),
        width=images.integers("width")[by_id],
        height=images.integers("height")[by_id],
    )


def image_records(path: Path, content: Any) -> Records:
    """Return the images of an annotation file, checked for ids."""
    images = _section(path, content, "image", "images")
    _check_unique(images, images.integers("id"))
    return images


def _section(path: Path, content: Any, what: str, key: str) -> Records:
    if not isinstance(content, dict) or key not in content:
        raise PrerequisiteError(
            f"{path} has no list {key!r}.",
            "Use an annotation file with 'images', 'annotations' and 'categories'; "
            "a results file goes to `harness score`.",
        )
    return Records.of(path, what, content[key], f"the official list of {key}")


def _check_unique(records: Records, ids: NDArray[np.int64]) -> None:
    unique, first = np.unique(ids, return_index=True)
    if len(unique) != len(ids):
        index = int(np.delete(np.arange(len(ids)), first)[0])
        records.fail(index, "repeats an id", f"Every {records.what} needs an id of its own.")


def people_with_boxes(truth: CocoTruth) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the people that are predicted with ground-truth boxes, and their boxes.

    As in the official code of SimpleBaseline and HRNet: people with labelled joints and an area,
    no crowds. The right edge is ``min(width - 1, x + max(0, w - 1))``, the lower one alike.

    Returns
    -------
    rows : int array (n,)
        Of the annotations.
    boxes : array (n, 4)
        x, y, w, h.
    """
    limit = np.stack([truth.width, truth.height], axis=1)[truth.image] - 1
    low = np.maximum(0, truth.box[:, :2])
    high = np.minimum(limit, low + np.maximum(0, truth.box[:, 2:] - 1))
    wanted = (truth.num_keypoints > 0) & (truth.area > 0) & ~truth.crowd
    rows = np.flatnonzero(wanted & (high >= low).all(axis=1))
    return rows, np.concatenate([low, high - low], axis=1)[rows]


def samples(
    dataset: Dataset, folder: Path, with_boxes: bool, detections: Path | None
) -> list[Sample]:
    """Return one sample per image: with ground-truth boxes, boxes of a detections file or none.

    Raises
    ------
    PrerequisiteError
        If the detections file is wrong, or the split has no ground truth to take boxes from.
    """
    known = images_of(dataset)
    # A limited run has the first ids only.
    images = [(str(folder / name),) for name in known.file_name[: len(dataset.sample_ids)]]
    if detections is None and not with_boxes:
        return [Sample(*pair) for pair in zip(dataset.sample_ids, images, strict=True)]
    if detections is not None:
        boxes, scores, offsets = read_boxes(detections, known.image_id)
    elif isinstance(known, CocoTruth):
        rows, boxes = people_with_boxes(known)
        scores = np.ones(len(rows))
        offsets = np.searchsorted(known.image[rows], np.arange(len(known.image_id) + 1))
    else:
        raise PrerequisiteError(
            f"{dataset.split} has no ground truth that boxes could be taken from.",
            "Give a file of detected people: --boxes FILE.",
        )
    own = [slice(*bounds) for bounds in pairwise(offsets[: len(images) + 1])]
    return [
        Sample(id_, image, boxes[rows], scores[rows])
        for id_, image, rows in zip(dataset.sample_ids, images, own, strict=True)
    ]


def training_samples(
    dataset: Dataset, folder: Path, extra: NDArray[np.float64] | None = None
) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
    """Return the images that have people with boxes; the truth also holds ``area`` (n,).

    And ``unlabelled`` (m, 4), boxes x, y, w, h of the image's crowds and people without keypoints:
    what a method that looks at whole images must not learn as background.

    ``extra`` (M, K', 3): further keypoints x, y, v of every annotation, put behind the others.
    """
    truth: CocoTruth = dataset.truth
    rows, _ = people_with_boxes(truth)
    keypoints = truth.keypoints
    if extra is not None:
        keypoints = np.concatenate([keypoints, extra], axis=1)
    pairs: list[tuple[Sample, Mapping[str, NDArray[Any]]]] = []
    unlabelled = truth.crowd | (truth.num_keypoints == 0)
    bounds = np.searchsorted(truth.image[rows], np.arange(len(truth.image_id) + 1))
    for image, sample in enumerate(samples(dataset, folder, True, None)):
        own = rows[bounds[image] : bounds[image + 1]]
        everyone = slice(truth.offsets[image], truth.offsets[image + 1])
        if len(own):
            known = {
                "unlabelled": truth.box[everyone][unlabelled[everyone]],
                "keypoints": keypoints[own, :, :2],
                "visible": keypoints[own, :, 2] > 0,
                "area": truth.area[own],
            }
            pairs.append((sample, known))
    return pairs


def extra_keypoints(dataset: Dataset) -> NDArray[np.float64]:
    """Read the four keypoints (M, 4, 3) that the embedded world adds to COCO's.

    Raises
    ------
    PrerequisiteError
        If a person of the annotation file lacks them.
    """
    path = dataset.root / "annotations" / f"{_PREFIX}{dataset.split}.json"
    remedy = "Only the embedded splits have them; train on coco-17 here."
    known = {record["id"]: record for record in read_json(path, remedy)["annotations"]}
    truth: CocoTruth = dataset.truth
    try:
        rows = [known[number]["extra_keypoints"] for number in truth.id.tolist()]
    except KeyError:
        raise PrerequisiteError(
            f"{path}: not every person has 'extra_keypoints' (MPII's pelvis to head top).", remedy
        ) from None
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1, 3)


_BOX_FILES = ("instances_", _PREFIX)  # either holds all boxes of people


def box_layout(split: str) -> str:
    """Return the files of a split below the root, for the person boxes alone."""
    names = " or ".join(f"annotations/{prefix}{split}.json" for prefix in _BOX_FILES)
    return f"{names}\n{split}/*.jpg (or images/{split}/*.jpg)"


def box_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that :func:`load_boxes` finds below the root."""
    return _splits_named(root, _BOX_FILES)


def load_boxes(root: Path, split: str) -> Dataset:
    """Read the person boxes of a split.

    Raises
    ------
    PrerequisiteError
        If the annotation file is missing or one of its records is wrong.
    """
    paths = [root / "annotations" / f"{prefix}{split}.json" for prefix in _BOX_FILES]
    path = next((path for path in paths if path.is_file()), paths[0])
    content = read_annotations(path, root, box_splits(root), box_layout(split))
    return dataset_of("coco-person", split, root, path, content, read_truth(path, content, 0))
