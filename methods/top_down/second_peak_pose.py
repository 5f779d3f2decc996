"""What Megvii's two networks (CPN, MSPN) share beyond the top-down heatmap methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from harness.api import Prepared, Rows, Sample
from methods.parts.blurred import blurred_points, second_peak
from methods.parts.crop import Regions
from methods.parts.integer_crop import linear_to_image
from methods.single_person.person import person_rows
from methods.top_down.heatmap_pose import HeatmapPose


class SecondPeakPose(HeatmapPose):
    """Maps with peaks of 255, read from the first peak towards the second.

    The flip test does not shift, a heatmap pixel's middle is at its centre, people are not
    suppressed by OKS, and their score is the box's times the mean over *all* joints.
    """

    kernel: ClassVar[int]
    """Blur before the peaks are looked for, heatmap pixels."""
    label_kernels: tuple[int, ...]
    """Blurs of the labels, coarse to fine, heatmap pixels."""
    flip_shift = False
    quantisation = 3.0

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        points, scores = second_peak(heatmaps, self.kernel)
        return {"points": points + 0.5, "scores": scores}

    def to_image(
        self, points: NDArray[Any], regions: Regions, grid: tuple[int, int]
    ) -> NDArray[np.float64]:
        return linear_to_image(points, regions, grid)

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        keypoints = self.to_image(outputs["points"], prepared.context, self.grid)
        return person_rows(keypoints, outputs["scores"].astype(np.float64), sample)

    def encode(self, joints: torch.Tensor) -> torch.Tensor:
        return self.labels(joints)[-1]

    def labels(self, joints: torch.Tensor) -> list[torch.Tensor]:
        """Return the labels of joints (n, K, 2), from coarse to fine."""
        size = (self.grid[1], self.grid[0])
        return [blurred_points(joints, size, self.stride, k) for k in self.label_kernels]
