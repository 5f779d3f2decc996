"""Human parsing: ATR and LIP, every pixel labelled with a garment or body part.

LIP's numbers are those of the official ``test_human.py`` (Engineering-Course/LIP_SSL). ATR has no
official code; its metrics are those of clothing parsing, pooled over all pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import parsing as official
from benchmarks.datasets.parsing import Layout
from benchmarks.metrics.parsing import (
    clothing_metrics,
    image_metrics,
    lip_metrics,
    mean,
    pixel_counts,
)
from harness.api import (
    PARSING,
    Benchmark,
    Column,
    Dataset,
    Predictions,
    PrerequisiteError,
    Protocol,
    Sample,
    Statistics,
    quirk,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ATR_CLASSES = (
    "background", "hat", "hair", "sunglass", "upper-clothes", "skirt", "pants", "dress", "belt",
    "left-shoe", "right-shoe", "face", "left-leg", "right-leg", "left-arm", "right-arm", "bag",
    "scarf",
)  # fmt: skip
_ATR_HEADERS = (
    "Hat", "Hair", "Sunglass", "Upper", "Skirt", "Pants", "Dress", "Belt", "L-shoe", "R-shoe",
    "Face", "L-leg", "R-leg", "L-arm", "R-arm", "Bag", "Scarf",
)  # fmt: skip
LIP_CLASSES = (
    "background", "hat", "hair", "glove", "sunglasses", "upperclothes", "dress", "coat", "socks",
    "pants", "jumpsuits", "scarf", "skirt", "face", "leftArm", "rightArm", "leftLeg", "rightLeg",
    "leftShoe", "rightShoe",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ParsingProtocol(Protocol):
    """How label maps are compared."""

    classes: tuple[str, ...] = quirk("Classes by label, from 0; the first is the background.")
    undefined_classes: str = quirk("Classes without a value in a mean.")
    pooling: str = quirk("What counts are taken over.")
    unlabelled: str = quirk(
        "Pixels whose true label is no class, such as 255.", default="left out on both sides"
    )
    wrong_labels: str = quirk(
        "Predicted labels that are no class, and label maps of another size.", default="refused"
    )


class Parsing(Benchmark):
    """A benchmark of label maps; a sample is an image with one person."""

    schema = PARSING
    skeleton = None
    files: ClassVar[Layout]
    classes: ClassVar[tuple[str, ...]]
    """Names of the classes by label."""

    def layout(self, split: str) -> str:
        return self.files.describe(split)

    def splits(self, root: Path) -> tuple[str, ...]:
        return official.splits(root, self.files)

    def load(self, root: Path, split: str) -> Dataset:
        return official.load(root, split, self.files, self.obtain)

    def samples(
        self, dataset: Dataset, protocol: Protocol, detections: Path | None = None
    ) -> list[Sample]:
        if detections is not None:
            raise PrerequisiteError(
                f"{self.name} takes no detections ({detections}).", "Leave the box source out."
            )
        pairs = zip(dataset.sample_ids, dataset.truth.images, strict=False)
        return [Sample(sample_id, (str(image),)) for sample_id, image in pairs]

    def read_predictions(self, path: Path, dataset: Dataset, protocol: Protocol) -> Predictions:
        """Read a folder of label maps, ``ID.png``, 8 bits per pixel."""
        return official.read_submission(path, dataset)

    def statistics(
        self, dataset: Dataset, predictions: Predictions, protocol: Protocol
    ) -> Statistics:
        """Count pixels image by image.

        Raises
        ------
        PrerequisiteError
            If a label map has another size than the truth, or a label that is no class.
        """
        rows = {sample_id: i for i, sample_id in enumerate(predictions.sample_ids)}
        position = [i for i, name in enumerate(dataset.sample_ids) if name in rows]
        counts = []
        for place in position:
            path, sample_id = dataset.truth.labels[place], dataset.sample_ids[place]
            truth = official.decode_labels(path.read_bytes(), str(path))
            blobs = predictions.rows_of(rows[sample_id])["labels"]
            if len(blobs) != 1:
                raise PrerequisiteError(
                    f"image {sample_id} has {len(blobs)} label maps.", "Predict exactly one."
                )
            labels = official.decode_labels(blobs[0], f"the label map of image {sample_id}")
            try:
                counts.append(pixel_counts(truth, labels, len(self.classes)))
            except ValueError as error:
                raise PrerequisiteError(
                    f"The label map of image {sample_id}: {error}.",
                    "Write class indices at the image's own size; resize with nearest neighbours.",
                ) from None
        return Statistics(np.array(position, dtype=np.int64), {"counts": np.stack(counts)})

    def breakdown(self, statistics: Statistics, protocol: Protocol) -> dict[str, dict[str, float]]:
        metrics = self.compute(statistics, protocol)
        kinds = ("f1", "recall", "accuracy", "iou")
        return {
            f"{kind} per class": {name: metrics[f"{kind}/{name}"] for name in self.classes}
            for kind in kinds
            if f"{kind}/{self.classes[0]}" in metrics
        }

    def per_sample(self, statistics: Statistics, protocol: Protocol) -> dict[str, Floats]:
        return image_metrics(statistics.dense("counts"))


def _pool(statistics: Statistics, weights: Ints | None) -> Ints:
    counts = statistics.dense("counts")
    return np.asarray(counts.sum(axis=0) if weights is None else np.tensordot(weights, counts, 1))


class Atr(Parsing):
    """ATR: 17 garments and body parts of a person, and the background."""

    name: ClassVar[str] = "atr"
    title: ClassVar[str] = "ATR human parsing"
    citation: ClassVar[str] = (
        "Liang, Liu, Shen, Yang, Liu, Dong, Lin, Yan. Deep Human Parsing with Active Template "
        "Regression. IEEE TPAMI 37(12), 2015"
    )
    obtain: ClassVar[str] = (
        "Ask the authors of ATR and CO-CNN for the 'humanparsing' images and label maps "
        "(non-commercial research)."
    )
    files = Layout(
        benchmark="atr",
        list="{split}_id.txt",
        labels=("labels", "humanparsing/SegmentationClassAug"),
        images="humanparsing/JPEGImages",
    )
    classes = ATR_CLASSES
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "pooled": ParsingProtocol(
            variant="pooled",
            title="ATR, pooled over pixels",
            benchmark="atr",
            classes=ATR_CLASSES,
            undefined_classes="count 0 in average_*_18 and _17, are left out in _present and IoU",
            pooling="all pixels of all images; names with per_image are means over images",
        )
    }
    columns = (
        *(
            Column(f"f1/{name}", header, 100.0, 2)
            for name, header in zip(ATR_CLASSES[1:], _ATR_HEADERS, strict=True)
        ),
        Column("average_f1_17", "Avg", 100.0, 2),
    )
    primary = "average_f1_17"
    default_split = "test"

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: Ints | None = None
    ) -> dict[str, float]:
        return _atr_metrics(statistics, image_metrics(statistics.dense("counts")), weights)

    def resample(
        self, statistics: Statistics, protocol: Protocol, weights: Ints
    ) -> dict[str, Floats]:
        images = image_metrics(statistics.dense("counts"))
        rows = [_atr_metrics(statistics, images, draw) for draw in weights]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _atr_metrics(
    statistics: Statistics, images: Mapping[str, Floats], weights: Ints | None
) -> dict[str, float]:
    metrics = clothing_metrics(_pool(statistics, weights), ATR_CLASSES)
    for name, values in images.items():
        drawn = values if weights is None else np.repeat(values, weights)
        metrics[f"per_image_{name}"] = mean(drawn)
    return metrics


class LipParsing(Parsing):
    """LIP: 19 garments and body parts of a person, and the background."""

    name: ClassVar[str] = "lip-parsing"
    title: ClassVar[str] = "LIP human parsing"
    citation: ClassVar[str] = (
        "Gong, Liang, Zhang, Shen, Lin. Look into Person: Self-supervised Structure-sensitive "
        "Learning and a New Benchmark for Human Parsing. CVPR 2017"
    )
    obtain: ClassVar[str] = (
        "Download 'Single Person' of Look into Person (sysu-hcp.net/lip; non-commercial research)."
    )
    files = Layout(
        benchmark="lip-parsing",
        list="{split}_id.txt",
        labels=("labels", "TrainVal_parsing_annotations/{split}_segmentations"),
        images="TrainVal_images/{split}_images",
    )
    classes = LIP_CLASSES
    protocols: ClassVar[Mapping[str, Protocol]] = {
        "official": ParsingProtocol(
            variant="official",
            title="LIP parsing, official evaluation",
            benchmark="lip-parsing",
            classes=LIP_CLASSES,
            undefined_classes="are left out: of accuracy when not in the truth, of IoU and F-1 "
            "when in neither",
            pooling="all pixels of all images; the background is a class like the others",
        )
    }
    columns = (
        Column("overall_accuracy", "Overall acc.", 100.0, 2),
        Column("mean_accuracy", "Mean acc.", 100.0, 2),
        Column("mean_iou", "Mean IoU", 100.0, 2),
        *(Column(f"iou/{name}", name, 100.0, 2, group="IoU") for name in LIP_CLASSES),
    )
    primary = "mean_iou"
    default_split = "val"

    def compute(
        self, statistics: Statistics, protocol: Protocol, weights: Ints | None = None
    ) -> dict[str, float]:
        return lip_metrics(_pool(statistics, weights), LIP_CLASSES)
