"""A result as its readers see it, and the files that stand behind it.

A record is one row of the results store. Its evidence lies in the record's folder of the workspace:

    results/<id>/evaluation.json      curves, breakdowns and error analysis
    results/<id>/statistics.npz       per-sample sufficient statistics
    results/<id>/draws.npy            every metric in the bootstrap draws
    results/<id>/per_sample.parquet   sample id and scores, for tables and galleries
    results/<id>/predictions.parquet  the predictions that were scored
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from harness.api import Curve, Evaluation, Predictions, Ragged, Statistics

Status = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Record:
    """One result: what was run, under which protocol, on which data, and what came out.

    Parameters
    ----------
    id : str
        Content digest of everything that decides the result (64 hexadecimal digits).
    status : str
        ``done``, ``failed`` or ``skipped``; the latter two carry a ``reason`` and no metrics.
    source : str
        ``run`` for a method of the registry, ``score`` for predictions made elsewhere.
    method, variant : str
        ``hrnet`` and ``nano``; for ``score`` the name the user gave and an empty variant.
    benchmark, split : str
    synthetic : bool
        Whether the data is the embedded world.
    protocol, protocol_digest : str
        Named variant, and the SHA-256 over all quirks.
    quirks : mapping
        The protocol's fields by name.
    dataset_digest, data_root : str
    limit : int or None
        Number of samples, if not the whole split.
    weights_sha256 : str or None
    metrics : mapping of str to float
        None where a metric has no value.
    intervals : mapping of str to (low, high)
    counts, timings, profile, environment : mapping
        ``timings``: seconds by stage and samples per second; ``profile``: parameters, macs,
        paper_gflops, peak_memory_mb (of a float32 pass with one row); ``environment``: library
        versions, device, precision, Ray nodes, harness version.
    notes : mapping
        Defaults that were chosen and other facts worth printing.
    command : str
        The command line that gives this result again.
    run_id : str
        The suite run it was part of.
    mlflow_run_id : str or None
        None until it has reached MLflow.
    created_at : datetime
        UTC.
    """

    id: str
    status: Status
    reason: str | None
    source: Literal["run", "score"]
    method: str
    variant: str
    benchmark: str
    split: str
    synthetic: bool
    protocol: str
    protocol_digest: str
    quirks: Mapping[str, Any]
    dataset_digest: str
    data_root: str
    limit: int | None
    weights_sha256: str | None
    run_id: str
    command: str
    created_at: datetime
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    profile: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    mlflow_run_id: str | None = None

    @property
    def name(self) -> str:
        """Method and variant as one word, ``hrnet:nano``."""
        return f"{self.method}:{self.variant}" if self.variant else self.method


@dataclass(frozen=True)
class Evidence:
    """The files behind a record; each is read only when asked for."""

    folder: Path

    def curves(self) -> list[Curve]:
        """Return the curves of the evaluation."""
        return [
            Curve(c["name"], np.array(c["x"]), np.array(c["y"]), c["x_label"], c["y_label"])
            for c in self._evaluation["curves"]
        ]

    def breakdown(self) -> dict[str, dict[str, float | None]]:
        """Return values per joint, size or condition."""
        breakdown: dict[str, dict[str, float | None]] = self._evaluation["breakdown"]
        return breakdown

    def error_analysis(self) -> dict[str, Any]:
        """Return kinds of error and what each costs; empty if the benchmark has no such analysis.

        The keys are those of :meth:`harness.api.Benchmark.error_analysis`.
        """
        analysis: dict[str, Any] = self._evaluation.get("error_analysis", {})
        return analysis

    def per_sample(self) -> dict[str, np.ndarray]:
        """Return ``sample_id`` and every per-sample score as arrays (n,)."""
        import pyarrow.parquet as pq

        table = pq.read_table(self._open("per_sample.parquet"))
        return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}

    def predictions(self) -> Predictions:
        """Return the predictions that were scored."""
        import pyarrow.parquet as pq

        return Predictions.from_arrow(pq.read_table(self._open("predictions.parquet")))

    def statistics(self) -> Statistics:
        """Return the per-sample sufficient statistics."""
        with np.load(self._open("statistics.npz"), allow_pickle=False) as file:
            columns: dict[str, Any] = {}
            for key in file.files:
                kind, _, name = key.partition(".")
                if kind == "dense":
                    columns[name] = file[key]
                elif kind == "values":
                    columns[name] = Ragged(file[key], file[f"offsets.{name}"])
            return Statistics(file["position"], columns)

    def draws(self) -> dict[str, np.ndarray]:
        """Return every metric in the bootstrap draws, (draws,); none for a single sample."""
        content = (self.folder / "draws.npy").read_bytes()
        table = np.load(io.BytesIO(content), allow_pickle=False)
        return {name: table[name] for name in table.dtype.names or ()}

    @cached_property
    def _evaluation(self) -> dict[str, Any]:
        evaluation: dict[str, Any] = orjson.loads((self.folder / "evaluation.json").read_bytes())
        return evaluation

    def _open(self, name: str) -> io.BytesIO:
        return io.BytesIO((self.folder / name).read_bytes())


def write_evidence(
    folder: Path, sample_ids: tuple[str, ...], evaluation: Evaluation, predictions: Predictions
) -> Evidence:
    """Write the files behind a record; each appears whole or not at all.

    ``sample_ids`` are the units of the statistics, in their order.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {"position": evaluation.statistics.position}
    for name, column in evaluation.statistics.columns.items():
        if isinstance(column, Ragged):
            arrays[f"values.{name}"], arrays[f"offsets.{name}"] = column.values, column.offsets
        else:
            arrays[f"dense.{name}"] = column
    npz = io.BytesIO()
    np.savez_compressed(npz, **arrays)
    write_atomically(folder / "statistics.npz", npz.getvalue())
    write_atomically(folder / "draws.npy", _draws_table(evaluation.draws))
    scores = {"sample_id": sample_ids, **evaluation.per_sample}
    for name, table in (
        ("per_sample.parquet", pa.table(scores)),
        ("predictions.parquet", predictions.to_arrow()),
    ):
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        write_atomically(folder / name, buffer.getvalue())
    document = {
        "curves": [
            {"name": c.name, "x": c.x, "y": c.y, "x_label": c.x_label, "y_label": c.y_label}
            for c in evaluation.curves
        ],
        "breakdown": evaluation.breakdown,
        "error_analysis": evaluation.error_analysis,
    }
    write_atomically(
        folder / "evaluation.json", orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    )
    return Evidence(folder)


def _draws_table(draws: Mapping[str, np.ndarray]) -> bytes:
    """Return the draws as one table in numpy's own format, which a page reads in no time."""
    count = max(map(len, draws.values()), default=0)
    table = np.zeros(count, dtype=[(name, np.float64) for name in draws])
    for name, values in draws.items():
        table[name] = values
    buffer = io.BytesIO()
    np.save(buffer, table)
    return buffer.getvalue()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see all of it or nothing, also after a crash."""
    if not isinstance(path, Path):  # an object store: what is put there appears whole
        path.write_bytes(content)
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
