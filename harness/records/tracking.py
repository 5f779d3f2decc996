"""MLflow: one parent run per suite run, one child per job.

MLflow is a view: the results store is written first, and everything here can be done again from
it. A run in MLflow is known by its tags ``harness.run`` and ``harness.id``; it is terminated last,
so one that is still RUNNING was cut off and is made anew.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.records.record import Evidence, Record
from harness.records.store import SuiteRun

_EXPERIMENT = "pose-harness"
_COMPLETE = ("FINISHED", "FAILED")
_USAGE_SHARDS = 200  # of four metrics each: MLflow takes a thousand at once
_PICTURES = {".jpg": "image/jpeg", ".png": "image/png", ".svg": "image/svg+xml"}


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
        # By default a server that is gone is waited for during four minutes, at every call.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        # Standard output is for results.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri)
        experiment = self.client.get_experiment_by_name(_EXPERIMENT)
        if experiment is not None:
            self.experiment_id = experiment.experiment_id
        else:
            location = artifacts.absolute().as_uri() if uri.startswith("sqlite") else None
            self.experiment_id = self.client.create_experiment(
                _EXPERIMENT, location, tags={"mlflow.experimentKind": "custom_model_development"}
            )

    def parent(self, run: SuiteRun) -> str:
        """Return the MLflow id of a suite run's parent, made if there is none."""
        known = self._known(run.id).get("", [])
        for double in known[1:]:
            self.client.delete_run(double.info.run_id)
        if known:
            return str(known[0].info.run_id)
        tags = {
            "harness.run": run.id,
            "harness.suite": run.suite,
            "harness.command": run.command[:8000],
        }
        made = self.client.create_run(
            self.experiment_id,
            start_time=_milliseconds(run.started_at),
            run_name=f"suite {run.suite}",
            tags=tags,
        )
        return str(made.info.run_id)

    def bring(
        self,
        run: SuiteRun,
        parent: str,
        records: Sequence[Record],
        evidence: Callable[[Record], Evidence | None],
        shards: Callable[[Record], Sequence[dict[str, Any]]],
    ) -> Iterator[tuple[Record, str, bool]]:
        """Make MLflow hold one complete child for each record of a suite run, and end the parent.

        ``shards`` gives the logged events of a record's shards, from which MLflow's page of system
        metrics is filled.
        Yields each record with the MLflow id of its child, and whether it had to be logged. What
        was cut off earlier, or is there twice, is deleted.
        """
        known = self._known(run.id)
        for record in records:
            children = known.get(record.id, [])
            kept = next((own for own in children if own.info.status in _COMPLETE), None)
            for child in children:
                if child is not kept:
                    self.client.delete_run(child.info.run_id)
            if kept is not None:
                yield record, str(kept.info.run_id), False
            else:
                made = self._log(record, parent, evidence(record), shards(record))
                yield record, made, True
        statuses = [record.status for record in records]
        for status in ("done", "failed", "skipped"):
            self.client.log_metric(parent, f"jobs/{status}", statuses.count(status), step=0)
        for benchmark in {record.benchmark for record in records}:
            self.client.set_tag(parent, f"harness.benchmark.{_key(benchmark)}", "true")
        end = max((_milliseconds(record.created_at) for record in records), default=None)
        self.client.set_terminated(parent, "FAILED" if "failed" in statuses else "FINISHED", end)

    def attach_pages(self, run: SuiteRun, page: Callable[[str], Path]) -> None:
        """Attach to each child its page, which ``page`` gives by the record's id, if there is one.

        The page is stored as one file: style and pictures are put into it.
        """
        for record_id, children in self._known(run.id).items():
            for child in children:
                file = page(record_id)
                if record_id and "harness.page" not in child.data.tags and file.is_file():
                    self.client.log_text(
                        child.info.run_id, self_contained(file), "page/result.html"
                    )
                    self.client.set_tag(child.info.run_id, "harness.page", "page/result.html")

    def _known(self, run_id: str) -> dict[str, list[Any]]:
        """Return the runs of a suite run by record id, the parent's under ""; oldest first."""
        known: dict[str, list[Any]] = {}
        token = None
        while True:
            found = self.client.search_runs(
                [self.experiment_id],
                f"tags.`harness.run` = '{run_id}'",
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in found:
                known.setdefault(run.data.tags.get("harness.id", ""), []).append(run)
            if not (token := found.token):
                return known

    def _log(
        self,
        record: Record,
        parent: str,
        evidence: Evidence | None,
        shards: Sequence[dict[str, Any]],
    ) -> str:
        """Log a record as one run and return its MLflow id."""
        from mlflow.entities import Dataset as MlflowDataset
        from mlflow.entities import DatasetInput, InputTag, Metric, Param

        stamp = _milliseconds(record.created_at)
        run = self.client.create_run(
            self.experiment_id,
            start_time=stamp,
            run_name=f"{record.name} on {record.benchmark} {record.split}",
            tags=_tags(record, parent),
        )
        mlflow_id = str(run.info.run_id)
        self.client.log_batch(
            mlflow_id,
            metrics=[Metric(k, v, stamp, 0) for k, v in _metrics(record).items()],
            params=[Param(k, str(v)[:6000]) for k, v in _params(record).items()],
        )
        dataset = MlflowDataset(
            name=f"{record.benchmark} {record.split}"[:500],
            digest=record.dataset_digest[:36],
            source_type="local",
            source=json.dumps({"uri": record.data_root}),
            profile=json.dumps(dict(record.counts)),
        )
        self.client.log_inputs(mlflow_id, [DatasetInput(dataset, [InputTag("context", "eval")])])
        if evidence is not None and (evidence.folder / "evaluation.json").is_file():
            self._log_artifacts(mlflow_id, evidence)
            self._log_curves(mlflow_id, evidence, stamp)
        self._log_usage(mlflow_id, shards)
        # A result has a moment, no duration: it may be logged long after it was made.
        status = "FAILED" if record.status == "failed" else "FINISHED"
        self.client.set_terminated(mlflow_id, status, stamp)
        return mlflow_id

    def _log_artifacts(self, mlflow_id: str, evidence: Evidence) -> None:
        evaluation = (evidence.folder / "evaluation.json").read_bytes().decode()
        self.client.log_text(mlflow_id, evaluation, "evaluation.json")
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

    def _log_usage(self, mlflow_id: str, shards: Sequence[dict[str, Any]]) -> None:
        """Log how busy the nodes were at the end of each shard, at most ``_USAGE_SHARDS`` of them.

        What begins with ``system/`` is shown by MLflow on a page of its own, node by node.
        """
        from mlflow.entities import Metric

        every = -(-len(shards) // _USAGE_SHARDS) or 1
        points = [
            Metric(
                _key(f"system/{shard['node']}/{name}"),
                value,
                _milliseconds(datetime.fromisoformat(shard["at"])),
                step,
            )
            for step, shard in list(enumerate(shards))[::every]
            for name, value in shard.get("usage", {}).items()
        ]
        self.client.log_batch(mlflow_id, metrics=points)


def self_contained(page: Path) -> str:
    """Return a page of a site with its style sheets and pictures inside.

    MLflow shows a page alone, so nothing beside it would be found: scripts and links to other pages
    are left out.
    """
    html = page.read_bytes().decode()

    def style(found: re.Match[str]) -> str:
        # A style sheet of ours; the page itself was escaped when it was rendered.
        return f"<style>{(page.parent / found[1]).resolve().read_bytes().decode()}</style>"

    def picture(found: re.Match[str]) -> str:
        file = page.parent / found[1]
        if file.suffix not in _PICTURES or not file.is_file():
            return found[0]
        content = base64.b64encode(file.read_bytes()).decode()
        return f'src="data:{_PICTURES[file.suffix]};base64,{content}"'

    html = re.sub(r"<script\b[^>]*></script>", "", html)
    html = re.sub(r'(<a\b[^>]*?) href="(?!https?:|data:|#)[^"]*"', r"\1", html)
    html = re.sub(r'<link rel="stylesheet" href="([^":]+)">', style, html)
    return re.sub(r'(?<=<img )src="([^":]+)"', picture, html)


def _tags(record: Record, parent: str) -> dict[str, str]:
    tags = {
        "mlflow.parentRunId": parent,
        "harness.run": record.run_id,
        "harness.id": record.id,
        "harness.benchmark": record.benchmark,
        "harness.method": record.method,
        "harness.variant": record.variant,
        "harness.split": record.split,
        "harness.synthetic": str(record.synthetic).lower(),
        "harness.protocol": record.protocol,
        "harness.protocol_digest": record.protocol_digest,
        "harness.dataset_digest": record.dataset_digest,
        "harness.status": record.status,
        "harness.command": record.command,
    }
    if record.reason:
        tags["harness.reason"] = record.reason
    return {name: value[:8000] for name, value in tags.items()}


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


def _milliseconds(moment: Any) -> int:
    return int(moment.timestamp() * 1000)


def _json_safe(values: Sequence[Any]) -> list[Any]:
    return [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
