"""Mask R-CNN for keypoints: proposals, boxes of people, and a one-hot map per joint in each box.

He, Gkioxari, Dollar, Girshick: Mask R-CNN, ICCV 2017. The defaults are torchvision's; a variant
says where it follows detectron2. The network is in ``keypoint_rcnn_net.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from harness.api import Card, Method, Prepared, Rows, Sample, Skeleton
from methods.detection.keypoint_rcnn_net import KeypointRcnn, torchvision_names
from methods.parts.initialise import seeded
from methods.parts.regions import roi_align, suppressed
from methods.top_down.heatmap_pose import IMAGENET_MEAN, IMAGENET_STD

STRIDES = (4, 8, 16, 32, 64)
LARGEST_GROWTH = math.log(1000 / 16)
"""Of a box's side in one step, as a logarithm."""


class MaskRcnn(Method):
    """One device row per image; boxes and joints of up to ``detections`` people come back.

    Options: the network's ``arguments``; ``style``, ``torchvision`` or ``detectron2``: normalised
    RGB or BGR of Caffe's constants, samples and half pixels of RoIAlign, rounding of anchors;
    ``anchor``, the side of the finest level's anchors in pixels; ``longest``, the limit of the
    image's long side.
    """

    proposals = 1000
    """Of each level before suppression, and of an image after it."""
    proposal_overlap = 0.7
    least_score = 0.05
    box_overlap = 0.5
    detections = 100

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        options = self.variant.options
        self.detectron = options.get("style") == "detectron2"
        self.anchor = float(options.get("anchor", 32.0))
        self.shortest, self.longest = self.variant.input_size[0], options.get("longest", 1333)
        with seeded(0):
            self.network = KeypointRcnn(len(self.skeleton), **options.get("arguments", {}))

    def prepare(self, sample: Sample) -> Prepared:
        image = sample.read_image()
        height, width = image.shape[:2]
        scale = min(self.shortest / min(height, width), self.longest / max(height, width))
        size = (max(int(width * scale), 1), max(int(height * scale), 1))
        resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        padded = np.zeros((-(-size[1] // 32) * 32, -(-size[0] // 32) * 32, 3), np.uint8)
        padded[: size[1], : size[0]] = resized
        ratio = np.array([size[0] / width, size[1] / height])
        return Prepared({"image": padded[None], "size": np.array([size], np.int64)}, ratio)

    def images(self, images: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Turn uint8 BGR images (n, H, W, 3) into input (n, 3, H, W); the padding becomes 0."""
        dtype = next(self.network.parameters()).dtype
        x = images.float()
        if self.detectron:
            x = x - torch.tensor([103.53, 116.28, 123.675], device=x.device)
        else:
            mean = torch.tensor(IMAGENET_MEAN, device=x.device)
            x = (x.flip(-1) / 255 - mean) / torch.tensor(IMAGENET_STD, device=x.device)
        rows = torch.arange(x.shape[1], device=x.device)[None] < sizes[:, 1:]
        columns = torch.arange(x.shape[2], device=x.device)[None] < sizes[:, :1]
        inside = rows[:, :, None, None] & columns[:, None, :, None]
        return (x * inside).permute(0, 3, 1, 2).to(dtype)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        sizes = inputs["size"]
        features, answers = self.network(self.images(inputs["image"], sizes))
        features = [level.float() for level in features]
        people = [self.people(features, answers, row, sizes[row]) for row in range(len(sizes))]
        return {name: torch.stack([own[name] for own in people]) for name in people[0]}

    def people(
        self, features: list[torch.Tensor], answers: list[tuple[torch.Tensor, torch.Tensor]],
        row: int, size: torch.Tensor,
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        """Return ``boxes`` (D, 4), ``scores`` (D,) and ``joints`` (D, K, 3) of one image.

        Rows without a person have the score 0.
        """
        own = [level[row : row + 1] for level in features]
        boxes = self.proposed(own, [(a[row].float(), b[row].float()) for a, b in answers], size)
        logits, deltas = self._heads(self.network.box_answers, own, boxes, 7)
        scores = logits.softmax(dim=-1)[:, 1]
        boxes = clipped(moved(boxes, deltas / deltas.new_tensor([10.0, 10, 5, 5])), size)
        good = (scores > self.least_score) & ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
        boxes, scores = boxes[good], scores[good]
        kept = suppressed(boxes, scores, self.box_overlap)[: self.detections]
        boxes, scores = boxes[kept], scores[kept]
        (maps,) = self._heads(lambda pooled: (self.network.keypoint_maps(pooled),), own, boxes, 14)
        joints = [read_joints(own, box) for own, box in zip(maps, boxes, strict=True)]
        found = boxes.new_zeros(0, len(self.skeleton), 3)
        missing = self.detections - len(boxes)
        return {
            "boxes": functional.pad(boxes, (0, 0, 0, missing)),
            "scores": functional.pad(scores, (0, missing)),
            "joints": functional.pad(
                torch.stack(joints) if joints else found, (0, 0, 0, 0, 0, missing)
            ),
        }

    def _heads(
        self, head: Any, features: list[torch.Tensor], boxes: torch.Tensor, size: int
    ) -> list[torch.Tensor]:
        dtype = next(self.network.parameters()).dtype
        pooled = self.pooled(features, boxes, size).to(dtype)
        return [answer.float() for answer in head(pooled)]

    def proposed(
        self, features: list[torch.Tensor], answers: list[tuple[torch.Tensor, torch.Tensor]],
        size: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """Return one image's proposals (P, 4), the most likely first."""
        boxes, scores, levels = [], [], []
        for level, (logits, deltas) in enumerate(answers):
            score, best = logits.topk(min(self.proposals, len(logits)))
            height, width = features[level].shape[-2:]
            side = self.anchor * 2**level
            around = anchors((height, width), STRIDES[level], side, not self.detectron)
            boxes.append(clipped(moved(around.to(deltas)[best], deltas[best]), size))
            scores.append(score)
            levels.append(torch.full_like(best, level))
        box, score, level_of = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
        solid = ((box[:, 2:] - box[:, :2]) >= 1e-3).all(dim=1)
        box, score, level_of = box[solid], score[solid], level_of[solid]
        kept = suppressed(box, score, self.proposal_overlap, level_of)
        return box[kept[: self.proposals]]

    def pooled(self, features: list[torch.Tensor], boxes: torch.Tensor, size: int) -> torch.Tensor:
        """Pool each box from the level that fits its size: a box of 224 pixels from stride 16."""
        side = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).clamp(min=1e-12).sqrt()
        level = torch.floor(4 + torch.log2(side / 224) + 1e-6).clamp(2, 5).long() - 2
        result = features[0].new_zeros(len(boxes), features[0].shape[1], size, size)
        for number in range(4):
            rows = torch.nonzero(level == number)[:, 0]
            owner = torch.zeros_like(rows)
            samples = 0 if self.detectron else 2
            result[rows] = roi_align(
                features[number], boxes[rows], owner, size, 1 / STRIDES[number], samples,
                aligned=self.detectron,
            )  # fmt: skip
        return result

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        found = outputs["scores"][0] > 0
        boxes = outputs["boxes"][0][found].astype(np.float64) / np.tile(prepared.context, 2)
        joints = outputs["joints"][0][found].astype(np.float64)
        return {
            # Boxes and joints are measured from the image's corner.
            "keypoints": joints[..., :2] / prepared.context - 0.5,
            "keypoint_scores": joints[..., 2],
            "score": outputs["scores"][0][found].astype(np.float64),
            "box": np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
        }

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Map detectron2's names and those of torchvision's older files to torchvision's."""
        return torchvision_names(dict(state))


def anchors(size: tuple[int, int], stride: int, side: float, rounded: bool) -> torch.Tensor:
    """Return the anchors (h w 3, 4) of a level: shapes of equal area around every cell's corner."""
    aspects = torch.tensor([0.5, 1.0, 2.0]).sqrt()
    half = torch.stack([side / aspects, side * aspects], dim=1) / 2
    base = torch.cat([-half, half], dim=1)
    if rounded:
        base = base.round()
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    corner = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4) * stride
    return (corner + base).reshape(-1, 4)


def moved(boxes: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """Move boxes (n, 4) by shares of their size and scale their sides by exp(delta)."""
    size = boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, :2] + size / 2 + deltas[:, :2] * size
    half = size * deltas[:, 2:].clamp(max=LARGEST_GROWTH).exp() / 2
    return torch.cat([center - half, center + half], dim=1)


def clipped(boxes: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Keep boxes (n, 4) inside an image of a width and height (2,)."""
    limit = size.to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), torch.cat([limit, limit]))


def read_joints(maps: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Return x, y and probability (K, 3) of the highest pixels of maps (K, h, w) in a box.

    Maps grow bicubically to the box's size in whole pixels. The probability is that of the pixel
    in the softmax over the map, in units of the map's own pixels.
    """
    width, height = (box[2:] - box[:2]).clamp(min=1).tolist()
    size = (math.ceil(height), math.ceil(width))
    grown = functional.interpolate(maps[None], size=size, mode="bicubic", align_corners=False)[0]
    best = grown.flatten(1).argmax(dim=1)
    x = (best % size[1] + 0.5) * width / size[1] + box[0]
    y = (best // size[1] + 0.5) * height / size[0] + box[1]
    top = maps.flatten(1).max(dim=1, keepdim=True).values
    total = (maps.flatten(1) - top).exp().sum(dim=1)
    score = (grown.flatten(1).gather(1, best[:, None]) - top).exp()[:, 0] / total
    return torch.stack([x, y, score], dim=1)
