"""Weights files: where they are, how they are checked, and how they get into a network.

Only formats that cannot run code are read: safetensors, and torch files with ``weights_only``.
A file whose SHA-256 is known is verified before it is opened.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api import Card, Method, PrerequisiteError, file_digest
from harness.cache import cache_root

if TYPE_CHECKING:
    import torch

SHOWN_KEYS = 3
"""Key names that a message lists before it only counts."""

SUFFIXES = (".safetensors", ".pth")
"""Of files in the cache."""

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
    ``module.`` of ``DataParallel`` is stripped.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or any torch file.
    sha256 : str, optional
        The file's SHA-256 or its first digits, verified before the file is opened.

    Raises
    ------
    PrerequisiteError
        If the file is missing, has another digest, is damaged, or holds no tensors.
    """
    verify(path, sha256)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = content
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    import torch

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


def load_into(method: Method, path: Path, sha256: str | None = None) -> None:
    """Load a weights file into a method's network, every tensor of it.

    Raises
    ------
    PrerequisiteError
        If tensors are missing, left over or of another shape: the first few and their number.
    """
    import torch

    state = dict(method.translate_weights(read_state(path, sha256)))
    expected = method.network.state_dict()
    for name, tensor in expected.items():
        # The batch counters are younger than some official checkpoints, and inference has no use
        # for them.
        if name.endswith(".num_batches_tracked"):
            state.setdefault(name, torch.zeros_like(tensor))
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    misshaped = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    kinds = {"missing": missing, "unexpected": extra, "of another shape": misshaped}
    wrong = [f"{len(keys)} {kind}: {_first(keys)}" for kind, keys in kinds.items() if keys]
    if wrong:
        raise PrerequisiteError(
            f"Weights file {path} does not fit {method.name}; tensors {'; '.join(wrong)}.",
            "Give a checkpoint of this very variant.",
        )
    method.network.load_state_dict(state)


def locate(card: Card, variant: str) -> Path | None:
    """Return a variant's weights file: the shipped one, else the one in the cache, else None."""
    shipped = card.variant(variant).weights.shipped
    if shipped is not None:
        return Path(str(files("methods") / "weights" / shipped))
    folder = cache_root() / "weights" / card.name
    found = [path for suffix in SUFFIXES if (path := folder / f"{variant}{suffix}").is_file()]
    return found[0] if found else None


def fetch(
    card: Card, variant: str, progress: Callable[[int, int | None], None] | None = None
) -> Path:
    """Download a variant's weights into the cache, verify them, and return the file.

    An interrupted download goes on where it stopped, if the server can do that. A file that is
    already there is not downloaded again.

    Parameters
    ----------
    progress : callable, optional
        Called with the bytes that are there and the total (None if the server does not say).

    Raises
    ------
    PrerequisiteError
        If the variant has no public checkpoint, the download fails, or the digest is wrong.
    """
    there = locate(card, variant)
    if there is not None:
        return there
    weights = card.variant(variant).weights
    if weights.url is None or weights.sha256 is None:
        raise PrerequisiteError(
            f"{card.name}:{variant} has no public checkpoint to fetch.",
            f"Bring your own: harness weights import {card.name}:{variant} FILE.",
        )
    target = _cache_file(card, variant, Path(weights.url))
    part = target.with_name(f"{target.name}.part")
    try:
        _download(weights.url, part, progress)
    except (urllib.error.URLError, OSError) as error:
        raise PrerequisiteError(
            f"Cannot download {weights.url}: {error}.",
            "Run the command again to go on, or download the file elsewhere and use "
            f"harness weights import {card.name}:{variant} FILE.",
        ) from error
    try:
        verify(part, weights.sha256)
    except PrerequisiteError:
        part.unlink()
        raise
    part.replace(target)
    return target


def import_file(card: Card, variant: str, path: Path) -> Path:
    """Copy a checkpoint the user has into the cache, and return the copy.

    Raises
    ------
    PrerequisiteError
        If it does not load into the variant's network; the cache is left as it was.
    """
    from harness.registry import method_class

    load_into(method_class(card.name)(card, variant), path)
    target = _cache_file(card, variant, path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.")
    os.close(handle)
    try:
        shutil.copyfile(path, temporary)
        for suffix in SUFFIXES:  # at most one file of a variant
            target.with_name(f"{variant}{suffix}").unlink(missing_ok=True)
        os.replace(temporary, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return target


@dataclass(frozen=True)
class WeightsStatus:
    """Where a variant's weights are.

    Parameters
    ----------
    name : str
        ``METHOD:VARIANT``.
    source : str
        ``shipped``, ``cache``, ``public`` (can be fetched) or ``none``.
    path, url : str or None
    licence : str
    """

    name: str
    source: str
    path: str | None
    url: str | None
    licence: str


def status(cards: Iterable[Card]) -> list[WeightsStatus]:
    """Say for every variant of the methods where its weights are."""
    rows = []
    for card in cards:
        for name, variant in card.variants.items():
            path, weights = locate(card, name), variant.weights
            if path is not None:
                source = "shipped" if weights.shipped else "cache"
            else:
                source = "public" if weights.url else "none"
            found = None if path is None else str(path)
            rows.append(
                WeightsStatus(f"{card.name}:{name}", source, found, weights.url, weights.licence)
            )
    return rows


def _cache_file(card: Card, variant: str, source: Path) -> Path:
    folder = cache_root() / "weights" / card.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"The cache {folder} cannot be written: {error.strerror}.",
            "Set HARNESS_CACHE to a folder that can.",
        ) from error
    return folder / f"{variant}{SUFFIXES[source.suffix != '.safetensors']}"


def _download(url: str, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """Append to ``part`` what is missing of it, or start again if the server cannot resume."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # "range not satisfiable": nothing is missing
            raise
        return
    with response:
        if response.status != 206:
            done = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with part.open("ab" if done else "wb") as file:
            while chunk := response.read(1 << 20):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    import torch

    inert: list[Any] = [(_Inert, name) for name in _INERT_NAMES]
    try:
        with torch.serialization.safe_globals(inert):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" not in str(error):
            raise _damaged(path, error) from error
        raise PrerequisiteError(
            f"Weights file {path} holds more than tensors, which is never run: {_reason(error)}",
            "Save only its state_dict, or as safetensors.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> PrerequisiteError:
    return PrerequisiteError(
        f"Weights file {path} is damaged, incomplete or no weights file: {_reason(error)}",
        "Fetch or import it again.",
    )


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _kind(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"the keys {_first(list(content))}" if content else "an empty dictionary"
    return type(content).__name__


def _first(names: list[str]) -> str:
    shown = ", ".join(str(name) for name in names[:SHOWN_KEYS])
    return shown + (", ..." if len(names) > SHOWN_KEYS else "")
