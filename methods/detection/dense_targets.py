"""What DensePose-RCNN learns: kinds of pixel, parts at annotated points, and u, v of the true part.

Guler, Neverova, Kokkinos: DensePose, CVPR 2018. The rules are those of detectron2's DensePose
project (``modeling/losses``): a map's cell i stands for the left end of its i-th share of the box.
Boxes are x0, y0, x1, y1 in pixels from the image's corner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

NOT_DRAWN = 255
"""Of the masks of a person who has none."""
SIDE = 256


def mask_labels(codes: Sequence[Any]) -> NDArray[np.uint8]:
    """Return which of 14 masks (from 1; 0 for none) each pixel of a person's box is in.

    Parameters
    ----------
    codes : sequence
        Run-length codes of 256x256 pixels as pycocotools reads them; an empty one for no such
        pixel. Without any code nothing is known: ``NOT_DRAWN`` everywhere.

    Returns
    -------
    array (256, 256)
    """
    from pycocotools import mask

    labels = np.full((SIDE, SIDE), 0 if len(codes) else NOT_DRAWN, np.uint8)
    for number, code in enumerate(codes, start=1):
        if code:
            labels[mask.decode(code) > 0] = number
    return labels


def dense_loss(
    maps: Mapping[str, torch.Tensor],
    boxes: torch.Tensor,
    points: torch.Tensor,
    frames: torch.Tensor,
    masks: torch.Tensor,
    weights: Sequence[float],
) -> torch.Tensor:
    """Return the weighted sum of the losses of coarse kinds, parts, and u and v.

    Parameters
    ----------
    maps : mapping
        ``coarse``, ``fine``, ``u`` and ``v``, each (n, channels, S, S).
    boxes : tensor (n, 4)
        That the maps are of.
    points : tensor (n, P, 5)
        x, y in pixels from the image's corner, part (0 for no point), u, v.
    frames : tensor (n, 4)
        The people's own boxes.
    masks : uint8 tensor (n, 256, 256)
        :func:`mask_labels` of the people's own boxes.
    weights : sequence of 3 floats
        Of the cross entropies of the coarse kinds and of the parts, each a mean, and of the smooth
        L1 losses of u and v, each a sum.
    """
    kinds = maps["coarse"].shape[1]
    wanted = coarse_labels(masks, frames, boxes, maps["coarse"].shape[-1]).long()
    known = wanted != NOT_DRAWN
    wanted = torch.where(known, wanted.clamp(max=kinds - 1), NOT_DRAWN)
    coarse = functional.cross_entropy(
        maps["coarse"], wanted, ignore_index=NOT_DRAWN, reduction="sum"
    )
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    inside = ((points[..., :2] >= low) & (points[..., :2] < high)).all(dim=-1)
    row, place = torch.nonzero(inside & (points[..., 2] > 0), as_tuple=True)
    chosen = points[row, place]
    cells = (chosen[:, :2] - boxes[row, :2]) / (boxes[row, 2:] - boxes[row, :2])
    cells = cells * maps["fine"].shape[-1]
    part = chosen[:, 2].long()
    fine = functional.cross_entropy(read(maps["fine"], row, cells), part, reduction="sum")
    surface = sum(
        functional.smooth_l1_loss(read(maps[name], row, cells, part), true, reduction="sum")
        for name, true in (("u", chosen[:, 3]), ("v", chosen[:, 4]))
    )
    return (
        weights[0] * coarse / known.sum().clamp(min=1)
        + weights[1] * fine / max(len(row), 1)
        + weights[2] * surface
    )


def mask_loss(
    maps: torch.Tensor, boxes: torch.Tensor, frames: torch.Tensor, masks: torch.Tensor
) -> torch.Tensor:
    """Return the binary cross entropy of the person's mask, the mean over its cells where drawn.

    Parameters
    ----------
    maps : tensor (n, 1, S, S)
        Logits.
    boxes, frames : tensors (n, 4)
    masks : uint8 tensor (n, 256, 256)
        As of :func:`dense_loss`; any of the 14 masks is the person's.
    """
    labels = coarse_labels(masks, frames, boxes, maps.shape[-1])
    known = labels != NOT_DRAWN
    losses = functional.binary_cross_entropy_with_logits(
        maps[:, 0], (labels > 0).to(maps), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)


def read(
    maps: torch.Tensor, row: torch.Tensor, cells: torch.Tensor, channel: torch.Tensor | None = None
) -> torch.Tensor:
    """Read maps (n, C, S, S) bilinearly at points (m,) that are in their rows ``row`` (m,).

    ``cells`` (m, 2) are x, y in cells, whole numbers at the cells' values; ``channel`` (m,) is one
    of each point, without it all are read: (m, C).
    """
    last = maps.shape[-1] - 1
    low = cells.floor().long().clamp(0, last)
    high = (low + 1).clamp(max=last)
    x, y = (torch.minimum(cells, high.to(cells)) - low).unbind(dim=1)
    total: torch.Tensor | float = 0.0
    for columns, across in ((low[:, 0], 1 - x), (high[:, 0], x)):
        for rows, down in ((low[:, 1], 1 - y), (high[:, 1], y)):
            share = across * down
            if channel is None:
                total = total + maps[row, :, rows, columns] * share[:, None]
            else:
                total = total + maps[row, channel, rows, columns] * share
    assert isinstance(total, torch.Tensor)
    return total


def coarse_labels(
    masks: torch.Tensor, frames: torch.Tensor, boxes: torch.Tensor, size: int
) -> torch.Tensor:
    """Return masks (n, 256, 256) of frames (n, 4) as boxes (n, 4) see them: (n, size, size).

    0 outside the frame; ``NOT_DRAWN`` stays what it is everywhere.
    """
    steps = torch.arange(size, device=boxes.device) / size
    places = boxes[:, None, :2] + steps[None, :, None] * (boxes[:, None, 2:] - boxes[:, None, :2])
    share = (places - frames[:, None, :2]) / (frames[:, None, 2:] - frames[:, None, :2])
    index = (share * (SIDE - 1)).round().long()  # (n, size, 2)
    inside = (index >= 0) & (index < SIDE)
    column, line = index.clamp(0, SIDE - 1).unbind(dim=-1)
    person = torch.arange(len(masks), device=boxes.device)[:, None, None]
    labels = masks[person, line[:, :, None], column[:, None, :]]
    whole = inside[:, :, None, 1] & inside[:, None, :, 0]
    return torch.where(whole | (labels == NOT_DRAWN), labels, 0)
