"""Content digests: the identity of protocols, datasets, weights and jobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, shortest floats.

    Dataclasses become objects of their fields, tuples become arrays, numpy scalars and arrays
    become plain numbers and nested arrays.

    Raises
    ------
    ValueError
        If a float is NaN or infinite: such a value has no canonical text.
    TypeError
        If a value has no JSON form.

    Examples
    --------
    >>> canonical_json({"b": (1, 2.5), "a": None})
    '{"a":null,"b":[1,2.5]}'
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def content_digest(value: Any) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    return value
