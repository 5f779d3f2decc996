"""The networks of SMPLR: pictures to points in space, and points to the numbers of a body.

Facts from the official code, meysam-madadi/SMPLR @ 2851e57 (TensorFlow).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from methods.image_to_3d.integral import VolumeNet
from methods.parts.hourglass import Conv, Hourglass
from methods.parts.volume import soft_argmax_3d


class Norm(nn.BatchNorm2d):
    """A batch norm that shifts and does not scale, as TensorFlow's does unless told to."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)


class BareResidual(nn.Module):
    """Newell's residual block without biases; the shortcut is one where the widths are the same."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.bn1, self.bn2, self.bn3 = Norm(inputs), Norm(half), Norm(half)
        self.conv1 = Conv(inputs, half, 1, bias=False)
        self.conv2 = Conv(half, half, 3, bias=False)
        self.conv3 = Conv(half, outputs, 1, bias=False)
        projects = inputs != outputs
        self.skip_layer = Conv(inputs, outputs, 1, bias=False) if projects else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(torch.relu(self.bn1(x)))
        y = self.conv2(torch.relu(self.bn2(y)))
        y = self.conv3(torch.relu(self.bn3(y)))
        return y + self.skip_layer(x)


class VolumetricHourglass(nn.Module):
    """Images (n, 3, h, w) to one set of volumes (n, maps, depth, h / 4, w / 4) per stack.

    Between hourglass and volumes there is no residual block, unlike Newell's network, and nothing
    has a bias.

    Parameters
    ----------
    maps : int
        Points and limbs.
    depth : int
        Voxels along the line of sight.
    stacks, width, octaves : int
        Of the hourglasses.
    dropout : float
        Share of a stack's features that is dropped in training.
    """

    def __init__(
        self,
        maps: int,
        depth: int = 16,
        stacks: int = 5,
        width: int = 256,
        octaves: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.maps, last, volume = maps, stacks - 1, maps * depth
        self.pre = nn.Sequential(
            Conv(3, width // 4, 6, stride=2, bias=False),
            BareResidual(width // 4, width // 2),
            nn.MaxPool2d(2),
            BareResidual(width // 2, width // 2),
            BareResidual(width // 2, width),
        )
        self.hgs = nn.ModuleList(Hourglass(octaves, width, BareResidual) for _ in range(stacks))
        self.features = nn.ModuleList(
            nn.Sequential(Conv(width, width, 1, bias=False), Norm(width), nn.ReLU())
            for _ in range(stacks)
        )
        self.outs = nn.ModuleList(Conv(width, volume, 1, bias=False) for _ in range(stacks))
        self.merge_features = nn.ModuleList(Conv(width, width, 1, bias=False) for _ in range(last))
        self.merge_volumes = nn.ModuleList(Conv(volume, width, 1, bias=False) for _ in range(last))
        self.dropout = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_normal_(layer.weight)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = self.pre(images)
        volumes = []
        for i, (hourglass, feature, out) in enumerate(
            zip(self.hgs, self.features, self.outs, strict=True)
        ):
            features = feature(hourglass(x))
            if i == len(self.hgs) - 1:
                answer = out(self.dropout(features))
            else:
                answer = out(features)
                merged = self.dropout(self.merge_features[i](features))
                x = x + merged + self.merge_volumes[i](answer)
            volumes.append(answer.contiguous().unflatten(1, (self.maps, -1)))
        return volumes


class VolumetricBaseline(VolumeNet):
    """Integral regression's network in the hourglass's place: one set of volumes.

    Its biases start where a voxel is as unlikely as one of all: or else the entropy's first steps
    push all voxels down, and take from a trunk what it knows.
    """

    UNLIKELY = -8.0

    def __init__(self, maps: int, **options: Any) -> None:
        super().__init__(maps, **options)
        self.maps = maps
        last = self.head.features[-1]
        assert isinstance(last.bias, nn.Parameter)
        nn.init.constant_(last.bias, self.UNLIKELY)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        return [super().forward(images).contiguous().unflatten(1, (self.maps, -1))]


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """Return a fully connected layer with TensorFlow's batch norm, and an ELU."""
    norm = nn.BatchNorm1d(outputs, eps=1e-3, momentum=0.01)
    return nn.Sequential(linear(inputs, outputs), norm, nn.ELU())


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a fully connected layer as TensorFlow starts it, but without bias at first."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Denoiser(nn.Module):
    """The denoising autoencoder: points (n, P, 3) to better ones.

    Two layers down, two up, the latter with what the former answered added; the whole answers what
    is wrong with the points.
    """

    def __init__(self, points: int, width: int = 1024, dropout: float = 0.2) -> None:
        super().__init__()
        self.enc1, self.enc2 = dense(3 * points, width), dense(width, width)
        self.middle = dense(width, width // 2)
        self.dec2, self.dec1 = dense(width // 2, width), dense(width, width)
        self.x = linear(width, 3 * points)
        self.dropout = nn.Dropout(dropout)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        first = self.enc1(self.dropout(points.flatten(1)))
        second = self.enc2(first)
        up = self.dec2(self.dropout(self.middle(second))) + second
        return points + self.x(self.dec1(up) + first).view_as(points)


class Regressor(nn.Module):
    """Features of bones (n, F) to numbers (n, N): a trunk, a deep and a shallow branch, merged."""

    def __init__(self, inputs: int, outputs: int, width: int = 1024) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.trunk = nn.Sequential(
            dense(inputs, width), dense(width, width), dense(width, half), dense(half, half),
            dense(half, half),
        )  # fmt: skip
        self.deep = nn.Sequential(
            dense(half, quarter), dense(quarter, quarter), linear(quarter, outputs)
        )
        self.shallow = nn.Sequential(dense(half, quarter), linear(quarter, outputs))
        self.merge = linear(2 * outputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.trunk(x)
        return self.merge(torch.cat([self.deep(x), self.shallow(x)], dim=1))


class SMPLRNet(nn.Module):
    """Images to volumes, points, and the rotations and shape of a body with such points.

    Parameters
    ----------
    joints, shapes : int
        Of the body model.
    landmarks, limbs : int
        Points of the skin, and volumes of whole limbs that are learned beside the points'.
    width : int
        Of the fully connected networks' first layers.
    dropout : float
        Share of the numbers that the denoiser does not see in training.
    hourglass : mapping
        Arguments of :class:`VolumetricHourglass`.
    baseline : mapping, optional
        Arguments of :class:`VolumetricBaseline`, which then stands in for the hourglass.
    """

    def __init__(
        self,
        joints: int,
        shapes: int,
        landmarks: int = 18,
        limbs: int = 4,
        width: int = 1024,
        dropout: float = 0.2,
        hourglass: Mapping[str, Any] | None = None,
        baseline: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.joints, self.points = joints, joints - 1 + landmarks
        maps = self.points + limbs
        self.hourglass = (
            VolumetricBaseline(maps, **baseline)
            if baseline
            else VolumetricHourglass(maps, **(hourglass or {}))
        )
        self.denoiser = Denoiser(self.points, width, dropout)
        self.shape = Regressor(self.points, shapes, width)
        self.pose = Regressor(3 * self.points, 9 * joints, width)

    def places(self, volumes: torch.Tensor) -> torch.Tensor:
        """Return the points' places (n, P, 3), -1..1 of the volume, by soft-argmax."""
        return 2 * soft_argmax_3d(volumes[:, : self.points])

    def measure(
        self, places: torch.Tensor, parents: torch.Tensor, lengths: torch.Tensor, root: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn places (n, P, 3) into the camera (n, 3) and the points (n, P, 3).

        Points are in metres from the root. ``parents`` (P,) says on which of root and points each
        hangs, ``lengths`` (P,) how far from it at rest; ``root`` (P,) mixes the root's place of
        the points'. The camera is the crop's scale, in -1..1 a metre, and the root's place in the
        crop; the scale makes all bones together as long as the body's at rest.
        """
        middle = torch.einsum("p,npc->nc", root, places)
        points = places - middle[:, None]
        length = bones_of(points, parents).norm(dim=-1).sum(dim=1)
        scale = (length / lengths.sum()).clamp(min=1e-6)
        camera = torch.cat([scale[:, None], middle[:, :2]], dim=1)
        return camera, points / scale[:, None, None]

    def reverse(
        self, points: torch.Tensor, parents: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rotations (n, J, 3, 3) and shape (n, B) of points (n, P, 3).

        The directions of the bones make the pose, their lengths the shape. The rotations are
        numbers of -1..1 that nothing makes orthonormal.
        """
        bones = bones_of(points, parents)
        found = bones.norm(dim=-1, keepdim=True)
        directions = bones / found.clamp(min=1e-6)
        turns = torch.tanh(self.pose(directions.flatten(1)))
        shape = self.shape(found[..., 0] - lengths.to(found.dtype))
        return turns.unflatten(1, (self.joints, 3, 3)), shape

    def forward(
        self, images: torch.Tensor, parents: torch.Tensor, lengths: torch.Tensor, root: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return camera (n, 3), points (n, P, 3), rotations (n, J, 3, 3) and shape (n, B)."""
        places = self.places(self.hourglass(images)[-1].float())
        camera, points = self.measure(places, parents, lengths, root)
        points = points.to(images.dtype)
        return camera, points, *self.reverse(self.denoiser(points), parents, lengths)


def bones_of(points: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    """Return the vectors (n, P, 3) from where each point hangs to the point; root at zero."""
    there = torch.cat([torch.zeros_like(points[:, :1]), points], dim=1)
    return points - there[:, parents]
