"""Heatmaps drawn where a joint really is: no rounding to pixels, no cut-off."""

from __future__ import annotations

import torch


def gaussian_maps(centers: torch.Tensor, size: tuple[int, int], sigma: float) -> torch.Tensor:
    """Draw Gaussians of peak 1: centers (n, K, 2) in map pixels to maps (n, K, height, width)."""

    def profile(length: int, center: torch.Tensor) -> torch.Tensor:
        offset = torch.arange(length, dtype=center.dtype, device=center.device) - center[..., None]
        return torch.exp(-(offset**2) / (2 * sigma**2))

    rows, columns = profile(size[0], centers[..., 1]), profile(size[1], centers[..., 0])
    return rows[..., :, None] * columns[..., None, :]


def euclidean_loss(
    predicted: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return half the squared error summed over labelled maps (n, K, H, W), averaged over rows.

    Caffe's EuclideanLoss; ``weights`` (n, K) multiplies the squared error of each map.
    """
    squared = (predicted - wanted).square().sum(dim=(2, 3)) * weights
    return 0.5 * squared.sum(dim=1).mean()
