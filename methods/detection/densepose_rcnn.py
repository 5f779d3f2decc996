"""DensePose-RCNN: in each box of a person, every pixel's part of the body and place on it.

Guler, Neverova, Kokkinos: DensePose: Dense Human Pose Estimation in the Wild, CVPR 2018. The rules
are those of detectron2's DensePose project; proposals and boxes are Mask R-CNN's. So are the losses
of joints and masks where the network has heads for these, all of weight 1 and on the surface's
regions; of a cascade both stages learn, and the last one's surface is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from harness.api import (
    Card,
    Prepared,
    Rows,
    Sample,
    SampleError,
    Skeleton,
)
from methods.detection.dense_targets import dense_loss, mask_labels, mask_loss
from methods.detection.densepose_net import DensePoseNet
from methods.detection.mask_rcnn import MOST_PEOPLE, STRIDES, MaskRcnn, extended, filled
from methods.detection.rcnn_targets import joint_loss
from methods.parts.regions import overlaps
from methods.parts.whole_image import SceneView

MOST_POINTS = 336
"""Points of a person that the loss knows: 14 of each part are annotated at most."""


class DensePoseRcnn(MaskRcnn):
    """One device row per image; boxes of up to ``detections`` people with their IUV come back.

    Options: as of :class:`MaskRcnn`; ``pool``, cells of the features pooled for the surface head;
    ``loss_weights``, of coarse kinds, parts, and u and v.
    """

    detections = 20
    """As many as the benchmark counts in an image; their maps are large."""
    view = SceneView(scaling=(0.85, 1.15), rotation=0, shift=12, mirrored=0.0)
    """Never mirrored: what a point becomes in a mirror is known by tables of the real body."""
    least_overlap = 0.7
    """Of the regions that the surface head learns from."""

    def __init__(self, card: Card, variant: str, skeleton: Skeleton | None = None) -> None:
        super().__init__(card, variant, skeleton)
        options = self.variant.options
        self.pool = int(options.get("pool", 28))
        self.loss_weights = tuple(options.get("loss_weights", (5.0, 1.0, 0.01)))

    def build(self, arguments: Mapping[str, Any]) -> DensePoseNet:
        return DensePoseNet(**arguments)

    def translate_start(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Take the trunk and boxes of Mask R-CNN; its keypoint head becomes the surface's."""
        return {taken_name(name): tensor for name, tensor in state.items()}

    def people(
        self, features: list[torch.Tensor], answers: list[tuple[torch.Tensor, torch.Tensor]],
        row: int, size: torch.Tensor,
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        """Return ``boxes`` (D, 4), ``scores`` (D,) and the maps (D, channels, S, S) of one image.

        Rows without a person have the score 0.
        """
        own = [level[row : row + 1] for level in features]
        boxes, scores = self.detected(own, [(a[row], b[row]) for a, b in answers], size)
        owner = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        found = {"boxes": boxes, "scores": scores, **self.surface_maps(own, boxes, owner)}
        return {name: extended(values, self.detections) for name, values in found.items()}

    def surface_maps(
        self, features: list[torch.Tensor], boxes: torch.Tensor, owner: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the last surface head's maps of boxes (n, 4) in their ``owner``'s images."""
        maps = self.network.surface_maps(self.surface_features(features, boxes, owner))
        return {name: own.float() for name, own in maps.items()}

    def surface_features(
        self, features: list[torch.Tensor], boxes: torch.Tensor, owner: torch.Tensor
    ) -> torch.Tensor:
        """Pool boxes (n, 4) from what the surface head sees of their ``owner``'s images."""
        network = self.network
        if not network.decoder:
            return self.pooled(features, boxes, owner, self.pool)
        dtype = next(network.parameters()).dtype
        merged = network.roi_heads.decoder([level.to(dtype) for level in features])
        return self.aligned_in(merged, boxes, owner, self.pool, STRIDES[0])

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        found = np.flatnonzero(outputs["scores"][0] > 0)
        boxes = outputs["boxes"][0][found].astype(np.float64) / np.tile(prepared.context, 2)
        boxes[:, 2:] -= boxes[:, :2]
        iuv = np.empty(len(found), dtype=object)
        for place, row in enumerate(found):
            maps = {name: torch.from_numpy(outputs[name][0][row]) for name in
                    ("coarse", "fine", "u", "v")}  # fmt: skip
            iuv[place] = encoded(surface_in(maps, boxes[place]))
        return {"box": boxes, "score": outputs["scores"][0][found].astype(np.float64), "iuv": iuv}

    def training_rows(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]], random: np.random.Generator
    ) -> Mapping[str, NDArray[Any]]:
        """Return one view of the whole image: ``image``, ``size`` and what is to be learnt.

        ``people`` and ``unlabelled`` (1, P, 4) are boxes x0, y0, x1, y1; ``points`` (1, P, N, 5)
        x, y from the view's corner, part, u and v; ``frames`` (1, P, 4) the people's boxes also
        beyond the view, and ``masks`` (1, P, 256, 256) the labels drawn in these. With a keypoint
        head also ``joints`` (1, P, K, 3), x, y and whether they are labelled.

        Raises
        ------
        SampleError
            If the annotations have not the joints that the network has.
        """
        annotated = truth["keypoints"].shape[1]
        rows, places, boxes, seen = self.viewed(sample, self.with_joints(sample, truth), random)
        if self.network.joints:
            rows["joints"] = filled(places[seen, annotated:])[None]
        count = min(annotated, MOST_POINTS)
        points = np.zeros((len(places), MOST_POINTS, 5))
        points[:, :count, :2] = places[:, :count, :2]
        points[:, :count, 2:] = truth["surface"][:, :count] * places[:, :count, 2:]
        masks = np.zeros((MOST_PEOPLE, 256, 256), np.uint8)
        for row, person in enumerate(np.flatnonzero(seen)[:MOST_PEOPLE]):
            masks[row] = mask_labels(truth["masks"][person])
        return {
            **rows,
            "points": filled(points[seen])[None],
            "frames": filled(boxes[seen])[None],
            "masks": masks[None],
        }

    def with_joints(
        self, sample: Sample, truth: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, NDArray[Any]]:
        """Return the truth with the people's joints behind their annotated points, if learnt."""
        if not self.network.joints:
            return truth
        joints = truth["joints"]
        if joints.shape[1] != self.network.joints:
            raise SampleError(
                sample.id,
                f"{joints.shape[1]} joints are annotated, {self.name} learns {self.network.joints}"
                " (train on a file whose every person has COCO's 'keypoints')",
            )
        return {
            **truth,
            "keypoints": np.concatenate([truth["keypoints"], joints[..., :2]], axis=1),
            "visible": np.concatenate([truth["visible"], joints[..., 2] > 0], axis=1),
        }

    def inside_loss(
        self, features: list[torch.Tensor], boxes: torch.Tensor, owner: torch.Tensor,
        person: torch.Tensor, rows: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        """Return all stages' loss in boxes (n, 4) of people (n,) in images (n,)."""
        people = rows["people"][owner, person]
        near = overlaps(boxes, people).diagonal() > self.least_overlap
        boxes, owner, person = boxes[near], owner[near], person[near]
        points, frames, masks = (
            rows[name][owner, person] for name in ("points", "frames", "masks")
        )
        total = boxes.new_zeros(())
        for stage in self.network.stage_maps(self.surface_features(features, boxes, owner)):
            maps = {name: own.float() for name, own in stage.items()}
            total = total + dense_loss(maps, boxes, points, frames, masks, self.loss_weights)
            if "joints" in maps:
                total = total + joint_loss(maps["joints"], rows["joints"][owner, person], boxes)
            if "mask" in maps:
                total = total + mask_loss(maps["mask"], boxes, frames, masks)
        return total


def taken_name(name: str) -> str:
    """Return what a tensor of Mask R-CNN is called here: its keypoint head is the surface's."""
    head, _, rest = name.partition("keypoint_head.")
    if not rest:
        return name
    number, _, kind = rest.partition(".")
    return f"{head}densepose_head.body_conv_fcn{int(number) // 2 + 1}.{kind}"


def surface_in(maps: Mapping[str, torch.Tensor], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return I, U x 255, V x 255 (h, w, 3) of a box x, y, w, h, cut to whole pixels.

    Maps (channels, S, S) grow bilinearly to the box's size. A pixel's part is the most likely of
    background and 24 parts, where the likeliest coarse kind is not the background.
    """
    size = max(int(box[3]), 1), max(int(box[2]), 1)
    grown = {
        name: functional.interpolate(own[None], size=size, mode="bilinear", align_corners=False)[0]
        for name, own in maps.items()
    }
    part = grown["fine"].argmax(dim=0) * (grown["coarse"].argmax(dim=0) > 0)
    u, v = (grown[name].gather(0, part[None])[0] * (part > 0) for name in ("u", "v"))
    levels = [(255 * values).clamp(0, 255) for values in (u, v)]
    return torch.stack([part.to(levels[0]), *levels], dim=-1).to(torch.uint8).numpy()


def encoded(iuv: NDArray[np.uint8]) -> bytes:
    """Return I, U, V (h, w, 3) as a PNG whose red, green and blue they are.

    Raises
    ------
    RuntimeError
        If it cannot be written.
    """
    done, content = cv2.imencode(".png", np.ascontiguousarray(iuv[..., ::-1]))
    if not done:
        raise RuntimeError(f"an IUV image of {iuv.shape} could not be written")
    return content.tobytes()
