"""Points that say where a body is: its joints and landmarks of its skin, on one tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from methods.mesh.body_model import BodyModel

SMPL_LANDMARKS = (
    3042, 4428, 3503, 4311, 822, 4361, 877, 4386, 898, 3222, 6620, 2544, 2820, 1258, 4116, 5365,
    5989, 331,
)  # fmt: skip
"""SMPLR's vertices: left and right breast, belly, right and left hip, front of the right and left
thigh, back of the right and left thigh, left and right foot, left hand, left biceps and triceps,
right biceps and triceps, right hand, top of the head."""

_EMBEDDED_LANDMARKS = (
    (0.09, 1.31, 0.11), (-0.09, 1.31, 0.11), (0, 1.08, 0.1), (-0.16, 0.92, 0), (0.16, 0.92, 0),
    (-0.095, 0.7, 0.09), (0.095, 0.7, 0.09), (-0.095, 0.7, -0.08), (0.095, 0.7, -0.08),
    (0.115, 0.03, 0.18), (-0.115, 0.03, 0.18), (0.88, 1.41, -0.015), (0.32, 1.42, 0.04),
    (0.32, 1.42, -0.07), (-0.32, 1.42, 0.04), (-0.32, 1.42, -0.07), (-0.88, 1.41, -0.015),
    (0, 1.785, 0),
)  # fmt: skip
"""Places at rest, metres, of like points of the embedded body; the nearest vertex is meant."""

LIMBS = {
    "smpl": ((17, 19, 21, 23), (16, 18, 20, 22), (5, 8, 11), (4, 7, 10)),
    "embedded": ((13, 14, 15), (6, 7, 8), (17, 18), (10, 11)),
}
"""Right arm, left arm, right leg, left leg: the joints at which their bones end."""


@dataclass(frozen=True, eq=False)
class PointTree:
    """The points of a body model (P), all joints but the root and then landmarks.

    Parameters
    ----------
    model : BodyModel
        Of the vertices alone that the points need.
    landmarks : int tensor (L,)
        Rows of them.
    parents : int tensor (P,)
        On which each hangs: 0 the root, else a point's number and one.
    lengths : tensor (P,)
        How far from it at rest, metres.
    root : tensor (P,)
        Weights, of sum 1, that mix the root's place of those of the points that hang on it.
    """

    model: BodyModel
    landmarks: torch.Tensor
    parents: torch.Tensor
    lengths: torch.Tensor
    root: torch.Tensor

    def to(self, device: torch.device) -> PointTree:
        """Return it on another device."""
        tensors = (self.landmarks, self.parents, self.lengths, self.root)
        return PointTree(self.model.to(device), *(tensor.to(device) for tensor in tensors))

    def points(self, rotations: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        """Return the points (n, P, 3) from the root in metres."""
        vertices, joints = self.model(rotations, shape)
        found = torch.cat([joints[:, 1:], vertices[:, self.landmarks]], dim=1)
        return found - joints[:, :1]


def point_tree(model: BodyModel, name: str) -> PointTree:
    """Build the points of a body model, ``smpl`` or ``embedded``.

    The official tree is in a file that is not public. Here a landmark hangs on the joint that
    carries most of it, and the root is found by the smallest weights that find it at rest.
    """
    model = model.cpu()
    if name == "smpl":
        chosen = torch.tensor(SMPL_LANDMARKS)
    else:
        apart = torch.cdist(torch.tensor(_EMBEDDED_LANDMARKS), model.v_template)
        chosen = apart.argmin(dim=1)
    needed = torch.cat([model.J_regressor.abs().sum(dim=0).nonzero()[:, 0], chosen]).unique()
    part = model.part(needed)
    carriers = model.weights[chosen].argmax(dim=1)
    parents = torch.cat([torch.tensor(model.parents[1:]), carriers])
    tree = PointTree(part, torch.searchsorted(needed, chosen), parents, *torch.empty(2, 0))
    joints = len(model.parents)
    rest = tree.points(
        torch.eye(3).expand(1, joints, 3, 3), torch.zeros(1, model.shapedirs.shape[-1])
    )[0]
    there = torch.cat([torch.zeros(1, 3), rest])
    lengths = (rest - there[parents]).norm(dim=-1)
    near = (parents == 0).nonzero()[:, 0].numpy()
    firmly = 1000.0  # the sum of 1 comes before the place, where there is no solution
    system = np.vstack([rest[near].T, np.full(len(near), firmly)])
    root = torch.zeros(len(parents))
    mixed = np.linalg.lstsq(system, np.array([0, 0, 0, firmly]), rcond=None)[0]
    root[near] = torch.from_numpy(mixed).float()
    return PointTree(part, tree.landmarks, parents, lengths, root)
