"""JSON files that hold lists of records, read into checked columns.

Every error names the file, the record and what to do about it.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from harness.api import PrerequisiteError

_PIECE = 1 << 18  # bytes parsed at once: their objects fit the processor's cache


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file; NaN and Infinity, which Python writes though JSON forbids them, pass.

    Raises
    ------
    PrerequisiteError
        If the file is missing, unreadable or no JSON; ``remedy`` ends the message.
    """
    return _parse(path, _read(path, remedy), remedy)


def read_records(path: Path, what: str, expected: str) -> Iterator[Records]:
    """Read a JSON file that is one list of objects, a piece after the other.

    A result file of COCO's size holds five million numbers: whole, they would take four times the
    time and three times the memory. At least one piece comes, possibly empty.

    Parameters
    ----------
    path : Path
    what : str
        What one record is, such as ``result``.
    expected : str
        Describes the right file.

    Raises
    ------
    PrerequisiteError
        If the file is unreadable, no JSON or not such a list.
    """
    remedy = f"Expected: {expected}."
    content = _read(path, remedy)
    start, end = content.find(b"[") + 1, content.rfind(b"]")
    if not content.lstrip().startswith(b"[") or not content.rstrip().endswith(b"]"):
        yield Records.of(path, what, _parse(path, content, remedy), expected)
        return
    count = 0
    while True:
        # A cut that is not between two records leaves an open bracket: then all the rest is read.
        cut = content.find(b"},", start + _PIECE, end)
        stop = end if cut < 0 else cut + 1
        try:
            items = orjson.loads(b"[%b]" % content[start:stop])
        except orjson.JSONDecodeError:
            items, stop = _parse(path, b"[%b]" % content[start:end], remedy, content), end
        yield Records.of(path, what, items, expected, count)
        count += len(items)
        if stop == end:
            return
        start = stop + 1


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PrerequisiteError(f"{path} cannot be read: {error.strerror}.", remedy) from error


def _parse(path: Path, content: bytes, remedy: str, whole: bytes | None = None) -> Any:
    """Parse ``content``, a part of ``whole``: an error's place is counted in the whole file."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return json.loads(content)
        except ValueError as error:
            place = _json_error(whole) if whole is not None else str(error)
            raise PrerequisiteError(f"{path} is no valid JSON: {place}.", remedy) from error


def _json_error(content: bytes) -> str:
    try:
        json.loads(content)
    except ValueError as error:
        return str(error)
    raise AssertionError("a part of the file is no JSON, but all of it is")


@dataclass(frozen=True, eq=False)
class Records:
    """A list of JSON objects.

    Parameters
    ----------
    path : Path
        The file, for messages.
    what : str
        What one record is: ``annotation``, ``result``.
    items : sequence of dict
    numbers_in_file : sequence of int
        Which record of the file each is, from 0.
    """

    path: Path
    what: str
    items: Sequence[dict[str, Any]]
    numbers_in_file: Sequence[int]

    @classmethod
    def of(cls, path: Path, what: str, items: Any, expected: str, first: int = 0) -> Records:
        """Check that ``items`` is a list of objects.

        ``expected`` describes the right file; ``first`` is the number of the first item in it.
        """
        if not isinstance(items, list):
            raise PrerequisiteError(
                f"{path}: the {what}s are not a list but {_kind(items)}.", f"Expected: {expected}."
            )
        records = cls(path, what, items, range(first, first + len(items)))
        for index, item in enumerate(items):
            if type(item) is not dict:
                records.fail(index, f"is {_kind(item)}, not an object", f"Expected: {expected}.")
        return records

    def __len__(self) -> int:
        return len(self.items)

    def fail(self, index: int, problem: str, remedy: str) -> NoReturn:
        """Raise the error for record ``index`` of these."""
        item = self.items[index]
        keys = ("id", "image_id") if isinstance(item, dict) else ()
        ids = ", ".join(f"{key} {item[key]!r}" for key in keys if key in item)
        name = f"{self.what} {self.numbers_in_file[index]}" + (f" ({ids})" if ids else "")
        raise PrerequisiteError(f"{self.path}: {name} {problem}.", remedy)

    def where(self, chosen: NDArray[np.bool_]) -> Records:
        """Return the chosen records."""
        if chosen.all():
            return self
        rows = np.flatnonzero(chosen).tolist()
        return Records(
            self.path,
            self.what,
            [self.items[row] for row in rows],
            [self.numbers_in_file[row] for row in rows],
        )

    def values(self, key: str) -> list[Any]:
        """Return the values of a key that every record must have."""
        try:
            return [item[key] for item in self.items]
        except KeyError:
            index = next(i for i, item in enumerate(self.items) if key not in item)
            self.fail(index, f"has no {key!r}", f"Every {self.what} needs {key!r}.")

    def integers(self, key: str) -> NDArray[np.int64]:
        """Return whole numbers (n,)."""
        values = self.values(key)
        for index, value in enumerate(values):
            if type(value) is not int:
                self.fail(index, f"has {key} {value!r}", f"{key!r} must be a whole number.")
        return np.array(values, dtype=np.int64)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return texts."""
        values = self.values(key)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.fail(index, f"has {key} {value!r}", f"{key!r} must be a text.")
        return tuple(values)

    def numbers(self, key: str) -> NDArray[np.float64]:
        """Return finite numbers (n,)."""
        return self._finite(key, self._floats(key, lambda: array("d", self.values(key))))

    def rows(self, key: str, length: int, meaning: str) -> NDArray[np.float64]:
        """Return lists of ``length`` finite numbers each as (n, length).

        ``meaning`` says what the numbers are, for the message about a wrong length.
        """
        values = self.values(key)
        for index, value in enumerate(values):
            if type(value) is not list:
                self.fail(index, f"has {key} {_kind(value)}", f"{key!r} must be {meaning}.")
            if len(value) != length:
                self.fail(
                    index,
                    f"has {len(value)} numbers in {key}, expected {length}{_guess(value, length)}",
                    f"{key!r} must be {meaning}.",
                )

        def fill() -> array[float]:
            flat = array("d")
            for value in values:
                flat.extend(value)
            return flat

        return self._finite(key, self._floats(key, fill).reshape(-1, length))

    def _floats(self, key: str, fill: Callable[[], array[float]]) -> NDArray[np.float64]:
        try:
            return np.array(fill(), dtype=np.float64)
        except (TypeError, OverflowError):
            for index, value in enumerate(self.values(key)):
                for number in value if isinstance(value, list) else [value]:
                    if not isinstance(number, (int, float)):
                        self.fail(index, f"has {_kind(number)} in {key}", "Give numbers only.")
            raise

    def _finite(self, key: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        bad = ~np.isfinite(values)
        if bad.any():
            place = tuple(np.argwhere(bad)[0])
            self.fail(
                int(place[0]), f"has {values[place]} in {key}", "Every number must be finite."
            )
        return values


def positions(
    records: Records, key: str, known: NDArray[np.int64], remedy: str
) -> NDArray[np.int64]:
    """Return where each record's id under ``key`` stands in ``known`` (sorted, unique)."""
    ids = records.integers(key)
    place = np.searchsorted(known, ids)
    unknown = np.append(known, -1)[place] != ids
    if unknown.any():
        index = int(np.flatnonzero(unknown)[0])
        records.fail(index, f"has the unknown {key} {ids[index]}", remedy)
    return place


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "the text", type(None): "null"}
    name = names.get(type(value), "the number")
    return name if isinstance(value, (dict, list, type(None))) else f"{name} {value!r}"


def _guess(value: list[Any], length: int) -> str:
    if value and isinstance(value[0], list):
        return " (nested lists: write the numbers in one flat list)"
    if len(value) * 3 == length * 2:
        return " (x, y only: the third number of each joint is missing)"
    return ""
