"""V2V-PoseNet: a hand as voxels in, one volume of likelihood per joint out.

Moon, Chang, Lee: V2V-PoseNet: Voxel-to-Voxel Prediction Network for Accurate 3D Hand and Human
Pose Estimation from a Single Depth Map, CVPR 2018. Facts from the official code,
mks0601/V2V-PoseNet_RELEASE @ f9bd495 (Torch 7); key names of dragonbook/V2V-PoseNet-pytorch @
90045b6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Card, Method, Prepared, Rows, Sample, Skeleton
from methods.hands.depth import points_near
from methods.parts.initialise import seeded

SIGMA = 1.7
"""Of the target, in voxels of the output."""


class Basic3DBlock(nn.Module):
    """Convolution, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2),
            nn.BatchNorm3d(outputs),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class Res3DBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.res_branch = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, padding=1),
            nn.BatchNorm3d(outputs),
            nn.ReLU(),
            nn.Conv3d(outputs, outputs, 3, padding=1),
            nn.BatchNorm3d(outputs),
        )
        self.skip_con = nn.Sequential()
        if inputs != outputs:
            self.skip_con.append(nn.Conv3d(inputs, outputs, 1)).append(nn.BatchNorm3d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.res_branch(x) + self.skip_con(x))


class Upsample3DBlock(nn.Module):
    """Transposed convolution to twice the size, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ConvTranspose3d(inputs, outputs, 2, stride=2), nn.BatchNorm3d(outputs), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x)


class EncoderDecoder(nn.Module):
    """Down two octaves and up again, with a residual block on each way across."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder_res1 = Res3DBlock(width, 2 * width)
        self.encoder_res2 = Res3DBlock(2 * width, 4 * width)
        self.mid_res = Res3DBlock(4 * width, 4 * width)
        self.decoder_res2 = Res3DBlock(4 * width, 4 * width)
        self.decoder_upsample2 = Upsample3DBlock(4 * width, 2 * width)
        self.decoder_res1 = Res3DBlock(2 * width, 2 * width)
        self.decoder_upsample1 = Upsample3DBlock(2 * width, width)
        self.skip_res1 = Res3DBlock(width, width)
        self.skip_res2 = Res3DBlock(2 * width, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = self.encoder_res1(functional.max_pool3d(x, 2))
        quarter = self.encoder_res2(functional.max_pool3d(half, 2))
        quarter = self.decoder_res2(self.mid_res(quarter))
        half = self.decoder_res1(self.decoder_upsample2(quarter) + self.skip_res2(half))
        return self.decoder_upsample1(half) + self.skip_res1(x)


class V2VNet(nn.Module):
    """Occupancy (n, 1, V, V, V) to likelihood (n, joints, V / 2, V / 2, V / 2); V divides by 8.

    Parameters
    ----------
    joints : int
    width : int
        Of the features at half the resolution.
    kernel : int
        Of the first convolution.
    std : float, optional
        Of the initial weights; torch's own initialisation for None.
    """

    def __init__(
        self, joints: int, width: int = 32, kernel: int = 7, std: float | None = 0.001
    ) -> None:
        super().__init__()
        self.front_layers = nn.Sequential(
            Basic3DBlock(1, width // 2, kernel),
            nn.MaxPool3d(2),
            Res3DBlock(width // 2, width),
            Res3DBlock(width, width),
            Res3DBlock(width, width),
        )
        self.encoder_decoder = EncoderDecoder(width)
        self.back_layers = nn.Sequential(
            Res3DBlock(width, width), Basic3DBlock(width, width, 1), Basic3DBlock(width, width, 1)
        )
        self.output_layer = nn.Conv3d(width, joints, 1)
        for layer in self.modules():
            if std is not None and isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)):
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output_layer(self.back_layers(self.encoder_decoder(self.front_layers(x))))


class V2VEnsemble(nn.Module):
    """Networks of several epochs of one training: all their volumes (members, n, joints, ...)."""

    def __init__(self, members: int, joints: int, **options: Any) -> None:
        super().__init__()
        self.members = nn.ModuleList(V2VNet(joints, **options) for _ in range(members))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([member(x) for member in self.members])


@dataclass(frozen=True)
class Grid:
    """The cube around a hand.

    Parameters
    ----------
    side : float
        Millimetres.
    voxels : int
        Along a side of the input; the output has half as many.
    whole : bool
        The official code's way: a joint stands for its whole voxel, so targets sit at half that
        number, and an output voxel decodes to the middle of the *first* of its two input voxels.
        Otherwise everything is continuous and voxels stand for their centres (the PyTorch port).
    """

    side: float
    voxels: int
    whole: bool = True

    def coordinates(self, points: NDArray[Any], center: NDArray[Any]) -> NDArray[np.float64]:
        """Return points (..., 3) in millimetres as voxels of the input, 0 at the cube's corner."""
        return np.asarray(((points - center) / self.side + 0.5) * self.voxels)

    def millimetres(self, coordinates: NDArray[Any], center: NDArray[Any]) -> NDArray[np.float64]:
        """Undo :meth:`coordinates`."""
        return np.asarray((coordinates / self.voxels - 0.5) * self.side + center)

    def occupied(self, coordinates: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the volume (x, y, z) that is 1 wherever there is a point of (n, 3)."""
        index = np.floor(coordinates).astype(np.int64)
        x, y, z = index[((index >= 0) & (index < self.voxels)).all(axis=1)].T
        volume = np.zeros((self.voxels,) * 3, np.uint8)
        volume[x, y, z] = 1
        return volume

    def targets(self, joints: torch.Tensor, sigma: float = SIGMA) -> torch.Tensor:
        """Draw joints (n, K, 3), in voxels of the input, as Gaussians (n, K, V/2, V/2, V/2)."""
        middle = joints.floor() / 2 if self.whole else joints / 2 - 0.5
        steps = torch.arange(self.voxels // 2, dtype=joints.dtype, device=joints.device)
        lines = torch.exp(-((steps - middle[..., None]) ** 2) / (2 * sigma**2))
        return torch.einsum("nkx,nky,nkz->nkxyz", *lines.unbind(dim=2))

    def peaks(self, volumes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the highest voxels (n, K, 3), in voxels of the input, and their values (n, K)."""
        size = volumes.shape[-1]
        scores, index = volumes.flatten(2).max(dim=-1)
        place = torch.stack([index // size**2, index // size % size, index % size], dim=-1)
        return 2 * place.float() + (0.5 if self.whole else 1.0), scores


class V2V(Method):
    """One volume for every hand that the sample asks for.

    Device rows are ``voxels`` uint8 (n, V, V, V); outputs are ``points`` (n, K, 3) in voxels and
    ``scores`` (n, K). Options: ``side`` (mm), ``voxels``, ``whole`` (see :class:`Grid`), ``sigma``,
    ``rotation`` and ``scaling`` of the augmentation, ``members`` of an ensemble (1), and those of
    :class:`V2VNet`. An ensemble answers the mean of its members' joints, as the paper does with the
    networks after each of its epochs; it is put together, not trained.
    """

    trainable = True

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        options = dict(self.variant.options)
        self.sigma = float(options.pop("sigma", SIGMA))
        self.rotation = float(options.pop("rotation", 40))  # of the augmentation, degrees
        self.scaling = float(options.pop("scaling", 0.2))
        self.grid = Grid(options.pop("side"), options.pop("voxels", 88), options.pop("whole", True))
        self.members = int(options.pop("members", 1))
        self.trainable = self.members == 1
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            joints = len(self.skeleton)
            self.network: nn.Module = (
                V2VNet(joints, **options)
                if self.members == 1
                else V2VEnsemble(self.members, joints, **options)
            )

    def prepare(self, sample: Sample) -> Prepared:
        centers = sample.inputs["hand_center"]
        volumes = np.empty((len(centers), *(self.grid.voxels,) * 3), np.uint8)
        if len(centers):
            depth = sample.read_depth()
        for row, center in enumerate(centers):
            points = points_near(depth, sample.inputs["camera"], center, self.grid.side / 2)
            volumes[row] = self.grid.occupied(self.grid.coordinates(points, center))
        return Prepared({"voxels": volumes})

    def volumes(self, voxels: torch.Tensor) -> torch.Tensor:
        """Run the network on voxels uint8 (n, V, V, V)."""
        return self.network(voxels[:, None].to(next(self.network.parameters()).dtype))

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        volumes = self.volumes(inputs["voxels"]).float()
        found = self.grid.peaks(volumes.reshape(-1, *volumes.shape[-4:]))
        points, scores = (part.unflatten(0, (self.members, -1)).mean(0) for part in found)
        return {"points": points, "scores": scores}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        centers = sample.inputs["hand_center"][:, None]
        joints = self.grid.millimetres(outputs["points"].astype(np.float64), centers)
        return {"joints": joints, "joint_scores": outputs["scores"].astype(np.float64)}

    def example_inputs(self, rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(rows, 1, *(self.grid.voxels,) * 3),)

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return ``voxels`` of moved hands, and their ``joints`` (n, K, 3) in voxels.

        A hand is turned in the image plane by up to ``rotation`` degrees (40), scaled by up to
        1 +- ``scaling`` (0.2) and moved by up to 4 of 88 voxels.
        """
        depth, middle = sample.read_depth(), self.grid.voxels / 2
        volumes, joints = [], []
        for center, hand in zip(sample.inputs["hand_center"], truth["joints"], strict=True):
            angle = np.deg2rad(random.uniform(-self.rotation, self.rotation))
            turn = np.array([[np.cos(angle), -np.sin(angle), 0],
                             [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])  # fmt: skip
            change = random.uniform(1 - self.scaling, 1 + self.scaling) * turn
            shift = middle + random.integers(-4, 5, 3) * self.grid.voxels / 88
            points = points_near(depth, sample.inputs["camera"], center, self.grid.side)
            for kind, found in ((points, volumes), (hand, joints)):
                found.append((self.grid.coordinates(kind, center) - middle) @ change.T + shift)
        return {
            "voxels": np.array([self.grid.occupied(points) for points in volumes]),
            "joints": np.array(joints, np.float32),
        }

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean squared error over all voxels."""
        targets = self.grid.targets(rows["joints"], self.sigma)
        return functional.mse_loss(self.volumes(rows["voxels"]), targets)

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Strip ``module.``."""
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
