"""The embedded body as a body model: the arrays of an SMPL file, made of the free body.

Only the body itself, without hair and clothes. Its seven shapes are the proportions of
:class:`benchmarks.world.look.Build`, linearised at the average; it has no pose-dependent shapes.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.world import body
from benchmarks.world.body import Floats
from benchmarks.world.h36m import rest_joints
from benchmarks.world.look import Build

STEP = 0.05
"""Change of a proportion that is a shape of 1."""
_NEAR = 24
"""Vertices that a joint is regressed from."""

_KEPT = np.array([part.name not in body.OPTIONAL_PARTS for part in body.PARTS])


def kept_vertices() -> NDArray[np.int64]:
    """Return the vertices (V,) of the world's template that are the body itself."""
    return np.flatnonzero(_KEPT[body.template().vertex_part])


def body_model() -> dict[str, NDArray[Any]]:
    """Return the model's arrays, and ``h36m_regressor`` (17, V)."""
    mesh, vertices = body.template(), kept_vertices()
    place = np.full(len(mesh.vertices), -1)
    place[vertices] = np.arange(len(vertices))
    template, weights = mesh.vertices[vertices], mesh.weights[vertices]
    names = [field.name for field in fields(Build)]
    average = _shaped(template, weights, Build(**dict.fromkeys(names, 1.0)))
    shapes = [
        _shaped(template, weights, Build(**{**dict.fromkeys(names, 1.0), name: 1 + STEP})) - average
        for name in names
    ]
    joints = len(body.JOINTS)
    return {
        "v_template": average.astype(np.float32),
        "shapedirs": np.stack(shapes, axis=-1).astype(np.float32),
        "posedirs": np.zeros((len(vertices), 3, 9 * (joints - 1)), np.float32),
        "J_regressor": regressor(average, body.REST).astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.array([body.PARENTS, range(joints)], np.int64),
        "f": place[mesh.faces[_KEPT[mesh.face_part]]].astype(np.int32),
        "h36m_regressor": regressor(average, rest_joints()).astype(np.float32),
    }


def _shaped(template: Floats, weights: Floats, build: Build) -> Floats:
    still = np.tile(np.eye(3), (len(body.JOINTS), 1, 1))
    return body.skin(template, weights, *body.joint_transforms(still, build.scales()))


def regressor(vertices: Floats, points: Floats) -> Floats:
    """Return the weights (K, V), of sum 1, that make points (K, 3) of the vertices around them.

    The smallest weights that do so: points then follow changes of the vertices smoothly.
    """
    rows = np.zeros((len(points), len(vertices)))
    for row, point in zip(rows, points, strict=True):
        near = np.argsort(((vertices - point) ** 2).sum(axis=1))[:_NEAR]
        system = np.vstack([(vertices[near] - point).T, np.ones(_NEAR)])
        row[near] = np.linalg.lstsq(system, np.array([0.0, 0, 0, 1]), rcond=None)[0]
    return rows
