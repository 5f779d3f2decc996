"""Checkpoint files: tensors by name, read without running anything.

Safetensors, torch files with ``weights_only``, and the constants of frozen TensorFlow graphs;
nothing else. A file whose SHA-256 is known is verified before it is opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api import PrerequisiteError, file_digest

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "model", "network")
"""Keys under which training scripts put the tensors beside their own bookkeeping."""


class _Inert:
    """Stands in for a trainer's bookkeeping in a torch file: built, filled, never used."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# What mmpose 1.x checkpoints hold beside tensors (training logs); nothing of it runs.
_INERT_NAMES = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
    "builtins.getattr",
)


def read_state(path: Path, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file by name, on the CPU.

    A dictionary under ``state_dict``, ``model`` or ``network`` is unwrapped, and the prefix
    ``module.`` of ``DataParallel`` is stripped. Where a file holds several networks, each under
    its own name, a tensor's name begins with that of its network.

    Parameters
    ----------
    path : Path
        ``.safetensors``, a frozen TensorFlow graph (``.pb``), or any torch file.
    sha256 : str, optional
        The file's SHA-256 or its first digits, verified before the file is opened.

    Raises
    ------
    PrerequisiteError
        If the file is missing, has another digest, is damaged, or holds no tensors.
    """
    verify(path, sha256)
    content = _READERS.get(path.suffix, _read_torch)(path)
    state = content
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    import torch

    if isinstance(state, Mapping) and not any(torch.is_tensor(v) for v in state.values()):
        state = {
            f"{network}.{name}": tensor
            for network, tensors in state.items()
            if isinstance(tensors, Mapping)
            for name, tensor in tensors.items()
        }
    if not isinstance(state, Mapping) or not any(torch.is_tensor(v) for v in state.values()):
        raise PrerequisiteError(
            f"Weights file {path} holds no tensors by name (found {_kind(content)}).",
            "Give a state dict, or a checkpoint that holds one under 'state_dict' or 'model'.",
        )
    return {
        name.removeprefix("module."): tensor
        for name, tensor in state.items()
        if torch.is_tensor(tensor)
    }


def verify(path: Path, sha256: str | None) -> None:
    """Make sure a file is there and has the digest (or first digits of it) that it should have.

    Raises
    ------
    PrerequisiteError
        Naming both digests.
    """
    if not path.is_file():
        raise PrerequisiteError(f"Weights file {path} does not exist.", "Give an existing file.")
    if sha256 is None:
        return
    digest = file_digest(path)
    if not digest.startswith(sha256.lower()):
        raise PrerequisiteError(
            f"Weights file {path} has SHA-256 {digest[: max(len(sha256), 8)]}, "
            f"expected {sha256}: it is damaged, incomplete or another file.",
            "Delete it and fetch or import it again.",
        )


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    import torch

    inert: list[Any] = [(_Inert, name) for name in _INERT_NAMES]
    try:
        with torch.serialization.safe_globals(inert):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes surface as almost any exception
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if unsafe is None:
            raise _damaged(path, error) from error
        raise PrerequisiteError(
            f"Weights file {path} holds {unsafe[1]!r}, which is no tensor and is never built.",
            "Save only its state_dict, or as safetensors.",
        ) from error


def _read_graph(path: Path) -> Any:
    import torch

    from harness.frozen_graph import read_constants

    try:
        constants = read_constants(path)
    except ValueError as error:
        raise _damaged(path, error) from error
    return {name: torch.from_numpy(values.copy()) for name, values in constants.items()}


_READERS = {".safetensors": _read_safetensors, ".pb": _read_graph}


def _damaged(path: Path, error: Exception) -> PrerequisiteError:
    return PrerequisiteError(
        f"Weights file {path} is damaged, incomplete or no weights file: {_reason(error)}",
        "Fetch or import it again.",
    )


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _kind(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary of {', '.join(map(str, list(content)[:3])) or 'nothing'}"
    return f"a {type(content).__name__}"
