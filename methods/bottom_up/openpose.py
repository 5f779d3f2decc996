"""OpenPose: maps of joints and fields along limbs; people are assembled limb by limb.

Cao, Simon, Wei, Sheikh: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields,
CVPR 2017; with Hidalgo: OpenPose, TPAMI 2019. The networks are in ``openpose_vgg.py`` and
``openpose_mobile.py``, the assembly in ``methods/parts/affinity.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import (
    Prepared,
    PrerequisiteError,
    Rows,
    Sample,
    Skeleton,
    convert,
    missing_joints,
    skeletons,
)
from methods.bottom_up.openpose_mobile import LightweightNet, MobileNetThin, of_graph
from methods.bottom_up.openpose_vgg import DenseNet, TwoBranchNet
from methods.bottom_up.whole_image_pose import WholeImagePose
from methods.parts.affinity import RELEASES, assemble, candidates
from methods.parts.affinity_targets import affinity_targets
from methods.parts.crop import transform
from methods.parts.peaks import centroids, highest, is_peak, smoothed
from methods.parts.whole_image import SceneView, inverse

NETWORKS: dict[str, type[nn.Module]] = {
    "coco18": TwoBranchNet,
    "body25": DenseNet,
    "lightweight": LightweightNet,
    "mobilenet-thin": MobileNetThin,
}

FIELD_ORDER = {
    "openpose-18": (6, 10, 7, 8, 11, 12, 0, 1, 2, 3, 4, 5, 14, 15, 17, 16, 18, 9, 13),
    "body-25": (
        0, 7, 11, 8, 9, 12, 13, 3, 1, 2, 4, 5, 6,
        15, 16, 18, 17, 19, 10, 14, 20, 21, 22, 23, 24, 25,
    ),
}  # fmt: skip
"""Which pair of the networks' field channels belongs to each limb of the skeleton."""

CLOSING = {"openpose-18": 2}
"""Limbs at the end of a skeleton that open no person: ear to shoulder."""

MIDDLES = {
    "neck": ("left_shoulder", "right_shoulder"),
    "mid_hip": ("left_hip", "right_hip"),
}
"""Joints that are trained as the middle of two others, labelled where both are."""

MAX_PEAKS = 127
"""Per joint; the C++ release's limit."""


class OpenPose(WholeImagePose):
    """BGR / 256 - 0.5, or 0..255 for MobileNet-thin; a ``release`` names the rules of assembly.

    Options: ``network`` (a key of :data:`NETWORKS`) and its ``arguments``; ``release`` (a key of
    :data:`methods.parts.affinity.RELEASES`) and changed ``rules``; ``parts``, the skeleton that the
    network knows; ``upsampling``, by which maps grow before they are read; ``sigma`` of the
    training targets in input pixels.
    """

    channel_order = "bgr"
    mean, std, border = (128 / 255,) * 3, (256 / 255,) * 3, 128
    interpolation = cv2.INTER_CUBIC
    fitting, multiple, stride = "height", 8, 8
    view = SceneView(scaling=(0.5, 1.1), rotation=40, shift=40, person=0.6)

    def build(self, **options: Any) -> nn.Module:
        self.parts: Skeleton = skeletons()[options.get("parts", "openpose-18")]
        order = FIELD_ORDER.get(self.parts.name, tuple(range(len(self.parts.limbs))))
        self.field_order = np.array(order)
        changed = options.get("rules", {})
        self.rules = dataclasses.replace(RELEASES[options.get("release", "python")], **changed)
        self.sigma = float(options.get("sigma", 7.0))
        self.upsampling = int(options.get("upsampling", 8))
        if options["network"] == "mobilenet-thin":
            self.mean, self.std = (0.0,) * 3, (1 / 255,) * 3
        network = NETWORKS[options["network"]]
        arguments = options.get("arguments", {})
        return network(len(self.parts), len(self.parts.limbs), **arguments)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        scaled = self.scaled_images(inputs)
        return self.read([(scale, *self.network(images)[-1]) for scale, images in scaled])

    def read(
        self, answers: Sequence[tuple[float, torch.Tensor, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        """Average the answers (scale, maps, fields) and find the peaks.

        Maps (n, K + 1, h, w) and fields (n, 2 L, h, w) grow by ``upsampling``; those of scale 1,
        which come first, give the size.
        """
        size = [length * self.upsampling for length in answers[0][1].shape[-2:]]
        total: list[torch.Tensor] = []
        for scale, *answer in answers:
            grown = [grow(maps.float(), self.upsampling / scale, size) for maps in answer]
            total = [a + b for a, b in zip(total, grown, strict=True)] if total else grown
        maps, fields = (part / len(answers) for part in total)
        return {"peaks": self.peaks(maps[:, :-1]), "fields": fields}

    def peaks(self, maps: torch.Tensor) -> torch.Tensor:
        """Read the joints out of upsampled maps (n, K, H, W): x, y, score (n, K, M, 3)."""
        rules = self.rules
        blurred = smoothed(maps, rules.smoothing) if rules.smoothing else maps
        where = is_peak(blurred, rules.peak_threshold, rules.neighbours, rules.strict)
        index, values = highest(maps, where, MAX_PEAKS)
        if rules.centroid:
            points = centroids(maps, index, rules.centroid)
        else:
            width = maps.shape[-1]
            points = torch.stack([index % width, index // width], dim=-1).to(maps.dtype)
        return torch.cat([points, values[..., None]], dim=-1)

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        found = candidates(outputs["peaks"][0], self.rules.apart)
        limbs = self.parts.limbs
        fields = outputs["fields"][0].reshape(len(limbs), 2, *outputs["fields"].shape[-2:])
        fields = fields[self.field_order].reshape(outputs["fields"].shape[1:])
        closing = CLOSING.get(self.parts.name, 0)
        people, scores = assemble(found, fields, self.parts, limbs, self.rules, closing)
        # A sentinel row stands for the joints that a person has not.
        points = np.concatenate([found.points, [[np.nan, np.nan]]])[people]
        values = np.append(found.scores, 0.0)[people]
        points = (points + 0.5) * self.stride / self.upsampling - 0.5
        keypoints = transform(points, inverse(prepared.context)) + self.rules.offset
        joints = np.concatenate([keypoints, values[..., None]], axis=-1)
        assert self.skeleton is not None
        joints = convert(joints, self.parts, self.skeleton)
        # Someone may be seen by joints alone that the benchmark does not know.
        known = np.isfinite(joints[..., 0]).any(axis=1)
        return {
            "keypoints": joints[known, :, :2],
            "keypoint_scores": joints[known, :, 2],
            "score": scores[known],
        }

    def with_middles(
        self, joints: NDArray[np.float64], visible: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Bring the benchmark's people to the network's joints; add the neck (and middle hip)."""
        assert self.skeleton is not None
        marked = np.concatenate([joints, visible[..., None]], axis=-1)
        marked = np.nan_to_num(convert(marked, self.skeleton, self.parts))
        names = self.parts.joints
        for middle in set(MIDDLES) & set(missing_joints(self.skeleton, self.parts) or ()):
            left, right = (names.index(side) for side in MIDDLES[middle])
            mean = (marked[:, left] + marked[:, right]) / 2
            marked[:, names.index(middle)] = mean
        return marked[..., :2], marked[..., 2] == 1

    def targets(
        self, joints: NDArray[np.float64], visible: NDArray[np.bool_]
    ) -> dict[str, NDArray[Any]]:
        """Return ``maps`` (K + 1, h, w) and ``fields`` (2 L, h, w) of the network's parts."""
        joints, visible = self.with_middles(joints, visible)
        maps, fields = affinity_targets(
            joints, visible, self.parts.limbs, self.map_size, self.stride, self.sigma
        )
        pairs = np.empty_like(fields).reshape(-1, 2, *fields.shape[1:])
        pairs[self.field_order] = fields.reshape(pairs.shape)
        return {"maps": maps, "fields": pairs.reshape(fields.shape)}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the squared error of all stages' maps and fields, summed over channels.

        Averaged over pixels and rows; people without labelled joints are left out.
        """
        counted = rows["counted"][:, None]
        total = torch.zeros((), device=counted.device)
        for maps, fields in self.network(self.images(rows["image"])):
            for answer, wanted in ((maps, rows["maps"]), (fields, rows["fields"])):
                total = total + ((answer - wanted).square() * counted).mean((0, 2, 3)).sum()
        return total

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Bring the names of a frozen graph, or of Caffe's layers, to the network's.

        Caffe's have no blocks and are put below the network's.

        Raises
        ------
        PrerequisiteError
            If two blocks have a layer of that name.
        """
        if isinstance(self.network, MobileNetThin):
            return of_graph(state)
        own = self.network.state_dict().keys()
        if own >= state.keys():
            return state
        full: dict[str, str] = {}
        for name in own:
            layer, _, kind = name.rpartition(".")
            short = f"{layer.rpartition('.')[2]}.{kind}"
            if short in full and short in state:
                raise PrerequisiteError(
                    f"The checkpoint's tensor {short!r} fits {full[short]} and {name}.",
                    "Give a checkpoint with the names of the network's modules.",
                )
            full[short] = name
        return {full.get(name, name): tensor for name, tensor in state.items()}


def grow(maps: torch.Tensor, factor: float, size: list[int]) -> torch.Tensor:
    """Enlarge maps (n, C, h, w) bicubically; cut or edge-pad them to a height and width."""
    if factor != 1:
        maps = functional.interpolate(
            maps, scale_factor=factor, mode="bicubic", align_corners=False,
            recompute_scale_factor=False,
        )  # fmt: skip
    maps = maps[..., : size[0], : size[1]]
    missing = (0, size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2])
    return functional.pad(maps, missing, mode="replicate") if any(missing) else maps
