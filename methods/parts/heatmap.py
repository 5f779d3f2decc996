"""Heatmaps: how joints are drawn into them and read out of them."""

from __future__ import annotations

import torch


def gaussian_targets(
    joints: torch.Tensor, weights: torch.Tensor, size: tuple[int, int], stride: int, sigma: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw joints as Gaussians of peak 1, cut off at three sigma.

    The centre is the joint's heatmap pixel, ``int(x / stride + 0.5)`` (truncated towards zero, as
    the official code of SimpleBaseline does). A joint whose square patch lies outside the map
    loses its weight.

    Parameters
    ----------
    joints : tensor (n, K, 2)
        x, y in pixels of the network's input.
    weights : tensor (n, K)
        1 for a labelled joint, 0 otherwise.
    size : (int, int)
        Height, width of the heatmap.
    stride : int
        Input pixels per heatmap pixel.
    sigma : float
        In heatmap pixels.

    Returns
    -------
    heatmaps : tensor (n, K, height, width)
        All zero where the weight is 0.
    weights : tensor (n, K)
    """
    height, width = size
    radius = int(3 * sigma)
    peaks = torch.trunc(joints / stride + 0.5)
    limits = torch.tensor([width, height], dtype=peaks.dtype, device=peaks.device)
    inside = ((peaks - radius < limits) & (peaks + radius + 1 >= 0)).all(dim=-1)
    weights = weights * inside

    def profile(length: int, center: torch.Tensor) -> torch.Tensor:
        offset = torch.arange(length, dtype=center.dtype, device=center.device) - center[..., None]
        return torch.exp(-(offset**2) / (2 * sigma**2)) * (offset.abs() <= radius)

    rows, columns = profile(height, peaks[..., 1]), profile(width, peaks[..., 0])
    heatmaps = rows[..., :, None] * columns[..., None, :]
    return heatmaps * (weights > 0)[..., None, None], weights


def weighted_mse(
    predicted: torch.Tensor, heatmaps: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return half the mean squared error over pixels, joints and rows.

    A joint's weight (n, K) multiplies both of its maps; the mean runs over all joints, those of
    weight 0 included (SimpleBaseline's and HRNet's loss).
    """
    return 0.5 * ((predicted - heatmaps) * weights[..., None, None]).square().mean()


def argmax_2d(heatmaps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the highest pixel of each map (n, K, H, W).

    Returns
    -------
    points : tensor (n, K, 2)
        x, y in whole heatmap pixels. The first in reading order wins a tie; a map whose maximum
        is not above 0 gives (0, 0).
    values : tensor (n, K)
        The maxima.
    """
    width = heatmaps.shape[-1]
    flat = heatmaps.flatten(2)
    index = flat.argmax(dim=-1, keepdim=True)
    values = flat.gather(-1, index)
    points = torch.cat([index % width, index // width], dim=-1).to(heatmaps.dtype)
    return points * (values > 0), values[..., 0]


def quarter_offset(heatmaps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Move peaks (n, K, 2) a quarter pixel towards the higher neighbour, along x and along y.

    Nothing moves where the neighbours are equal, or at the border: only 1 < x < W - 1 and
    1 < y < H - 1 move, which leaves out column 1 and row 1 as the official code does.
    """
    height, width = heatmaps.shape[-2:]
    x, y = points.long().unbind(dim=-1)
    inner = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    x, y = x.clamp(1, width - 2), y.clamp(1, height - 2)

    def value(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return heatmaps.flatten(2).gather(-1, (y * width + x)[..., None])[..., 0]

    slope = torch.stack([value(x + 1, y) - value(x - 1, y), value(x, y + 1) - value(x, y - 1)], -1)
    return points + 0.25 * slope.sign() * inner[..., None]
