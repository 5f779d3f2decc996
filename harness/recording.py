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
from harness.api import (
    Benchmark,
    Dataset,
    Evaluation,
    Predictions,
    PrerequisiteError,
    Protocol,
)
from harness.evaluation import evaluate
from harness.records.record import Evidence, Record, write_evidence
from harness.records.store import Store, SuiteRun
from harness.view import shard_events
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


def conclude(workspace: Workspace, store: Store, run_id: str, note: Note) -> Path:
    """Bring the records of a run to MLflow, renew the leaderboard and return its first page.

    A failure of MLflow is told and loses nothing: the records are in the store already, and
    ``harness sync`` brings them later.
    """
    run = next(run for run in store.runs() if run.id == run_id)

    def attempt(step: Callable[[Tracker], object]) -> bool:
        from harness.records.tracking import Tracker

        try:
            step(Tracker(workspace.tracking_uri, workspace.artifacts))
        except Exception as error:  # whatever a tracking server may raise
            note(
                f"MLflow at {workspace.tracking_uri} took no results ({error}); they are safe in "
                "the results store. `harness sync` brings them when it answers again."
            )
            return False
        return True

    reached = attempt(lambda tracker: track(tracker, workspace, store, run))
    store.finish_run(run_id)
    page = publish(store.records(), workspace, workspace.site)
    if reached:
        attempt(lambda tracker: tracker.attach_pages(run, workspace.page))
    return page


def track(tracker: Tracker, workspace: Workspace, store: Store, run: SuiteRun) -> tuple[int, int]:
    """Make MLflow hold a suite run as the store has it; what is there already stays.

    Returns the numbers of results that were logged, and of all.
    """
    records = [record for record in store.records() if record.run_id == run.id]
    parent = tracker.parent(run)
    if parent != run.mlflow_run_id:
        store.link_run(run.id, parent)

    def evidence(record: Record) -> Evidence | None:
        return workspace.evidence(record.id) if record.status == "done" else None

    def shards(record: Record) -> list[dict[str, Any]]:
        return shard_events(workspace, record.id)

    logged = 0
    for record, mlflow_id, new in tracker.bring(run, parent, records, evidence, shards):
        logged += new
        if record.mlflow_run_id != mlflow_id:
            store.write(replace(record, mlflow_run_id=mlflow_id))
    return logged, len(records)


def synchronise(workspace: Workspace, store: Store) -> tuple[int, int]:
    """Bring MLflow level with the store: every run, every result, every page, each once.

    Returns the numbers of results that were logged, and of all.

    Raises
    ------
    PrerequisiteError
        If MLflow does not answer. What has been brought until then is not brought again.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    from harness.records.tracking import Tracker

    present = {record.run_id for record in store.records()}
    logged = total = 0
    try:
        tracker = Tracker(workspace.tracking_uri, workspace.artifacts)
        for run in store.runs():
            if run.id in present:
                new, every = track(tracker, workspace, store, run)
                tracker.attach_pages(run, workspace.page)
                logged, total = logged + new, total + every
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise PrerequisiteError(
            f"MLflow at {workspace.tracking_uri} does not take results: {error}.",
            "Start it, or set MLFLOW_TRACKING_URI; then run `harness sync` again.",
        ) from None
    return logged, total


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
