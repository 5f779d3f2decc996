"""Boxes of a detector: overlap, suppression, and features pooled inside them.

Boxes are x0, y0, x1, y1 here, in pixels measured from the image's corner (a pixel's centre is at
+ 0.5). The definitions are those of detectron2 (ROIAlign aligned) and torchvision's ``nms``.
"""

from __future__ import annotations

import math

import numpy as np
import torch


def overlaps(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    area = (first[:, 2:] - first[:, :2]).prod(dim=-1)
    other = (second[:, 2:] - second[:, :2]).prod(dim=-1)
    return common / (area[:, None] + other[None] - common).clamp(min=1e-12)


def suppressed(
    boxes: torch.Tensor, scores: torch.Tensor, threshold: float, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the boxes that survive non-maximum suppression, highest score first.

    A box is dropped when its overlap with a surviving one of higher score is above the threshold
    (equal stays). Equal scores keep their order. Boxes of different groups (n,) do not meet.
    """
    order = scores.argsort(descending=True, stable=True)
    over = overlaps(boxes[order], boxes[order]) > threshold
    if groups is not None:
        over &= groups[order][:, None] == groups[order][None]
    clear = ~over.triu(diagonal=1).cpu().numpy()
    alive = np.ones(len(order), dtype=bool)
    for row in range(len(order)):
        if alive[row]:
            alive &= clear[row]
    return order[torch.from_numpy(alive).to(order.device)]


def roi_align(
    features: torch.Tensor,
    boxes: torch.Tensor,
    owner: torch.Tensor,
    size: int,
    scale: float,
    samples: int = 0,
    aligned: bool = True,
) -> torch.Tensor:
    """Pool features inside boxes on a grid: (n, C, size, size).

    Each of the size x size bins is the mean of bilinear samples spread evenly in it. A sample
    further than a pixel outside the map is 0; up to that it takes the border's value.

    Parameters
    ----------
    features : tensor (B, C, h, w)
    boxes : tensor (n, 4)
        In image pixels.
    owner : int tensor (n,)
        Each box's image.
    size : int
    scale : float
        Feature pixels per image pixel.
    samples : int
        Per bin and axis; 0 for as many as the bin has feature pixels, rounded up.
    aligned : bool
        Whether boxes are moved by half a feature pixel, so that sample positions mean pixel
        centres (ROIAlignV2). Without it a box is at least one feature pixel wide and high.
    """
    images = features.unbind()  # a box's gradient is as large as its own image
    pooled = [features.new_zeros(0, features.shape[1], size, size)]
    for row in range(len(boxes)):
        image = images[owner[row]]
        x0, y0, x1, y1 = (boxes[row] * scale - (0.5 if aligned else 0.0)).tolist()
        width, height = x1 - x0, y1 - y0
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        rows = _samples(y0, height / size, size, samples, image.shape[1]).to(image)
        columns = _samples(x0, width / size, size, samples, image.shape[2]).to(image)
        pooled.append((rows @ image @ columns.T)[None])
    return torch.cat(pooled)


def _samples(start: float, bin_size: float, size: int, samples: int, length: int) -> torch.Tensor:
    """Return the weights (size, length) with which the pixels of an axis enter each bin."""
    count = samples or max(math.ceil(bin_size), 1)
    steps = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    places = start + bin_size * (torch.arange(size, dtype=torch.float64)[:, None] + steps)
    inside = (places >= -1) & (places <= length)
    places = places.clamp(0, length - 1)
    low = places.floor().long().clamp(max=max(length - 2, 0))
    weight = inside.to(torch.float64) / count
    share = (places - low) * weight
    rest = weight - share
    weights = torch.zeros(size, length, dtype=torch.float64)
    weights.scatter_add_(1, low, rest)
    return weights.scatter_add_(1, (low + 1).clamp(max=length - 1), share)
