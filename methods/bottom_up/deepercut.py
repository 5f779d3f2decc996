"""DeeperCut: body parts are detected; an integer programme says which of them are one person.

Insafutdinov, Pishchulin, Andres, Andriluka, Schiele: DeeperCut, ECCV 2016, after Pishchulin et al.:
DeepCut, CVPR 2016. Facts from the authors' eldar/pose-tensorflow @ 6a8f5ee; the stages of the
optimisation from the paper. The network is in ``deepercut_net.py``, the programme in
``methods/parts/subset_partition.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from harness.api import Prepared, Rows, Sample
from methods.bottom_up.deepercut_net import OFFSET_UNIT, PartDetector, of_slim
from methods.bottom_up.whole_image_pose import WholeImagePose
from methods.parts.crop import transform
from methods.parts.subset_partition import Stage, incremental
from methods.parts.whole_image import SceneView, fitted, inverse

COCO_GRAPH = (
    (0, 1), (0, 2), (1, 2), (2, 4), (1, 3), (0, 4), (0, 3),
    (0, 6), (1, 6), (2, 6), (3, 6), (4, 6), (0, 5), (1, 5), (2, 5), (3, 5), (4, 5),
    (5, 6), (6, 8), (5, 7), (4, 8), (3, 7), (8, 10), (7, 9), (6, 10), (5, 9),
    (6, 12), (6, 11), (5, 12), (5, 11), (11, 12),
    (12, 14), (11, 13), (12, 13), (11, 14), (13, 14), (14, 16), (13, 15), (12, 16), (11, 15),
)  # fmt: skip
"""Kinds of pairs that count on COCO's joints; on other skeletons all do."""

ARMS = ("elbow", "wrist")
LEGS = ("hip", "knee", "ankle")

LOSS_WEIGHT = 0.05
"""Of the offsets' and the pairs' Huber losses beside the maps' cross entropy."""

SURE = 1e-7
"""Probabilities are kept this far from 0 and 1."""

SAME_JOINT = 7.5
"""Log odds of one person where two detections of one joint coincide."""

MAX_TRAINED = 30
"""People of a training image, the first ones."""


class DeeperCut(WholeImagePose):
    """RGB less ImageNet's mean; the image as it is, padded with a grey near that mean.

    Options: the network's ``arguments``; ``pairs``: ``all`` that the network has ways for, or those
    of the ``graph``; ``radius`` of a part in input pixels; ``apart``, cells between two detections
    of a joint; ``near``, pixels within which they attract each other; ``least`` probability and
    greatest number of ``detections``; ``seconds`` for each stage.
    """

    mean, std = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3
    border = 117
    fitting, multiple, stride = "inside", 16, 8
    view = SceneView(scaling=(0.85, 1.15), rotation=0, shift=0)

    def build(self, **options: Any) -> nn.Module:
        joints = len(self.skeleton)
        everything = tuple(combinations(range(joints), 2))
        self.graph = COCO_GRAPH if self.skeleton.name == "coco-17" else everything
        known = self.graph if options.get("pairs") == "graph" else everything
        self.pairs = np.array(sorted([*known, *((b, a) for a, b in known)]))
        self.edge = np.full((joints, joints), -1)  # kind of pair
        self.way = np.full((joints, joints), -1)  # the network's channel
        self.edge[tuple(np.array(self.graph).T)] = np.arange(len(self.graph))
        self.way[tuple(self.pairs.T)] = np.arange(len(self.pairs))
        self.radius = float(options.get("radius", 17.0))
        self.apart = float(options.get("apart", 5.0))
        self.near = float(options.get("near", 37.5))
        self.least = float(options.get("least", 0.2))
        self.most = int(options.get("detections", 150))
        self.seconds = float(options.get("seconds", 10.0))
        arguments = options.get("arguments", {})
        return PartDetector(joints, len(self.pairs), len(self.graph), self.near, **arguments)

    @property
    def stages(self) -> list[list[int]]:
        """Joints as they enter the programme: head and shoulders, arms, the rest."""
        of_arm, of_leg = (
            [i for i, name in enumerate(self.skeleton.joints) if name.endswith(ends)]
            for ends in (ARMS, LEGS)
        )
        first = set(range(len(self.skeleton))) - {*of_arm, *of_leg}
        return [sorted(first), of_arm, of_leg]

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        answers = self.network(self.images(inputs["image"]))
        return self.read(*(answers[name].float() for name in ("parts", "offsets", "pairs")))

    def read(
        self, parts: torch.Tensor, offsets: torch.Tensor, pairs: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Read the network's answers: D detections an image, and who goes with whom.

        ``joint`` (n, D), -1 behind the last detection; ``score`` (n, D), probabilities; ``point``
        (n, D, 2), input pixels; ``together`` (n, D, D), log odds of being one person.
        """
        joint, score, place = self.detections(parts.sigmoid())
        image, kind = torch.arange(len(joint), device=joint.device)[:, None], joint.clamp(min=0)
        cell = self.cells(place, parts.shape[-1])
        point = cell + offsets.flatten(3)[image, kind, :, place]
        pairs = pairs.flatten(3)
        edge, way = (torch.as_tensor(t, device=joint.device) for t in (self.edge, self.way))
        start, end = kind[:, :, None], kind[:, None]
        ahead = pairs[image[..., None], way[start, end], :, place[:, :, None]]
        predicted = torch.stack([ahead, ahead.transpose(1, 2)], dim=-2)
        seen = point[:, None] - cell[:, :, None]
        real = torch.stack([seen, seen.transpose(1, 2)], dim=-2)
        together = self.network.pair_terms(edge[start, end], real, predicted)
        together = torch.where(edge[start, end] >= 0, together, 0)
        together = together + together.transpose(1, 2)  # an edge has one direction
        distance = (point[:, None] - point[:, :, None]).norm(dim=-1)
        same = SAME_JOINT * (1 - distance / self.near)
        together = torch.where(start == end, same, together)
        return {"joint": joint, "score": score, "point": point, "together": together}

    def detections(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find joints, probabilities and cells (n, D) in probabilities (n, K, h, w).

        The highest cell of a map suppresses its surroundings, then the highest that is left; of all
        joints' cells the highest remain.
        """
        count, joints, height, width = maps.shape
        cells = torch.arange(height * width, device=maps.device)
        left, most = maps.flatten(2).clone(), self.most
        scores, places = left.new_zeros(count, joints, most), cells.new_zeros(count, joints, most)
        for i in range(most):
            highest, place = left.max(dim=-1)
            if not (highest >= self.least).any():
                break
            scores[..., i], places[..., i] = highest, place
            across = cells % width - (place % width)[..., None]
            down = cells // width - (place // width)[..., None]
            left[across**2 + down**2 <= self.apart**2] = 0
        scores, index = scores.flatten(1).topk(most, dim=-1)
        joint = torch.where(scores >= self.least, index // most, -1)
        return joint, scores, places.flatten(1).gather(1, index)

    def cells(self, place: torch.Tensor, width: int) -> torch.Tensor:
        """Return the centres x, y (..., 2) of cells, as the authors have them."""
        return torch.stack([place % width, place // width], dim=-1) * self.stride + self.stride / 2

    def decode(
        self, outputs: Mapping[str, NDArray[Any]], prepared: Prepared, sample: Sample
    ) -> Rows:
        people, _ = self.partition(outputs)
        keypoints = transform(people[..., :2], inverse(prepared.context))
        scores = people[..., 2]
        return {
            "keypoints": keypoints,
            "keypoint_scores": scores,
            "score": np.nansum(scores, axis=1) / scores.shape[1],
        }

    def partition(
        self, outputs: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float64], list[Stage]]:
        """Return people (n, K, 3) in input pixels with scores, and how the stages went.

        Detections that are one joint of a person are averaged, weighted by their probability; the
        highest of them is the joint's score. What a person has not is NaN.
        """
        joint = outputs["joint"][0]
        found, joints = np.flatnonzero(joint >= 0), len(self.skeleton)
        joint = joint[found]
        score = outputs["score"][0, found].astype(np.float64)
        odds = outputs["together"][0][np.ix_(found, found)].astype(np.float64)
        index = np.arange(len(found))
        unary = np.full((len(found), joints), np.inf)
        sure = score.clip(SURE, 1 - SURE)
        unary[index, joint] = np.log((1 - sure) / sure)
        pairwise = np.zeros((len(found), len(found), joints, joints))
        limit = np.log((1 - SURE) / SURE)
        pairwise[index[:, None], index, joint[:, None], joint] = -odds.clip(-limit, limit)
        solved, stages = incremental(unary, pairwise, self.stages, self.seconds)
        kept = solved.cluster >= 0
        where = solved.cluster[kept], joint[kept]
        total = np.zeros((solved.cluster.max(initial=-1) + 1, joints, 3))
        point = outputs["point"][0, found[kept]]
        np.add.at(total, where, np.column_stack([point, np.ones(len(point))]) * score[kept, None])
        people = np.full(total.shape, np.nan)
        np.divide(total, total[..., 2:], out=people, where=total[..., 2:] > 0)
        highest = np.zeros(total.shape[:2])
        np.maximum.at(highest, where, score[kept])
        people[..., 2] = np.where(highest > 0, highest, np.nan)
        return people, stages

    def fit(self, samples: Sequence[tuple[Sample, Mapping[str, NDArray[Any]]]]) -> None:
        """Take means and deviations of the ways from joint to joint, in input pixels."""
        ways = []
        for sample, truth in samples:
            height, width = sample.read_image().shape[:2]
            matrix, _ = fitted((width, height), self.input_size, self.fitting, self.multiple)
            joints = (
                np.where(truth["visible"][..., None], truth["keypoints"], np.nan) * matrix[0, 0]
            )
            ways.append(joints[:, self.pairs[:, 1]] - joints[:, self.pairs[:, 0]])
        both = np.concatenate(ways)
        known = np.isfinite(both[..., 0]).sum(axis=0) > 1
        mean, std = np.nanmean(both[:, known], axis=0), np.nanstd(both[:, known], axis=0)
        self.network.pair_mean[known] = torch.from_numpy(mean).float()
        self.network.pair_std[known] = torch.from_numpy(std).float().clamp(min=1)

    def translate_weights(self, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Bring TensorFlow's names and layouts to the network's.

        The ways' deviations and the pairs' regression are files of their own with the authors: put
        them into the checkpoint under the network's names.
        """
        own = self.network.state_dict().keys() >= state.keys()
        return state if own else of_slim(state)

    def targets(
        self, joints: NDArray[np.float64], visible: NDArray[np.bool_]
    ) -> dict[str, NDArray[Any]]:
        """Return ``owner`` (K, h, w), whose joint a cell sees, -1 for none; and the people.

        The nearest joint within the radius is seen. ``people`` (:data:`MAX_TRAINED`, K, 2) are in
        input pixels, ``known`` (.., K) says which joints are labelled.
        """
        joints, visible = joints[:MAX_TRAINED], visible[:MAX_TRAINED]
        height, width = self.map_size
        cells = self.cells(torch.arange(height * width), width).numpy()
        distance = np.square(joints[:, :, None] - cells).sum(axis=-1)  # (n, K, cells)
        distance = np.where(visible[..., None], distance, np.inf)
        owner = np.full(distance.shape[1:], -1)
        if len(joints):
            within = distance.min(axis=0) <= self.radius**2
            owner = np.where(within, distance.argmin(axis=0), -1)
        people = np.zeros((MAX_TRAINED, *joints.shape[1:]), np.float32)
        known = np.zeros(people.shape[:2], bool)
        people[: len(joints)][visible] = joints[visible]
        known[: len(joints)] = visible
        return {"owner": owner.reshape(-1, height, width), "people": people, "known": known}

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the maps' cross entropy and the others' losses, each a mean over what is known.

        Huber's losses of offsets and pairs are of standardised pixels, over the parts' cells. The
        pairs' logistic regression learns beside them and moves nothing else.
        """
        owner, people, known = rows["owner"], rows["people"], rows["known"]
        answers = self.network(self.images(rows["image"]))
        counted = rows["counted"][:, None].expand(owner.shape)
        total = torch.zeros((), device=owner.device)
        for name in {"parts", "early"} & answers.keys():
            target = (owner >= 0).to(answers[name].dtype)
            errors = functional.binary_cross_entropy_with_logits(
                answers[name], target, reduction="none"
            )
            total = total + (errors * counted).sum() / counted.sum().clamp(min=1)
        image, joint, y, x = torch.nonzero(owner >= 0, as_tuple=True)
        if not len(image):
            return total
        person = owner[image, joint, y, x]
        cell = self.cells(y * owner.shape[-1] + x, owner.shape[-1])
        way = torch.as_tensor(self.way, device=owner.device)[joint]  # (cells, K)
        wanted = people[image, person] - cell[:, None]
        offsets = answers["offsets"][image, joint, :, y, x]
        own = wanted[torch.arange(len(joint)), joint]
        total = total + LOSS_WEIGHT * huber(offsets, own, OFFSET_UNIT)
        row, end = torch.nonzero((way >= 0) & known[image, person], as_tuple=True)
        chosen = way[row, end]
        pairs = answers["pairs"][image[row], chosen, :, y[row], x[row]]
        total = total + LOSS_WEIGHT * huber(pairs, wanted[row, end], self.network.pair_std[chosen])
        return total + self.pair_loss(answers["pairs"].detach(), people, known)

    def pair_loss(
        self, pairs: torch.Tensor, people: torch.Tensor, known: torch.Tensor
    ) -> torch.Tensor:
        """Return the cross entropy of telling one person's pairs of joints from two people's."""
        seen = int(known.any(dim=2).sum(dim=1).max())
        people, known = people[:, :seen], known[:, :seen]
        height, width = pairs.shape[-2:]
        index = (people // self.stride).long()
        x, y = index[..., 0].clamp(0, width - 1), index[..., 1].clamp(0, height - 1)
        place = y * width + x  # (n, people, K)
        cell = self.cells(place, width)
        a, b = torch.as_tensor(self.graph, device=pairs.device).T
        ways = torch.as_tensor(self.way, device=pairs.device)
        image = torch.arange(len(pairs), device=pairs.device)[:, None, None]
        ahead = pairs.flatten(3)[image, ways[a, b], :, place[..., a]][:, :, None]
        back = pairs.flatten(3)[image, ways[b, a], :, place[..., b]][:, None]
        predicted = torch.stack(torch.broadcast_tensors(ahead, back), dim=-2)
        there = people[:, None, :, b] - cell[:, :, None, a]
        here = people[:, :, None, a] - cell[:, None, :, b]
        odds = self.network.pair_terms(
            torch.arange(len(a), device=pairs.device), torch.stack([there, here], dim=-2), predicted
        )  # (n, people, people, edges)
        both = known[:, :, None, a] & known[:, None, :, b]
        target = torch.eye(seen, device=pairs.device)[None, :, :, None].expand_as(odds)
        return functional.binary_cross_entropy_with_logits(odds[both], target[both])


def huber(answer: torch.Tensor, wanted: torch.Tensor, unit: torch.Tensor | float) -> torch.Tensor:
    """Return the mean Huber loss of differences in some unit."""
    return functional.huber_loss((answer - wanted) / unit, torch.zeros_like(answer))
