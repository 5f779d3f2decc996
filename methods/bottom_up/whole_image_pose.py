"""What the bottom-up methods share: whole images in, fitted to the network; people out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Card, Method, Prepared, Sample, Skeleton
from methods.parts.initialise import seeded
from methods.parts.whole_image import Fit, SceneView, fitted, labelled_area, to_input


class WholeImagePose(Method):
    """A method that finds people by itself: one device row per image.

    Device rows are uint8 images (1, H, W, 3) in the network's channel order, one for each scale of
    the test: ``image`` at scale 1, ``image x 0.5`` and so on. Decoding is handed the matrix (2, 3)
    from image pixels to input pixels.

    Options of a variant, besides those of its network: ``fit``, ``scales``, ``view`` (the training
    views, in place of the paper's).
    """

    trainable = True
    channel_order: Literal["bgr", "rgb"] = "rgb"
    mean: ClassVar[tuple[float, ...]]
    std: ClassVar[tuple[float, ...]]
    """Of the network's channels, for pixel values in 0..1."""
    border: ClassVar[int] = 0
    """Grey level outside the image."""
    interpolation: ClassVar[int] = cv2.INTER_LINEAR
    fitting: Fit
    multiple: ClassVar[int]
    """Width and height of the input are multiples of it."""
    stride: int
    """Input pixels per pixel of the maps."""
    view: SceneView

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        height, width = self.variant.input_size
        self.input_size = (width, height)
        options = dict(self.variant.options)
        fit = options.pop("fit", None)
        self.scales: Sequence[float] = options.pop("scales", (1.0,))
        if "view" in options:
            self.view = SceneView(**options.pop("view"))
        with seeded(self.variant.recipe.seed if self.variant.recipe else 0):
            self.network = self.build(**options)
        self.fitting = fit or self.fitting

    @abstractmethod
    def build(self, **options: Any) -> nn.Module:
        """Take the variant's options; return the network."""

    def read_image(self, sample: Sample) -> NDArray[np.uint8]:
        """Read the sample's image in the network's channel order."""
        image = sample.read_image()
        return image if self.channel_order == "bgr" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def prepare(self, sample: Sample) -> Prepared:
        image = self.read_image(sample)
        size = (image.shape[1], image.shape[0])
        base, _ = fitted(size, self.input_size, self.fitting, self.multiple)
        rows = {}
        for scale in sorted(self.scales, key=lambda scale: scale != 1):
            matrix, extent = fitted(size, self.input_size, self.fitting, self.multiple, scale)
            view = to_input(image, matrix, extent, (self.border,) * 3, self.interpolation)
            rows["image" if scale == 1 else f"image x {scale:g}"] = view[None]
        return Prepared(rows, context=base)

    def scaled_images(self, inputs: Mapping[str, torch.Tensor]) -> list[tuple[float, torch.Tensor]]:
        """Return (scale, normalised images (n, 3, H, W)) of the test, scale 1 first."""
        return [
            (float(name.partition(" x ")[2] or 1), self.images(rows))
            for name, rows in sorted(inputs.items())
        ]

    def images(self, images: torch.Tensor) -> torch.Tensor:
        """Turn uint8 images (n, H, W, 3) into normalised network input (n, 3, H, W).

        The channels stay last in memory: a fifth to a quarter less time on a CPU.
        """
        dtype = next(self.network.parameters()).dtype
        mean = torch.tensor(self.mean, device=images.device)
        std = torch.tensor(self.std, device=images.device)
        return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).to(dtype)

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return one row: an augmented ``image`` and its targets.

        The truth's ``unlabelled`` (m, 4), where a benchmark knows it, are boxes of people without
        joints and of crowds: the loss leaves them out.
        """
        image, joints, visible, regions = self.view.draw(
            self.read_image(sample),
            truth["keypoints"],
            truth["visible"],
            np.asarray(truth.get("unlabelled", np.empty((0, 4)))),
            self.skeleton,
            self.input_size,
            (self.border,) * 3,
            random,
        )
        counted = labelled_area(regions, self.map_size, self.stride)
        targets = {**self.targets(joints, visible), "counted": counted}
        return {"image": image[None], **{name: value[None] for name, value in targets.items()}}

    @property
    def map_size(self) -> tuple[int, int]:
        """Height, width of the maps at the variant's input size."""
        return self.input_size[1] // self.stride, self.input_size[0] // self.stride

    @abstractmethod
    def targets(
        self, joints: NDArray[np.float64], visible: NDArray[np.bool_]
    ) -> dict[str, NDArray[Any]]:
        """Return the network's ideal answer for people (n, K, 2), (n, K) in input pixels."""
