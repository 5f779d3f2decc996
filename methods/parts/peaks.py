"""Many peaks in one map: smoothing and local maxima, on the device where the network runs."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch.nn import functional


def smoothed(maps: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur maps (n, K, h, w) by a Gaussian, as ``scipy.ndimage.gaussian_filter`` does.

    Cut off at four sigma; beyond the border the map is mirrored, its edge repeated.
    """
    height, width = maps.shape[-2:]
    down, across = (_blur(length, sigma).to(maps) for length in (height, width))
    return down @ maps @ across.T


@cache
def _blur(length: int, sigma: float) -> torch.Tensor:
    """Return the matrix (length, length) that blurs a line."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    source = (np.arange(length)[:, None] + offsets) % (2 * length)
    source = np.where(source < length, source, 2 * length - 1 - source)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], source), weights / weights.sum())
    return torch.from_numpy(matrix)


def is_peak(maps: torch.Tensor, threshold: float, neighbours: int, strict: bool) -> torch.Tensor:
    """Say where maps (n, K, h, w) have a local maximum above a threshold.

    Parameters
    ----------
    neighbours : int
        4 or 8.
    strict : bool
        Whether a peak is higher than its neighbours; otherwise it may be as high. Beyond the
        border lies 0.
    """
    height, width = maps.shape[-2:]
    framed = functional.pad(maps, (1, 1, 1, 1))
    peak = maps > threshold
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if (dy, dx) == (0, 0) or (neighbours == 4 and dy and dx):
                continue
            other = framed[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
            peak &= maps > other if strict else maps >= other
    return peak


def highest(
    maps: torch.Tensor, peaks: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each map's highest peaks by falling value.

    Parameters
    ----------
    maps : tensor (n, K, h, w)
    peaks : bool tensor (n, K, h, w)
        Where a peak may be.
    count : int
        At most so many; a small map has fewer places.

    Returns
    -------
    index : tensor (n, K, count)
        Place in the flattened map.
    values : tensor (n, K, count)
        Of the map; -inf where there is no further peak.
    """
    values = maps.masked_fill(~peaks, -math.inf).flatten(2)
    found = values.topk(min(count, values.shape[-1]), dim=-1)
    return found.indices, found.values


def centroids(maps: torch.Tensor, index: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the centre of mass (n, K, M, 2) of a square window around places (n, K, M).

    Only positive values weigh; what lies beyond the border does not.
    """
    height, width = maps.shape[-2:]
    steps = torch.arange(-radius, radius + 1, device=maps.device)
    y = (index // width)[..., None, None] + steps[:, None]
    x = (index % width)[..., None, None] + steps
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    places = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    weights = maps.flatten(2).gather(2, places.flatten(2)).view(places.shape).clamp(min=0) * inside
    total = weights.sum(dim=(-2, -1)).clamp(min=1e-12)
    return (
        torch.stack([(weights * x).sum((-2, -1)), (weights * y).sum((-2, -1))], -1)
        / total[..., None]
    )
