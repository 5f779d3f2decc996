"""What pages are made of, as short keys: equal keys mean that a page need not be made again."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

import benchmarks.published
from harness.api import Benchmark
from harness.records.record import Evidence, Record

_record_values = attrgetter(*(f.name for f in fields(Record)))


def key(*parts: Any) -> str:
    """Return a digest of plain values; what is not plain counts by its printed form."""
    content = orjson.dumps(parts, default=repr, option=orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(content, digest_size=12).hexdigest()


@cache
def version_key() -> str:
    """Return the key of this package and of the published tables: code, templates, styles, data."""
    digest = hashlib.blake2b(digest_size=12)
    for folder in (Path(__file__).parent, Path(benchmarks.published.__file__).parent):
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".html", ".css", ".js", ".csv", ".yaml"):
                digest.update(f"{file.relative_to(folder)} {file.stat().st_size}".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def benchmark_key(benchmark: Benchmark) -> str:
    """Return the key of what pages say about a benchmark."""
    texts = (benchmark.name, benchmark.title, benchmark.citation, benchmark.obtain)
    protocols = {
        name: (protocol.digest, protocol.meanings())
        for name, protocol in benchmark.protocols.items()
    }
    splits = (benchmark.default_split, benchmark.embedded_split)
    return key(texts, splits, benchmark.primary, repr(benchmark.columns), protocols)


def record_key(record: Record, evidence: Evidence) -> str:
    """Return the key of a result: the record itself, its evidence and whether its data is there.

    Evidence files are written once and renamed into place, so their folder's time tells.
    """
    try:
        changed = evidence.folder.stat().st_mtime_ns
    except OSError:
        changed = 0
    return key(_record_values(record), changed, _is_folder(record.data_root))


@cache
def _is_folder(path: str) -> bool:
    return Path(path).is_dir()
