"""Coarse meshes for graph convolutions: SMPL's official one, and a simple rule for any other."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.api import PrerequisiteError
from methods.mesh.body_model import load_arrays

_FILE = "mesh_downsampling.npz"
_REMEDY = (
    f"Put {_FILE} of the official code (nkolot/GraphCMR, folder data) beside the SMPL model in the "
    "folder that HARNESS_SMPL names."
)


@dataclass(frozen=True, eq=False)
class CoarseMesh:
    """A mesh of fewer vertices, and the way back.

    Parameters
    ----------
    adjacency : sparse tensor (C, C)
        The mean of a coarse vertex and its neighbours.
    template : tensor (C, 3)
        At rest, around the origin, within -1..1.
    up : sparse tensor (V, C)
        Fine vertices as mixtures of coarse ones.
    """

    adjacency: torch.Tensor
    template: torch.Tensor
    up: torch.Tensor

    def to(self, device: torch.device) -> CoarseMesh:
        """Return it on another device."""
        moved = (tensor.to(device) for tensor in (self.adjacency, self.template, self.up))
        return CoarseMesh(*moved)

    def refine(self, vertices: torch.Tensor) -> torch.Tensor:
        """Return fine vertices (n, V, 3) of coarse ones (n, C, 3)."""
        flat = self.up @ vertices.float().transpose(0, 1).flatten(1)
        return flat.unflatten(1, (len(vertices), 3)).transpose(0, 1)


def adjacency(pairs: NDArray[np.int64], vertices: int) -> torch.Tensor:
    """Return the sparse matrix (V, V) that takes the mean of a vertex and its neighbours.

    Binary with self loops, every row divided by its sum: not the symmetric form of the textbook.
    ``pairs`` (E, 2) holds every edge in both directions.
    """
    loops = np.arange(vertices)[:, None].repeat(2, axis=1)
    pairs = np.unique(np.concatenate([pairs, loops]), axis=0)
    count = np.bincount(pairs[:, 0], minlength=vertices)
    return _sparse(pairs, 1 / count[pairs[:, 0]], (vertices, vertices))


def edges(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the edges (E, 2) of triangles (F, 3), in both directions."""
    sides = [faces[:, [a, b]] for a in range(3) for b in range(3) if a != b]
    return np.unique(np.concatenate(sides), axis=0)


def coarsen(vertices: NDArray[np.float64], faces: NDArray[np.int64], count: int) -> CoarseMesh:
    """Thin out a mesh at rest (V, 3) to ``count`` vertices.

    Farthest-point sampling from the first vertex on. A vertex belongs to the nearest chosen one;
    chosen vertices are neighbours where an edge of the mesh joins what belongs to them. A fine
    vertex is the mixture of its three nearest chosen ones, weighted by inverse squared distance.
    """
    vertices = np.asarray(vertices, np.float64)
    chosen = _farthest(vertices, count)
    apart = ((vertices[:, None] - vertices[chosen]) ** 2).sum(axis=-1)
    joined = apart.argmin(axis=1)[edges(faces)]
    near = np.argsort(apart, axis=1, kind="stable")[:, :3]
    weights = 1 / np.maximum(np.take_along_axis(apart, near, axis=1), 1e-12)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.arange(len(vertices)).repeat(3)
    up = _sparse(np.stack([rows, near.ravel()], axis=1), weights.ravel(), (len(vertices), count))
    return CoarseMesh(adjacency(joined, count), _normalised(vertices)[torch.from_numpy(chosen)], up)


def smpl_coarse(vertices: NDArray[np.float64]) -> CoarseMesh:
    """Return SMPL's official coarse mesh of 1,723 vertices; ``vertices`` (6890, 3) is the template.

    Raises
    ------
    PrerequisiteError
        If the user's file is not there, or is another.
    """
    path = Path(os.environ.get("HARNESS_SMPL", "")) / _FILE
    a, up, down = _levels(path)
    if up.shape[0] != len(vertices):
        raise PrerequisiteError(
            f"{path} is of a mesh of {up.shape[0]} vertices, the body has {len(vertices)}.", _REMEDY
        )
    pairs = np.stack(a.nonzero(), axis=1)
    mix = up.tocoo()
    return CoarseMesh(
        adjacency(pairs, a.shape[0]),
        torch.from_numpy((down @ _normalised(vertices).double().numpy()).astype(np.float32)),
        _sparse(np.stack([mix.row, mix.col], axis=1), mix.data, up.shape),
    )


def _levels(path: Path) -> tuple[Any, Any, Any]:
    """Read the neighbours (C, C), and the ways up (V, C) and down (C, V), of the first level."""
    found: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in "AUD":
                with archive.open(f"{name}.npy") as file:
                    npy.read_magic(file)
                    npy.read_array_header_1_0(file)
                    found[name] = load_arrays(file.read())
        return found["A"][1], found["U"][0], found["D"][0]
    except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
        raise PrerequisiteError(f"{path} cannot be read: {error}.", _REMEDY) from error


def _farthest(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return which points (count,) farthest-point sampling chooses, in rising order."""
    chosen = [0]
    nearest = ((points - points[0]) ** 2).sum(axis=1)
    for _ in range(count - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return np.sort(np.array(chosen, dtype=np.int64))


def _normalised(vertices: NDArray[Any]) -> torch.Tensor:
    """Return a template (V, 3) around the middle of its box, its farthest coordinate 1."""
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    centred = vertices - middle
    return torch.from_numpy((centred / np.abs(centred).max()).astype(np.float32))


def _sparse(places: NDArray[Any], values: NDArray[Any], shape: tuple[int, int]) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor(places.T.astype(np.int64)), torch.tensor(values, dtype=torch.float32), shape,
        check_invariants=True,
    ).coalesce()  # fmt: skip
