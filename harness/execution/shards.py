"""Shard files: the predictions of a finished shard, written once.

A file's name carries the SHA-256 of its content (``00003.<first 16 digits>.parquet``), so a file
that is there is whole, and one that was damaged later is found out on resume.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from harness.api import Predictions
from harness.records.record import write_atomically


@dataclass(frozen=True)
class FailedSample:
    """A sample that could not be processed, and why."""

    sample_id: str
    reason: str


@dataclass(frozen=True)
class ShardFile:
    """A shard as read back from disk."""

    index: int
    predictions: Predictions
    failed: tuple[FailedSample, ...]


def write_shard(
    folder: Path, index: int, predictions: Predictions, failed: Sequence[FailedSample]
) -> Path:
    """Write a finished shard; the file appears whole or not at all."""
    import pyarrow.parquet as pq

    table = predictions.to_arrow()
    failures = orjson.dumps([{"sample_id": f.sample_id, "reason": f.reason} for f in failed])
    table = table.replace_schema_metadata({**table.schema.metadata, b"failed": failures})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue()
    path = folder / f"{index:05d}.{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    write_atomically(path, content)
    return path


def read_shard(path: Path) -> ShardFile | None:
    """Read a shard file; None if its content is not what its name says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = path.read_bytes()
    index, digest, _ = path.name.split(".")
    if hashlib.sha256(content).hexdigest()[:16] != digest:
        return None
    table = pq.read_table(pa.BufferReader(content))
    failed = tuple(FailedSample(**f) for f in orjson.loads(table.schema.metadata[b"failed"]))
    return ShardFile(int(index), Predictions.from_arrow(table), failed)


def finished_shards(folder: Path, sample_ids: Sequence[Sequence[str]]) -> set[int]:
    """Return the numbers of shards that need not run again.

    ``sample_ids`` are the ids of every shard. A damaged file, a file of other samples and a shard
    with failed samples are removed, so that they run again.
    """
    finished = set()
    for path in sorted(folder.glob("*.parquet"), key=lambda path: path.name):
        shard = read_shard(path)
        if shard is None or shard.failed or not _is_whole(shard, sample_ids):
            path.unlink()
        else:
            finished.add(shard.index)
    return finished


def read_job(folder: Path, shards: int) -> tuple[Predictions, tuple[FailedSample, ...]]:
    """Join all shards of a job in the order of their numbers.

    Raises
    ------
    FileNotFoundError
        If a shard is missing or damaged.
    """
    found = {shard.index: shard for path in folder.glob("*.parquet") if (shard := read_shard(path))}
    missing = sorted(set(range(shards)) - set(found))
    if missing:
        raise FileNotFoundError(f"{folder} lacks the shards {missing}")
    ordered = [found[index] for index in range(shards)]
    return (
        Predictions.concatenate([shard.predictions for shard in ordered]),
        tuple(failed for shard in ordered for failed in shard.failed),
    )


def _is_whole(shard: ShardFile, sample_ids: Sequence[Sequence[str]]) -> bool:
    return shard.index < len(sample_ids) and shard.predictions.sample_ids == tuple(
        sample_ids[shard.index]
    )
