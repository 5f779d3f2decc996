"""MLflow: one parent run per suite run, one child per job.

MLflow is a view: the results store is written first, and what does not reach MLflow keeps an empty
``mlflow_run_id`` there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.records.record import Evidence, Record

_EXPERIMENT = "pose-harness"


class Tracker:
    """Logs records to an MLflow tracking store.

    Parameters
    ----------
    uri : str
        Tracking URI; ``sqlite:///...`` by default of the workspace.
    artifacts : Path
        Where artifacts go when the store is a local database.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        from mlflow import MlflowClient

        # The first use of a SQLite store prints every migration; that is no news to a user.
        for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
            logging.getLogger(name).setLevel(logging.ERROR)

        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri)
        experiment = self.client.get_experiment_by_name(_EXPERIMENT)
        if experiment is not None:
            self.experiment_id = experiment.experiment_id
        else:
            location = artifacts.absolute().as_uri() if uri.startswith("sqlite") else None
            self.experiment_id = self.client.create_experiment(_EXPERIMENT, location)

    def begin(self, suite: str, command: str, run_id: str) -> str:
        """Start the parent run of a suite run and return its MLflow id."""
        tags = {"harness.suite": suite, "harness.command": command, "harness.run": run_id}
        run = self.client.create_run(self.experiment_id, run_name=f"suite {suite}", tags=tags)
        return str(run.info.run_id)

    def end(self, mlflow_run_id: str, failed: bool) -> None:
        """End a parent run."""
        self.client.set_terminated(mlflow_run_id, "FAILED" if failed else "FINISHED")

    def log(self, record: Record, parent: str | None, evidence: Evidence | None) -> str:
        """Log a record as one run and return its MLflow id."""
        from mlflow.entities import Dataset as MlflowDataset
        from mlflow.entities import DatasetInput, InputTag, Metric, Param

        run = self.client.create_run(
            self.experiment_id,
            run_name=f"{record.name} on {record.benchmark} {record.split}",
            tags=_tags(record, parent),
        )
        mlflow_id = str(run.info.run_id)
        stamp = int(record.created_at.timestamp() * 1000)
        self.client.log_batch(
            mlflow_id,
            metrics=[Metric(k, v, stamp, 0) for k, v in _metrics(record).items()],
            params=[Param(k, str(v)[:6000]) for k, v in _params(record).items()],
        )
        dataset = MlflowDataset(
            name=f"{record.benchmark} {record.split}",
            digest=record.dataset_digest[:36],
            source_type="local",
            source=record.data_root,
        )
        self.client.log_inputs(mlflow_id, [DatasetInput(dataset, [InputTag("context", "eval")])])
        if evidence is not None:
            self._log_artifacts(mlflow_id, evidence)
            self._log_curves(mlflow_id, evidence, stamp)
        self.client.set_terminated(mlflow_id, "FAILED" if record.status == "failed" else "FINISHED")
        return mlflow_id

    def attach(self, mlflow_run_id: str, page: Path) -> None:
        """Attach a record's page."""
        self.client.log_artifact(mlflow_run_id, str(page), "page")

    def _log_artifacts(self, mlflow_id: str, evidence: Evidence) -> None:
        self.client.log_artifact(mlflow_id, str(evidence.folder / "evaluation.json"))
        columns = evidence.per_sample()
        rows = {name: _json_safe(values.tolist()) for name, values in columns.items()}
        self.client.log_table(mlflow_id, rows, "per_image.json")

    def _log_curves(self, mlflow_id: str, evidence: Evidence, stamp: int) -> None:
        """Log each curve as a metric whose step is the point, so that MLflow draws and compares."""
        from mlflow.entities import Metric

        points = [
            Metric(_key(f"curves/{curve.name}"), float(y), stamp, step)
            for curve in evidence.curves()
            for step, y in enumerate(curve.y.astype(float))
            if math.isfinite(y)
        ]
        self.client.log_batch(mlflow_id, metrics=points)


def _tags(record: Record, parent: str | None) -> dict[str, str]:
    tags = {
        "harness.id": record.id,
        "harness.benchmark": record.benchmark,
        "harness.method": record.method,
        "harness.variant": record.variant,
        "harness.split": record.split,
        "harness.synthetic": str(record.synthetic).lower(),
        "harness.protocol_digest": record.protocol_digest,
        "harness.dataset_digest": record.dataset_digest,
        "harness.status": record.status,
        "harness.command": record.command,
    }
    if record.reason:
        tags["harness.reason"] = record.reason[:8000]
    if parent is not None:
        tags["mlflow.parentRunId"] = parent
    return tags


def _params(record: Record) -> dict[str, Any]:
    return {
        "method": record.name,
        "benchmark": record.benchmark,
        "split": record.split,
        "protocol": record.protocol,
        "box_source": record.quirks.get("box_source", "none"),
        "limit": record.limit,
        "weights_sha256": record.weights_sha256,
        **{f"environment.{name}": value for name, value in record.environment.items()},
    }


def _metrics(record: Record) -> dict[str, float]:
    """Return stable keys, ``coco/AP50`` with ``coco/AP50_low`` and ``_high``."""
    values: dict[str, float | None] = {}
    for name, value in record.metrics.items():
        values[f"{record.benchmark}/{name}"] = value
        if name in record.intervals:
            low, high = record.intervals[name]
            values[f"{record.benchmark}/{name}_low"] = low
            values[f"{record.benchmark}/{name}_high"] = high
    for kind, table in (("timings", record.timings), ("profile", record.profile)):
        values |= {f"{kind}/{name}": value for name, value in table.items()}
    return {_key(k): float(v) for k, v in values.items() if v is not None and math.isfinite(v)}


def _key(name: str) -> str:
    """MLflow refuses ``@ ( ) [ ] %`` in keys."""
    return "".join(c if c.isalnum() or c in "/_-. :" else "_" for c in name)


def _json_safe(values: Sequence[Any]) -> list[Any]:
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
