"""Rotations in space: axis-angle, six numbers, and the nearest rotation to any matrix."""

from __future__ import annotations

import torch


def matrix_of_axis_angle(vectors: torch.Tensor) -> torch.Tensor:
    """Return the rotations (..., 3, 3) about vectors (..., 3) by their lengths in radians.

    Rodrigues' formula; smooth at the zero vector.
    """
    # The official SMPL code adds 1e-8 to every number before taking the length.
    angle = (vectors + 1e-8).norm(dim=-1, keepdim=True)
    x, y, z = (vectors / angle).unbind(dim=-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    angle = angle[..., None]
    eye = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return eye + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)


def matrix_of_6d(numbers: torch.Tensor) -> torch.Tensor:
    """Return the rotations (..., 3, 3) of six numbers (..., 6), as SPIN lays them out.

    The numbers are the first two columns, row by row; Gram-Schmidt makes them orthonormal, and the
    third column is their cross product.
    """
    first, second = numbers.unflatten(-1, (3, 2)).unbind(dim=-1)
    a = first / first.norm(dim=-1, keepdim=True)
    b = second - (a * second).sum(dim=-1, keepdim=True) * a
    b = b / b.norm(dim=-1, keepdim=True)
    return torch.stack([a, b, torch.linalg.cross(a, b)], dim=-1)


def nearest_rotation(matrices: torch.Tensor) -> torch.Tensor:
    """Return U V^T times its determinant (..., 3, 3), as GraphCMR makes rotations of matrices.

    For a matrix of positive determinant that is the nearest rotation; for others the sign turns
    the whole matrix, so the result is a rotation, but not the nearest one.
    """
    left, _, right = torch.linalg.svd(matrices)
    turned = left @ right
    return turned * torch.linalg.det(turned)[..., None, None]
