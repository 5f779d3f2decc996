"""What the single-person methods share: one crop per person in, one pose per person out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.api import Prepared, Rows, Sample
from methods.parts.augment import Augmentation
from methods.parts.flip import flip_test
from methods.top_down.heatmap_pose import HeatmapPose


class PersonPose(HeatmapPose):
    """One answer for every person that the sample asks for, in its order; none is suppressed.

    Crops, their augmentation and the way back are those of :class:`HeatmapPose`. Where ``stride``
    is 1, ``points`` are pixels of the crop.
    """

    flip_tested = False
    augmentation = Augmentation(scaling=0.25, rotation=30)

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        points = outputs["points"].astype(np.float64)
        return person_rows(
            self.to_image(points, prepared.context, self.grid),
            outputs["scores"].astype(np.float64),
            sample,
        )

    def first_and_last(
        self, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]]:
        """Return the peaks of the network's first and last maps of joints, flip test included."""
        images = self.images(inputs["crops"])
        order = torch.as_tensor(self.skeleton.flip_order, device=images.device)

        def both(images: torch.Tensor) -> torch.Tensor:
            maps = self.network(images)
            return torch.cat([maps[0], maps[-1]], dim=1)

        orders = torch.cat([order, order + len(order)])
        first, last = flip_test(both, images, orders, self.flip_shift).float().chunk(2, dim=1)
        return self.peaks(first), self.peaks(last)


class CoordinatePose(PersonPose):
    """A network that puts out coordinates; they have no scores, so every joint is given 1."""

    stride = 1
    flip_tested = False
    quantisation = 0.0

    def encode(self, joints: torch.Tensor) -> torch.Tensor:
        return joints

    def peaks(self, points: torch.Tensor) -> Mapping[str, torch.Tensor]:
        points = points.float()
        return {"points": points, "scores": torch.ones_like(points[..., 0])}

    def normalised(self, points: torch.Tensor) -> torch.Tensor:
        """Turn pixels of the crop into shares of its size from its centre, -0.5 to 0.5."""
        size = torch.tensor(self.input_size, dtype=points.dtype, device=points.device)
        return points / size - 0.5

    def pixels(self, shares: torch.Tensor) -> torch.Tensor:
        """Undo :meth:`normalised`."""
        size = torch.tensor(self.input_size, dtype=shares.dtype, device=shares.device)
        return (shares + 0.5) * size


def person_rows(
    keypoints: NDArray[np.float64], keypoint_scores: NDArray[np.float64], sample: Sample
) -> Rows:
    """Return prediction columns; a person's score is the joints' mean, times the box's."""
    scores = keypoint_scores.mean(axis=1)
    if sample.box_scores is not None:
        scores = scores * sample.box_scores
    return {"keypoints": keypoints, "keypoint_scores": keypoint_scores, "score": scores}


def joint_loss(predicted: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the squared distance (..., K, 2) summed over labelled joints, averaged over rows."""
    squared = (predicted - truth).square().sum(dim=-1) * weights
    return squared.sum(dim=-1).mean()
