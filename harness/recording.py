"""From predictions to a published result: score, keep the evidence, record, track, publish."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.api import Benchmark, Dataset, Evaluation, Predictions, Protocol
from harness.evaluation import evaluate
from harness.records.record import Evidence, Record, write_evidence
from harness.records.store import Store
from harness.workspace import Workspace

if TYPE_CHECKING:
    from harness.records.tracking import Tracker

Note = Callable[[str], None]
"""Tells the user something."""


def score(
    benchmark: Benchmark, dataset: Dataset, predictions: Predictions, protocol: Protocol
) -> tuple[Evaluation, dict[str, Any]]:
    """Score predictions; return the evaluation and the fields of a record that it fills."""
    start = time.perf_counter()
    evaluation = evaluate(benchmark, dataset, predictions, protocol)
    return evaluation, {
        "status": "done",
        "reason": None,
        "metrics": {
            name: None if math.isnan(value) else float(value)
            for name, value in evaluation.metrics.items()
        },
        "intervals": evaluation.intervals,
        "counts": evaluation.counts,
        "timings": {"evaluate_s": time.perf_counter() - start},
        "notes": {**evaluation.notes, "predictions_digest": predictions.digest()},
    }


def identity(benchmark: Benchmark, dataset: Dataset, protocol: Protocol) -> dict[str, Any]:
    """Return the fields of a record that say what was measured on what."""
    return {
        "benchmark": benchmark.name,
        "split": dataset.split,
        "synthetic": dataset.synthetic,
        "protocol": protocol.variant,
        "protocol_digest": protocol.digest,
        "quirks": protocol.quirks(),
        "dataset_digest": dataset.digest,
        "data_root": str(dataset.root.absolute()),
    }


def keep_evidence(
    workspace: Workspace,
    record_id: str,
    benchmark: Benchmark,
    dataset: Dataset,
    evaluation: Evaluation,
    predictions: Predictions,
) -> Evidence:
    """Write the files behind a record."""
    units = benchmark.units(dataset, evaluation.statistics)
    folder = workspace.evidence(record_id).folder
    return write_evidence(folder, units, evaluation, predictions)


def conclude(
    workspace: Workspace, store: Store, run_id: str, suite: str, command: str, note: Note
) -> Path:
    """Bring the records of a run to MLflow, renew the leaderboard and return its first page.

    A failure of MLflow is told and loses nothing: the records are in the store already.
    """
    from harness.records.tracking import Tracker

    parent, tracker = None, None
    try:
        tracker = Tracker(workspace.tracking_uri, workspace.artifacts)
        parent = _track(tracker, workspace, store, run_id, suite, command)
    except Exception as error:  # whatever a tracking server may raise
        note(
            f"MLflow at {workspace.tracking_uri} took no results ({error}); they are safe in the "
            "results store."
        )
    store.finish_run(run_id, parent)
    page = publish(store.records(), workspace, workspace.site)
    if tracker is not None and parent is not None:
        for record in _of_run(store, run_id):
            own = workspace.site / "result" / f"{record.id}.html"
            if record.mlflow_run_id is not None and own.is_file():
                tracker.attach(record.mlflow_run_id, own)
    return page


def _track(
    tracker: Tracker, workspace: Workspace, store: Store, run_id: str, suite: str, command: str
) -> str:
    records = _of_run(store, run_id)
    parent = tracker.begin(suite, command, run_id)
    for record in records:
        evidence = workspace.evidence(record.id) if record.status == "done" else None
        mlflow_id = tracker.log(record, parent, evidence)
        store.write(replace(record, mlflow_run_id=mlflow_id))
    tracker.end(parent, failed=any(record.status == "failed" for record in records))
    return parent


def _of_run(store: Store, run_id: str) -> list[Record]:
    return [record for record in store.records() if record.run_id == run_id]


def publish(records: Sequence[Record], workspace: Workspace, out: Path) -> Path:
    """Render records as a static site with the registered report; return its first page."""
    build: Callable[..., Path] = registry.load(registry.entry(registry.REPORTS, "site"))
    if not isinstance(out, Path):  # an object store: rendered here, then copied there
        with tempfile.TemporaryDirectory() as folder:
            publish(records, workspace, Path(folder) / "site")
            for file in sorted((Path(folder) / "site").rglob("*")):
                if file.is_file():
                    target = out / file.relative_to(Path(folder) / "site").as_posix()
                    target.write_bytes(file.read_bytes())
        return out / "index.html"
    return build(
        records,
        evidence=lambda record: workspace.evidence(record.id),
        out=out,
        benchmarks=registry.benchmark,
        cards=registry.method_card,
    )
