"""Random initialisation that gives the same network every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw torch's CPU random numbers from a seed, and leave the generator as it was."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def he_weights(module: nn.Module) -> None:
    """Draw all convolutions below a module so that ReLUs keep the variance, with zero bias.

    He, Zhang, Ren, Sun, ICCV 2015: a row of them without norm would let the signal fade otherwise.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def normal_weights(module: nn.Module, std: float = 0.001) -> None:
    """Draw all (transposed) convolutions below a module from N(0, std), with zero bias."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
