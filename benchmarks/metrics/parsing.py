"""Pixel-wise metrics of label maps, from three counts per class and image.

Sources: Long et al., Fully Convolutional Networks, CVPR 2015 (accuracies, IoU), as in LIP_SSL's
``test_human.py``; Yamaguchi et al., Parsing Clothing in Fashion Photographs, CVPR 2012 (precision,
recall, F-1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def pixel_counts(truth: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int) -> Ints:
    """Count pixels (3, C) of one image: hits, true pixels, predicted pixels of each class.

    Pixels whose true label is no class (255, say) do not count on either side.

    Raises
    ------
    ValueError
        If the shapes differ, or a pixel that counts is predicted to be no class.

    Examples
    --------
    >>> pixel_counts(np.array([[0, 1, 255]], np.uint8), np.array([[0, 0, 1]], np.uint8), 2)
    array([[1, 0],
           [1, 1],
           [2, 0]])
    """
    if truth.shape != labels.shape:
        raise ValueError(f"{labels.shape} pixels, the truth has {truth.shape}")
    counts = truth < classes
    true, own = truth[counts], labels[counts]
    if own.size and own.max() >= classes:
        raise ValueError(f"a pixel has label {own.max()}, the classes are 0 to {classes - 1}")
    return np.stack(
        [
            np.bincount(true[true == own], minlength=classes),
            np.bincount(true, minlength=classes),
            np.bincount(own, minlength=classes),
        ]
    ).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores (..., C) of each class; NaN where a denominator is 0."""

    recall: Floats
    precision: Floats
    f1: Floats
    iou: Floats

    @classmethod
    def of(cls, counts: Ints) -> ClassScores:
        """Compute from hits, true and predicted pixels (..., 3, C)."""
        hits, truth, own = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
        return cls(
            recall=ratio(hits, truth),
            precision=ratio(hits, own),
            f1=ratio(2 * hits, truth + own),
            iou=ratio(hits, truth + own - hits),
        )


def lip_metrics(counts: Ints, names: tuple[str, ...]) -> dict[str, float]:
    """Return LIP's metrics of the counts (3, C) of all images together.

    Means are over the classes that have a value, background included.
    """
    scores, truth = ClassScores.of(counts), counts[1]
    there = truth > 0
    share = ratio(truth, np.asarray(truth.sum()))
    metrics = {
        "overall_accuracy": float(ratio(counts[0].sum(), truth.sum())),
        "mean_accuracy": mean(scores.recall),
        "mean_iou": mean(scores.iou),
        "frequency_weighted_iou": float((share[there] * scores.iou[there]).sum()),
        "mean_f1": mean(scores.f1),
    }
    kinds = {"accuracy": scores.recall, "iou": scores.iou, "f1": scores.f1}
    return metrics | _by_class(kinds, names)


def clothing_metrics(counts: Ints, names: tuple[str, ...]) -> dict[str, float]:
    """Return the clothing-parsing metrics of the counts (3, C) of all images together.

    Averages end in the number of their classes: all, or all but the background. There a class
    without a value counts as 0; ``_present`` leaves it out.
    """
    scores, count = ClassScores.of(counts), counts.shape[1]
    metrics = {
        "accuracy": float(ratio(counts[0].sum(), counts[1].sum())),
        "foreground_accuracy": float(ratio(counts[0, 1:].sum(), counts[1, 1:].sum())),
        "mean_iou": mean(scores.iou),
    }
    kinds = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    for kind, values in kinds.items():
        filled = np.nan_to_num(values, nan=0.0)
        metrics[f"average_{kind}_{count}"] = float(filled.mean())
        metrics[f"average_{kind}_{count - 1}"] = float(filled[1:].mean())
        metrics[f"average_{kind}_{count}_present"] = mean(values)
    return metrics | _by_class(kinds | {"iou": scores.iou}, names)


def image_metrics(counts: Ints) -> dict[str, Floats]:
    """Return the clothing-parsing metrics (n,) of each image by itself, from counts (n, 3, C)."""
    scores, classes = ClassScores.of(counts), counts.shape[2]
    kinds = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
    metrics = {
        f"average_{kind}_{classes}_present": ratio(
            np.nan_to_num(values, nan=0.0).sum(axis=1), (~np.isnan(values)).sum(axis=1)
        )
        for kind, values in kinds.items()
    }
    metrics["accuracy"] = ratio(counts[:, 0].sum(axis=1), counts[:, 1].sum(axis=1))
    metrics["foreground_accuracy"] = ratio(
        counts[:, 0, 1:].sum(axis=1), counts[:, 1, 1:].sum(axis=1)
    )
    return metrics


def ratio(part: NDArray[Any], whole: Ints) -> Floats:
    """Return part / whole, NaN where whole is 0."""
    return np.asarray(part / np.where(np.asarray(whole) == 0, np.nan, whole))


def mean(values: Floats) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def _by_class(kinds: Mapping[str, Floats], names: tuple[str, ...]) -> dict[str, float]:
    return {
        f"{kind}/{name}": float(value)
        for kind, values in kinds.items()
        for name, value in zip(names, values, strict=True)
    }
