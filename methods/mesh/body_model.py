"""Body models: pose and shape to a mesh and its joints, by linear blend skinning.

Loper, Mahmood, Romero, Pons-Moll, Black: SMPL, SIGGRAPH Asia 2015. SMPL's own files have a licence
of their own and are never shipped: a user points to them. The embedded body is free.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.api import PrerequisiteError

EMBEDDED = Path(__file__).parents[1] / "weights" / "embedded-body.safetensors"
"""The embedded world's body in the arrays of an SMPL file."""

_NAMES = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_SMPL_FILES = (
    "SMPL_NEUTRAL.npz", "SMPL_NEUTRAL.pkl", "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl",
)  # fmt: skip
_REMEDY = (
    "Give a model file of smpl.is.tue.mpg.de (.pkl of version 1.0 or 1.1, or .npz) with the arrays "
    + ", ".join(_NAMES) + "."
)  # fmt: skip


class BodyModel(nn.Module):
    """Rotations (n, J, 3, 3) and shapes (n, B) to vertices (n, V, 3) and joints (n, J, 3), metres.

    Rotations are relative to the parent, the first turns the whole body about its root joint. All
    arrays are buffers that a network's checkpoint does not hold.

    Parameters
    ----------
    arrays : mapping of str to array
        ``v_template`` (V, 3), ``shapedirs`` (V, 3, B), ``posedirs`` (V, 3, 9 (J - 1)),
        ``J_regressor`` (J, V), ``weights`` (V, J), ``kintree_table`` (2, J) and ``f`` (F, 3).
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        for name in _NAMES[:5]:
            value = torch.tensor(np.asarray(arrays[name], np.float32))
            self.register_buffer(name, value, persistent=False)
        parents = np.asarray(arrays["kintree_table"])[0].astype(np.int64)
        self.parents: tuple[int, ...] = (-1, *parents[1:].tolist())
        self.faces = np.asarray(arrays["f"]).astype(np.int64)

    def forward(
        self, rotations: torch.Tensor, shape: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shaped = self.v_template + torch.einsum("vcb,nb->nvc", self.shapedirs, shape)
        rest = torch.einsum("jv,nvc->njc", self.J_regressor, shaped)
        eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        feature = (rotations[:, 1:] - eye).flatten(1)
        posed = shaped + torch.einsum("vcp,np->nvc", self.posedirs, feature)
        turns, joints = self.kinematics(rotations, rest)
        # A vertex moves with its bones: turned about each joint at rest, carried to where it is.
        moved = torch.einsum("vj,njab,nvb->nva", self.weights, turns, posed)
        offsets = joints - torch.einsum("njab,njb->nja", turns, rest)
        return moved + torch.einsum("vj,nja->nva", self.weights, offsets), joints

    def kinematics(
        self, rotations: torch.Tensor, rest: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return every joint's whole rotation (n, J, 3, 3) and place (n, J, 3)."""
        turns, places = [rotations[:, 0]], [rest[:, 0]]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = rest[:, joint] - rest[:, parent]
            places.append(places[parent] + torch.einsum("nab,nb->na", turns[parent], bone))
            turns.append(turns[parent] @ rotations[:, joint])
        return torch.stack(turns, dim=1), torch.stack(places, dim=1)

    def part(self, vertices: torch.Tensor) -> BodyModel:
        """Return the model of some of its vertices (m,), in that order, and without faces.

        Its joints are the same if all vertices are among them that the joints are regressed from.
        """
        rows = {name: getattr(self, name) for name in _NAMES[:5]}
        arrays = {
            name: (value[:, vertices] if name == "J_regressor" else value[vertices]).cpu().numpy()
            for name, value in rows.items()
        }
        return BodyModel({**arrays, "kintree_table": np.array([self.parents]),
                          "f": np.empty((0, 3), np.int64)})  # fmt: skip


def read_smpl(path: Path) -> dict[str, NDArray[Any]]:
    """Read a model file in SMPL's format; nothing in it is executed.

    Raises
    ------
    PrerequisiteError
        If the file is missing, is no such file, or holds objects of other kinds than arrays.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                content: Any = {name: file[name] for name in file.files}
        else:
            content = load_arrays(path.read_bytes())
    except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
        raise PrerequisiteError(f"{path} cannot be read: {error}.", _REMEDY) from error
    missing = [name for name in _NAMES if not isinstance(content, dict) or name not in content]
    if missing:
        raise PrerequisiteError(f"{path} has no {', '.join(missing)}.", _REMEDY)
    return {name: _dense(content[name]) for name in _NAMES}


class _Chumpy:
    """Stands for the automatic differentiation objects of the old files, which hold an array."""

    x: Any = None

    def __setstate__(self, state: Any) -> None:
        self.x = state.get("x") if isinstance(state, dict) else None


class _Arrays(pickle.Unpickler):
    """Loads numpy and scipy.sparse arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "chumpy":
            return _Chumpy
        arrays = {"_reconstruct", "ndarray", "dtype", "scalar"}
        if module.startswith(("numpy.core", "numpy._core", "numpy")) and name in arrays:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if module.startswith("scipy.sparse") and name in ("csc_matrix", "csr_matrix", "coo_matrix"):
            import scipy.sparse

            return getattr(scipy.sparse, name)
        if (module, name) in (("_codecs", "encode"), ("__builtin__", "object")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds a {module}.{name}, which is not loaded")


def load_arrays(pickled: bytes) -> Any:
    """Unpickle numpy and scipy.sparse arrays; anything else is an ``UnpicklingError``."""
    return _Arrays(io.BytesIO(pickled), encoding="latin1").load()


def _dense(value: Any) -> NDArray[Any]:
    if isinstance(value, _Chumpy):
        value = value.x
    return np.asarray(value.toarray() if hasattr(value, "toarray") else value)


def embedded_body() -> dict[str, NDArray[Any]]:
    """Return the embedded world's body; ``h36m_regressor`` (17, V) is beside SMPL's arrays."""
    from safetensors.numpy import load_file

    arrays = dict(load_file(EMBEDDED))
    vertices, joints = arrays["weights"].shape  # its pose changes no shape
    return {**arrays, "posedirs": np.zeros((vertices, 3, 9 * (joints - 1)), np.float32)}


def smpl_body() -> dict[str, NDArray[Any]]:
    """Return the user's SMPL model: folder ``HARNESS_SMPL`` with a model file and
    ``J_regressor_h36m.npy`` (17, 6890).

    Raises
    ------
    PrerequisiteError
        If one of the files is not there.
    """
    folder = Path(os.environ.get("HARNESS_SMPL", ""))
    found = [folder / name for name in _SMPL_FILES if (folder / name).is_file()]
    regressor = folder / "J_regressor_h36m.npy"
    if "HARNESS_SMPL" not in os.environ or not found or not regressor.is_file():
        raise PrerequisiteError(
            "The SMPL body model is not on this machine: HARNESS_SMPL names "
            f"{os.environ.get('HARNESS_SMPL', 'no folder')!r}.",
            f"Set it to a folder with {' or '.join(_SMPL_FILES)} (smpl.is.tue.mpg.de, for "
            "registered users) and J_regressor_h36m.npy.",
        )
    rows = np.load(regressor, allow_pickle=False)
    return {**read_smpl(found[0]), "h36m_regressor": rows}


BODIES = {"smpl": smpl_body, "embedded": embedded_body}
