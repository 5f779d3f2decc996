"""Heatmaps of Megvii's networks (CPN, MSPN): blurred points of peak 255, read by two peaks."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
from torch.nn import functional

PEAK = 255.0
BORDER = 10
"""Zeros around a map while its peaks are looked for, in heatmap pixels."""


@cache
def _profiles(length: int, kernel: int) -> torch.Tensor:
    """Return the blur of a point at every place of a line: (place, length), peaks at 1."""
    points = np.eye(length, dtype=np.float32)
    blurred = cv2.GaussianBlur(points, (kernel, 1), 0)
    return torch.from_numpy(blurred / blurred.max(axis=1, keepdims=True))


def blurred_points(
    joints: torch.Tensor, size: tuple[int, int], stride: int, kernel: int
) -> torch.Tensor:
    """Draw joints (n, K, 2), input pixels, as OpenCV's Gaussian blur of a point, scaled to 255.

    The point is the heatmap pixel that the joint lies in; the standard deviation is the one that
    OpenCV takes for the kernel size. Joints outside the map have a zero map.

    Parameters
    ----------
    size : (int, int)
        Height, width of the maps.
    stride : int
        Input pixels per heatmap pixel.
    kernel : int
        Odd side of the blur in heatmap pixels.
    """
    height, width = size
    cells = torch.floor(joints / stride).long()
    x, y = cells.unbind(dim=-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows = _profiles(height, kernel).to(joints.device)[y.clamp(0, height - 1)]
    columns = _profiles(width, kernel).to(joints.device)[x.clamp(0, width - 1)]
    return PEAK * rows[..., None] * columns[..., None, :] * inside[..., None, None]


def second_peak(heatmaps: torch.Tensor, kernel: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Read joints out of maps (n, K, h, w): blur, then a quarter from the first peak to the second.

    The maps are framed with zeros before they are blurred; the second peak is the highest pixel
    once the first is set to 0. Joints are kept on the map.

    Returns
    -------
    points : tensor (n, K, 2)
        x, y in heatmap pixels, whole numbers at pixel centres.
    scores : tensor (n, K)
        ``map / 255 + 0.5`` of the maps *before* the blur, at the nearest pixel.
    """
    height, width = heatmaps.shape[-2:]
    blurred = _blur(functional.pad(heatmaps, (BORDER,) * 4), kernel).flatten(2)
    framed = width + 2 * BORDER
    first = blurred.argmax(dim=-1, keepdim=True)
    second = blurred.scatter(-1, first, 0.0).argmax(dim=-1, keepdim=True)

    def place(index: torch.Tensor) -> torch.Tensor:
        return torch.cat([index % framed, index // framed], dim=-1).to(heatmaps.dtype) - BORDER

    peak = place(first)
    toward = place(second) - peak
    points = peak + 0.25 * toward / toward.norm(dim=-1, keepdim=True).clamp(min=1e-3)
    limits = torch.tensor([width - 1, height - 1], dtype=points.dtype, device=points.device)
    points = torch.minimum(points.clamp(min=0), limits)
    x, y = points.round().long().unbind(dim=-1)
    values = heatmaps.flatten(2).gather(-1, (y * width + x)[..., None])[..., 0]
    return points, values / PEAK + 0.5


def _blur(maps: torch.Tensor, kernel: int) -> torch.Tensor:
    """Blur maps (n, K, h, w) as OpenCV does, mirrored at the border without repeating it."""
    weights = torch.from_numpy(cv2.getGaussianKernel(kernel, 0)[:, 0]).to(maps)
    radius = kernel // 2
    rows, joints = maps.shape[:2]
    maps = maps.flatten(0, 1)[:, None]
    maps = functional.pad(maps, (radius,) * 4, mode="reflect")
    maps = functional.conv2d(maps, weights[None, None, :, None])
    maps = functional.conv2d(maps, weights[None, None, None, :])
    return maps.unflatten(0, (rows, joints))[:, :, 0]


def hard_joints_mse(
    predicted: torch.Tensor, heatmaps: torch.Tensor, weights: torch.Tensor, hardest: int
) -> torch.Tensor:
    """Return the mean squared error of each row's hardest joints (online hard keypoint mining).

    A joint's error is the mean over its pixels, times its weight (n, K); the ``hardest`` largest
    errors of a row are averaged, then the rows. 0 for ``hardest`` means all joints.
    """
    errors = (predicted - heatmaps).square().mean(dim=(2, 3)) * weights
    if hardest:
        errors = errors.topk(hardest, dim=1).values
    return errors.mean()
