"""Associative Embedding: a map and a tag map per joint; equal tags make a person.

Newell, Huang, Deng: Associative Embedding: End-to-End Learning for Joint Detection and Grouping,
NIPS 2017. Facts from the official code, princeton-vl/pose-ae-train @ 3c80a16; the variant on
HRNet and its rules are those of mmpose 0.x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Prepared, Rows, Sample
from methods.bottom_up.whole_image_pose import WholeImagePose
from methods.parts.crop import transform
from methods.parts.hourglass import Conv
from methods.parts.peaks import highest
from methods.parts.tags import blocks_of, fill_missing, group_by_tags
from methods.parts.whole_image import SceneView, inverse
from methods.single_person.hourglass import Merge
from methods.top_down.heatmap_pose import IMAGENET_MEAN, IMAGENET_STD, without_mmpose_prefixes
from methods.top_down.hrnet import HighResolutionNet

MAX_TRAINED = 30
"""People of a training image that the loss knows."""
TAG_WEIGHT = 1e-3
"""Of both tag losses, beside the maps' error, in the paper."""


class WideHourglass(nn.Module):
    """An hourglass of single 3x3 convolutions that is wider by ``increase`` with every octave."""

    def __init__(self, depth: int, width: int, increase: int, norm: bool) -> None:
        super().__init__()
        inner = width + increase
        self.up1 = Conv(width, width, 3, norm=norm, relu=True)
        self.low1 = Conv(width, inner, 3, norm=norm, relu=True)
        if depth > 1:
            self.low2: nn.Module = WideHourglass(depth - 1, inner, increase, norm)
        else:
            self.low2 = Conv(inner, inner, 3, norm=norm, relu=True)
        self.low3 = Conv(inner, width, 3, norm=norm, relu=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.low3(self.low2(self.low1(functional.max_pool2d(x, 2))))
        return self.up1(x) + functional.interpolate(low, scale_factor=2, mode="nearest")


class TagHourglass(nn.Module):
    """Images (n, 3, h, w) to one answer (n, outputs, h / 4, w / 4) per stack.

    Parameters
    ----------
    outputs : int
        Maps and tags of the joints; in the official network twice as many channels, half unused.
    stacks, width, increase, depth : int
    stem : int
        Channels of the first convolution; the next two have twice as many.
    norm : bool
        Whether convolutions are normalised (the paper's are not), but for the outputs.
    """

    def __init__(
        self, outputs: int, stacks: int = 4, width: int = 256, increase: int = 128, depth: int = 4,
        stem: int = 64, norm: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pre = nn.Sequential(
            Conv(3, stem, 7, stride=2, norm=norm, relu=True),
            Conv(stem, 2 * stem, 3, norm=norm, relu=True),
            nn.MaxPool2d(2),
            Conv(2 * stem, 2 * stem, 3, norm=norm, relu=True),
            Conv(2 * stem, width, 3, norm=norm, relu=True),
        )
        self.features = nn.ModuleList(
            nn.Sequential(
                WideHourglass(depth, width, increase, norm),
                Conv(width, width, 3, norm=norm, relu=True),
                Conv(width, width, 3, norm=norm, relu=True),
            )
            for _ in range(stacks)
        )
        self.outs = nn.ModuleList(Conv(width, outputs, 1) for _ in range(stacks))
        self.merge_features = nn.ModuleList(Merge(width, width) for _ in range(stacks - 1))
        self.merge_preds = nn.ModuleList(Merge(outputs, width) for _ in range(stacks - 1))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                inputs = layer.kernel_size[0] ** 2 * layer.in_channels
                nn.init.normal_(layer.weight, std=inputs**-0.5)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = self.pre(images)
        answers: list[torch.Tensor] = []
        for i, feature in enumerate(self.features):
            features = feature(x)
            answers.append(self.outs[i](features))
            if i < len(self.merge_preds):
                x = x + self.merge_preds[i](answers[-1]) + self.merge_features[i](features)
        return answers


class AssociativeEmbedding(WholeImagePose):
    """RGB / 255 in a centred square; flip test whose tags are further dimensions.

    Options: ``backbone`` (``hourglass``: TagHourglass with the official rules; ``hrnet``: with
    ImageNet's constants and mmpose's rules) and its ``arguments``; ``sigma`` of the training
    targets in map pixels; ``tag_weight``, in place of the paper's.
    """

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    fitting, multiple, stride = "square", 64, 4
    view = SceneView(scaling=(0.8, 4 / 3), rotation=30, shift=40)
    detection_threshold = 0.1
    tag_threshold = 1.0
    max_people = 30
    suppression = 3
    """Side of the square in which a peak is the highest."""
    closed = True
    """Whether joints are dropped once ``max_people`` are found."""

    def build(self, **options: Any) -> nn.Module:
        joints, arguments = len(self.skeleton), options.get("arguments", {})
        self.sigma = float(options.get("sigma", 2.0))
        self.tag_weight = float(options.get("tag_weight", TAG_WEIGHT))
        self.upsampling = float(max(self.scales))  # maps are read at the largest scale's size
        if options["backbone"] == "hrnet":
            self.mean, self.std, self.fitting = IMAGENET_MEAN, IMAGENET_STD, "short side"
            self.suppression, self.closed = 5, False
            self.upsampling = float(self.stride)
            return HighResolutionNet(2 * joints, **arguments)
        return TagHourglass(**{"outputs": 2 * joints, **arguments})

    @property
    def order(self) -> list[int]:
        """Joints as they are grouped: head, shoulders and hips first, wrists and ankles last."""
        late = ("elbow", "wrist", "knee", "ankle")
        names = self.skeleton.joints
        place = [next((i for i, n in enumerate(late, 1) if name.endswith(n)), 0) for name in names]
        return sorted(range(len(names)), key=lambda joint: place[joint])

    def answer(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return maps and tags (n, K, h, w) of the last stack."""
        answers = self.network(images)
        last = answers if isinstance(answers, torch.Tensor) else answers[-1]
        joints = len(self.skeleton)
        return last[:, :joints].float(), last[:, joints : 2 * joints].float()

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        total, tags, size = torch.zeros(()), [], (0, 0)
        scaled = self.scaled_images(inputs)
        for scale, images in scaled:
            order = torch.as_tensor(self.skeleton.flip_order, device=images.device)
            maps, own = self.answer(images)
            mirrored, other = (x.flip(-1)[:, order] for x in self.answer(images.flip(-1)))
            if scale == 1:
                size = tuple(int(length * self.upsampling) for length in maps.shape[-2:])
                tags = [resized(own, size), resized(other, size)]
            total = total.to(maps.device) + resized(maps + mirrored, size)
        return self.read(total / (2 * len(scaled)), torch.stack(tags, dim=-1))

    def read(self, maps: torch.Tensor, tags: torch.Tensor) -> dict[str, torch.Tensor]:
        """Find the peaks in maps (n, K, h, w) with tags (n, K, h, w, T).

        ``peaks`` (n, K, M, 2 + T): pixel, score, tags.
        """
        maps = maps.clamp(max=1)
        side = self.suppression
        where = functional.max_pool2d(maps, side, 1, side // 2) == maps
        index, values = highest(maps, where & (maps > 0), self.max_people)
        blocks = blocks_of(maps, tags)
        tags = tags.flatten(2, 3)
        own = tags.gather(2, index[..., None].expand(-1, -1, -1, tags.shape[-1]))
        peaks = torch.cat([index[..., None].to(maps.dtype), values[..., None], own], dim=-1)
        return {"peaks": peaks, "maps": maps, "tags": tags, "blocks": blocks}

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        peaks, maps, tags, blocks = (
            outputs[name][0] for name in ("peaks", "maps", "tags", "blocks")
        )
        people = group_by_tags(
            peaks[..., 1], peaks[..., 2:], self.order, self.detection_threshold,
            self.tag_threshold, self.max_people, self.closed,
        )  # fmt: skip
        found = people >= 0
        joint = np.arange(len(maps))
        chosen = peaks[joint, people]  # (n, K, 2 + T); rubbish where not found
        scores = np.where(found, chosen[..., 1], 0).astype(np.float64)
        parts = np.maximum(found.sum(axis=1), 1)
        means = np.where(found[..., None], chosen[..., 2:], 0).sum(axis=1) / parts[:, None]
        places = np.where(found, chosen[..., 0], -1).astype(np.int64)
        tags = tags.reshape(*maps.shape, tags.shape[-1])
        filled = fill_missing(people, means.astype(np.float32), maps, tags, blocks)
        places = np.where(found, places, filled)
        known = places >= 0
        values = maps.reshape(len(maps), -1)[joint, places]
        points = (toward_neighbours(maps, places) + 0.5) * self.stride / self.upsampling
        keypoints = transform(points, inverse(prepared.context))
        return {
            "keypoints": np.where(known[..., None], keypoints, np.nan),
            "keypoint_scores": np.where(known, values, np.nan).astype(np.float64),
            "score": scores.mean(axis=1),
        }

    def targets(
        self, joints: NDArray[np.float64], visible: NDArray[np.bool_]
    ) -> dict[str, NDArray[Any]]:
        """Return ``maps`` (K, h, w), and ``places`` (people, K): the joints' pixels, -1 for none.

        Gaussians stand on the pixel that a joint lies in.
        """
        height, width = self.map_size
        cells = np.floor(joints / self.stride).astype(np.int64)
        inside = visible & ((cells >= 0) & (cells < (width, height))).all(axis=-1)
        maps = np.zeros((joints.shape[1], height, width), np.float32)
        rows, columns = np.arange(height), np.arange(width)
        radius = 3 * self.sigma + 1
        for person, seen in zip(cells, inside, strict=True):
            dx, dy = columns - person[seen, :1], rows - person[seen, 1:]
            across = np.exp(-(dx**2) / (2 * self.sigma**2)) * (np.abs(dx) <= radius)
            down = np.exp(-(dy**2) / (2 * self.sigma**2)) * (np.abs(dy) <= radius)
            own = np.flatnonzero(seen)
            maps[own] = np.maximum(maps[own], down[:, :, None] * across[:, None, :])
        places = np.full((MAX_TRAINED, joints.shape[1]), -1, np.int64)
        pixels = np.where(inside, cells[..., 1] * width + cells[..., 0], -1)[:MAX_TRAINED]
        places[: len(pixels)] = pixels
        return {"maps": maps, "places": places}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the maps' mean squared error and a share of both tag losses, over all stacks.

        People without labelled joints are left out of the maps' error.
        """
        counted, places = rows["counted"][:, None], rows["places"]
        joints = len(self.skeleton)
        answers = self.network(self.images(rows["image"]))
        answers = [answers] if isinstance(answers, torch.Tensor) else answers
        losses = []
        for answer in answers:
            error = ((answer[:, :joints] - rows["maps"]).square() * counted).mean()
            losses.append(
                error + self.tag_weight * tag_loss(answer[:, joints : 2 * joints], places)
            )
        return torch.stack(losses).mean()

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Strip the official trainer's ``model.`` or mmpose's prefixes."""
        if self.network.state_dict().keys() >= state.keys():
            return state
        return without_mmpose_prefixes(
            {
                name.removeprefix("model.").removeprefix("module."): tensor
                for name, tensor in state.items()
            }
        )


def tag_loss(tags: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return pull + push of tags (n, K, h, w) at places (n, P, K), averaged over images.

    Pull: the mean squared distance of a person's joints from their mean, averaged over people.
    Push: half the mean of exp(-d^2) over ordered pairs of people, d between their means.
    """
    seen = (places >= 0).to(tags.dtype)
    values = tags.flatten(2).gather(2, places.clamp(min=0).transpose(1, 2)).transpose(1, 2)
    parts = seen.sum(dim=2)
    means = (values * seen).sum(dim=2) / parts.clamp(min=1)
    spread = ((values - means[..., None]).square() * seen).sum(dim=2) / parts.clamp(min=1)
    present = (parts > 0).to(tags.dtype)
    count = present.sum(dim=1)
    pull = spread.sum(dim=1) / count.clamp(min=1)
    pairs = torch.exp(-(means[:, :, None] - means[:, None]).square())
    pairs = pairs * present[:, :, None] * present[:, None]
    push = (pairs.sum(dim=(1, 2)) - count) / (count * (count - 1)).clamp(min=1) * 0.5
    return (pull + push).mean()


def resized(maps: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Return maps (n, K, h, w) at a height and width, bilinearly."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def toward_neighbours(maps: NDArray[np.floating], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return x, y of pixels (n, K) of maps (K, h, w), a quarter towards the higher neighbour.

    Equal neighbours move it towards smaller x and y; at the border the pixel itself stands in.
    """
    joints, height, width = maps.shape
    joint = np.arange(joints)
    y, x = places // width, places % width
    right = maps[joint, y, np.minimum(x + 1, width - 1)] > maps[joint, y, np.maximum(x - 1, 0)]
    below = maps[joint, np.minimum(y + 1, height - 1), x] > maps[joint, np.maximum(y - 1, 0), x]
    return np.stack([x + np.where(right, 0.25, -0.25), y + np.where(below, 0.25, -0.25)], axis=-1)
