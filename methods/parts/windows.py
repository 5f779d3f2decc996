"""Windows of a feature map or image, cut on the device where the network runs."""

from __future__ import annotations

import torch
from torch.nn import functional


def windows(
    maps: torch.Tensor, centers: torch.Tensor, sides: torch.Tensor, size: int
) -> torch.Tensor:
    """Cut K windows out of each map: (n, C, H, W) to (n * K, C, size, size), bilinear, 0 outside.

    Parameters
    ----------
    centers : tensor (n, K, 2)
        x, y in pixels of the map, whole numbers at pixel centres.
    sides : tensor (n, K)
        Sides of the square windows in pixels of the map.
    size : int
        Height and width of the output. On both axes its pixel u lies at
        ``center + (u - size / 2) * side / size`` of the map.
    """
    joints = centers.shape[1]
    steps = torch.arange(size, device=maps.device, dtype=maps.dtype) / size - 0.5
    places = centers[..., None] + steps * sides[..., None, None]
    x, y = (places / (places.new_tensor(maps.shape[:-3:-1])[:, None] - 1) * 2 - 1).unbind(dim=2)
    grid = torch.stack(
        [
            x[:, :, None, :].expand(-1, -1, size, -1),
            y[:, :, :, None].expand(-1, -1, -1, size),
        ],
        dim=-1,
    )
    cut = functional.grid_sample(
        maps, grid.reshape(len(maps), joints * size, size, 2), align_corners=True
    )
    return cut.unflatten(2, (joints, size)).transpose(1, 2).flatten(0, 1)
