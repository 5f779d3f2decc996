"""Volumes of likelihood: how joints in space are read out of them and drawn into them."""

from __future__ import annotations

import torch


def soft_argmax_3d(volumes: torch.Tensor) -> torch.Tensor:
    """Return the expected place in each volume, as integral regression does.

    The softmax runs over the whole volume. Places are indices over sizes, less one half: a voxel
    stands for its lower corner, so a single one at index 0 gives -0.5.

    Parameters
    ----------
    volumes : tensor (n, K, D, H, W)
        Before the softmax.

    Returns
    -------
    tensor (n, K, 3)
        x, y, z in -0.5 .. 0.5 of width, height and depth.
    """
    share = volumes.flatten(2).softmax(dim=-1).view_as(volumes)
    places = []
    for axis in (4, 3, 2):
        size = volumes.shape[axis]
        others = [other for other in (2, 3, 4) if other != axis]
        index = torch.arange(size, dtype=share.dtype, device=share.device)
        places.append((share.sum(dim=others) * index).sum(dim=-1) / size - 0.5)
    return torch.stack(places, dim=-1)


def argmax_3d(volumes: torch.Tensor) -> torch.Tensor:
    """Return the place (n, K, 3) of the highest voxel, in the units of :func:`soft_argmax_3d`."""
    depth, height, width = volumes.shape[2:]
    index = volumes.flatten(2).argmax(dim=-1)
    places = (index % width / width, index // width % height / height,
              index // (width * height) / depth)  # fmt: skip
    return torch.stack(places, dim=-1) - 0.5


def gaussian_volumes(
    places: torch.Tensor, size: tuple[int, int, int], sigma: float
) -> torch.Tensor:
    """Draw places (n, K, 3) of -0.5 .. 0.5 as Gaussians of peak 1, (n, K, D, H, W).

    Parameters
    ----------
    size : (int, int, int)
        Depth, height, width.
    sigma : float
        In voxels.
    """
    lines = []
    for axis, length in enumerate(reversed(size)):
        steps = torch.arange(length, dtype=places.dtype, device=places.device)
        middle = (places[..., axis, None] + 0.5) * length
        lines.append(torch.exp(-((steps - middle) ** 2) / (2 * sigma**2)))
    return torch.einsum("nkx,nky,nkz->nkzyx", *lines)


def segment_volumes(
    starts: torch.Tensor, ends: torch.Tensor, size: tuple[int, int, int], sigma: float
) -> torch.Tensor:
    """Draw segments between places (n, K, 3) as :func:`gaussian_volumes` draws places.

    A voxel's value is the Gaussian of its distance, in voxels, to the segment.
    """
    sizes = starts.new_tensor(size[::-1])
    bones = (ends - starts) * sizes
    along, square = torch.zeros((), device=starts.device), torch.zeros((), device=starts.device)
    for axis, length in enumerate(reversed(size)):
        steps = torch.arange(length, dtype=starts.dtype, device=starts.device)
        away = steps - (starts[..., axis, None] + 0.5) * length
        shape = [1, 1, 1]
        shape[2 - axis] = length
        square = square + (away**2).unflatten(-1, shape)
        along = along + (away * bones[..., axis, None]).unflatten(-1, shape)
    whole = bones.square().sum(dim=-1)[..., None, None, None]
    share = (along / whole.clamp(min=1e-6)).clamp(0, 1)
    return torch.exp((share * (2 * along - share * whole) - square) / (2 * sigma**2))
