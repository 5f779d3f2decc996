"""MOTChallenge: ground truth and results as text files, one box per row.

Rows of results and of MOT15 truth: frame, id, x, y, w, h, confidence and three more, -1 or a place
in the world. Rows of MOT16, 17 and 20 truth: frame, id, x, y, w, h, consider, class, visibility:
nine columns. Frames and pixels count from 1 in the files and from 0 here.
"""

from __future__ import annotations

from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.single_person import make_dataset
from harness.api import BOXES, Dataset, Predictions, PrerequisiteError

LAYOUT = """train/SEQUENCE/gt/gt.txt      boxes: frame,id,x,y,w,h,...
train/SEQUENCE/seqinfo.ini    name and length of the sequence (optional)
train/SEQUENCE/img1/*.jpg     pictures, to run methods"""

NO_CLASS = -1
_FORMAT = "Give rows of frame,id,x,y,w,h,confidence,-1,-1,-1; frames and pixels count from 1."


@dataclass(frozen=True, eq=False)
class Boxes:
    """The rows of a file: ``frame`` and ``track_id`` (n,), ``box`` (n, 4), ``flag`` (n,), column 7,
    and ``label`` (n,), the class or :data:`NO_CLASS`.
    """

    frame: NDArray[np.int64]
    track_id: NDArray[np.int64]
    box: NDArray[np.float64]
    flag: NDArray[np.float64]
    label: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SequenceTruth:
    """One sequence; ``length`` is its number of frames, None where no file states it."""

    name: str
    length: int | None
    images: tuple[str, ...]
    boxes: Boxes


def splits(root: Path) -> tuple[str, ...]:
    """Return ``train`` and its sequences, each of which is a split of its own."""
    names = sorted(path.parents[1].name for path in (root / "train").glob("*/gt/gt.txt"))
    return ("train", *names) if names else ()


def load(root: Path, split: str, obtain: str) -> Dataset:
    """Read all sequences below ``train``, or the one that the split names."""
    names = [name for name in splits(root)[1:] if split in ("train", name)]
    if not names:
        raise PrerequisiteError(
            f"mot: no ground truth of {split!r} below {root}.", f"Expected:\n{LAYOUT}\n{obtain}"
        )
    files, sequences = [], []
    for name in names:
        folder = root / "train" / name
        boxes = read_boxes(folder / "gt" / "gt.txt")
        length, images = _sequence_info(folder)
        _check_frames(folder / "gt" / "gt.txt", boxes, length)
        sequences.append(SequenceTruth(name, length, images, boxes))
        candidates = (folder / "gt" / "gt.txt", folder / "seqinfo.ini")
        files += [path.relative_to(root).as_posix() for path in candidates if path.is_file()]
    return make_dataset("mot", split, root, files, names, tuple(sequences))


def read_results(path: Path, dataset: Dataset) -> Predictions:
    """Read a folder of ``SEQUENCE.txt``, or the one file of a split of one sequence."""
    names = dataset.sample_ids
    if path.is_file() and len(names) > 1:
        raise PrerequisiteError(
            f"{path} is one file, the split {dataset.split!r} has {len(names)} sequences.",
            "Give the folder with one SEQUENCE.txt each, or choose --split SEQUENCE.",
        )
    samples = []
    for sequence in dataset.truth:
        file = path if path.is_file() else path / f"{sequence.name}.txt"
        if not file.is_file():
            raise PrerequisiteError(
                f"{path} has no file {sequence.name}.txt.",
                f"Results are a folder of one text file per sequence: {', '.join(names)}.",
            )
        boxes = read_boxes(file)
        _check_frames(file, boxes, sequence.length)
        rows = {"box": boxes.box, "score": boxes.flag, "frame": boxes.frame}
        samples.append((sequence.name, {**rows, "track_id": boxes.track_id}))
    return Predictions.from_samples(BOXES, samples)


def read_boxes(path: Path) -> Boxes:
    """Read a text file of either kind.

    Raises
    ------
    PrerequisiteError
        Naming file, line and what is wrong.
    """
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(f"{path} cannot be read: {error}.", _FORMAT) from error
    for number, line in enumerate(lines, 1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        try:
            values = [float(field) for field in fields]
        except ValueError:
            raise PrerequisiteError(f"{path}, line {number}: {line!r}.", _FORMAT) from None
        problem = _problem(values)
        if problem:
            raise PrerequisiteError(f"{path}, line {number}: {problem}.", _FORMAT)
        rows.append([*values[:7], values[7] if len(values) == 9 else NO_CLASS])
    table = np.array(rows, dtype=np.float64).reshape(-1, 8)
    frame, track_id = table[:, 0].astype(np.int64) - 1, table[:, 1].astype(np.int64)
    _, first, times = np.unique(
        np.stack([frame, track_id]), axis=1, return_index=True, return_counts=True
    )
    if (times > 1).any():
        row = int(first[times > 1][0])
        raise PrerequisiteError(
            f"{path}: frame {frame[row] + 1} has two boxes with id {track_id[row]}.",
            "An id has at most one box in a frame.",
        )
    box = table[:, 2:6] - [1, 1, 0, 0]
    return Boxes(frame, track_id, box, table[:, 6], table[:, 7].astype(np.int64))


def _problem(values: list[float]) -> str:
    if len(values) < 7:
        return f"{len(values)} columns"
    if not np.isfinite(values[:8]).all():
        return "a value is not finite"
    frame, track = values[:2]
    if frame != int(frame) or frame < 1:
        return f"frame {frame:g}"
    if track != int(track) or track < 0:
        return f"id {track:g} (detections without an identity cannot be scored)"
    return ""


def _check_frames(path: Path, boxes: Boxes, length: int | None) -> None:
    if length is not None and len(boxes.frame) and boxes.frame.max() >= length:
        raise PrerequisiteError(
            f"{path}: frame {boxes.frame.max() + 1} is beyond the sequence's {length} frames.",
            "Number the frames as the sequence's pictures, from 1.",
        )


def _sequence_info(folder: Path) -> tuple[int | None, tuple[str, ...]]:
    """Return length and image files of a sequence; without ``seqinfo.ini`` those that are there."""
    path = folder / "seqinfo.ini"
    if not path.is_file():
        return None, tuple(str(image) for image in sorted((folder / "img1").glob("*.jpg")))
    info = ConfigParser()
    try:
        info.read(path, encoding="utf-8-sig")
        length = info.getint("Sequence", "seqLength")
    except (ConfigError, ValueError) as error:
        raise PrerequisiteError(
            f"{path}: {error}.", "It needs the section [Sequence] with seqLength."
        ) from error
    images = folder / info.get("Sequence", "imDir", fallback="img1")
    ending = info.get("Sequence", "imExt", fallback=".jpg")
    return length, tuple(str(images / f"{number:06d}{ending}") for number in range(1, length + 1))
