"""The main job: plan a suite, run it, score it, record it, publish it."""

from __future__ import annotations

import errno
import tempfile
import uuid
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.api import PrerequisiteError, Sample, Skeleton, in_skeleton, missing_joints
from harness.data import DataFolders, locate
from harness.environment import environment
from harness.execution.cluster import cluster
from harness.execution.fleet import Fleet
from harness.execution.scheduler import DEADLINE, Work, WorkResult, execute
from harness.execution.shards import FailedSample, finished_shards, read_job
from harness.execution.worker import Precision, ShardReport
from harness.planning import Job, plan
from harness.recording import conclude, identity, keep_evidence, publish, score
from harness.records.record import Record
from harness.records.store import Store
from harness.suites import read_suite
from harness.view import JobLogs, PlannedJob, StatusFile, View, Views
from harness.workspace import Workspace

RERUN = ("never", "failed", "all")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class RunOptions:
    """The options of ``harness run``; see its help."""

    suite: str
    methods: tuple[str, ...] = ()
    split: str | None = None
    boxes: str | None = None
    data: DataFolders = field(default_factory=DataFolders)
    workspace: Path | str = Path("workspace")
    limit: int | None = None
    address: str = "local"
    rerun: str = "failed"
    max_workers: int | None = None
    max_failed_samples: int = 0
    shard_deadline: float = DEADLINE
    precision: Precision = "fp32"
    compiled: bool = False
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
    jobs = plan(
        read_suite(options.suite),
        methods=options.methods,
        split=options.split,
        boxes=options.boxes,
        limit=options.limit,
        precision=options.precision,
        compiled=options.compiled,
        find=lambda benchmark, split: locate(benchmark, options.data, split, view),
    )
    for job in jobs:
        if job.conversion and not job.skip:
            text = f"{job.name} on {job.benchmark.name}: joints are {_converted(*job.conversion)}."
            view.note(text)
    return jobs


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
        store = Store(workspace.store_url, view.note)
        status = StatusFile(workspace.status, options.command)
        state = "interrupted"
        try:
            views = Views(view, JobLogs(workspace), status)
            summary = _Run(options, workspace, store, views).complete(jobs)
            state = "ended"
            return summary
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise PrerequisiteError(
                f"The disk of the workspace {workspace.root} is full.",
                "Make room and run the same command again; finished shards are kept.",
            ) from None
        finally:
            store.close()
            status.end(state)


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
            page = conclude(self.workspace, self.store, self.id, self.view.note)
        else:
            page = publish(self.store.records(), self.workspace, self.workspace.site)
        by_id = {record.id: record for record in self.store.records()}
        return RunSummary(tuple(by_id[job.digest] for job in jobs), len(reused), page)

    def _keeps(self, record: Record) -> bool:
        if self.options.rerun == "all":
            return False
        if record.status == "done":  # perhaps without more samples than are to be lost today
            return record.counts.get("failed_samples", 0) <= self.options.max_failed_samples
        return record.status == "failed" and self.options.rerun == "never"

    def _execute(self, jobs: Sequence[Job]) -> None:
        """Run jobs on the cluster; each is scored while the next ones run."""
        if not jobs:
            return
        from harness.execution.fleet import RayFleet

        self.view.planned([_planned(job) for job in jobs])
        # One thread: only one writer of the store, and scoring never holds the shards up.
        with ThreadPoolExecutor(1) as scorer, cluster(self.options.address) as dashboard:
            if dashboard:
                self.view.note(f"Ray dashboard: {dashboard}")
            fleet = RayFleet(may_grow=self.options.address != "local")
            self._run_all([job for job in jobs if job.detector is None], fleet, scorer)
            self._run_all(self._with_boxes(jobs), fleet, scorer)

    def _run_all(self, jobs: Sequence[Job], fleet: Fleet, scorer: ThreadPoolExecutor) -> None:
        """Run jobs none of which waits for another."""
        by_key = {job.digest: job for job in jobs}
        pending: deque[Future[None]] = deque()
        for result in execute(
            map(self._work, jobs),
            fleet,
            self.view,
            max_workers=self.options.max_workers,
            deadline=self.options.shard_deadline,
        ):
            facts = {**_facts(result), "nodes": str(len(fleet.nodes()))}
            timings = _timings(result.reports)
            job = by_key[result.key]
            pending.append(scorer.submit(self._finish, job, result.failure, facts, timings))
            while pending and pending[0].done():
                pending.popleft().result()
        for future in pending:
            future.result()

    def _with_boxes(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs whose detector has looked at every sample; record the others as failed.

        A detector may be scored without some samples, but its boxes would be too few for others.
        """
        detectors = {job.detector.digest: job.detector for job in jobs if job.detector}
        lacks = {digest: self._lacks(detector) for digest, detector in detectors.items()}
        left = []
        for job in jobs:
            if job.detector is None:
                continue
            if missing := lacks[job.detector.digest]:
                reason = f"No person boxes from {job.detector.name}: {missing}"
                self._record(job, status="failed", reason=reason)
            else:
                left.append(job)
        return left

    def _lacks(self, detector: Job) -> str | None:
        """Say what a detector's result lacks to be a source of boxes."""
        found = self.store.get(detector.digest)
        if found is None or found.status != "done":
            return found.reason if found else "it has not run."
        if found.counts.get("failed_samples"):
            return found.notes["failed_samples"]
        if not detector.card.finds_boxes:  # its people get boxes around their joints
            return None
        columns = self.workspace.evidence(detector.digest).predictions().columns
        return None if "box" in columns else "it finds people without boxes."

    def _shards(self, job: Job) -> list[list[Sample]]:
        """Cut a job into shards, with the boxes that its detector has found."""
        if job.detector is None:
            return job.shards()
        found = self.workspace.evidence(job.detector.digest).predictions()
        if not job.detector.card.finds_boxes:
            found = found.boxed()
        with tempfile.TemporaryDirectory() as folder:
            boxes = Path(folder) / "boxes.json"
            job.benchmark.write_submission(found, job.dataset, job.detector.protocol, boxes)
            return replace(job, detections=boxes).shards()

    def _work(self, job: Job) -> Work:
        folder = self.workspace.job_folder(job.digest)

        def shards() -> dict[int, Sequence[Sample]]:
            every = self._shards(job)
            if self.options.rerun == "all":
                for path in folder.glob("*.parquet"):
                    path.unlink()
            finished = finished_shards(folder, [[s.id for s in shard] for shard in every])
            self.view.started(_planned(job), sum(len(every[index]) for index in finished))
            return {i: shard for i, shard in enumerate(every) if i not in finished}

        needs = job.card.variants[job.variant].resources
        lost = self.options.max_failed_samples
        return Work(job.digest, job.spec, needs, str(folder), shards, lost)

    def _finish(
        self, job: Job, failure: str | None, facts: dict[str, str], timings: dict[str, float]
    ) -> None:
        """Score a job whose shards are all there, or record why it has no score."""
        facts["precision"] = job.precision
        if job.compiled:
            facts["compiled"] = "yes"
        if failure is not None:
            self._record(job, status="failed", reason=failure, facts=facts, timings=timings)
            return
        predictions, failed = read_job(self.workspace.job_folder(job.digest), job.shard_count)
        if len(failed) > self.options.max_failed_samples:
            reason = f"{len(failed)} of {len(job.dataset.sample_ids)} samples failed. "
            reason += _listed(failed)
            self._record(job, status="failed", reason=reason, facts=facts, timings=timings)
            return
        lost = {sample.sample_id for sample in failed}
        left = tuple(sample_id for sample_id in job.dataset.sample_ids if sample_id not in lost)
        dataset = replace(job.dataset, sample_ids=left)
        if job.conversion:
            predictions = in_skeleton(predictions, *job.conversion)
        evaluation, outcome = score(job.benchmark, dataset, predictions, job.protocol)
        keep_evidence(self.workspace, job.digest, job.benchmark, dataset, evaluation, predictions)
        outcome["timings"] |= timings
        if job.conversion:
            outcome["notes"]["skeleton"] = _converted(*job.conversion)
        if failed:
            outcome["counts"] = {**outcome["counts"], "failed_samples": len(failed)}
            outcome["notes"]["failed_samples"] = f"not scored: {_listed(failed)}"
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


def _converted(own: Skeleton, wanted: Skeleton) -> str:
    """Say what became of the joints."""
    missing = missing_joints(own, wanted)
    lacks = f", which lacks {', '.join(missing)}: not predicted" if missing else ""
    return f"{wanted.name} from {own.name}{lacks}"


def _planned(job: Job) -> PlannedJob:
    name = f"{job.name} on {job.benchmark.name}"
    if job.precision != "fp32":
        name += f" in {job.precision}"
    return PlannedJob(job.digest, name, len(job.dataset.sample_ids))


def _listed(failed: Sequence[FailedSample]) -> str:
    return "; ".join(f"{f.sample_id}: {f.reason}" for f in failed[:5])


def _facts(result: WorkResult) -> dict[str, str]:
    """Return what the record says about the workers of a job."""
    sizes = sorted({str(report.batch_size) for report in result.reports})
    return {
        "device": ", ".join(sorted({d["device"] for d in result.devices})),
        "workers": str(len(result.devices)),
        "worker_deaths": str(result.worker_deaths),
        "batch_size": ", ".join(sizes),
    }


def _timings(reports: Sequence[ShardReport]) -> dict[str, float]:
    """Sum the stages over the shards that this run has computed.

    The first shard of each worker warms its device up and counts only if there is no other.
    """
    reports = [report for report in reports if report.warm] or reports
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
    from harness.profiling import peak_memory, profile

    method = load_method(job.name)
    if next(method.network.parameters(), None) is None:
        return {}  # nothing to count
    result = profile(method, latency=False)
    return {
        "parameters": result.parameters,
        "macs": result.macs,
        "paper_gflops": result.paper_gflops,
        "peak_memory_mb": peak_memory(method, rows=1) / 2**20,
    }
