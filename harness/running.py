"""The main job: plan a suite, run it, score it, record it, publish it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.data import DataFolders, locate
from harness.environment import environment
from harness.execution.cluster import cluster, describe
from harness.execution.shards import finished_shards, read_job
from harness.execution.worker import ShardReport
from harness.planning import Job, plan
from harness.recording import conclude, identity, keep_evidence, publish, score
from harness.records.record import Record
from harness.records.store import Store
from harness.suites import read_suite
from harness.view import View
from harness.workspace import Workspace

RERUN = ("never", "failed", "all")


@dataclass(frozen=True)
class RunOptions:
    """The options of ``harness run``; see its help."""

    suite: str
    methods: tuple[str, ...] = ()
    split: str | None = None
    boxes: str | None = None
    data: DataFolders = field(default_factory=DataFolders)
    workspace: Path = Path("workspace")
    limit: int | None = None
    address: str = "local"
    rerun: str = "failed"
    max_workers: int | None = None
    command: str = ""


@dataclass(frozen=True)
class RunSummary:
    """What a run left behind."""

    records: tuple[Record, ...]
    reused: int
    page: Path | None

    @property
    def failed(self) -> bool:
        """Whether some job failed."""
        return any(record.status == "failed" for record in self.records)


def plan_suite(options: RunOptions, view: View) -> list[Job]:
    """Plan a run's jobs, building embedded data where it is needed.

    Raises
    ------
    PrerequisiteError
        If a name, an option or the data is wrong.
    """

    return plan(
        read_suite(options.suite),
        methods=options.methods,
        split=options.split,
        boxes=options.boxes,
        limit=options.limit,
        find=lambda benchmark, split: locate(benchmark, options.data, split, view),
    )


def run_suite(options: RunOptions, view: View) -> RunSummary:
    """Run a suite; what an earlier run has finished is not done again.

    Raises
    ------
    PrerequisiteError
        If the user can fix what stops the run.
    """
    workspace = Workspace(options.workspace)
    with workspace.lock():
        jobs = plan_suite(options, view)
        store = Store(workspace.store_url)
        try:
            return _Run(options, workspace, store, view).complete(jobs)
        finally:
            store.close()


class _Run:
    """One run over one workspace."""

    def __init__(self, options: RunOptions, workspace: Workspace, store: Store, view: View) -> None:
        self.options = options
        self.workspace = workspace
        self.store = store
        self.view = view
        self.id = uuid.uuid4().hex

    def complete(self, jobs: Sequence[Job]) -> RunSummary:
        """Bring every job to a result and publish the leaderboard."""
        earlier = {job.digest: self.store.get(job.digest) for job in jobs}
        reused = {
            digest: record
            for digest, record in earlier.items()
            if record is not None and self._keeps(record)
        }
        for record in reused.values():
            self.view.recorded(record, reused=True)
        todo = {job.digest: job for job in jobs if job.digest not in reused}
        if todo:
            self.store.begin_run(self.id, self.options.suite, self.options.command)
            for job in [job for job in todo.values() if job.skip]:
                self._record(job, status="skipped", reason=job.skip)
            self._execute([job for job in todo.values() if not job.skip])
            options = self.options
            page = conclude(
                self.workspace, self.store, self.id, options.suite, options.command, self.view.note
            )
        else:
            page = publish(self.store.records(), self.workspace, self.workspace.site)
        by_id = {record.id: record for record in self.store.records()}
        return RunSummary(tuple(by_id[job.digest] for job in jobs), len(reused), page)

    def _keeps(self, record: Record) -> bool:
        if self.options.rerun == "all":
            return False
        return record.status == "done" or (
            record.status == "failed" and self.options.rerun == "never"
        )

    def _execute(self, jobs: Sequence[Job]) -> None:
        """Run jobs on the cluster; each is scored while the next ones run."""
        if not jobs:
            return
        from harness.execution.scheduler import execute

        works, by_key = self._works(jobs), {job.digest: job for job in jobs}
        # One thread: only one writer of the store, and scoring never holds the shards up.
        with ThreadPoolExecutor(1) as scorer, cluster(self.options.address):
            nodes = describe()
            pending = []
            for result in execute(works, self.view.shard, self.options.max_workers):
                facts = {
                    "device": ", ".join(sorted({d["device"] for d in result.devices})),
                    "workers": str(len(result.devices)),
                    "worker_deaths": str(result.worker_deaths),
                    "nodes": f"{nodes['nodes']:g}",
                }
                timings = _timings(result.reports)
                job = by_key[result.key]
                pending.append(scorer.submit(self._finish, job, result.failure, facts, timings))
            for future in pending:
                future.result()

    def _works(self, jobs: Iterable[Job]) -> list[Any]:
        from harness.execution.scheduler import Work

        works, shown = [], []
        for job in jobs:
            folder = self.workspace.job_folder(job.digest)
            shards = job.shards()
            if self.options.rerun == "all":
                for path in folder.glob("*.parquet"):
                    path.unlink()
            finished = finished_shards(folder, [[s.id for s in shard] for shard in shards])
            left = {i: shard for i, shard in enumerate(shards) if i not in finished}
            needs = job.card.variants[job.variant].resources
            works.append(Work(job.digest, job.spec, needs, folder, left))
            total = sum(len(shard) for shard in shards)
            done = total - sum(len(shard) for shard in left.values())
            shown.append((job.digest, f"{job.name} on {job.benchmark.name}", done, total))
        self.view.planned(shown)
        return works

    def _finish(
        self, job: Job, failure: str | None, facts: dict[str, str], timings: dict[str, float]
    ) -> None:
        """Score a job whose shards are all there, or record why it has no score."""
        if failure is not None:
            self._record(job, status="failed", reason=failure, facts=facts, timings=timings)
            return
        folder = self.workspace.job_folder(job.digest)
        predictions, failed = read_job(folder, job.shard_count)
        if failed:
            shown = "; ".join(f"{f.sample_id}: {f.reason}" for f in failed[:5])
            reason = f"{len(failed)} of {len(job.dataset.sample_ids)} samples failed. {shown}"
            self._record(job, status="failed", reason=reason, facts=facts, timings=timings)
            return
        evaluation, outcome = score(job.benchmark, job.dataset, predictions, job.protocol)
        keep_evidence(
            self.workspace, job.digest, job.benchmark, job.dataset, evaluation, predictions
        )
        outcome["timings"] |= timings
        self._record(job, facts=facts, profile=_profile(job), **outcome)

    def _record(self, job: Job, *, facts: dict[str, str] | None = None, **outcome: Any) -> None:
        record = Record(
            id=job.digest,
            source="run",
            method=job.method,
            variant=job.variant,
            **identity(job.benchmark, job.dataset, job.protocol),
            limit=job.limit,
            weights_sha256=job.weights_sha256,
            run_id=self.id,
            command=self.options.command,
            created_at=datetime.now(UTC),
            environment={**environment(), **(facts or {})},
            **outcome,
        )
        self.store.write(record)
        self.view.recorded(record, reused=False)


def _timings(reports: Sequence[ShardReport]) -> dict[str, float]:
    """Sum the stages over the shards that this run has computed."""
    if not reports:
        return {}
    total = {
        f"{name}_s": sum(report.timings[name] for report in reports)
        for name in ("prepare", "forward", "decode", "wall")
    }
    samples = sum(report.samples for report in reports)
    total["rows"] = sum(report.timings["rows"] for report in reports)
    total["samples_per_worker_s"] = samples / total["wall_s"]
    return total


def _profile(job: Job) -> dict[str, float]:
    from harness.loading import load_method
    from harness.profiling import profile

    method = load_method(job.name)
    if next(method.network.parameters(), None) is None:
        return {}  # nothing to count
    result = profile(method, latency=False)
    return {
        "parameters": result.parameters,
        "macs": result.macs,
        "paper_gflops": result.paper_gflops,
    }
