"""The main job: plan a suite, run it, score it, record it, publish it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from harness import registry
from harness.data import DataFolders, locate
from harness.environment import environment
from harness.evaluation import evaluate
from harness.execution.cluster import cluster, describe
from harness.execution.shards import finished_shards, read_job
from harness.execution.worker import ShardReport
from harness.planning import Job, plan
from harness.records.record import Record, write_evidence
from harness.records.store import Store
from harness.suites import read_suite
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


class View(Protocol):
    """What a run tells its user; the terminal and ``--json`` each have one."""

    def note(self, text: str) -> None:
        """Say something the user should know."""

    def building(self, what: str, done: int, total: int) -> None:
        """Embedded data is being made."""

    def planned(self, jobs: Sequence[tuple[str, str, int, int]]) -> None:
        """Say what will run: (digest, name, finished samples, all samples)."""

    def shard(self, digest: str, report: ShardReport) -> None:
        """A shard of a job has been written."""

    def recorded(self, record: Record, *, reused: bool) -> None:
        """A job has its result."""


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

    def find(benchmark: registry.Benchmark, split: str | None) -> Any:
        def progress(done: int, total: int) -> None:
            view.building(f"{benchmark.name} embedded data", done, total)

        located = locate(benchmark, options.data, split, progress)
        if located.note:
            view.note(located.note)
        return located

    return plan(
        read_suite(options.suite),
        methods=options.methods,
        split=options.split,
        boxes=options.boxes,
        limit=options.limit,
        find=find,
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
        self.records: dict[str, Record] = {}

    def complete(self, jobs: Sequence[Job]) -> RunSummary:
        """Bring every job to a result and publish the leaderboard."""
        earlier = {job.digest: self.store.get(job.digest) for job in jobs}
        reused = {
            digest: record
            for digest, record in earlier.items()
            if record is not None and self._keeps(record)
        }
        for record in reused.values():
            self.records[record.id] = record
            self.view.recorded(record, reused=True)
        todo = {job.digest: job for job in jobs if job.digest not in reused}
        if todo:
            self.store.begin_run(self.id, self.options.suite, self.options.command)
            for job in [job for job in todo.values() if job.skip]:
                self._record(job, status="skipped", reason=job.skip)
            self._execute([job for job in todo.values() if not job.skip])
        tracked = self._track([self.records[digest] for digest in todo])
        if todo:
            self.store.finish_run(self.id, tracked)
        page = publish(self.workspace, self.store, self.view)
        ordered = tuple(self.records[job.digest] for job in jobs)
        return RunSummary(ordered, len(reused), page)

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
        began = {key: time.perf_counter() for key in by_key}
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
                timings = _timings(result.reports, time.perf_counter() - began[result.key])
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
        shards = len(job.shards())
        predictions, failed = read_job(self.workspace.job_folder(job.digest), shards)
        if failed:
            shown = "; ".join(f"{f.sample_id}: {f.reason}" for f in failed[:5])
            reason = f"{len(failed)} of {len(job.dataset.sample_ids)} samples failed. {shown}"
            self._record(job, status="failed", reason=reason, facts=facts, timings=timings)
            return
        start = time.perf_counter()
        evaluation = evaluate(job.benchmark, job.dataset, predictions, job.protocol)
        units = job.benchmark.units(job.dataset, evaluation.statistics)
        write_evidence(self.workspace.evidence(job.digest).folder, units, evaluation, predictions)
        timings["evaluate_s"] = time.perf_counter() - start
        self._record(
            job,
            status="done",
            reason=None,
            facts=facts,
            timings=timings,
            metrics={k: None if v != v else float(v) for k, v in evaluation.metrics.items()},
            intervals=evaluation.intervals,
            counts=evaluation.counts,
            notes={**evaluation.notes, "predictions_digest": predictions.digest()},
            profile=_profile(job),
        )

    def _record(self, job: Job, *, facts: dict[str, str] | None = None, **outcome: Any) -> None:
        record = Record(
            id=job.digest,
            source="run",
            method=job.method,
            variant=job.variant,
            benchmark=job.benchmark.name,
            split=job.dataset.split,
            synthetic=job.dataset.synthetic,
            protocol=job.protocol.variant,
            protocol_digest=job.protocol.digest,
            quirks=job.protocol.quirks(),
            dataset_digest=job.dataset.digest,
            data_root=str(job.dataset.root.absolute()),
            limit=job.limit,
            weights_sha256=job.weights_sha256,
            run_id=self.id,
            command=self.options.command,
            created_at=datetime.now(UTC),
            environment={**environment(), **(facts or {})},
            **outcome,
        )
        self.store.write(record)
        self.records[record.id] = record
        self.view.recorded(record, reused=False)

    def _track(self, records: Sequence[Record]) -> str | None:
        """Bring records to MLflow. Its failure is told, and loses nothing."""
        if not records:
            return None
        from harness.records.tracking import Tracker

        try:
            tracker = Tracker(self.workspace.tracking_uri, self.workspace.artifacts)
            parent = tracker.begin(self.options.suite, self.options.command, self.id)
            for record in records:
                done = record.status == "done"
                evidence = self.workspace.evidence(record.id) if done else None
                mlflow_id = tracker.log(record, parent, evidence)
                tracked = replace(record, mlflow_run_id=mlflow_id)
                self.records[record.id] = tracked
                self.store.write(tracked)
            tracker.end(parent, failed=any(record.status == "failed" for record in records))
        except Exception as error:  # whatever a tracking server may raise
            self.view.note(
                f"MLflow at {self.workspace.tracking_uri} took no results ({error}); "
                "they are safe in the results store."
            )
            return None
        return parent


def publish(workspace: Workspace, store: Store, view: View) -> Path | None:
    """Renew the workspace's leaderboard and return its first page."""
    return build_site(store.records(), workspace, workspace.site)


def build_site(records: Sequence[Record], workspace: Workspace, out: Path) -> Path:
    """Render records as a static site with the registered report."""
    build: Callable[..., Path] = registry.load(registry.entry(registry.REPORTS, "site"))
    return build(
        records,
        evidence=lambda record: workspace.evidence(record.id),
        out=out,
        benchmarks=registry.benchmark,
        cards=registry.method_card,
    )


def _timings(reports: Sequence[ShardReport], wall: float) -> dict[str, float]:
    """Sum the stages over shards; throughput is per second of the job's own wall time."""
    if not reports:
        return {}
    stages = ("prepare", "forward", "decode", "wall")
    total = {f"{name}_s": sum(r.timings[name] for r in reports) for name in stages}
    samples = sum(report.samples for report in reports)
    total["worker_s"] = total.pop("wall_s")
    total["elapsed_s"] = wall
    total["samples_per_worker_s"] = samples / max(total["worker_s"], 1e-9)
    total["rows"] = sum(report.timings["rows"] for report in reports)
    return total


def _profile(job: Job) -> dict[str, float]:
    from harness.loading import load_method
    from harness.profiling import profile

    result = profile(load_method(job.name), latency=False)
    return {
        "parameters": result.parameters,
        "macs": result.macs,
        "paper_gflops": result.paper_gflops,
    }
