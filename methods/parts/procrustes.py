"""Procrustes alignment of points to points, on the device."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Similarity(NamedTuple):
    """``scale * (p @ rotation^T) + shift``: scale (n,), rotation (n, 3, 3), shift (n, 3)."""

    scale: torch.Tensor
    rotation: torch.Tensor
    shift: torch.Tensor

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Return points (n, K, 3) moved."""
        return self.scale[:, None, None] * (points @ self.rotation.mT) + self.shift[:, None]


def procrustes(points: torch.Tensor, onto: torch.Tensor) -> Similarity:
    """Return what brings points (n, K, 3) closest to others in squared distance, without mirroring.

    Umeyama, PAMI 1991. Points that all coincide get scale 0.
    """
    middle, aim = points.mean(dim=1, keepdim=True), onto.mean(dim=1, keepdim=True)
    away = points - middle
    left, strength, right = torch.linalg.svd((onto - aim).mT @ away)
    sign = torch.ones_like(strength)
    sign[:, 2] = torch.linalg.det(left @ right).sign()
    rotation = left * sign[:, None] @ right
    scale = (strength * sign).sum(dim=1) / away.square().sum(dim=(1, 2)).clamp(min=1e-12)
    shift = aim[:, 0] - scale[:, None] * (middle @ rotation.mT)[:, 0]
    return Similarity(scale, rotation, shift)
