"""Compositional pose regression: bones are regressed, and paths of bones are what is learned.

Sun, Shang, Liang, Wei: Compositional Human Pose Regression, ICCV 2017. The official code is not
public; the joint regression baseline is in JimmySuen/integral-human-pose @ ad3f875, the loss is
the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import Sample
from methods.image_to_3d.image_pose import ImagePose3D
from methods.image_to_3d.integral import trunk

PARENTS = (0, 0, 1, 2, 0, 4, 5, 0, 17, 17, 8, 17, 11, 12, 17, 14, 15, 0)
"""Of the 17 joints of Human3.6M and the middle of the shoulders."""

PAIRS = ("joint", "bone", "both", "all")


def paths(parents: Sequence[int] = PARENTS) -> NDArray[np.float64]:
    """Return the matrix (K, K) that makes joints of bones.

    A bone is the parent less the joint; the root's is the root itself. The joint is the root less
    all bones on the way to it.
    """
    matrix = np.zeros((len(parents), len(parents)))
    for joint in range(len(parents)):
        step = joint
        while parents[step] != step:
            matrix[joint, step] = -1
            step = parents[step]
        matrix[joint, step] = 1
    return matrix


def pairs(kind: str, parents: Sequence[int] = PARENTS) -> list[tuple[int, int]]:
    """Return the pairs of joints whose distance vectors a loss compares."""
    root = next(joint for joint, parent in enumerate(parents) if joint == parent)
    others = [joint for joint in range(len(parents)) if joint != root]
    found = {
        "joint": [(joint, root) for joint in others],
        "bone": [(joint, parents[joint]) for joint in others],
        "all": [(u, v) for u in range(len(parents)) for v in range(u)],
    }
    if kind == "both":
        return list(dict.fromkeys(found["joint"] + found["bone"]))
    return found[kind]


class RegressionNet(nn.Module):
    """Images (n, 3, h, w) to numbers (n, 3 joints): a residual network, pooling, one layer.

    Parameters
    ----------
    joints : int
    layers : int
    blocks, planes : sequence of int, optional
        A thin trunk of basic blocks instead of ``layers``.
    """

    def __init__(
        self,
        joints: int,
        layers: int = 50,
        blocks: Sequence[int] | None = None,
        planes: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        self.backbone = trunk(layers, blocks, planes)
        self.head = nn.Module()
        self.head.fc = nn.Linear(self.backbone.channels, 3 * joints)
        for name, value in (("mean", 0.0), ("std", 1.0)):  # of the training data's bones
            self.register_buffer(name, torch.full((joints, 3), value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head.fc(self.backbone(x).mean(dim=(2, 3)))


class Compositional(ImagePose3D):
    """Options: ``pairs`` of :data:`PAIRS`, or None for joints regressed as such (the baseline)."""

    def build(self, joints: int, pairs: str | None = "all", **options: Any) -> nn.Module:
        self.pairs = pairs
        self.matrix = torch.eye(joints) if pairs is None else torch.tensor(paths()).float()
        return RegressionNet(joints, **options)

    def bones(self, answers: torch.Tensor) -> torch.Tensor:
        """Return bones (n, K, 3) in shares of the crop."""
        network = self.network
        return answers.unflatten(1, (-1, 3)) * network.std + network.mean

    def places(self, answers: torch.Tensor) -> torch.Tensor:
        bones = self.bones(answers)
        return self.matrix.to(bones) @ bones

    def fit(self, samples: Sequence[tuple[Sample, Mapping[str, NDArray[Any]]]]) -> None:
        """Take mean and deviation of every bone of the training data (up to 500 people)."""
        random = np.random.default_rng(0)
        chosen = random.permutation(len(samples))[:500].tolist()
        rows = [self.training_rows(*samples[i], random)["places"] for i in chosen]
        places = torch.from_numpy(np.concatenate(rows))
        bones = torch.linalg.inv(self.matrix) @ places
        self.network.mean.copy_(bones.mean(dim=0))
        deviation = bones.std(dim=0) if len(bones) > 1 else torch.zeros_like(bones[0])
        self.network.std.copy_(deviation.clamp(min=1e-3))

    def loss(self, rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the L1 distance of the pairs' vectors, in deviations of the bones, per person.

        The root's place is learned beside them: the crop is not centred on it.
        """
        wanted = rows["places"]
        found = self.places(self.network(self.images(rows["crops"])))
        away = found - wanted
        scale = self.network.std.mean(dim=0)
        if self.pairs is None:
            return (away / scale).abs().sum(dim=(1, 2)).mean()
        first, second = zip(*pairs(self.pairs), strict=True)
        vectors = away[:, list(first)] - away[:, list(second)]
        root = away[:, self.pelvis]
        total = (vectors / scale).abs().sum(dim=(1, 2)) + (root / scale).abs().sum(dim=1)
        return total.mean()
