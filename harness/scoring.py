"""Score predictions that were made elsewhere."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from harness import registry
from harness.api import Benchmark, Dataset, Evaluation, Predictions, Protocol, content_digest
from harness.data import DataFolders, locate
from harness.environment import environment
from harness.recording import conclude, identity, keep_evidence, score
from harness.records.record import Record
from harness.records.store import Store
from harness.view import View
from harness.workspace import Workspace


@dataclass(frozen=True)
class ScoreOptions:
    """The options of ``harness score``; see its help."""

    benchmark: str
    predictions: Path
    data: DataFolders = field(default_factory=DataFolders)
    split: str | None = None
    protocol: str | None = None
    method: str = "submission"
    workspace: Path | None = Path("workspace")
    """None scores without recording."""
    command: str = ""


@dataclass(frozen=True)
class Scored:
    """A scored submission and all that its record needs."""

    benchmark: Benchmark
    dataset: Dataset
    protocol: Protocol
    predictions: Predictions
    evaluation: Evaluation
    record: Record
    page: Path | None = None


def score_predictions(options: ScoreOptions, view: View) -> Scored:
    """Score a result file and, unless there is no workspace, record it like any other result.

    Raises
    ------
    PrerequisiteError
        If a name, the data or a record of the file is wrong.
    """
    benchmark = registry.benchmark(options.benchmark)
    protocol = replace(benchmark.protocol(options.protocol), box_source="submission")
    located = locate(benchmark, options.data, options.split, view)
    dataset = benchmark.load(located.root, located.split)
    predictions = benchmark.read_predictions(options.predictions, dataset, protocol)
    evaluation, outcome = score(benchmark, dataset, predictions, protocol)
    what = identity(benchmark, dataset, protocol)
    record = Record(
        id=content_digest(
            {
                "method": options.method,
                "predictions": predictions.digest(),
                "protocol": protocol.digest,
                "dataset": dataset.digest,
            }
        ),
        source="score",
        method=options.method,
        variant="",
        limit=None,
        weights_sha256=None,
        run_id=uuid.uuid4().hex,
        command=options.command,
        created_at=datetime.now(UTC),
        environment=environment(),
        **what,
        **outcome,
    )
    scored = Scored(benchmark, dataset, protocol, predictions, evaluation, record)
    if options.workspace is None:
        return scored
    return replace(scored, page=_record(scored, Workspace(options.workspace), view))


def _record(scored: Scored, workspace: Workspace, view: View) -> Path:
    record = scored.record
    with workspace.lock():
        store = Store(workspace.store_url)
        try:
            store.begin_run(record.run_id, f"score {record.benchmark}", record.command)
            keep_evidence(
                workspace,
                record.id,
                scored.benchmark,
                scored.dataset,
                scored.evaluation,
                scored.predictions,
            )
            store.write(record)
            return conclude(workspace, store, record.run_id, view.note)
        finally:
            store.close()
