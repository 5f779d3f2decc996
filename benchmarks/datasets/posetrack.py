"""PoseTrack 2017 and 2018: the official sequence files, for truth and for submissions.

Layout, joints and what counts as a missing joint follow the format descriptions and the conversion
in leonid-pishchulin/poseval (2018 files become 2017 ones before they are evaluated).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.records import read_json
from benchmarks.datasets.single_person import make_dataset
from harness.api import PEOPLE_2D, Dataset, Predictions, PrerequisiteError, Rows
from harness.api.skeleton import POSETRACK_15

LAYOUT = """annotations/{split}/SEQUENCE.json   one file per sequence (2017 or 2018 format)
images/...                         as the annotations name them; for methods that read images"""

MAX_TRACK_ID = 10000
"""Track ids are below it; poseval adds multiples of it to tell sequences apart."""

_JOINTS = len(POSETRACK_15)
_REMEDY = "Give a PoseTrack file: 2018 (images, annotations, categories) or 2017 (annolist)."
_FORM_2017 = "2017 format: lists of one: track_id [n]; point {id [k], x [..], y [..], score [..]}."
_FORM_2018 = (
    "2018 format: an annotation has image_id, track_id, keypoints (x, y, v per joint of the "
    "category) and, in submissions, scores (one per joint); ignore regions have as many x as y."
)


@dataclass(frozen=True, eq=False)
class FramePoses:
    """The people of one frame, as a file states them.

    Parameters
    ----------
    image : str
        Name of the image file.
    entries : int
        Number of person entries, those without a list of joints included.
    keypoints : array (n, 15, 2)
        Of the people with a list of joints; NaN where a joint is absent.
    scores : array (n, 15)
        NaN where none is given.
    head : array (n, 4)
        Head box x1, y1, x2, y2; NaN for none.
    track_id : int array (n,), optional
        None where no person has one.
    regions : tuple of array (m, 2)
        Polygons to ignore.
    """

    image: str
    entries: int
    keypoints: NDArray[np.float64]
    scores: NDArray[np.float64]
    head: NDArray[np.float64]
    track_id: NDArray[np.int64] | None
    regions: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, eq=False)
class SequenceTruth:
    """One annotated sequence; ``first`` is the place of its first frame in the split."""

    name: str
    first: int
    frames: tuple[FramePoses, ...]


def splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have sequence files."""
    return tuple(
        folder.name
        for folder in sorted((root / "annotations").glob("*"))
        if folder.is_dir() and next(folder.glob("*.json"), None) is not None
    )


def load(root: Path, split: str, obtain: str) -> Dataset:
    """Read all sequences of a split, sorted by name; a sample is a frame."""
    paths = sorted((root / "annotations" / split).glob("*.json"))
    if not paths:
        raise PrerequisiteError(
            f"posetrack: no sequence below {root / 'annotations' / split}.",
            f"Expected:\n{LAYOUT.format(split=split)}\n{obtain}",
        )
    sequences: list[SequenceTruth] = []
    ids: list[str] = []
    for path in paths:
        frames = read_sequence(path)
        _check_truth(path, frames)
        sequences.append(SequenceTruth(path.stem, len(ids), tuple(frames)))
        ids.extend(f"{path.stem}/{Path(frame.image).stem}" for frame in frames)
    names = [path.relative_to(root).as_posix() for path in paths]
    return make_dataset("posetrack", split, root, names, ids, tuple(sequences))


def read_submission(folder: Path, dataset: Dataset) -> Predictions:
    """Read a folder with a file of the same name and number of frames for every sequence.

    Frames are paired by their place in the file, as poseval does; other files are not read.
    """
    if not folder.is_dir():
        raise PrerequisiteError(
            f"{folder} is no folder.", "Give the folder that holds one SEQUENCE.json per sequence."
        )
    samples: list[tuple[str, Rows]] = []
    for sequence in dataset.truth:
        path = folder / f"{sequence.name}.json"
        if not path.is_file():
            raise PrerequisiteError(
                f"{folder} has no file {path.name}.",
                f"A submission has one file for each of the {len(dataset.truth)} sequences.",
            )
        frames = read_sequence(path)
        if len(frames) != len(sequence.frames):
            raise PrerequisiteError(
                f"{path} has {len(frames)} frames, the truth {len(sequence.frames)}.",
                "Write every frame of the truth, in its order, also those without people.",
            )
        for number, frame in enumerate(frames):
            samples.append((dataset.sample_ids[sequence.first + number], _rows(path, frame)))
    tracked = [("track_id" in rows) or len(rows["score"]) == 0 for _, rows in samples]
    if not all(tracked):
        if any("track_id" in rows and len(rows["score"]) for _, rows in samples):
            missing = samples[tracked.index(False)][0]
            raise PrerequisiteError(
                f"{folder}: people of {missing} have no track_id, others have one.",
                "Give every person a track_id, or none (then only AP is computed).",
            )
        samples = [(i, {k: v for k, v in r.items() if k != "track_id"}) for i, r in samples]
    return Predictions.from_samples(PEOPLE_2D, samples)


def _rows(path: Path, frame: FramePoses) -> Rows:
    rows: dict[str, NDArray[Any]] = {
        "keypoints": frame.keypoints,
        "keypoint_scores": frame.scores,
        # No official number reads a person's own score.
        "score": np.ones(len(frame.keypoints)),
    }
    if len(frame.keypoints) == 0:
        rows["track_id"] = np.zeros(0, dtype=np.int64)
    elif frame.track_id is not None:
        unique, times = np.unique(frame.track_id, return_counts=True)
        if (times > 1).any():
            raise PrerequisiteError(
                f"{path}: frame {frame.image} has two people with track_id {unique[times > 1][0]}.",
                "A track has at most one person in a frame.",
            )
        rows["track_id"] = frame.track_id
    return rows


def _check_truth(path: Path, frames: list[FramePoses]) -> None:
    for frame in frames:
        if len(frame.keypoints) and frame.track_id is None:
            raise PrerequisiteError(
                f"{path}: frame {frame.image}: people have no track_id.",
                "Use the annotation files of PoseTrack as they were published.",
            )
        labelled = ~np.isnan(frame.keypoints).all(axis=(1, 2))
        bad = labelled & np.isnan(frame.head).any(axis=1)
        if bad.any():
            raise PrerequisiteError(
                f"{path}: frame {frame.image}, person {int(np.flatnonzero(bad)[0])} has joints but "
                "no head box.",
                "The head box (bbox_head, or x1 y1 x2 y2) gives the unit of distance; add it.",
            )


def read_sequence(path: Path) -> list[FramePoses]:
    """Read a sequence file of either format.

    Raises
    ------
    PrerequisiteError
        Naming file, frame, person and what is wrong.
    """
    document = read_json(path, _REMEDY)
    if isinstance(document, dict) and isinstance(document.get("annolist"), list):
        return [_frame_2017(path, n, item) for n, item in enumerate(document["annolist"])]
    if isinstance(document, dict) and {"images", "annotations", "categories"} <= set(document):
        return _frames_2018(path, document)
    raise PrerequisiteError(f"{path} is no PoseTrack file.", _REMEDY)


@dataclass(frozen=True, eq=False)
class _Person:
    keypoints: NDArray[np.float64]
    scores: NDArray[np.float64]
    head: NDArray[np.float64]
    track_id: int | None


def _frame(path: Path, image: str, entries: int, people: list[_Person], regions: Any) -> FramePoses:
    ids = [person.track_id for person in people]
    if any(i is None for i in ids) and any(i is not None for i in ids):
        raise PrerequisiteError(
            f"{path}: frame {image}: person {ids.index(None)} has no track_id, others have one.",
            "Give every person a track_id, or none (then only AP is computed).",
        )
    for number, track in enumerate(ids):
        if track is not None and track >= MAX_TRACK_ID:
            raise PrerequisiteError(
                f"{path}: frame {image}, person {number} has track_id {track}.",
                f"Track ids must be below {MAX_TRACK_ID}.",
            )
    points = np.stack([p.keypoints for p in people]) if people else np.zeros((0, _JOINTS, 2))
    return FramePoses(
        image=image,
        entries=entries,
        keypoints=points,
        scores=np.array([p.scores for p in people], dtype=np.float64).reshape(-1, _JOINTS),
        head=np.array([p.head for p in people], dtype=np.float64).reshape(-1, 4),
        track_id=None if None in ids else np.array(ids, dtype=np.int64),
        regions=tuple(np.array(region, dtype=np.float64).reshape(-1, 2) for region in regions),
    )


def _frame_2017(path: Path, number: int, item: Any) -> FramePoses:
    people = []
    with _reading(path, f"frame {number}", _FORM_2017):
        image = item["image"][0]["name"]
        entries = list(item.get("annorect") or ())
        regions = [
            [(point["x"][0], point["y"][0]) for point in region["point"]]
            for region in item.get("ignore_regions", ())
        ]
    for person, entry in enumerate(entries):
        with _reading(path, f"frame {number} ({image}), person {person}", _FORM_2017):
            listed = entry.get("annopoints")
            if listed and listed[0] and "point" in listed[0]:
                people.append(_person_2017(entry, listed[0]["point"]))
    return _frame(path, image, len(entries), people, regions)


def _person_2017(entry: Mapping[str, Any], points: Any) -> _Person:
    keypoints, scores = np.full((_JOINTS, 2), np.nan), np.full(_JOINTS, np.nan)
    seen: set[int] = set()
    for point in points:
        joint = point["id"][0]
        if not 0 <= joint < _JOINTS or joint in seen:  # poseval takes the first of a kind
            continue
        seen.add(joint)
        keypoints[joint] = _finite([point["x"][0], point["y"][0]])
        if "score" in point:
            scores[joint] = _finite([point["score"][0]])[0]
    head = np.full(4, np.nan)
    if "x1" in entry:
        head[:] = _finite([entry[side][0] for side in ("x1", "y1", "x2", "y2")])
    return _Person(keypoints, scores, head, entry["track_id"][0] if "track_id" in entry else None)


def _frames_2018(path: Path, document: Mapping[str, Any]) -> list[FramePoses]:
    names = _joints_2018(path, document["categories"])
    with _reading(path, "images", _FORM_2018):
        people: dict[Any, list[_Person]] = {image["id"]: [] for image in document["images"]}
        if len(people) != len(document["images"]):
            raise ValueError("two images have one id")
    for index, entry in enumerate(document["annotations"]):
        with _reading(path, f"annotation {index}", _FORM_2018):
            if entry["image_id"] not in people:
                raise ValueError(f"unknown image_id {entry['image_id']}")
            people[entry["image_id"]].append(_person_2018(entry, names))
    frames = []
    for index, image in enumerate(document["images"]):
        own = people[image["id"]]
        with _reading(path, f"image {index}", _FORM_2018):
            sides = (image.get("ignore_regions_x") or (), image.get("ignore_regions_y") or ())
            regions = [list(zip(*xy, strict=True)) for xy in zip(*sides, strict=True)]
            name = image["file_name"]
        frames.append(_frame(path, name, len(own), own, regions))
    return frames


@contextmanager
def _reading(path: Path, where: str, form: str) -> Iterator[None]:
    """Turn a failure to read one record into an error that names it."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise PrerequisiteError(
            f"{path}: {where} cannot be read: {type(error).__name__}: {error}.", form
        ) from error


def _joints_2018(path: Path, categories: Any) -> list[str]:
    """Return the names of the file's keypoints, in its order."""
    names: list[str] = []
    if isinstance(categories, list) and len(categories) == 1 and isinstance(categories[0], dict):
        names = categories[0].get("keypoints", [])
    missing = [joint for joint in POSETRACK_15.joints if joint not in names]
    if missing or categories[0].get("name") != "person":
        raise PrerequisiteError(
            f"{path}: categories must be the one category 'person' with its keypoint names; "
            f"missing: {', '.join(missing) or 'the name'}.",
            "Copy 'categories' from the ground-truth file.",
        )
    return names


def _person_2018(entry: Mapping[str, Any], names: list[str]) -> _Person:
    columns = [names.index(joint) for joint in POSETRACK_15.joints]
    flat = _finite(entry["keypoints"])
    if len(flat) != 3 * len(names):
        raise ValueError(f"{len(flat)} numbers in keypoints, due are {3 * len(names)}")
    points = flat.reshape(-1, 3)
    absent = (points == 0).all(axis=1)
    keypoints = np.where(absent[:, None], np.nan, points[:, :2])[columns]
    scores = np.full(_JOINTS, np.nan)
    if entry.get("scores"):
        given = _finite(entry["scores"])
        if len(given) != len(points):
            raise ValueError(f"{len(given)} scores for {len(points)} keypoints")
        scores = given[columns]
    head = np.full(4, np.nan)
    if entry.get("bbox_head"):
        x, y, width, height = _finite(entry["bbox_head"])
        head[:] = x, y, x + width, y + height
    return _Person(keypoints, scores, head, int(entry["track_id"]))


def _finite(values: Any) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{array[~np.isfinite(array)][0]} is not finite")
    return array
