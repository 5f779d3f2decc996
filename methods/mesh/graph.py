"""GraphCMR's networks: graph convolutions on a template mesh, and SMPL parameters of a mesh.

Kolotouros, Pavlakos, Daniilidis: Convolutional Mesh Regression for Single-Image Human Shape
Reconstruction, CVPR 2019. Facts and key names from the official code, nkolot/GraphCMR @ b0ee54f.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from methods.parts.resnet import RESNET_BLOCKS, ResNet
from methods.parts.rotation import nearest_rotation


def adjacency(faces: NDArray[np.int64], vertices: int) -> torch.Tensor:
    """Return the sparse matrix (V, V) that takes the mean of a vertex and its neighbours.

    Binary with self loops, every row divided by its sum: not the symmetric form of the textbook.
    """
    pairs = np.concatenate([faces[:, [a, b]] for a in range(3) for b in range(3)])
    pairs = np.unique(np.concatenate([pairs, np.arange(vertices)[:, None].repeat(2, 1)]), axis=0)
    count = np.bincount(pairs[:, 0], minlength=vertices)
    values = torch.tensor(1 / count[pairs[:, 0]], dtype=torch.float32)
    return torch.sparse_coo_tensor(
        torch.tensor(pairs.T), values, (vertices, vertices), check_invariants=True
    ).coalesce()


class GraphConvolution(nn.Module):
    """Features (n, V, inputs): mixed, then averaged over each vertex and its neighbours."""

    def __init__(self, inputs: int, outputs: int, adjacency: torch.Tensor) -> None:
        super().__init__()
        self.adjacency = adjacency
        bound = 6 / (inputs + outputs) ** 0.5
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = x @ self.weight
        flat = mixed.transpose(0, 1).flatten(1)  # one sparse product for the whole batch
        mean = (self.adjacency.to(flat.device) @ flat).unflatten(1, (len(x), -1))
        return mean.transpose(0, 1) + self.bias


class GraphLinear(nn.Module):
    """The same linear layer at every vertex: (n, inputs, V) to (n, outputs, V)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / (inputs * outputs)
        self.W = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.W @ x + self.b[:, None]


class GraphResBlock(nn.Module):
    """Linear, graph convolution, linear, each after its norm and ReLU, and a shortcut.

    The shortcut's layer is always registered, but used only where the widths differ.
    """

    def __init__(self, inputs: int, outputs: int, adjacency: torch.Tensor) -> None:
        super().__init__()
        half = outputs // 2
        self.lin1 = GraphLinear(inputs, half)
        self.conv = GraphConvolution(half, half, adjacency)
        self.lin2 = GraphLinear(half, outputs)
        self.skip_conv = GraphLinear(inputs, outputs)
        self.pre_norm = nn.GroupNorm(inputs // 8, inputs)
        self.norm1 = nn.GroupNorm(half // 8, half)
        self.norm2 = nn.GroupNorm(half // 8, half)
        self.projects = inputs != outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.lin1(torch.relu(self.pre_norm(x)))))
        y = self.conv(y.transpose(1, 2)).transpose(1, 2)
        y = self.lin2(torch.relu(self.norm2(y)))
        return y + (self.skip_conv(x) if self.projects else x)


class ResNetFeatures(ResNet):
    """A residual network with global pooling; its classifier is registered and never used."""

    def __init__(self) -> None:
        super().__init__(RESNET_BLOCKS[50])
        self.fc = nn.Linear(self.channels, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean(dim=(2, 3))


class GraphCNN(nn.Module):
    """Images (n, 3, 224, 224) to vertices (n, 3, V) and a weak-perspective camera (n, 3).

    Parameters
    ----------
    adjacency : sparse tensor (V, V)
    template : tensor (3, V)
        The mesh at rest.
    layers, channels : int
        Residual blocks and their width.
    """

    def __init__(
        self, adjacency: torch.Tensor, template: torch.Tensor, layers: int = 5, channels: int = 256
    ) -> None:
        super().__init__()
        self.template = template
        self.resnet = ResNetFeatures()
        self.gc = nn.Sequential(
            GraphLinear(3 + self.resnet.channels, 2 * channels),
            GraphResBlock(2 * channels, channels, adjacency),
            *(GraphResBlock(channels, channels, adjacency) for _ in range(layers)),
        )
        self.shape = nn.Sequential(
            GraphResBlock(channels, 64, adjacency),
            GraphResBlock(64, 32, adjacency),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            GraphLinear(32, 3),
        )
        self.camera_fc = nn.Sequential(
            nn.GroupNorm(channels // 8, channels),
            nn.ReLU(),
            GraphLinear(channels, 1),
            nn.ReLU(),
            nn.Linear(len(template.T), 3),
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count, vertices = len(images), self.template.shape[1]
        template = self.template.to(images).expand(count, -1, -1)
        features = self.resnet(images)[..., None].expand(-1, -1, vertices)
        x = self.gc(torch.cat([template, features], dim=1))
        return self.shape(x), self.camera_fc(x).view(count, 3)


class FCBlock(nn.Module):
    """Linear, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc_block = nn.Sequential(
            nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc_block(x)


class FCResBlock(nn.Module):
    """Two linear layers with norms, and a shortcut before the last ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc_block = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width), nn.BatchNorm1d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.fc_block(x))


class SMPLParamRegressor(nn.Module):
    """Predicted and template vertices (n, V, 6) to rotations (n, 24, 3, 3) and shape (n, 10)."""

    def __init__(self, vertices: int = 1723) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            FCBlock(6 * vertices, 1024),
            FCResBlock(1024),
            FCResBlock(1024),
            nn.Linear(1024, 24 * 9 + 10),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = self.layers(x.flatten(1))
        rotations = nearest_rotation(numbers[:, :216].unflatten(1, (24, 3, 3)))
        return rotations, numbers[:, 216:]
