"""A folder of pages of which only those are made again whose inputs have changed.

The folder keeps, in ``pages.json``, a key of the inputs of everything it holds. What has the same
key is left as it is; the rest is made in a folder beside and moved in only after all of it was
made, so a build that fails leaves the earlier pages untouched. Where many parts are due, all cores
make them.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from harness.api import PrerequisiteError

_KEYS = "pages.json"
_JSON = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE

_MANY = 200
"""Parts from which on it pays to start processes."""

_CHUNK = 16
"""Parts that a process is given at a time."""

Facts = dict[str, Any] | None
"""What a part of the site tells other parts, as plain data."""

Part = tuple[str, str, Callable[[], Facts]]
"""A part's name, the key of its inputs, and what makes it."""

_Made = tuple[list[str], Facts]
"""The files of a part, and its facts."""


@dataclass(frozen=True)
class _Kept:
    key: str
    files: list[str]
    facts: Facts


class Stage:
    """One build of a folder of pages.

    Use it as a context: at the end of a block without error the new pages take their places.

    Parameters
    ----------
    out : Path
        The folder; it need not exist.

    Raises
    ------
    PrerequisiteError
        If nothing can be written beside ``out``.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._old = self._earlier()
        self._new: dict[str, _Kept] = {}
        self._present = _files(out)
        self._written: list[str] = []
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
            self._folder.chmod(0o755)
        except OSError as error:
            raise PrerequisiteError(
                f"The leaderboard {out} cannot be written: {error.strerror}.",
                "Choose another folder.",
            ) from None

    def parts(self, wanted: Sequence[Part]) -> list[Facts]:
        """Keep parts of the site, or make them again with :meth:`write`; return their facts.

        They must not depend on each other.
        """
        due = [part for part in wanted if not self._kept(*part[:2])]
        made = _call_all([partial(self._made, make) for _, _, make in due])
        for (name, key, _), (files, facts) in zip(due, made, strict=True):
            self._new[name] = _Kept(key, files, facts)
        return [self._new[name].facts for name, _, _ in wanted]

    def _kept(self, name: str, key: str) -> bool:
        old = self._old.get(name)
        if old is None or old.key != key or not self._present.issuperset(old.files):
            return False
        self._new[name] = old
        return True

    def _made(self, make: Callable[[], Facts]) -> _Made:
        self._written = []
        facts = make()
        return sorted(self._written), facts

    def write(self, address: str, content: str | bytes) -> None:
        """Write a file of the part that is being made."""
        path = f"{self._folder}/{address}"
        self.claim(address)
        try:
            self._put(path, content)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._put(path, content)

    def path(self, address: str) -> Path:
        """Return where a file, or a folder of files, of the part in the making is written."""
        return self._folder / address

    def claim(self, address: str) -> None:
        """Say that a file below :meth:`path` belongs to the part in the making."""
        self._written.append(address)

    def read(self, address: str) -> bytes:
        """Return the content of a file of a part that was kept or made in this build."""
        new = self._folder / address
        return (new if new.is_file() else self._out / address).read_bytes()

    @staticmethod
    def _put(path: str, content: str | bytes) -> None:
        with open(path, "wb", buffering=0) as file:
            file.write(content.encode() if isinstance(content, str) else content)

    def __enter__(self) -> Stage:
        # Tens of thousands of records are no garbage: to look through them again and again takes a
        # third of a small build, and would copy them in forked processes.
        gc.freeze()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            gc.unfreeze()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _publish(self) -> None:
        parts = {name: vars(part) for name, part in self._new.items()}
        wanted = {file for part in self._new.values() for file in part.files} | {_KEYS}
        for stray in _files(self._folder) - wanted:
            (self._folder / stray).unlink()
        (self._folder / _KEYS).write_bytes(orjson.dumps(parts, option=_JSON))
        if not self._present:
            if self._out.is_dir():
                shutil.rmtree(self._out)  # holds empty folders at most
            self._folder.rename(self._out)
            return
        # Without keys a half-moved folder is made again as a whole.
        (self._out / _KEYS).unlink(missing_ok=True)
        for address in self._present - wanted:
            self._drop(self._out / address)
        moved = _files(self._folder) - {_KEYS}
        for address in [*sorted(moved), _KEYS]:
            (self._out / address).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / address).replace(self._out / address)

    def _drop(self, path: Path) -> None:
        """Remove a file, and the folders that it leaves empty."""
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self._out or any(folder.iterdir()):
                break
            folder.rmdir()

    def _earlier(self) -> dict[str, _Kept]:
        try:
            parts = orjson.loads((self._out / _KEYS).read_bytes())
            return {name: _Kept(**part) for name, part in parts.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # no site yet, or one of another version: everything is made


def _files(folder: Path) -> set[str]:
    """Return all files of a folder, by their addresses in it."""
    root = len(str(folder)) + 1
    return {f"{path}/{name}"[root:] for path, _, names in os.walk(folder) for name in names}


_calls: Sequence[Callable[[], _Made]] = ()
"""What forked processes find when they are told a number."""


def _call_all(calls: Sequence[Callable[[], _Made]]) -> list[_Made]:
    """Return what every call returns, in order; many are shared between forked processes.

    A process with other threads, or with Ray in it, must not be forked: it does all itself.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    threaded = threading.active_count() > 1 or "ray" in sys.modules
    if len(calls) < _MANY or cores == 1 or threaded:
        return [call() for call in calls]
    global _calls
    _calls = calls
    try:
        with ProcessPoolExecutor(cores, multiprocessing.get_context("fork")) as processes:
            return list(processes.map(_call, range(len(calls)), chunksize=_CHUNK))
    finally:
        _calls = ()


def _call(number: int) -> _Made:
    return _calls[number]()
