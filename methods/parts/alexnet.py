"""Regression networks of AlexNet's kind (Krizhevsky et al., NIPS 2012)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from methods.parts.local_norm import LocalResponseNorm


@dataclass(frozen=True)
class Layer:
    """A convolution and its ReLU, then local response normalisation and max pooling, if any.

    Parameters
    ----------
    kernel, stride, width : int
        Of the convolution, padded by ``kernel // 2``.
    norm : bool
    pool : (int, int), optional
        Kernel and stride of the pooling, which is not padded.
    """

    kernel: int
    stride: int
    width: int
    norm: bool = False
    pool: tuple[int, int] | None = None

    def size(self, length: int) -> int:
        """Return the length of an axis behind this layer."""
        length = (length + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1
        return length if self.pool is None else (length - self.pool[0]) // self.pool[1] + 1


def alexnet_layers(widths: Sequence[int] = (96, 256, 384, 384, 256)) -> tuple[Layer, ...]:
    """Return AlexNet's five convolutions without its two halves."""
    return (
        Layer(11, 4, widths[0], norm=True, pool=(3, 2)),
        Layer(5, 1, widths[1], norm=True, pool=(3, 2)),
        Layer(3, 1, widths[2]),
        Layer(3, 1, widths[3]),
        Layer(3, 1, widths[4], pool=(3, 2)),
    )


class ConvRegressor(nn.Sequential):
    """Images (n, 3, height, width) to numbers (n, outputs): convolutions, two hidden layers.

    Parameters
    ----------
    layers : sequence of Layer
    hidden : int
        Width of the two fully connected layers.
    outputs : int
    input_size : (int, int)
        Height, width.
    dropout : float
        Behind both hidden layers.
    batch_norm : bool
        Behind every convolution, in place of biases and local norms: for training from scratch.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        hidden: int,
        outputs: int,
        input_size: tuple[int, int],
        dropout: float,
        batch_norm: bool = False,
    ) -> None:
        parts: list[nn.Module] = []
        width, (height, length) = 3, input_size
        for layer in layers:
            shape = (width, layer.width, layer.kernel, layer.stride, layer.kernel // 2)
            parts.append(nn.Conv2d(*shape, bias=not batch_norm))
            if batch_norm:
                parts.append(nn.BatchNorm2d(layer.width))
            parts.append(nn.ReLU())
            if layer.norm and not batch_norm:
                parts.append(LocalResponseNorm())
            if layer.pool is not None:
                parts.append(nn.MaxPool2d(*layer.pool))
            width, height, length = layer.width, layer.size(height), layer.size(length)
        features = width * height * length
        super().__init__(
            *parts,
            nn.Flatten(),
            *(nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, outputs),
        )
