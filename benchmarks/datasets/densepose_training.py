"""What methods learn from DensePose-COCO: annotated points and masks, person by person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.densepose import DenseTruth, SurfacePoints
from harness.api import Dataset, Sample


def training_samples(
    dataset: Dataset, folder: Path
) -> list[tuple[Sample, Mapping[str, NDArray[Any]]]]:
    """Return the images with annotated people, whose boxes end at their last pixels.

    The truth holds, row for row with the boxes: ``keypoints`` (n, P, 2), the annotated points in
    pixels, ``visible`` (n, P), whether there are so many, ``surface`` (n, P, 3), their part, u and
    v, ``masks`` (n,), lists of 14 run-length codes of 256x256 pixels of the annotated box, and
    ``joints`` (n, K, 3), COCO's keypoints x, y in pixels and whether they are labelled, none if the
    file has none. And ``unlabelled`` (m, 4), boxes x, y, w, h of the image's other people.
    """
    truth: DenseTruth = dataset.truth
    people = truth.people
    pairs: list[tuple[Sample, Mapping[str, NDArray[Any]]]] = []
    for image, sample_id in enumerate(dataset.sample_ids):
        everyone = np.arange(people.offsets[image], people.offsets[image + 1])
        known = np.array([truth.points[row] is not None for row in everyone], dtype=np.bool_)
        own = everyone[known & ~people.crowd[everyone]]
        if not len(own):
            continue
        box = people.box[own]
        sample = Sample(
            sample_id,
            (str(folder / people.file_name[image]),),
            box - np.array([0.0, 0, 1, 1]),
            np.ones(len(own)),
        )
        points = [p for row in own if (p := truth.points[row]) is not None]
        masks = np.empty(len(own), dtype=object)
        masks[:] = [truth.masks[row].get("dp_masks", []) for row in own]
        learnt = {
            **_padded(points, box),
            "masks": masks,
            "joints": np.minimum(people.keypoints[own], [np.inf, np.inf, 1]),
            "unlabelled": people.box[np.setdiff1d(everyone, own)],
        }
        pairs.append((sample, learnt))
    return pairs


def _padded(points: list[SurfacePoints], box: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Bring the points of several people to one length."""
    most = max(len(own.x) for own in points)
    keypoints, surface = np.zeros((len(points), most, 2)), np.zeros((len(points), most, 3))
    visible = np.zeros((len(points), most), dtype=np.bool_)
    for row, own in enumerate(points):
        count = len(own.x)
        relative = np.stack([own.x, own.y], axis=1) / 255
        # Annotated from the image's corner; pixels have their centres at whole numbers.
        keypoints[row, :count] = box[row, :2] + relative * box[row, 2:] - 0.5
        surface[row, :count] = np.stack([own.part, own.u, own.v], axis=1)
        visible[row, :count] = True
    return {"keypoints": keypoints, "visible": visible, "surface": surface}
