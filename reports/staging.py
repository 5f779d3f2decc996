"""A folder of pages of which only those are made again whose inputs have changed.

The folder keeps, in ``pages.json``, a key of the inputs of everything it holds. What has the same
key is left as it is; the rest is made in a folder beside and moved in only after all of it was
made, so a build that fails leaves the earlier pages untouched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.api import PrerequisiteError

_KEYS = "pages.json"
_JSON = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE

Facts = dict[str, Any] | None
"""What a part of the site tells other parts, as plain data."""


@dataclass(frozen=True)
class _Part:
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
        self._new: dict[str, _Part] = {}
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

    def part(self, name: str, key: str, make: Callable[[], Facts]) -> Facts:
        """Keep a part of the site, or make it again with :meth:`write`; return its facts."""
        old = self._old.get(name)
        if old and old.key == key and self._present.issuperset(old.files):
            self._new[name] = old
            return old.facts
        self._written = []
        facts = make()
        self._new[name] = _Part(key, sorted(self._written), facts)
        return facts

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
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
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

    def _earlier(self) -> dict[str, _Part]:
        try:
            parts = orjson.loads((self._out / _KEYS).read_bytes())
            return {name: _Part(**part) for name, part in parts.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # no site yet, or one of another version: everything is made


def _files(folder: Path) -> set[str]:
    """Return all files of a folder, by their addresses in it."""
    root = len(str(folder)) + 1
    return {f"{path}/{name}"[root:] for path, _, names in os.walk(folder) for name in names}
