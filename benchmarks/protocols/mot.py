"""MOTChallenge: CLEAR, identity and HOTA metrics of tracked boxes.

Sources: Milan et al., MOT16, arXiv 1603.00831; the numbers are those of py-motmetrics 1.4.0 (which
agrees with the first MATLAB devkit) and of JonathonLuiten/TrackEval at 12c8791b (the server), each
under its own protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import mot as official
from benchmarks.datasets.mot import NO_CLASS, SequenceTruth
from benchmarks.metrics.clear_mot import (
    Frame,
    Lifespans,
    count_events,
    pair_by_frame,
    pair_by_history,
)
from benchmarks.metrics.identity import hota_sums, identity_true_positives
from benchmarks.metrics.overlap import iou_matrix
from harness.api import (
    BOXES,
    Benchmark,
    Column,
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

_EPSILON = float(np.finfo(np.float64).eps)
_PERSON = 1


@dataclass(frozen=True, kw_only=True)
class MotProtocol(Protocol):
    """The evaluation of one tool."""

    pairs: str = quirk(
        "Which pairs are kept: the last partner ever ('history'), then most pairs at the least "
        "distance; or only the partner of the 'previous frame', at the greatest total IoU."
    )
    fragmentations: str = quirk(
        "FM: 'interruptions' between the first and last tracked frame, over the track's own "
        "frames; or tracked 'stretches' less one, which a gap in the truth ends as well."
    )
    mostly_tracked: str = quirk("MT: share of the track's life that is '>=' or '>' 0.8.")
    motal: str = quirk("Weight of the switches in MOTAL: 'log10(IDs + 1)' or 'log10(IDs)'.")
    distractors: tuple[int, ...] = quirk(
        "In files with a class column, results that match truth of these classes are removed "
        "first (most IoU, at least 0.5, all rows of truth)."
    )
    pixel_base: int = quirk(
        "Number of the first pixel where IoU is computed: it decides the last bit."
    )
    iou: float = quirk("A pair needs this IoU, inclusive.", default=0.5)
    truth: str = quirk(
        "Which rows of truth count.",
        default="column 7 not 0 and, in files with a class column, class 1; in MOT15 files results "
        "on other rows are false positives",
    )
    switches: str = quirk(
        "IDs: switches.", default="pairs with another id than the last one of that track, ever"
    )
    overall: str = quirk(
        "Values without a sequence's name, and /OVERALL.", default="counts of all sequences added"
    )


_MOTMETRICS = MotProtocol(
    variant="motmetrics",
    title="MOT, py-motmetrics 1.4",
    benchmark="mot",
    pairs="history",
    fragmentations="interruptions",
    mostly_tracked=">=",
    motal="log10(IDs + 1)",
    distractors=(),
    pixel_base=0,
)
_TRACKEVAL = replace(
    _MOTMETRICS,
    variant="trackeval",
    title="MOT, TrackEval (MOTChallenge server)",
    pairs="previous frame",
    fragmentations="stretches",
    mostly_tracked=">",
    motal="log10(IDs)",
    distractors=(2, 7, 8, 12),
    pixel_base=1,
)


class Mot(Benchmark):
    """People tracked as boxes through a sequence: MOT15, 16, 17 and 20."""

    name: ClassVar[str] = "mot"
    title: ClassVar[str] = "MOT"
    citation: ClassVar[str] = (
        "Milan, Leal-Taixé, Reid, Roth, Schindler. MOT16: A Benchmark for Multi-Object Tracking. "
        "arXiv 1603.00831, 2016"
    )
    obtain: ClassVar[str] = (
        "Download MOT15, MOT16, MOT17 or MOT20 from motchallenge.net (CC BY-NC-SA 3.0)."
    )
    schema = BOXES
    skeleton = None
    protocols: ClassVar[Mapping[str, Protocol]] = {
        protocol.variant: protocol
        for protocol in (
            _MOTMETRICS,
            _TRACKEVAL,
            replace(
                _TRACKEVAL,
                variant="trackeval_mot20",
                title="MOT20, TrackEval (MOTChallenge server)",
                distractors=(2, 6, 7, 8, 12),
            ),
        )
    }
    columns = (
        Column("MOTA", "MOTA"),
        Column("IDF1", "IDF1"),
        Column("HOTA", "HOTA"),
        Column("MOTP", "MOTP"),
        Column("MT", "MT", decimals=0),
        Column("ML", "ML", decimals=0, higher_is_better=False),
        Column("FP", "FP", decimals=0, higher_is_better=False),
        Column("FN", "FN", decimals=0, higher_is_better=False),
        Column("Rcll", "Rcll"),
        Column("Prcn", "Prcn"),
        Column("IDs", "IDs", decimals=0, higher_is_better=False),
        Column("FM", "FM", decimals=0, higher_is_better=False),
    )
    primary = "MOTA"
    default_split = "train"

    def layout(self, split: str) -> str:
        return official.LAYOUT

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split, self.obtain)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        if detections is not None:
            raise PrerequisiteError(
                f"mot takes no detections ({detections}).", "Leave the box source out."
            )
        pairs = zip(dataset.sample_ids, dataset.truth, strict=False)
        return [Sample(name, sequence.images) for name, sequence in pairs]

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read MOTChallenge results: a folder of ``SEQUENCE.txt``."""
        return official.read_results(path, dataset)

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        protocol = cast("MotProtocol", protocol)
        rows = {sample_id: i for i, sample_id in enumerate(predictions.sample_ids)}
        position = [i for i, name in enumerate(dataset.sample_ids) if name in rows]
        counts = [
            _count(dataset.truth[i], predictions.rows_of(rows[dataset.sample_ids[i]]), protocol)
            for i in position
        ]
        columns = {name: np.stack([count[name] for count in counts]) for name in counts[0]}
        columns["name"] = np.array([dataset.sample_ids[i] for i in position])
        return Statistics(np.array(position, dtype=np.int64), columns)

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: Ints | None = None
    ) -> dict[str, float]:
        """Return the overall values, bare and as ``/OVERALL``, and those of every sequence."""
        overall = self._overall(statistics, cast("MotProtocol", protocol), weights)
        metrics = dict(overall) | {f"{key}/OVERALL": value for key, value in overall.items()}
        for row, name in enumerate(statistics.dense("name").tolist()):
            own = {k: statistics.dense(k)[row] for k in statistics.columns if k != "name"}
            values = _values(own, cast("MotProtocol", protocol))
            metrics |= {f"{key}/{name}": value for key, value in values.items()}
        return metrics

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: Ints
    ) -> dict[str, Floats]:
        """Resample the overall values; one sequence's own values do not vary over sequences."""
        rows = [self._overall(statistics, cast("MotProtocol", protocol), w) for w in weights]
        values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        return values | {f"{name}/OVERALL": value for name, value in values.items()}

    def _overall(
        self, statistics: Statistics, protocol: MotProtocol, weights: Ints | None
    ) -> dict[str, float]:
        times = np.ones(len(statistics), dtype=np.int64) if weights is None else weights
        names = [name for name in statistics.columns if name != "name"]
        sums = {name: np.tensordot(times, statistics.dense(name), 1) for name in names}
        return _values(sums, protocol)

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        metrics, names = self.compute(statistics, protocol), statistics.dense("name").tolist()
        return {
            f"{key} per sequence": {name: metrics[f"{key}/{name}"] for name in names}
            for key in ("MOTA", "IDF1")
        }

    def per_sample(self, statistics: Statistics, protocol: Protocol) -> dict[str, Floats]:
        metrics, names = self.compute(statistics, protocol), statistics.dense("name").tolist()
        return {
            key.lower(): np.array([metrics[f"{key}/{name}"] for name in names])
            for key in ("MOTA", "IDF1")
        }


def _count(truth: SequenceTruth, own: Rows, protocol: MotProtocol) -> dict[str, Any]:
    """Return all counts of one sequence."""
    length = truth.length or 1 + max(
        truth.boxes.frame.max(initial=-1), own["frame"].max(initial=-1)
    )
    frames = [_frame(truth, own, number, protocol) for number in range(length)]
    limit = 1 - protocol.iou
    pair = pair_by_history if protocol.pairs == "history" else pair_by_frame
    pairs = pair(frames, limit)
    events, lives = count_events(frames, pairs), Lifespans.of(frames, pairs)
    coverage, hota = lives.coverage(), hota_sums(frames)
    most = coverage >= 0.8 if protocol.mostly_tracked == ">=" else coverage > 0.8
    interrupted = protocol.fragmentations == "interruptions"
    return {
        "frames": length,
        "objects": events.objects,
        "hypotheses": events.hypotheses,
        "matches": events.matches,
        "switches": events.switches,
        "overlap": events.matches - events.distance,
        "tracks": len(coverage),
        "mostly_tracked": int(most.sum()),
        "mostly_lost": int((coverage < 0.2).sum()),
        "fragmentations": lives.interruptions() if interrupted else lives.stretches(),
        "identity_matches": identity_true_positives(frames, limit),
        "hota_matches": hota.matches,
        "hota_association": hota.association,
        "hota_overlap": hota.overlap,
    }


def _frame(truth: SequenceTruth, own: Rows, number: int, protocol: MotProtocol) -> Frame:
    """Return one frame's boxes after the rules about classes."""
    there, seen = truth.boxes.frame == number, own["frame"] == number
    shift = np.array([protocol.pixel_base, protocol.pixel_base, 0, 0])
    overlap = iou_matrix(truth.boxes.box[there] + shift, own["box"][seen] + shift)
    label, counts = truth.boxes.label[there], truth.boxes.flag[there] != 0
    keep = np.ones(overlap.shape[1], dtype=np.bool_)
    if not (truth.boxes.label == NO_CLASS).all():
        keep = ~_on_distractors(overlap, label, protocol)
        counts &= label == _PERSON
    return Frame(
        truth.boxes.track_id[there][counts],
        own["track_id"][seen][keep],
        1 - overlap[np.ix_(counts, keep)],
    )


def _on_distractors(overlap: Floats, label: Ints, protocol: MotProtocol) -> NDArray[np.bool_]:
    """Return which results (m,) match truth of a class that is no target."""
    from scipy.optimize import linear_sum_assignment

    score = np.where(overlap < protocol.iou - _EPSILON, 0.0, overlap)
    rows, columns = linear_sum_assignment(-score)
    removed = (score[rows, columns] > _EPSILON) & np.isin(label[rows], protocol.distractors)
    result = np.zeros(overlap.shape[1], dtype=np.bool_)
    result[columns[removed]] = True
    return result


def _values(sums: Mapping[str, Any], protocol: MotProtocol) -> dict[str, float]:
    """Turn counts of one or of all sequences into metrics, ratios in percent; NaN for no value."""
    count = {name: int(value) for name, value in sums.items() if np.ndim(value) == 0}
    objects, boxes, matches = count["objects"], count["hypotheses"], count["matches"]
    switches, agreed = count["switches"], count["identity_matches"]
    wrong = (objects - matches) + (boxes - matches)
    if protocol.motal == "log10(IDs + 1)":
        soft = float(np.log10(switches + 1))
    else:
        soft = float(np.log10(max(switches, 1)))
    detection = sums["hota_matches"] / np.maximum(objects + boxes - sums["hota_matches"], 1)
    association = sums["hota_association"] / np.maximum(sums["hota_matches"], 1)
    location = np.maximum(sums["hota_overlap"], 1e-10) / np.maximum(sums["hota_matches"], 1e-10)
    return {
        "MOTA": 100 - _percent(wrong + switches, objects),
        "MOTP": _percent(float(sums["overlap"]), matches),
        "IDF1": _percent(2 * agreed, objects + boxes),
        "IDP": _percent(agreed, boxes),
        "IDR": _percent(agreed, objects),
        "Rcll": _percent(matches, objects),
        "Prcn": _percent(matches, boxes),
        "FAR": (boxes - matches) / count["frames"] if count["frames"] else float("nan"),
        "GT": count["tracks"],
        "MT": count["mostly_tracked"],
        "PT": count["tracks"] - count["mostly_tracked"] - count["mostly_lost"],
        "ML": count["mostly_lost"],
        "FP": boxes - matches,
        "FN": objects - matches,
        "IDs": switches,
        "FM": count["fragmentations"],
        "MOTAL": 100 - _percent(wrong + soft, objects),
        "IDTP": agreed,
        "IDFP": boxes - agreed,
        "IDFN": objects - agreed,
        "GT_boxes": objects,
        "boxes": boxes,
        "matches": matches,
        "HOTA": 100 * float(np.sqrt(detection * association).mean()),
        "DetA": 100 * float(detection.mean()),
        "AssA": 100 * float(association.mean()),
        "LocA": 100 * float(location.mean()),
    }


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else float("nan")
