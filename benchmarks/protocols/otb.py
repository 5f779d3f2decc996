"""OTB: success and precision of single-object trackers.

Sources: Wu, Lim, Yang, Online Object Tracking: A Benchmark, CVPR 2013, and Object Tracking
Benchmark, PAMI 2015; the numbers are those of the authors' MATLAB code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import otb as official
from benchmarks.datasets.otb import ATTRIBUTES, SequenceTruth
from benchmarks.metrics.single_object import DISTANCES, OVERLAPS, disturbed, run_counts
from harness.api import (
    BOXES,
    Benchmark,
    Column,
    Curve,
    Dataset,
    Predictions,
    PrerequisiteError,
    Protocol,
    Rows,
    Sample,
    Statistics,
    quirk,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class OtbProtocol(Protocol):
    """The MATLAB evaluation."""

    runs: tuple[str, ...] = quirk(
        "Runs of each sequence: OPE, one pass from the first annotated frame; TRE, up to 20 later "
        "starts; SRE, 12 disturbed first boxes. Frames of all runs of a kind are pooled.",
        default=("OPE",),
    )
    first_box: str = quirk("The first box of a run.", default="set to the truth")
    lost_box: str = quirk(
        "A box of NaN, or with w or h <= 0.", default="repeats the one before, then is scored"
    )
    overlap: str = quirk(
        "How overlap is taken.", default="IoU of whole pixels: the last column is x + w - 1"
    )
    success: str = quirk(
        "AUC and SR50.",
        default="mean over 21 thresholds, and at 0.5, of the share of frames with IoU > threshold; "
        "thresholds as MATLAB fills 0:0.05:1, 0.05 k and 1 - 0.05 k above the middle",
    )
    precision: str = quirk(
        "P20.",
        default="share of frames with centres x + (w - 1) / 2 at most 20 pixels apart",
    )
    frames_without_truth: str = quirk(
        "Frames whose annotation has a number <= 0.",
        default="count: as failures for success, as hits for precision",
    )
    start: str = quirk(
        "First frame of OPE.", default="the first that is annotated and not in initOmit"
    )
    spatial_runs: str = quirk(
        "Boxes of SRE runs.",
        default="scaled back about x + (w - 1) / 2, then x = c - w / 2: rounded to whole pixels, "
        "half a pixel off",
    )
    overall: str = quirk(
        "Mean over sequences.",
        default="each counts once; the tool leaves out all-zero curves, which cannot occur because "
        "the first box is the truth",
    )


_OPE = OtbProtocol(
    variant="ope",
    title="OTB, one-pass evaluation",
    benchmark="otb",
    box_source="ground truth",
)


class Otb(Benchmark):
    """One target followed from its first box: OTB-50, OTB-100 or the sequences at hand."""

    name: ClassVar[str] = "otb"
    title: ClassVar[str] = "OTB"
    citation: ClassVar[str] = (
        "Wu, Lim, Yang. Object Tracking Benchmark. IEEE TPAMI 37(9), 2015; "
        "Online Object Tracking: A Benchmark. CVPR 2013"
    )
    obtain: ClassVar[str] = (
        "Download the sequences of the Visual Tracker Benchmark (cvlab.hanyang.ac.kr/tracker_"
        "benchmark); for research only."
    )
    schema = BOXES
    skeleton = None
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "ope": _OPE,
        "ope_tre_sre": replace(
            _OPE,
            variant="ope_tre_sre",
            title="OTB, one-pass, temporal and spatial robustness",
            runs=("OPE", "TRE", "SRE"),
        ),
    }
    columns = (
        Column("AUC", "AUC", 100.0),
        Column("P20", "P@20px", 100.0),
        Column("SR50", "SR@0.5", 100.0),
    )
    primary = "AUC"
    default_split = "all"

    def layout(self, split: str) -> str:
        return official.LAYOUT

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split, self.obtain)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        """Return one sample per sequence; ``start`` (n,) is the first frame of each of its runs.

        ``boxes`` (n, 4) are the runs' first boxes; a prediction's ``track_id`` is the run's row.
        """
        if detections is not None:
            raise PrerequisiteError(
                f"otb takes no detections ({detections}).", "Leave the box source out."
            )
        kinds = cast("OtbProtocol", protocol).runs
        samples = []
        for sequence in dataset.truth[: len(dataset.sample_ids)]:
            start = np.array([run[2] for run in sequence.runs(kinds)], dtype=np.int64)
            boxes = _first_boxes(sequence, kinds) - [1, 1, 0, 0]
            inputs = {"start": start}
            samples.append(
                Sample(sequence.name, sequence.images, boxes, np.ones(len(boxes)), inputs)
            )
        return samples

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read a folder of ``SEQUENCE.txt``, MATLAB result files ``SEQUENCE_TRACKER.mat`` (a folder
        of one tracker's, or a pattern), or a .json file of all runs.
        """
        return official.read_submission(path, dataset, cast("OtbProtocol", protocol).runs)

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        kinds = cast("OtbProtocol", protocol).runs
        rows = {sample_id: i for i, sample_id in enumerate(predictions.sample_ids)}
        position = [i for i, name in enumerate(dataset.sample_ids) if name in rows]
        chosen = [dataset.truth[i] for i in position]
        counts = [_count(s, predictions.rows_of(rows[s.name]), kinds) for s in chosen]
        columns = {name: np.stack([count[name] for count in counts]) for name in counts[0]}
        columns["name"] = np.array([sequence.name for sequence in chosen])
        columns["attributes"] = np.stack([sequence.attributes for sequence in chosen])
        return Statistics(np.array(position, dtype=np.int64), columns)

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: Ints | None = None
    ) -> dict[str, float]:
        """Return overall values and those of every sequence.

        Bare names are of OPE. Where there are more kinds of runs, they begin names
        (``TRE/AUC/all``, ``TRE/AUC/Bolt``), and the attributes' values stand beside the others.
        """
        kinds = cast("OtbProtocol", protocol).runs
        metrics = self._means(statistics, kinds, weights)
        for values, prefix in zip(self._scores(statistics, kinds), _prefixes(kinds), strict=True):
            for row, name in enumerate(statistics.dense("name").tolist()):
                for key, value in values.items():
                    metrics |= {f"{start}{key}/{name}": float(value[row]) for start in prefix}
        return metrics

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: Ints
    ) -> dict[str, Floats]:
        """Resample the means; one sequence's own values do not vary over sequences."""
        kinds = cast("OtbProtocol", protocol).runs
        rows = [self._means(statistics, kinds, draw) for draw in weights]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        curves = []
        for kind, name in enumerate(cast("OtbProtocol", protocol).runs):
            frames = statistics.dense("frames")[:, kind, None]
            success = (statistics.dense("success")[:, kind] / frames).mean(axis=0)
            precision = (statistics.dense("precision")[:, kind] / frames).mean(axis=0)
            curves += [
                Curve(f"{name} success", OVERLAPS, success, "Overlap threshold", "Success rate"),
                Curve(f"{name} precision", DISTANCES, precision, "Distance in pixels", "Precision"),
            ]
        return curves

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return AUC and P20 of OPE per attribute."""
        scores = self._scores(statistics, cast("OtbProtocol", protocol).runs)[0]
        flags = statistics.dense("attributes")
        return {
            f"{key} per attribute": {
                attribute: _mean(scores[key], flags[:, column])
                for column, attribute in enumerate(ATTRIBUTES)
            }
            for key in ("AUC", "P20")
        }

    def per_sample(self, statistics: Statistics, protocol: Protocol) -> dict[str, Floats]:
        scores = self._scores(statistics, cast("OtbProtocol", protocol).runs)[0]
        return {key.lower(): value for key, value in scores.items()}

    def _scores(self, statistics: Statistics, kinds: tuple[str, ...]) -> list[dict[str, Floats]]:
        """Return AUC, P20 and SR50 of every sequence (n,), for each kind of run."""
        scores = []
        for kind in range(len(kinds)):
            frames = statistics.dense("frames")[:, kind, None]
            success = statistics.dense("success")[:, kind] / frames
            precision = statistics.dense("precision")[:, kind] / frames
            scores.append(
                {"AUC": success.mean(axis=1), "P20": precision[:, 20], "SR50": success[:, 10]}
            )
        return scores

    def _means(
        self, statistics: Statistics, kinds: tuple[str, ...], weights: Ints | None
    ) -> dict[str, float]:
        times = np.ones(len(statistics), dtype=np.int64) if weights is None else weights
        flags = statistics.dense("attributes")
        scores = self._scores(statistics, kinds)
        metrics = {key: _mean(value, times) for key, value in scores[0].items()}
        for kind, values in zip(kinds if len(kinds) > 1 else (), scores, strict=False):
            for key, value in values.items():
                metrics[f"{kind}/{key}/all"] = _mean(value, times)
            for column, attribute in enumerate(ATTRIBUTES):
                for key in ("AUC", "P20"):
                    own = times * flags[:, column]
                    metrics[f"{kind}/{key}/{attribute}"] = _mean(values[key], own)
        return metrics


def _prefixes(kinds: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the beginnings of the metrics' names, for each kind of run."""
    if len(kinds) == 1:
        return [("",)]
    return [("", f"{kind}/") if kind == kinds[0] else (f"{kind}/",) for kind in kinds]


def _mean(values: Floats, weights: NDArray[Any]) -> float:
    total = weights.sum()
    return float(weights @ values / total) if total else float("nan")


def _count(sequence: SequenceTruth, own: Rows, kinds: tuple[str, ...]) -> dict[str, Ints]:
    """Pool the frames of each kind of run."""
    success = np.zeros((len(kinds), len(OVERLAPS)), dtype=np.int64)
    precision = np.zeros((len(kinds), len(DISTANCES)), dtype=np.int64)
    frames = np.zeros(len(kinds), dtype=np.int64)
    for run, (kind, shift, start) in enumerate(sequence.runs(kinds)):
        rows = own["track_id"] == run
        truth = sequence.boxes[start:]
        boxes = np.full(truth.shape, np.nan)
        boxes[own["frame"][rows] - start] = own["box"][rows] + [1, 1, 0, 0]
        counts = run_counts(boxes, truth, shift)
        row = kinds.index(kind)
        success[row] += counts[0]
        precision[row] += counts[1]
        frames[row] += len(truth)
    return {"success": success, "precision": precision, "frames": frames}


def _first_boxes(sequence: SequenceTruth, kinds: tuple[str, ...]) -> Floats:
    """Return the first box (n, 4) of every run; a disturbed box is cut to the image."""
    boxes = []
    size = _image_size(sequence) if "SRE" in kinds else (0, 0)
    for _, shift, start in sequence.runs(kinds):
        box = sequence.boxes[start]
        boxes.append(disturbed(box, shift, *size) if shift else box)
    return np.stack(boxes)


def _image_size(sequence: SequenceTruth) -> tuple[int, int]:
    import cv2

    path = sequence.images[int(sequence.starts[0])]
    image = cv2.imread(path) if Path(path).is_file() else None
    if image is None:
        raise PrerequisiteError(
            f"{path} cannot be read; disturbed first boxes are cut to the image.",
            "Put the sequence's pictures there, or choose --protocol ope.",
        )
    return image.shape[1], image.shape[0]
