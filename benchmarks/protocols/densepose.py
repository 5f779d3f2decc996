"""DensePose-COCO: average precision over geodesic point similarity (Guler et al., CVPR 2018).

The numbers are those of detectron2's DensePose project (``densepose_coco_evaluation.py``), quirks
included; its evaluation modes GPS, GPSM and IOU are reported side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import densepose as official
from benchmarks.datasets.densepose import DenseTruth, decode_iuv
from benchmarks.datasets.densepose_training import training_samples
from benchmarks.metrics.average_precision import PrecisionRecall, precision_recall
from benchmarks.metrics.dense_matching import dense_outcomes
from benchmarks.metrics.geodesic import geodesic_point_similarity
from benchmarks.metrics.matching import best_rows, match
from benchmarks.protocols.dense_masks import mask_overlaps
from harness.api import (
    DENSE_POSE,
    Benchmark,
    Column,
    Curve,
    Dataset,
    Predictions,
    PrerequisiteError,
    Protocol,
    Ragged,
    Sample,
    Skeleton,
    Statistics,
    quirk,
)

MODES = ("gps", "gpsm", "iou")
"""GPS alone; root of GPS times mask overlap; mask overlap alone."""

THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0.5, 0.95, 10))
_REGIONS = (0.351,) * 2 + (0.107,) * 2 + (0.126,) * 2 + (0.237,) * 4 + (0.173,) * 4
_PER_PART = (*_REGIONS, *(0.142,) * 4, *(0.128,) * 4, *(0.150,) * 2)
_HEADERS = {
    "AP": "AP", "AP50": "AP⁵⁰", "AP75": "AP⁷⁵", "APm": "APᴹ", "APl": "APᴸ",
    "AR": "AR", "AR50": "AR⁵⁰", "AR75": "AR⁷⁵", "ARm": "ARᴹ", "ARl": "ARᴸ",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DensePoseProtocol(Protocol):
    """How close two points are, and which detections count."""

    benchmark: str = quirk("The benchmark that this protocol scores.", default="densepose")
    normalisers: tuple[float, ...] = quirk(
        "k of exp(-d^2 / (2 k^2)) in metres, for parts 1 to 24 of the annotated point.",
        default=_PER_PART,
    )
    nearest: str = quirk(
        "How u, v become a vertex of the body.",
        default="nearest in u, v among the vertices of the same part, the first of equals",
    )
    background: str = quirk(
        "A point where the detection has no part, or that is outside its box.",
        default="similarity 0, and it stays in the mean",
    )
    pixel: str = quirk(
        "Pixel of the detection that belongs to a point.",
        default="point minus corner of the box, cut toward zero (-0.9 is still pixel 0)",
    )
    thresholds: tuple[float, ...] = quirk(
        "Similarity from which on a detection is right; AP and AR are means over them.",
        default=THRESHOLDS,
    )
    match_guard: float = quirk(
        "A match needs similarity >= min(threshold, 1 - match_guard).", default=1e-10
    )
    recall_points: int = quirk(
        "Precision is read at so many equally spaced recalls from 0 to 1.", default=101
    )
    area_ranges: tuple[tuple[str, float, float], ...] = quirk(
        "Size ranges in square pixels, both bounds included: of the annotation's area, and of a "
        "detection's box.",
        default=(("", 0.0, 1e10), ("m", 32.0**2, 96.0**2), ("l", 96.0**2, 1e10)),
    )
    max_detections: int = quirk("Detections kept in an image, by score.", default=20)
    ignored_truth: str = quirk(
        "People that count neither as found nor as missed.",
        default="those without dp_x, whatever iscrowd says, and those outside the size range; "
        "where all people of an image are ignored (or there is none), so are all its detections",
    )
    crowd: str = quirk(
        "What iscrowd does.",
        default="the person may be matched any number of times; mask and box overlap are divided "
        "by the detection's area alone",
    )
    box_overlap: float = quirk(
        "A detection unmatched at the last threshold looks for free people with this box overlap: "
        "an ignored one makes it ignored at all thresholds, another one makes it count at all.",
        default=0.8,
    )
    empty_range: float = quirk(
        "What is reported for a size range without people, in percent as the tool prints it.",
        default=-100.0,
    )


_OFFICIAL = DensePoseProtocol(
    variant="gps-per-part",
    title="detectron2: normaliser of the body region (model zoo, challenge 2019)",
)


class DensePose(Benchmark):
    """DensePose-COCO: image pixels to points on the body surface, any number of people."""

    name: ClassVar[str] = "densepose"
    title: ClassVar[str] = "DensePose-COCO"
    citation: ClassVar[str] = (
        "Güler, Neverova, Kokkinos: DensePose: Dense Human Pose Estimation in the Wild. CVPR 2018"
    )
    obtain: ClassVar[str] = official.OBTAIN
    schema = DENSE_POSE
    skeleton = None
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "gps-per-part": _OFFICIAL,
        "gps-kappa-0.255": replace(
            _OFFICIAL,
            variant="gps-kappa-0.255",
            title="One normaliser of 0.255 for every point: behind the CVPR 2018 table",
            normalisers=(0.255,) * 24,
        ),
    }
    columns = (
        *(Column(f"gps/{name}", header, group="GPS") for name, header in _HEADERS.items()),
        Column("gpsm/AP", "AP", group="GPSm"),
        Column("iou/AP", "AP", group="Mask"),
    )
    primary = "gps/AP"
    default_split = "minival2014"
    embedded_split = "embedded-val"

    def protocol(self, variant: str | None = None) -> Protocol:
        """Return a named protocol; ``_`` and ``-`` are one."""
        return super().protocol(variant and variant.replace("_", "-"))

    def layout(self, split: str) -> str:
        return official.layout(split)

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split)

    def make_embedded(self, root: Path, split: str, progress: Callable[[int, int], None]) -> Path:
        from benchmarks.world.densepose import make_split

        return make_split(root, split, progress)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        """Return the images; methods find the people by themselves."""
        if detections is not None:
            raise PrerequisiteError(
                f"DensePose-COCO takes no detections ({detections}).", "Leave the box source out."
            )
        names = cast("DenseTruth", dataset.truth).people.file_name
        folder = official.picture_folder(dataset)
        return [
            Sample(sample_id, (str(folder / name),))
            # A limited run has the first ids only.
            for sample_id, name in zip(dataset.sample_ids, names, strict=False)
        ]

    def training_samples(
        self, dataset: Dataset, skeleton: Skeleton | None
    ) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
        """Return the truth of surfaces, for which no skeleton is asked."""
        return training_samples(dataset, official.picture_folder(dataset))

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read the results format; a surface has no neutral ``.npz`` form."""
        if path.suffix != ".json":
            raise PrerequisiteError(
                f"{path} is no .json file.",
                "Give a list of {image_id, category_id, bbox, score, iuv or uv_data}; detectron2's "
                ".pth dumps are pickles and are not read.",
            )
        return official.read_results(path, dataset)

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Match detections with people, image by image.

        Columns: ``score`` (ragged), ``truths`` (n, A), ``MODE/outcome`` (ragged, (A, T) each) as in
        :mod:`benchmarks.metrics.average_precision`, and ``gps`` (n,): see :meth:`per_sample`.
        """
        rules, truth = cast("DensePoseProtocol", protocol), cast("DenseTruth", dataset.truth)
        place = {sample_id: i for i, sample_id in enumerate(dataset.sample_ids)}
        position = np.array([place[i] for i in predictions.sample_ids], dtype=np.int64)
        score = predictions.columns.get("score", np.zeros(0))
        kept, offsets = best_rows(score, predictions.offsets, rules.max_detections)
        counted = np.array([points is not None for points in truth.points], dtype=np.bool_)
        limits = np.array([limit[1:] for limit in rules.area_ranges])
        ignored = ~counted[:, None] | _outside(truth.people.area, limits)
        columns: dict[str, list[Any]] = {mode: [] for mode in MODES}
        truths, best = [], []
        for index, image in enumerate(position.tolist()):
            rows = kept[offsets[index] : offsets[index + 1]]
            own = slice(truth.people.offsets[image], truth.people.offsets[image + 1])
            boxes = predictions.columns["box"][rows] if len(rows) else np.zeros((0, 4))
            iuv = [decode_iuv(predictions.columns["iuv"][row]) for row in rows]
            similarity = _similarities(truth, image, boxes, iuv, rules)
            truths.append((~ignored[own]).sum(axis=0))
            gps = similarity["gps"][:, counted[own]]
            best.append(gps.max(axis=0, initial=0.0).mean() if gps.shape[1] else np.nan)
            for mode in MODES:
                columns[mode].append(
                    _outcome(
                        similarity[mode],
                        similarity["box"],
                        ignored[own],
                        truth.people.crowd[own],
                        _outside(boxes[:, 2] * boxes[:, 3], limits),
                        rules,
                    )
                )
        return Statistics(
            position,
            {
                "score": Ragged(score[kept], offsets),
                "truths": np.array(truths, dtype=np.int64).reshape(-1, len(limits)),
                "gps": np.array(best, dtype=np.float64),
                **{f"{mode}/outcome": Ragged.from_lists(columns[mode]) for mode in MODES},
            },
        )

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        """Return all metrics in percent; a size range without people has the tool's -100."""
        empty = cast("DensePoseProtocol", protocol).empty_range
        once = np.ones(len(statistics), dtype=np.int64) if weights is None else np.asarray(weights)
        values = self.resample(statistics, protocol, once[None])
        return {name: float(np.nan_to_num(value[0], nan=empty)) for name, value in values.items()}

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float64]]:
        """Compute every metric for many draws; NaN in a draw without people in a size range."""
        rules = cast("DensePoseProtocol", protocol)
        half, three_quarters = (rules.thresholds.index(t) for t in (0.5, 0.75))
        metrics = {}
        for mode in MODES:
            values = _precision_recall(statistics, mode, rules, weights)
            for name, mean in (
                ("AP", PrecisionRecall.average_precision),
                ("AR", PrecisionRecall.average_recall),
            ):
                metrics[f"{mode}/{name}"] = 100.0 * mean(values, 0)
                metrics[f"{mode}/{name}50"] = 100.0 * mean(values, 0, half)
                metrics[f"{mode}/{name}75"] = 100.0 * mean(values, 0, three_quarters)
                for size, (letter, *_) in enumerate(rules.area_ranges[1:], start=1):
                    metrics[f"{mode}/{name}{letter}"] = 100.0 * mean(values, size)
        return metrics

    def curves(self, statistics: Statistics, protocol: Protocol) -> list[Curve]:
        """Return precision over recall of each mode, the mean over all thresholds."""
        rules = cast("DensePoseProtocol", protocol)
        recall = np.linspace(0.0, 1.0, rules.recall_points)
        lines = []
        for mode in MODES:
            precision = _precision_recall(statistics, mode, rules, None).precision[0, 0]
            if not np.isnan(precision).any():
                line = precision.mean(axis=0)
                lines.append(Curve(mode, recall, line, "recall", "precision"))
        return lines

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        """Return AP over GPS by size."""
        metrics = self.compute(statistics, protocol)
        return {"size": {"medium": metrics["gps/APm"], "large": metrics["gps/APl"]}}

    def per_sample(
        self, statistics: Statistics, protocol: Protocol
    ) -> dict[str, NDArray[np.float64]]:
        """Return the mean over an image's annotated people of the best GPS of any detection."""
        return {"gps": statistics.dense("gps")}


def _similarities(
    truth: DenseTruth,
    image: int,
    boxes: NDArray[np.float64],
    iuv: list[NDArray[np.uint8]],
    protocol: DensePoseProtocol,
) -> dict[str, NDArray[np.float64]]:
    """Return GPS, GPSm, mask and box overlap (D, G) of one image's detections and people."""
    own = range(truth.people.offsets[image], truth.people.offsets[image + 1])
    masks, overlap = mask_overlaps(truth, image, boxes, iuv)
    people = [(truth.people.box[row], truth.points[row]) for row in own]
    counts = [0 if points is None else len(points.x) for _, points in people]
    annotated = [(box, points) for box, points in people if points is not None]
    if not annotated or not len(boxes):
        gps = np.zeros((len(boxes), len(people)))
    else:
        x, y = (
            np.concatenate([getattr(p, axis) * box[2 + i] / 255.0 + box[i] for box, p in annotated])
            for i, axis in enumerate("xy")
        )
        part, u, v = (
            np.concatenate([getattr(p, key) for _, p in annotated]) for key in ("part", "u", "v")
        )
        pixels = np.stack([_at_points(*pair, x, y) for pair in zip(iuv, boxes, strict=True)])
        gps = geodesic_point_similarity(
            truth.surface.nearest_of_bytes(pixels),
            truth.surface.nearest(part, u, v),
            np.array(protocol.normalisers)[part - 1],
            counts,
            truth.surface,
        )
    return {"gps": gps, "gpsm": np.sqrt(gps * masks), "iou": masks, "box": overlap}


def _at_points(
    iuv: NDArray[np.uint8],
    box: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Return I, U, V (n, 3) of a detection at image points; 0 (background) outside its box."""
    column, row = (x - box[0]).astype(np.int64), (y - box[1]).astype(np.int64)
    inside = (column >= 0) & (column < int(box[2])) & (row >= 0) & (row < int(box[3]))
    found = np.zeros((len(x), 3), dtype=np.uint8)
    found[inside] = iuv[row[inside], column[inside]]
    return found


def _outcome(
    similarity: NDArray[np.float64],
    overlap: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    protocol: DensePoseProtocol,
) -> NDArray[np.int8]:
    """Say what each detection of one image is, in each size range and at each threshold."""
    detections, people = similarity.shape
    pairs = np.divmod(np.arange(detections * people), max(people, 1))
    winner = match(
        similarity.ravel(),
        pairs,
        np.arange(detections),
        ignored,
        crowd,
        protocol.thresholds,
        protocol.match_guard,
    )
    return dense_outcomes(winner, ignored, outside, crowd, overlap, protocol.box_overlap)


def _outside(area: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((area[:, None] < limits[:, 0]) | (area[:, None] > limits[:, 1]))


def _precision_recall(
    statistics: Statistics,
    mode: str,
    protocol: DensePoseProtocol,
    weights: NDArray[np.int64] | None,
) -> PrecisionRecall:
    columns = {
        "score": statistics["score"],
        "outcome": statistics[f"{mode}/outcome"],
        "truths": statistics["truths"],
    }
    chosen = Statistics(statistics.position, columns)
    return precision_recall(chosen, protocol.recall_points, weights)
