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
from methods.detection.keypoint_rcnn_net import KeypointRcnn, RegionNet, torchvision_names
from methods.detection.rcnn_targets import (
    REGION_OVERLAPS,
    deltas_to,
    drawn,
    joint_loss,
    matched,
    proposal_loss,
    region_loss,
)
from methods.parts.initialise import seeded
from methods.parts.regions import roi_align, suppressed
from methods.parts.whole_image import SceneView
from methods.top_down.heatmap_pose import IMAGENET_MEAN, IMAGENET_STD

STRIDES = (4, 8, 16, 32, 64)
LARGEST_GROWTH = math.log(1000 / 16)
"""Of a box's side in one step, as a logarithm."""
DELTA_UNITS = (10.0, 10.0, 5.0, 5.0)
"""Of the box head's answers: a delta of 1 is so many of them."""
BORDER = (104, 116, 124)
"""Colour outside the image in training views: the mean of ImageNet, which becomes about 0."""
MOST_PEOPLE = 20
"""People, and unlabelled regions, of an image that the loss knows."""


class MaskRcnn(Method):
    """One device row per image; boxes and joints of up to ``detections`` people come back.

    Options: the network's ``arguments``; ``style``, ``torchvision`` or ``detectron2``: normalised
    RGB or BGR of Caffe's constants, samples and half pixels of RoIAlign, rounding of anchors;
    ``aligned``, RoIAlign with or without half pixels in place of the style's; ``anchor``, the side
    of the finest level's anchors in pixels; ``longest``, the limit of the image's long side;
    ``proposals``, ``detections`` and ``trained_regions``, in place of the class's.
    """

    trainable = True
    proposals = 1000
    """Of each level before suppression, and of an image after it."""
    proposal_overlap = 0.7
    least_score = 0.05
    box_overlap = 0.5
    detections = 100
    trained_anchors = 256
    trained_regions = 512
    """Of an image, drawn at random: up to a half and up to a quarter are people's."""
    view = SceneView(scaling=(0.85, 1.15), rotation=0, shift=12)
    """Of training pictures: upright, so that a box keeps its sides."""

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        options = self.variant.options
        self.detectron = options.get("style") == "detectron2"
        self.aligned = options.get("aligned", self.detectron)
        self.anchor = float(options.get("anchor", 32.0))
        self.shortest, self.longest = self.variant.input_size[0], options.get("longest", 1333)
        for name in ("proposals", "detections", "trained_regions"):
            setattr(self, name, options.get(name, getattr(self, name)))
        with seeded(0):
            self.network = self.build(options.get("arguments", {}))

    def build(self, arguments: Mapping[str, Any]) -> RegionNet:
        """Return the network with random weights."""
        return KeypointRcnn(len(self.skeleton), **arguments)

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
        boxes, scores = self.detected(own, [(a[row], b[row]) for a, b in answers], size)
        owner = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        maps = self.keypoint_maps(own, boxes, owner)
        joints = [read_joints(own, box) for own, box in zip(maps, boxes, strict=True)]
        found = boxes.new_zeros(0, len(self.skeleton), 3)
        found = torch.stack(joints) if joints else found
        return {
            name: extended(values, self.detections)
            for name, values in (("boxes", boxes), ("scores", scores), ("joints", found))
        }

    def detected(
        self, features: list[torch.Tensor], answers: list[tuple[torch.Tensor, torch.Tensor]],
        size: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Return boxes (n, 4) and scores (n,) of the people of one image, the likeliest first."""
        boxes = self.proposed(features, [(a.float(), b.float()) for a, b in answers], size)
        owner = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        logits, deltas = self.box_answers(features, boxes, owner)
        scores = logits.softmax(dim=-1)[:, 1]
        boxes = clipped(moved(boxes, deltas / deltas.new_tensor(DELTA_UNITS)), size)
        good = (scores > self.least_score) & ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
        boxes, scores = boxes[good], scores[good]
        kept = suppressed(boxes, scores, self.box_overlap)[: self.detections]
        return boxes[kept], scores[kept]

    def box_answers(
        self, features: list[torch.Tensor], boxes: torch.Tensor, owner: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (n, 2) and deltas (n, 4) of boxes (n, 4) in their ``owner``'s images."""
        logits, deltas = self.network.box_answers(self.pooled(features, boxes, owner, 7))
        return logits.float(), deltas.float()

    def keypoint_maps(
        self, features: list[torch.Tensor], boxes: torch.Tensor, owner: torch.Tensor
    ) -> torch.Tensor:
        """Return logits (n, K, 56, 56) of boxes (n, 4) in their ``owner``'s images."""
        return self.network.keypoint_maps(self.pooled(features, boxes, owner, 14)).float()

    def proposed(
        self, features: list[torch.Tensor], answers: list[tuple[torch.Tensor, torch.Tensor]],
        size: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """Return one image's proposals (P, 4), the most likely first."""
        boxes, scores, levels = [], [], []
        for level, (logits, deltas) in enumerate(answers):
            score, best = logits.topk(min(self.proposals, len(logits)))
            around = self.anchors(features[level], level)
            boxes.append(clipped(moved(around[best], deltas[best]), size))
            scores.append(score)
            levels.append(torch.full_like(best, level))
        box, score, level_of = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
        solid = ((box[:, 2:] - box[:, :2]) >= 1e-3).all(dim=1)
        box, score, level_of = box[solid], score[solid], level_of[solid]
        kept = suppressed(box, score, self.proposal_overlap, level_of)
        return box[kept[: self.proposals]]

    def anchors(self, features: torch.Tensor, level: int) -> torch.Tensor:
        """Return the anchors (h w 3, 4) of a level's features (n, C, h, w)."""
        height, width = features.shape[-2:]
        side = self.anchor * 2**level
        around = anchors((height, width), STRIDES[level], side, not self.detectron)
        return around.to(features)

    def pooled(
        self, features: list[torch.Tensor], boxes: torch.Tensor, owner: torch.Tensor, size: int
    ) -> torch.Tensor:
        """Pool each box from the level that fits its size: a box of 224 pixels from stride 16.

        ``owner`` (n,) are the boxes' images.
        """
        side = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).clamp(min=1e-12).sqrt()
        level = torch.floor(4 + torch.log2(side / 224) + 1e-6).clamp(2, 5).long() - 2
        result = features[0].new_zeros(len(boxes), features[0].shape[1], size, size)
        for number in range(4):
            rows = torch.nonzero(level == number)[:, 0]
            result[rows] = self.aligned_in(features[number], boxes[rows], owner[rows], size,
                                           STRIDES[number])  # fmt: skip
        return result.to(next(self.network.parameters()).dtype)

    def aligned_in(
        self, features: torch.Tensor, boxes: torch.Tensor, owner: torch.Tensor, size: int,
        stride: int,
    ) -> torch.Tensor:  # fmt: skip
        """Pool boxes (n, 4) of their ``owner``'s features (B, C, h, w) of a stride."""
        samples = 0 if self.aligned else 2
        return roi_align(features, boxes, owner, size, 1 / stride, samples, self.aligned)

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

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return one view of the whole image: ``image``, ``size`` and what is to be learnt.

        ``people`` and ``unlabelled`` (1, P, 4) are boxes x0, y0, x1, y1 and ``joints``
        (1, P, K, 3) x, y from the view's corner and whether they are labelled. The view is as
        large as the variant's input.
        """
        rows, joints, _, seen = self.viewed(sample, truth, random)
        return {**rows, "joints": filled(joints[seen])[None]}

    def viewed(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> tuple[dict[str, NDArray[Any]], NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """Draw one view of the whole image.

        Returns
        -------
        rows : mapping
            ``image``, ``size``, ``people`` and ``unlabelled``.
        points : array (n, K, 3)
            The people's points x, y from the view's corner, and whether they are known.
        boxes : array (n, 4)
            The people's x0, y0, x1, y1, also beyond the view.
        seen : bool array (n,)
            Whether any of a person's box is in the view: these are the people of the rows.
        """
        assert sample.boxes is not None
        # The pixels that a sample's box ends at belong to it; regions without labels end there.
        known = sample.boxes + np.array([-0.5, -0.5, 1, 1])
        unknown = np.asarray(truth.get("unlabelled", np.empty((0, 4)))) - np.array([0.5, 0.5, 0, 0])
        output = self.variant.input_size[::-1]
        image, places, visible, corners = self.view.draw(
            sample.read_image(), truth["keypoints"], truth["visible"],
            np.concatenate([known, unknown]), self.skeleton, output, BORDER, random,
        )  # fmt: skip
        limits = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1) + 0.5
        boxes = np.clip(limits, 0, np.tile(output, 2))
        seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        labelled = np.arange(len(boxes)) < len(known)
        rows = {
            "image": image[None],
            "size": np.array([output], np.int64),
            "people": filled(boxes[seen & labelled])[None],
            "unlabelled": filled(boxes[seen & ~labelled])[None],
        }
        points = np.concatenate([places + 0.5, visible[..., None]], axis=-1)
        return rows, points, limits[labelled], seen[labelled]

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the sum of the losses of the proposals, the boxes and what is in them."""
        features, answers = self.network(self.images(rows["image"], rows["size"]))
        around = torch.cat([self.anchors(own, level) for level, own in enumerate(features)])
        logits, deltas = (torch.cat(parts, dim=1) for parts in zip(*answers, strict=True))
        known = [
            (people[people[:, 2] > 0], unlabelled[unlabelled[:, 2] > 0])  # rows of zeros fill up
            for people, unlabelled in zip(rows["people"], rows["unlabelled"], strict=True)
        ]
        proposals = [
            proposal_loss(*answer, around, *own, self.trained_anchors)
            for *answer, own in zip(logits, deltas, known, strict=True)
        ]
        regions = [
            self.regions(features, [(a[row], b[row]) for a, b in answers], size, *known[row])
            for row, size in enumerate(rows["size"])
        ]
        return torch.stack(proposals).mean() + self.head_loss(features, regions, rows)

    @torch.no_grad()
    def regions(
        self, features: list[torch.Tensor], answers: list[tuple[torch.Tensor, torch.Tensor]],
        size: torch.Tensor, people: torch.Tensor, unlabelled: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Draw one image's boxes (n, 4) that the heads learn from, and whose they are (n,).

        They are the network's proposals and the people's own boxes.
        """
        boxes = torch.cat([people, self.proposed(features, answers, size)])
        match = matched(boxes, people, unlabelled, REGION_OVERLAPS)
        chosen = drawn(match, self.trained_regions, share=0.25)
        return boxes[chosen], match[chosen]

    def head_loss(
        self, features: list[torch.Tensor], regions: list[tuple[torch.Tensor, torch.Tensor]],
        rows: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        """Return the losses of the box head and of what is in the boxes on the images' regions."""
        boxes, match = (torch.cat(parts) for parts in zip(*regions, strict=True))
        owner = torch.cat([torch.full_like(own, row) for row, (_, own) in enumerate(regions)])
        owned = match >= 0
        people = rows["people"][owner, match.clamp(min=0)]
        logits, deltas = self.box_answers(features, boxes, owner)
        wanted = deltas_to(boxes, people) * deltas.new_tensor(DELTA_UNITS)
        inside = self.inside_loss(features, boxes[owned], owner[owned], match[owned], rows)
        return region_loss(logits, deltas, wanted, owned) + inside

    def inside_loss(
        self, features: list[torch.Tensor], boxes: torch.Tensor, owner: torch.Tensor,
        person: torch.Tensor, rows: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        """Return the loss of the joints' maps in boxes (n, 4) of people (n,) in images (n,)."""
        maps = self.keypoint_maps(features, boxes, owner)
        return joint_loss(maps, rows["joints"][owner, person], boxes)

    def translate_start(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Take the layers of a residual network (torchvision's names) as the trunk."""
        return {f"backbone.body.{name}": tensor for name, tensor in state.items()}

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Map detectron2's names and those of torchvision's older files to torchvision's."""
        return torchvision_names(dict(state))


def filled(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Bring arrays (n, ...) to the length ``MOST_PEOPLE``: cut off, or with zeros behind."""
    result = np.zeros((MOST_PEOPLE, *rows.shape[1:]), np.float32)
    result[: len(rows)] = rows[:MOST_PEOPLE]
    return result


def extended(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Return rows (n, ...) with zeros behind them, ``count`` in all."""
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])


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
