"""What the top-down heatmap methods share: crop -> network -> peaks -> rescoring -> suppression."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Card, Method, Prepared, Rows, Sample, Skeleton
from methods.parts.augment import Augmentation
from methods.parts.crop import Regions, crops, regions_of, to_image
from methods.parts.flip import flip_test
from methods.parts.heatmap import argmax_2d, gaussian_targets, quarter_offset, weighted_mse
from methods.parts.initialise import seeded
from methods.parts.suppression import rescored_people

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel of RGB, for pixel values in 0..1."""


class HeatmapPose(Method):
    """A top-down method whose network puts out one heatmap per joint.

    The defaults are those that SimpleBaseline and HRNet have in common, so a subclass builds its
    network and says what differs.

    Device rows are ``crops`` uint8 (n, H, W, 3) in the network's channel order: a quarter of the
    transfer and memory of float crops; they are normalised on the device. Outputs are ``points``
    (n, K, 2) in heatmap pixels and ``scores`` (n, K).
    """

    trainable = True
    channel_order: Literal["bgr", "rgb"] = "rgb"
    mean: ClassVar[tuple[float, ...]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, ...]] = IMAGENET_STD
    """Of the network's channels, for pixel values in 0..1."""
    padding: ClassVar[float] = 1.25
    """Factor by which a box grows, after it has grown to the input's aspect."""
    stride: ClassVar[int] = 4
    """Input pixels per heatmap pixel."""
    flip_tested: ClassVar[bool] = True
    """Whether the crop's mirror image is looked at as well."""
    flip_shift: ClassVar[bool] = True
    visible_score: ClassVar[float] = 0.2
    """A person's score is the box's, times the mean score of the joints above this."""
    nms_threshold: ClassVar[float] = 0.9
    """OKS above which the weaker of two people is dropped."""
    quantisation: ClassVar[float] = 2.0
    """Pixels of the crop by which a decoded ideal heatmap may miss along x or y."""
    augmentation: Augmentation

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        height, width = self.variant.input_size
        self.input_size = (width, height)
        self.grid = (width // self.stride, height // self.stride)
        options = dict(self.variant.options)
        self.sigma = float(options.pop("sigma", 2.0))  # of the training target, heatmap pixels
        if "augmentation" in options:  # in place of the paper's
            self.augmentation = Augmentation(**options.pop("augmentation"))
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            self.network = self.build(len(self.skeleton), **options)

    @abstractmethod
    def build(self, joints: int, **options: Any) -> nn.Module:
        """Return the network: images (n, 3, H, W) to heatmaps (n, K, H / stride, W / stride).

        With supervision on the way it returns the maps of every head, the final ones last.
        """

    def regions(self, sample: Sample) -> Regions:
        """Return the part of the image that each person's crop covers."""
        return regions_of(sample, self.input_size[0] / self.input_size[1], self.padding)

    def read_image(self, sample: Sample) -> NDArray[np.uint8]:
        """Read the sample's image in the network's channel order."""
        image = sample.read_image()
        return image if self.channel_order == "bgr" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def prepare(self, sample: Sample) -> Prepared:
        regions = self.regions(sample)
        if len(regions):
            rows = self.cut(self.read_image(sample), regions)
        else:
            rows = np.empty((0, self.input_size[1], self.input_size[0], 3), np.uint8)
        return Prepared({"crops": rows}, context=regions)

    def cut(self, image: NDArray[np.uint8], regions: Regions) -> NDArray[np.uint8]:
        """Return the crops (n, H, W, 3) of regions."""
        return crops(image, regions, self.input_size)

    def images(self, crops: torch.Tensor) -> torch.Tensor:
        """Turn uint8 crops (n, H, W, 3) into normalised network input (n, 3, H, W)."""
        dtype = next(self.network.parameters()).dtype
        mean = torch.tensor(self.mean, device=crops.device)
        std = torch.tensor(self.std, device=crops.device)
        images = (crops.float() / 255 - mean) / std
        return images.permute(0, 3, 1, 2).contiguous().to(dtype)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        images = self.images(inputs["crops"])
        order = torch.as_tensor(self.skeleton.flip_order, device=images.device)
        return self.peaks(flip_test(self.final_maps, images, order, self.flip_shift).float())

    def final_maps(self, images: torch.Tensor) -> torch.Tensor:
        """Return the heatmaps that are read out, (n, K, h, w)."""
        maps = self.network(images)
        return maps if isinstance(maps, torch.Tensor) else maps[-1]

    def peaks(self, heatmaps: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Read ``points`` (n, K, 2) and ``scores`` (n, K) out of heatmaps (n, K, h, w)."""
        points, scores = argmax_2d(heatmaps)
        return {"points": quarter_offset(heatmaps, points), "scores": scores}

    def encode(self, joints: torch.Tensor) -> torch.Tensor:
        """Return the heatmaps that an ideal network answers for joints (n, K, 2) in the crop."""
        weights = torch.ones(joints.shape[:2])
        size = (self.grid[1], self.grid[0])
        return gaussian_targets(joints, weights, size, self.stride, self.sigma)[0]

    def to_image(
        self, points: NDArray[Any], regions: Regions, grid: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Map points (n, K, 2) on a grid (W, H) over the regions to image pixels."""
        return to_image(points, regions, grid)

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        keypoints = self.to_image(outputs["points"], prepared.context, self.grid)
        return rescored_people(
            keypoints,
            outputs["scores"].astype(np.float64),
            sample,
            prepared.context.areas,
            self.skeleton.sigmas,
            self.visible_score,
            self.nms_threshold,
        )

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return augmented ``crops``, ``joints`` (n, K, 2) in input pixels and ``weights`` (n, K).

        People without any labelled joint are left out. Targets are drawn in :meth:`loss`, on the
        device.
        """
        image = self.read_image(sample)
        regions = self.regions(sample)
        rows = [
            self.augmentation.draw(
                image,
                regions.centers[person],
                regions.sizes[person],
                truth["keypoints"][person],
                truth["visible"][person],
                self.skeleton,
                self.input_size,
                random,
            )
            for person in np.flatnonzero(truth["visible"].any(axis=1))
        ]
        width, height = self.input_size
        joints = len(self.skeleton)
        return {
            "crops": np.array([crop for crop, _, _ in rows], np.uint8).reshape(
                -1, height, width, 3
            ),
            "joints": np.array([points for _, points, _ in rows], np.float32).reshape(
                -1, joints, 2
            ),
            "weights": np.array([seen for _, _, seen in rows], np.float32).reshape(-1, joints),
        }

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        heatmaps = self.network(self.images(rows["crops"]))
        size = (self.grid[1], self.grid[0])
        targets, weights = gaussian_targets(
            rows["joints"], rows["weights"], size, self.stride, self.sigma
        )
        return weighted_mse(heatmaps, targets, weights)

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Map mmpose's key names (0.x and 1.x) to the official ones, which are the network's.

        A checkpoint under the network's own names stays as it is, whatever they begin with.
        """
        own = self.network.state_dict().keys()
        return state if own >= state.keys() else without_mmpose_prefixes(state)


MMPOSE_PREFIXES = ("backbone.", "keypoint_head.", "head.")


def without_mmpose_prefixes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Strip ``backbone.`` and ``keypoint_head.`` (0.x) or ``head.`` (1.x) from a state's names.

    ``data_preprocessor.*`` (1.x: the constants of the normalisation) is left out.
    """
    stripped = {}
    for name, tensor in state.items():
        if name.startswith("data_preprocessor."):
            continue
        for prefix in MMPOSE_PREFIXES:
            if name.startswith(prefix):
                name = name.removeprefix(prefix)
                break
        stripped[name] = tensor
    return stripped
