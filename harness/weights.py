"""Weights of methods: where their files are, and how they get into a network."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from harness import registry
from harness.api import Card, Method, PrerequisiteError, Variant, file_digest
from harness.api.card import Weights
from harness.cache import cache_root
from harness.checkpoint import read_state, verify

SHOWN_KEYS = 3
"""Key names that a message lists before it only counts."""

SUFFIXES = (".safetensors", ".pth", ".pb")
"""Of files in the cache."""


def load_into(method: Method, path: Path, sha256: str | None = None) -> None:
    """Load a weights file into a method's network, every tensor of it.

    Parameters
    ----------
    sha256 : str, optional
        What the file's SHA-256 must start with; by default what :func:`known_digest` finds.

    Raises
    ------
    PrerequisiteError
        If the file cannot be read, or tensors are missing, left over or of another shape: the
        first few and their number.
    """
    import torch

    state = read_state(path, sha256 or known_digest(path, method.card, method.variant))
    state = dict(method.translate_weights(state))
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


def start_from(method: Method, other: str) -> str:
    """Load those tensors of another variant's weights that fit a method's own by name and shape.

    Returns
    -------
    str
        SHA-256 of the other's weights file.

    Raises
    ------
    PrerequisiteError
        If the weights are not on this machine, or no tensor fits.
    """
    name, variant = registry.split_name(other)
    card = registry.method_card(name)
    path = locate(card, variant)
    if path is None:
        raise PrerequisiteError(
            f"{method.name} is trained from {other}, whose weights are not on this machine.",
            f"harness weights fetch {other}, or train it first.",
        )
    own = method.network.state_dict()
    state = read_state(path, known_digest(path, card, card.variants[variant]))
    state = dict(method.translate_start(state))
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise PrerequisiteError(
            f"No tensor of {other} has name and shape of one of {method.name}.",
            "Name another variant under `start` in its recipe.",
        )
    method.network.load_state_dict({**own, **fitting})
    return file_digest(path)


def known_digest(path: Path, card: Card, variant: Variant) -> str | None:
    """Return what a file's SHA-256 is known to start with, if anything.

    From the card for a shipped file, from ``FILE.sha256`` in the cache, from the name of a file
    that follows mmpose's rule ``NAME-XXXXXXXX_YYYYMMDD.pth``.
    """
    weights = variant.weights
    if weights is not None and weights.shipped and path == _shipped(card, weights.shipped):
        return weights.sha256
    beside = _digest_file(path)
    if beside.is_file():
        return beside.read_text(encoding="ascii").split()[0]
    named = re.search(r"-([0-9a-f]{8})_\d{8}$", path.stem)
    return named[1] if named else None


def locate(card: Card, variant: str) -> Path | None:
    """Return a variant's weights file: fetched or imported, else the shipped one, else None.

    Raises
    ------
    PrerequisiteError
        If the shipped file is not there.
    """
    for suffix in SUFFIXES:
        cached = _cache_folder(card) / f"{variant}{suffix}"
        if cached.is_file():
            return cached
    weights = card.variant(variant).weights
    if weights is None or weights.shipped is None:
        return None
    path = _shipped(card, weights.shipped)
    if not path.is_file():
        raise PrerequisiteError(
            f"{card.name}:{variant} should come with the file {path}, which does not exist.",
            "Install the package again.",
        )
    return path


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
    if weights is None or weights.url is None or weights.sha256 is None:
        raise PrerequisiteError(
            f"{card.name}:{variant} has no public checkpoint to fetch.",
            f"Bring your own: harness weights import {card.name}:{variant} FILE.",
        )
    target = _cache_file(card, variant, Path(weights.url))
    part = target.with_name(f"{target.name}.part")
    try:
        _download(weights.url, part, progress)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
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
    _place(part, target)
    return target


def import_file(card: Card, variant: str, path: Path) -> Path:
    """Copy a checkpoint the user has into the cache, and return the copy.

    Raises
    ------
    PrerequisiteError
        If it does not load into the variant's network; the cache is left as it was.
    """
    load_into(registry.method_class(card.name)(card, variant), path)
    target = _cache_file(card, variant, path)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.")
    os.close(handle)
    try:
        shutil.copyfile(path, temporary)
        _place(Path(temporary), target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


@dataclass(frozen=True)
class WeightsStatus:
    """Where a variant's weights are.

    Parameters
    ----------
    name : str
        ``METHOD:VARIANT``.
    source : str
        ``shipped``, ``cache``, ``public`` (can be fetched), ``none`` or ``not needed``.
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
            path, weights = locate(card, name), variant.weights or Weights()
            if variant.weights is None:
                source = "not needed"
            elif path is not None:
                source = "cache" if path.parent == _cache_folder(card) else "shipped"
            else:
                source = "public" if weights.url else "none"
            found = None if path is None else str(path)
            rows.append(
                WeightsStatus(f"{card.name}:{name}", source, found, weights.url, weights.licence)
            )
    return rows


def _shipped(card: Card, name: str) -> Path:
    package = registry.entry(registry.METHODS, card.name).module.partition(".")[0]
    return Path(str(files(package) / "weights" / name))


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _cache_folder(card: Card) -> Path:
    return cache_root() / "weights" / card.name


def _cache_file(card: Card, variant: str, source: Path) -> Path:
    folder = _cache_folder(card)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PrerequisiteError(
            f"The cache {folder} cannot be written: {error.strerror}.",
            "Set HARNESS_CACHE to a folder that can.",
        ) from error
    suffix = source.suffix if source.suffix in SUFFIXES else ".pth"  # torch files have many names
    return folder / f"{variant}{suffix}"


def _place(file: Path, target: Path) -> None:
    """Make a verified file the only one of its variant in the cache, its digest beside it."""
    for suffix in SUFFIXES:
        other = target.with_suffix(suffix)
        other.unlink(missing_ok=True)
        _digest_file(other).unlink(missing_ok=True)
    digest = file_digest(file)
    file.replace(target)
    _digest_file(target).write_text(f"{digest}  {target.name}\n", encoding="ascii")


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


def _first(names: list[str]) -> str:
    shown = ", ".join(str(name) for name in names[:SHOWN_KEYS])
    return shown + (", ..." if len(names) > SHOWN_KEYS else "")
