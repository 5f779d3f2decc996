"""What Mask R-CNN learns: whose an anchor or region is, how it must move, where its joints are.

Ren, He, Girshick, Sun: Faster R-CNN, NIPS 2015; He, Gkioxari, Dollar, Girshick: Mask R-CNN, ICCV
2017. Boxes are x0, y0, x1, y1 in pixels from the image's corner.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from methods.parts.regions import overlaps

BACKGROUND, LEFT_OUT = -1, -2
"""Of boxes that are nobody's, and of those that the loss leaves out."""

ANCHOR_OVERLAPS = (0.3, 0.7)
REGION_OVERLAPS = (0.5, 0.5)
"""Below the first a box is background, from the second on it is a person's."""

BETA = 1 / 9
"""Where the smooth L1 loss of deltas turns from square to straight (torchvision)."""


def matched(
    boxes: torch.Tensor,
    people: torch.Tensor,
    unlabelled: torch.Tensor,
    thresholds: tuple[float, float],
    best: bool = False,
) -> torch.Tensor:
    """Return each box's person: its row, or ``BACKGROUND`` or ``LEFT_OUT``.

    Parameters
    ----------
    boxes : tensor (n, 4)
    people, unlabelled : tensors (p, 4) and (m, 4)
        Whoever is unlabelled is no background.
    thresholds : (float, float)
        Of the overlap: background below the first, a person's from the second on.
    best : bool
        Whether the boxes that overlap a person most of all are a person's in any case.
    """
    low, high = thresholds
    overlap = overlaps(boxes, people)
    most, person = functional.pad(overlap, (0, 1)).max(dim=1)  # there may be no people
    unsure = (most >= low) | (overlaps(boxes, unlabelled) >= low).any(dim=1)
    owned = most >= high
    if best:
        top = overlap.amax(dim=0)
        owned |= ((overlap == top) & (top > 0)).any(dim=1)
    nobody = torch.where(unsure, LEFT_OUT, BACKGROUND)
    return torch.where(owned, person, nobody)


def drawn(match: torch.Tensor, count: int, share: float) -> torch.Tensor:
    """Draw ``count`` rows of a match (n,) at random: up to a ``share`` of them people's, first."""
    owned = _shuffled(torch.nonzero(match >= 0)[:, 0])[: int(count * share)]
    background = _shuffled(torch.nonzero(match == BACKGROUND)[:, 0])
    return torch.cat([owned, background[: count - len(owned)]])


def _shuffled(rows: torch.Tensor) -> torch.Tensor:
    return rows[torch.randperm(len(rows)).to(rows.device)]


def deltas_to(boxes: torch.Tensor, people: torch.Tensor) -> torch.Tensor:
    """Return the deltas (n, 4) that move boxes (n, 4) to people (n, 4)."""
    size, wanted = boxes[:, 2:] - boxes[:, :2], people[:, 2:] - people[:, :2]
    shift = (people[:, :2] + wanted / 2 - boxes[:, :2] - size / 2) / size
    return torch.cat([shift, (wanted / size).log()], dim=1)


def joint_cells(
    joints: torch.Tensor, boxes: torch.Tensor, side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cell of each joint in its box's map, and which joints have one.

    Parameters
    ----------
    joints : tensor (n, K, 3)
        x, y from the image's corner, and 1 for labelled ones.
    boxes : tensor (n, 4)
    side : int
        Cells of the map, along and across.

    Returns
    -------
    cells : int tensor (n, K)
        row * side + column.
    known : bool tensor (n, K)
        Labelled and inside the box; its right and lower edge belong to the last cells.
    """
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    points = joints[..., :2]
    known = (joints[..., 2] > 0) & ((points >= low) & (points <= high)).all(dim=-1)
    place = ((points - low) * side / (high - low)).floor().clamp(0, side - 1).long()
    return place[..., 1] * side + place[..., 0], known


def proposal_loss(
    logits: torch.Tensor,
    deltas: torch.Tensor,
    anchors: torch.Tensor,
    people: torch.Tensor,
    unlabelled: torch.Tensor,
    count: int,
) -> torch.Tensor:
    """Return the loss of objectness and deltas on ``count`` drawn anchors, a half people's.

    Parameters
    ----------
    logits, deltas : tensors (A,) and (A, 4)
        One image's answers.
    anchors : tensor (A, 4)
    people, unlabelled : tensors (p, 4) and (m, 4)
    count : int
    """
    match = matched(anchors, people, unlabelled, ANCHOR_OVERLAPS, best=True)
    rows = drawn(match, count, share=0.5)
    owned = match[rows] >= 0
    likely = functional.binary_cross_entropy_with_logits(logits[rows], owned.to(logits))
    own = rows[owned]
    wanted = deltas_to(anchors[own], people[match[own]])
    return likely + _delta_loss(deltas[own], wanted, len(rows))


def region_loss(
    logits: torch.Tensor, deltas: torch.Tensor, wanted: torch.Tensor, owned: torch.Tensor
) -> torch.Tensor:
    """Return the loss of the box head on regions.

    Parameters
    ----------
    logits, deltas : tensors (n, 2) and (n, 4)
        Logits of background and person.
    wanted : tensor (n, 4)
        Ideal deltas; read where ``owned``.
    owned : bool tensor (n,)
        Whether a region is a person's.
    """
    kinds = functional.cross_entropy(logits, owned.long())
    return kinds + _delta_loss(deltas[owned], wanted[owned], len(logits))


def _delta_loss(deltas: torch.Tensor, wanted: torch.Tensor, count: int) -> torch.Tensor:
    total = functional.smooth_l1_loss(deltas, wanted, reduction="sum", beta=BETA)
    return total / max(count, 1)


def joint_loss(maps: torch.Tensor, joints: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of maps (n, K, side, side), each joint being one of its cells.

    The mean over the joints (n, K, 3) that are labelled inside their boxes (n, 4).
    """
    cells, known = joint_cells(joints, boxes, maps.shape[-1])
    total = functional.cross_entropy(maps.flatten(2)[known], cells[known], reduction="sum")
    return total / known.sum().clamp(min=1)
