"""Flip test: average a network's heatmaps over an image and its mirror image."""

from __future__ import annotations

from collections.abc import Callable

import torch


def flip_test(
    network: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    flip_order: torch.Tensor,
    shift: bool,
) -> torch.Tensor:
    """Return the mean heatmaps (n, K, H, W) of images (n, 3, h, w) and their mirror images.

    Parameters
    ----------
    network : callable
        Images to heatmaps.
    flip_order : tensor (K,)
        Permutation that gives each joint the map of its mirror twin.
    shift : bool
        Whether the mirrored maps are moved right by one pixel, column 0 kept. Mirroring the input's
        pixel grid moves a peak left by (stride - 1) / stride of a heatmap pixel; SimpleBaseline
        and HRNet shift it back by a whole one, CPN and MSPN leave it.
    """
    maps = network(images)
    mirrored = network(images.flip(-1)).flip(-1)[:, flip_order]
    if shift:
        mirrored = torch.cat([mirrored[..., :1], mirrored[..., :-1]], dim=-1)
    return (maps + mirrored) * 0.5
