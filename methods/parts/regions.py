"""Boxes of a detector: overlap, suppression, and features pooled inside them.

Boxes are x0, y0, x1, y1 here, in pixels measured from the image's corner (a pixel's centre is at
+ 0.5). The definitions are those of detectron2 (ROIAlign aligned) and torchvision's ``nms``.
"""

from __future__ import annotations

import numpy as np
import torch

_AT_ONCE = 64  # boxes that are pooled together, which bounds the memory


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
    corners = (boxes * scale - (0.5 if aligned else 0.0)).to(torch.float64)
    low, sides = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        sides = sides.clamp(min=1.0)
    height, width = features.shape[-2:]
    rows = _samples(low[:, 1], sides[:, 1] / size, size, samples, height).to(features)
    columns = _samples(low[:, 0], sides[:, 0] / size, size, samples, width).to(features)
    pooled = features.new_zeros(len(boxes), features.shape[1], size, size)
    for image, own in enumerate(features.unbind()):
        for some in torch.nonzero(owner == image)[:, 0].split(_AT_ONCE):
            pooled[some] = torch.einsum("nph,chw,nqw->ncpq", rows[some], own, columns[some])
    return pooled


def _samples(
    start: torch.Tensor, bin_size: torch.Tensor, size: int, samples: int, length: int
) -> torch.Tensor:
    """Return the weights (n, size, length) with which the pixels of an axis enter each bin.

    Boxes (n,) start at ``start``; their bins are ``bin_size`` pixels long.
    """
    counts = bin_size.ceil().clamp(min=1)
    if samples:
        counts = torch.full_like(bin_size, samples)
    number = torch.arange(int(counts.max()) if len(counts) else 0).to(bin_size)
    steps = (number + 0.5) / counts[:, None]
    bins = torch.arange(size).to(bin_size)[:, None] + steps[:, None]
    places = start[:, None, None] + bin_size[:, None, None] * bins  # (n, size, samples)
    inside = (places >= -1) & (places <= length) & (number < counts[:, None])[:, None]
    places = places.clamp(0, length - 1)
    low = places.floor().clamp(max=max(length - 2, 0))
    weight = inside / counts[:, None, None]
    share = (places - low) * weight
    cell = low.long()
    weights = places.new_zeros(*places.shape[:2], length)
    weights.scatter_add_(2, cell, weight - share)
    return weights.scatter_add_(2, (cell + 1).clamp(max=length - 1), share)
