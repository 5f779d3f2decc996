"""OTB: annotation of single-object sequences, and result files of trackers.

Sequence folders hold ``groundtruth_rect.txt``, or ``groundtruth_rect.1.txt`` and so on for several
targets: folder Jogging is the sequences Jogging-1 and Jogging-2. Numbers are separated by commas or
white space. Spelling of case, dots and dashes differs between files of one sequence.

Pixels count from 1 in the files. The truth here keeps them, because what is annotated is told by
numbers above 0; predictions count from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.records import read_json
from benchmarks.datasets.single_person import make_dataset
from benchmarks.metrics.single_object import SHIFTS, starts
from harness.api import BOXES, Dataset, Predictions, PrerequisiteError, Rows

ATTRIBUTES = ("IV", "OPR", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OV", "BC", "LR")
LAYOUT = """SEQUENCE/groundtruth_rect.txt   x,y,w,h per frame (.1.txt, .2.txt for several targets)
SEQUENCE/img/*.jpg              pictures, to run methods
tb_100.txt, tb_50.txt           names and attributes of the sequences (optional), or
SEQUENCE/attrs.txt              attributes of one sequence (optional), or
anno/att/SEQUENCE.txt           eleven flags (optional)
SEQUENCE/init_omit.txt or anno/initOmit/SEQUENCE.txt   frames where no run starts (optional)"""

# The list of files in anno/att has two orders; a capital first letter tells the second one.
_FLAGS = {
    False: ATTRIBUTES,
    True: ("IV", "OCC", "SV", "OPR", "DEF", "MB", "FM", "IPR", "OV", "BC", "LR"),
}
_FIRST_FRAME = {"David": 300, "BlurCar1": 247, "BlurCar3": 3, "BlurCar4": 18}
_NOT_IN_BENCHMARK = ("Human4-1",)
_TEXT = "Give a folder with SEQUENCE.txt per sequence: x,y,w,h per frame, pixels counted from 1."


@dataclass(frozen=True, eq=False)
class SequenceTruth:
    """One target in one sequence.

    Parameters
    ----------
    name : str
    boxes : array (n, 4)
        x, y, w, h, pixels counted from 1; a number <= 0 says that there is no truth.
    starts : int array (k,)
        Frames at which runs start; the first is that of OPE.
    attributes : bool array (11,)
    images : tuple of str
    """

    name: str
    boxes: NDArray[np.float64]
    starts: NDArray[np.int64]
    attributes: NDArray[np.bool_]
    images: tuple[str, ...]

    def runs(self, kinds: Sequence[str]) -> list[tuple[str, str, int]]:
        """Return kind, disturbance and first frame of every run; ``track_id`` is the place here."""
        runs = []
        if "OPE" in kinds:
            runs.append(("OPE", "", int(self.starts[0])))
        if "TRE" in kinds:
            runs += [("TRE", "", start) for start in self.starts.tolist()]
        if "SRE" in kinds:
            runs += [("SRE", shift, int(self.starts[0])) for shift in SHIFTS]
        return runs


def splits(root: Path) -> tuple[str, ...]:
    """Return ``all``, every sequence below ``root``, and the lists that are there completely."""
    names = set(_annotations(root))
    lists = [
        name
        for name in ("tb_50", "tb_100")
        if (root / f"{name}.txt").is_file() and set(_listed(root / f"{name}.txt")) <= names
    ]
    return ("all", *lists) if names else ()


def load(root: Path, split: str, obtain: str) -> Dataset:
    """Read the sequences of a split, sorted by name."""
    found = _annotations(root)
    if split not in splits(root):
        raise PrerequisiteError(
            f"otb: no split {split!r} below {root}.", f"Expected:\n{LAYOUT}\n{obtain}"
        )
    names = found if split == "all" else _listed(root / f"{split}.txt")
    sequences, files = [], []
    for name in sorted(names):
        path = found[name]
        omit = _first(
            path.parent / "init_omit.txt", _named(root / "anno" / "initOmit").get(_key(name))
        )
        attributes, source = _attributes(root, path.parent, name)
        boxes = _numbers(path, 4)
        omitted = _numbers(omit, 2).astype(np.int64) if omit else np.zeros((0, 2), np.int64)
        places = starts(boxes, omitted)
        if not len(places):
            raise PrerequisiteError(f"{path} has no frame to start at.", "Check the annotation.")
        images = _images(path.parent, len(boxes))
        sequences.append(SequenceTruth(name, boxes, places, attributes, images))
        files += [file for file in (path, omit, source) if file]
    relative = [path.relative_to(root).as_posix() for path in dict.fromkeys(files)]
    return make_dataset("otb", split, root, relative, sorted(names), tuple(sequences))


def _annotations(root: Path) -> dict[str, Path]:
    """Return the annotation file of every sequence below ``root``."""
    found = {}
    for path in root.glob("*/groundtruth_rect*.txt"):
        target = path.name.removeprefix("groundtruth_rect").removesuffix(".txt")
        name = path.parent.name + target.replace(".", "-")
        if name not in _NOT_IN_BENCHMARK:
            found[name] = path
    return found


def _listed(path: Path) -> dict[str, list[str]]:
    """Return names and attributes of a list: a name, a tab, attributes with commas."""
    rows = [line.partition("\t") for line in path.read_text().splitlines() if line.strip()]
    return {name.strip(): attributes.replace(",", " ").split() for name, _, attributes in rows}


def _attributes(root: Path, folder: Path, name: str) -> tuple[NDArray[np.bool_], Path | None]:
    own, listed = folder / "attrs.txt", root / "tb_100.txt"
    flags = _named(root / "anno" / "att").get(_key(name))
    source: Path | None
    if own.is_file():
        source, given = own, own.read_text().replace(",", " ").split()
    elif listed.is_file() and name in (known := _listed(listed)):
        source, given = listed, known[name]
    elif flags is not None:
        order = _FLAGS[flags.name[0].isupper()]
        source, given = flags, [a for a, f in zip(order, _numbers(flags, 11)[0], strict=True) if f]
    else:
        source, given = None, []
    unknown = set(given) - set(ATTRIBUTES)
    if unknown:
        raise PrerequisiteError(
            f"{source}: {name} has the unknown attribute {sorted(unknown)[0]!r}.",
            f"Attributes are {', '.join(ATTRIBUTES)}.",
        )
    return np.array([attribute in given for attribute in ATTRIBUTES]), source


def _images(folder: Path, count: int) -> tuple[str, ...]:
    first, digits = _FIRST_FRAME.get(folder.name, 1), 5 if folder.name == "Board" else 4
    return tuple(str(folder / "img" / f"{first + i:0{digits}d}.jpg") for i in range(count))


def _key(name: str) -> str:
    return name.lower().replace(".", "-")


def _named(folder: Path) -> dict[str, Path]:
    return {_key(path.stem): path for path in folder.glob("*.txt")}


def _first(*paths: Path | None) -> Path | None:
    return next((path for path in paths if path is not None and path.is_file()), None)


def _numbers(path: Path, columns: int) -> NDArray[np.float64]:
    """Read rows of numbers separated by commas or white space; NaN is allowed."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(f"{path} cannot be read: {error}.", _TEXT) from error
    for number, line in enumerate(lines, 1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        try:
            rows.append([float(field) for field in fields])
        except ValueError:
            raise PrerequisiteError(f"{path}, line {number}: {line!r}.", _TEXT) from None
        if len(fields) != columns:
            raise PrerequisiteError(
                f"{path}, line {number} has {len(fields)} numbers, due are {columns}.", _TEXT
            )
    return np.array(rows, dtype=np.float64).reshape(-1, columns)


def read_submission(path: Path, dataset: Dataset, kinds: Sequence[str]) -> Predictions:
    """Read the runs of all sequences.

    ``SEQUENCE.txt`` files and MATLAB result files hold OPE; a .json file holds every kind.
    """
    if path.suffix.lower() == ".json":
        return Predictions.from_samples(BOXES, _from_json(path, dataset, kinds))
    if tuple(kinds) != ("OPE",):
        raise PrerequisiteError(
            f"{path} holds no {', '.join(kinds[1:])} runs.",
            "Give a .json file of all runs, or choose --protocol ope.",
        )
    files = _result_files(path, dataset)
    samples = []
    for sequence in dataset.truth:
        file = files[sequence.name]
        boxes = _from_mat(file) if file.suffix.lower() == ".mat" else _numbers(file, 4)
        start, count = int(sequence.starts[0]), len(sequence.boxes)
        if len(boxes) == count:
            boxes = boxes[start:]
        samples.append((sequence.name, _rows(file, sequence, [boxes], kinds)))
    return Predictions.from_samples(BOXES, samples)


def _rows(
    path: Path, sequence: SequenceTruth, boxes: Sequence[NDArray[np.float64]], kinds: Sequence[str]
) -> Rows:
    """Return the columns of one sequence's runs, each from its own first frame on."""
    frames = []
    for own, (kind, shift, start) in zip(boxes, sequence.runs(kinds), strict=True):
        due = len(sequence.boxes) - start
        if len(own) != due:
            raise PrerequisiteError(
                f"{path}: {sequence.name}, {kind} {shift or f'from frame {start + 1}'}: "
                f"{len(own)} boxes, due are {due}.",
                f"Give one box per frame, from frame {start + 1} to {len(sequence.boxes)}.",
            )
        frames.append(np.arange(start, len(sequence.boxes)))
    joined = np.concatenate(boxes) - [1, 1, 0, 0]
    if np.isinf(joined).any():
        raise PrerequisiteError(f"{path}: {sequence.name} has an infinite box.", _TEXT)
    return {
        "box": joined,
        "score": np.ones(len(joined)),
        "frame": np.concatenate(frames),
        "track_id": np.repeat(np.arange(len(boxes)), [len(own) for own in boxes]),
    }


def _result_files(path: Path, dataset: Dataset) -> dict[str, Path]:
    """Return the result file of every sequence; ``path`` is a folder or a pattern of files."""
    files = sorted(path.iterdir()) if path.is_dir() else sorted(path.parent.glob(path.name))
    names = {_key(name): name for name in dataset.sample_ids}
    found: dict[str, Path] = {}
    trackers = set()
    for file in files:
        stem, _, tracker = file.stem.partition("_")
        name = names.get(_key(file.stem if file.suffix == ".txt" else stem))
        if name is None or file.suffix.lower() not in (".txt", ".mat"):
            continue
        found[name] = file
        trackers.add(tracker)
    if len(trackers) > 1:
        raise PrerequisiteError(
            f"{path} holds results of {len(trackers)} trackers: {', '.join(sorted(trackers))}.",
            f"Choose one by a pattern, such as '{path / f'*_{min(trackers)}.mat'}'.",
        )
    missing = [name for name in dataset.sample_ids if name not in found]
    if missing:
        raise PrerequisiteError(
            f"{path} has no results of {len(missing)} sequences: {', '.join(missing[:5])}.",
            f"{_TEXT} Or MATLAB result files SEQUENCE_TRACKER.mat of one tracker.",
        )
    return found


def _from_mat(path: Path) -> NDArray[np.float64]:
    """Read the boxes of the first run of a MATLAB result file."""
    from scipy.io import loadmat

    try:
        run = loadmat(path, squeeze_me=True, struct_as_record=False)["results"]
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise PrerequisiteError(f"{path} cannot be read: {error}.", "Check the file.") from error
    run = run if hasattr(run, "_fieldnames") else np.ravel(run)[0]
    kind = getattr(run, "type", "rect")
    rows = np.atleast_2d(np.array(run.res, dtype=np.float64))  # often unsigned, which would wrap
    if kind == "rect" and rows.shape[1] == 4:
        return rows
    if kind == "ivtAff" and rows.shape[1] == 6:
        return _affine_boxes(rows, np.array(run.tmplsize, dtype=np.float64))
    raise PrerequisiteError(
        f"{path} holds results of type {kind!r} and shape {rows.shape}.",
        "Convert them to boxes x, y, w, h (type 'rect').",
    )


def _affine_boxes(rows: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes (n, 4) of affine frames (n, 6) of a template (``calcRectCenter``).

    A row is the centre x, y and the matrix m11, m12, m21, m22, in the order x y m11 m12 m21 m22;
    the box spans the images of two opposite corners, cut to whole pixels. The MATLAB code scores a
    box without size as it is; here it counts as lost, like any other.
    """
    matrix = rows[:, 2:].reshape(-1, 2, 2)
    low = np.floor(rows[:, :2] + matrix @ (-size / 2))
    high = np.floor(rows[:, :2] + matrix @ (size / 2))
    return np.concatenate([low, high - low], axis=1)


def _from_json(path: Path, dataset: Dataset, kinds: Sequence[str]) -> list[tuple[str, Rows]]:
    """Read ``results``: sequence -> OPE, TRE, SRE -> runs with start, shift (SRE) and res."""
    remedy = "Expected: results -> SEQUENCE -> OPE, TRE, SRE -> list of {start, res, shift}."
    document: Any = read_json(path, remedy)
    samples = []
    for sequence in dataset.truth:
        try:
            given = document["results"][sequence.name]
            runs = {
                (kind, run.get("shift", ""), int(run["start"])): run["res"]
                for kind in reversed(kinds)
                for run in given[kind]
            }
            boxes = [
                np.array(runs[run], dtype=np.float64).reshape(-1, 4)  # null becomes NaN
                for run in sequence.runs(kinds)
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PrerequisiteError(
                f"{path}: {sequence.name}: {type(error).__name__}: {error}.",
                f"{remedy} Runs start at frames {sequence.starts.tolist()}, counted from 0.",
            ) from error
        samples.append((sequence.name, _rows(path, sequence, boxes, kinds)))
    return samples
