"""GraphCMR's networks: graph convolutions on a template mesh, and SMPL parameters of a mesh.

Kolotouros, Pavlakos, Daniilidis: Convolutional Mesh Regression for Single-Image Human Shape
Reconstruction, CVPR 2019. Facts and key names from the official code, nkolot/GraphCMR @ b0ee54f.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from methods.parts.resnet import RESNET_BLOCKS, BasicBlock, ResNet
from methods.parts.rotation import nearest_rotation


class GraphConvolution(nn.Module):
    """Features (n, V, inputs): mixed, then averaged over each vertex and its neighbours."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 6 / (inputs + outputs) ** 0.5
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        mixed = x @ self.weight
        # One product for the whole batch; sparse matrices know only float32.
        flat = mixed.transpose(0, 1).flatten(1)
        mean = (adjacency.float() @ flat.float()).to(flat.dtype).unflatten(1, mixed.shape[::2])
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

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.lin1 = GraphLinear(inputs, half)
        self.conv = GraphConvolution(half, half)
        self.lin2 = GraphLinear(half, outputs)
        self.skip_conv = GraphLinear(inputs, outputs)
        self.pre_norm = nn.GroupNorm(inputs // 8, inputs)
        self.norm1 = nn.GroupNorm(half // 8, half)
        self.norm2 = nn.GroupNorm(half // 8, half)
        self.projects = inputs != outputs

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.lin1(torch.relu(self.pre_norm(x)))))
        y = self.conv(y.transpose(1, 2), adjacency).transpose(1, 2)
        y = self.lin2(torch.relu(self.norm2(y)))
        return y + (self.skip_conv(x) if self.projects else x)


class PooledResNet(ResNet):
    """A residual network with global pooling: images (n, 3, h, w) to features (n, channels)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean(dim=(2, 3))


class ResNetFeatures(PooledResNet):
    """The official one: ResNet-50, whose classifier is registered and never used."""

    def __init__(self) -> None:
        super().__init__(RESNET_BLOCKS[50])
        self.fc = nn.Linear(self.channels, 1000)


class GraphCNN(nn.Module):
    """Images (n, 3, h, w) to vertices (n, V, 3) and a weak-perspective camera (n, 3).

    Parameters
    ----------
    encoder : PooledResNet
    vertices : int
        V, of the coarse template.
    layers, channels : int
        Residual blocks and their width.
    """

    def __init__(
        self, encoder: PooledResNet, vertices: int, layers: int = 5, channels: int = 256
    ) -> None:
        super().__init__()
        self.resnet = encoder
        self.gc = nn.Sequential(
            GraphLinear(3 + encoder.channels, 2 * channels),
            GraphResBlock(2 * channels, channels),
            *(GraphResBlock(channels, channels) for _ in range(layers)),
        )
        self.shape = nn.Sequential(
            GraphResBlock(channels, 64),
            GraphResBlock(64, 32),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            GraphLinear(32, 3),
        )
        self.camera_fc = nn.Sequential(
            nn.GroupNorm(channels // 8, channels),
            nn.ReLU(),
            GraphLinear(channels, 1),
            nn.ReLU(),
            nn.Linear(vertices, 3),
        )

    def forward(
        self, images: torch.Tensor, adjacency: torch.Tensor, template: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``adjacency`` (V, V), sparse or dense; ``template`` (V, 3), the mesh at rest."""
        features = self.resnet(images)[..., None].expand(-1, -1, len(template))
        rest = template.T.to(features.dtype).expand(len(images), -1, -1)
        x = _through(self.gc, torch.cat([rest, features], dim=1), adjacency)
        vertices = _through(self.shape, x, adjacency).transpose(1, 2)
        return vertices, self.camera_fc(x).view(len(images), 3)


def _through(layers: Iterable[nn.Module], x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        x = layer(x, adjacency) if isinstance(layer, GraphResBlock) else layer(x)
    return x


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
    """Predicted and template vertices (n, V, 6) to rotations (n, J, 3, 3) and shape (n, B)."""

    def __init__(
        self, vertices: int = 1723, joints: int = 24, shapes: int = 10, width: int = 1024
    ) -> None:
        super().__init__()
        self.joints = joints
        self.layers = nn.Sequential(
            FCBlock(6 * vertices, width),
            FCResBlock(width),
            FCResBlock(width),
            nn.Linear(width, 9 * joints + shapes),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = self.layers(x.flatten(1)).float()
        turns, shape = numbers[:, : 9 * self.joints], numbers[:, 9 * self.joints :]
        return nearest_rotation(turns.unflatten(1, (self.joints, 3, 3))), shape


class GraphCMRNet(nn.Module):
    """Both networks: images to the graph's vertices, a camera, and a body model's parameters.

    Parameters
    ----------
    vertices, joints, shapes : int
        Of the coarse template, and of the body model.
    blocks, planes : sequence of int, optional
        A thin encoder of basic blocks in place of ResNet-50.
    layers, channels : int
        Of :class:`GraphCNN`.
    width : int
        Of :class:`SMPLParamRegressor`.
    he : bool
        Whether the linear layers at the vertices start as He et al. (ICCV 2015) have it. Officially
        they start so small that next to nothing of the picture arrives, for thousands of steps.
    """

    def __init__(
        self,
        vertices: int,
        joints: int,
        shapes: int,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
        layers: int = 5,
        channels: int = 256,
        width: int = 1024,
        he: bool = False,
    ) -> None:
        super().__init__()
        thin = None if blocks is None else PooledResNet(blocks, BasicBlock, planes)
        self.graph_cnn = GraphCNN(thin or ResNetFeatures(), vertices, layers, channels)
        self.smpl_param_regressor = SMPLParamRegressor(vertices, joints, shapes, width)
        linear = [layer for layer in self.graph_cnn.modules() if isinstance(layer, GraphLinear)]
        for layer in linear if he else ():
            nn.init.kaiming_normal_(layer.W, nonlinearity="relu")
            nn.init.zeros_(layer.b)

    def forward(
        self, images: torch.Tensor, adjacency: torch.Tensor, template: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        vertices, camera = self.graph_cnn(images, adjacency, template)
        # The body model's parameters teach the graph nothing: that is the official code's way.
        both = [vertices.detach(), template.to(vertices.dtype).expand_as(vertices)]
        rotations, shape = self.smpl_param_regressor(torch.cat(both, dim=-1))
        return vertices, camera, rotations, shape
