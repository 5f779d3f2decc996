"""What the engine tells its user while it works."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import orjson

from harness.execution.scheduler import Watcher
from harness.execution.worker import ShardReport
from harness.records.record import Record, write_atomically
from harness.workspace import Workspace


@dataclass(frozen=True)
class PlannedJob:
    """A job that will run."""

    digest: str
    name: str
    samples: int


class View(Watcher):
    """What a run tells its user; this one keeps quiet, a subclass says what it cares for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def note(self, text: str) -> None:
        """Say something the user should know."""

    def building(self, what: str, done: int, total: int) -> None:
        """Embedded data is being made."""

    def planned(self, jobs: Sequence[PlannedJob]) -> None:
        """Say what will run."""

    def started(self, job: PlannedJob, done: int) -> None:
        """A job's turn has come; ``done`` samples of it were finished before."""

    def recorded(self, record: Record, *, reused: bool) -> None:
        """A job has its result."""


class Views(View):
    """Tells several views the same."""

    def __init__(self, *views: View) -> None:
        self.views = views

    def note(self, text: str) -> None:
        for view in self.views:
            view.note(text)

    def building(self, what: str, done: int, total: int) -> None:
        for view in self.views:
            view.building(what, done, total)

    def planned(self, jobs: Sequence[PlannedJob]) -> None:
        for view in self.views:
            view.planned(jobs)

    def started(self, job: PlannedJob, done: int) -> None:
        for view in self.views:
            view.started(job, done)

    def shard(self, key: str, report: ShardReport) -> None:
        for view in self.views:
            view.shard(key, report)

    def retried(self, key: str, what: str, reason: str) -> None:
        for view in self.views:
            view.retried(key, what, reason)

    def fleet(self, nodes: int, workers: int) -> None:
        for view in self.views:
            view.fleet(nodes, workers)

    def recorded(self, record: Record, *, reused: bool) -> None:
        for view in self.views:
            view.recorded(record, reused=reused)


@dataclass
class Progress(View):
    """The numbers of a run so far."""

    jobs: int = 0
    jobs_done: int = 0
    jobs_failed: int = 0
    samples: int = 0
    samples_done: int = 0
    shards_done: int = 0
    retries: int = 0
    nodes: int = 0
    workers: int = 0
    usage: dict[str, dict[str, float]] = field(default_factory=dict)  # by node
    running: dict[str, dict[str, Any]] = field(default_factory=dict)
    _since: float | None = None
    _fresh: int = 0  # samples of this run alone

    def planned(self, jobs: Sequence[PlannedJob]) -> None:
        self.jobs += len(jobs)
        self.samples += sum(job.samples for job in jobs)

    def started(self, job: PlannedJob, done: int) -> None:
        self._since = self._since or time.monotonic()
        self.running[job.digest] = {"name": job.name, "samples": job.samples, "done": done}
        self.samples_done += done

    def shard(self, key: str, report: ShardReport) -> None:
        self.running[key]["done"] += report.samples
        self.samples_done += report.samples
        self._fresh += report.samples
        self.shards_done += 1
        self.usage[report.node] = report.usage

    def retried(self, key: str, what: str, reason: str) -> None:
        self.retries += 1

    def fleet(self, nodes: int, workers: int) -> None:
        self.nodes, self.workers = nodes, workers

    def recorded(self, record: Record, *, reused: bool) -> None:
        if self.running.pop(record.id, None) is not None:
            self.jobs_done += 1
            self.jobs_failed += record.status == "failed"

    @property
    def rate(self) -> float:
        """Samples per second of this run."""
        elapsed = time.monotonic() - self._since if self._since is not None else 0.0
        return self._fresh / elapsed if elapsed else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last sample, if the rate stays what it is."""
        return (self.samples - self.samples_done) / self.rate if self.rate else None

    @property
    def busy(self) -> str:
        """What the nodes are using, on average: their GPUs, where they have any."""
        for kind, name in (("GPUs", "gpu"), ("CPUs", "cpu")):
            key = f"{name}_utilization_percentage"
            if found := [node[key] for node in list(self.usage.values()) if key in node]:
                return f"{kind} {sum(found) / len(found):.0f} % busy"
        return ""

    def document(self) -> dict[str, Any]:
        """Return the numbers by name."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name[0] != "_"}
        # A copy in one step: jobs are recorded from another thread.
        numbers["running"] = [{"digest": key, **job} for key, job in list(self.running.items())]
        left = self.seconds_left
        return {
            **numbers,
            "samples_per_s": round(self.rate, 2),
            "seconds_left": None if left is None else round(left, 1),
        }

    def line(self) -> str:
        """Return the numbers as one line."""
        left = self.seconds_left
        minutes, seconds = divmod(round(left or 0), 60)
        parts = [
            f"{self.jobs_done}/{self.jobs} jobs",
            f"{self.samples_done}/{self.samples} samples",
            f"{self.rate:.1f} samples/s",
            f"{minutes}:{seconds:02d} left" if left is not None else "",
            f"{self.workers} workers on {self.nodes} nodes",
            self.busy,
            f"{self.jobs_failed} failed" if self.jobs_failed else "",
            f"{self.retries} retries" if self.retries else "",
        ]
        return ", ".join(part for part in parts if part)


class Events(View, ABC):
    """Turns what is told into documents; :meth:`emit` takes them."""

    @abstractmethod
    def emit(self, event: dict[str, Any], digest: str | None) -> None:
        """Take an event; ``digest`` is its job's, if it has one."""

    def note(self, text: str) -> None:
        self._tell("note", text=text)

    def planned(self, jobs: Sequence[PlannedJob]) -> None:
        self._tell("planned", jobs=len(jobs), samples=sum(job.samples for job in jobs))

    def started(self, job: PlannedJob, done: int) -> None:
        self._tell("started", job.digest, name=job.name, samples=job.samples, done=done)

    def shard(self, key: str, report: ShardReport) -> None:
        self._tell("shard", key, **asdict(report))

    def retried(self, key: str, what: str, reason: str) -> None:
        self._tell("retried", key, what=what, reason=reason)

    def fleet(self, nodes: int, workers: int) -> None:
        self._tell("fleet", nodes=nodes, workers=workers)

    def recorded(self, record: Record, *, reused: bool) -> None:
        metrics = dict(record.metrics)
        facts = {"status": record.status, "reason": record.reason, "metrics": metrics}
        self._tell("recorded", record.id, name=record.name, reused=reused, **facts)

    def _tell(self, kind: str, digest: str | None = None, **facts: Any) -> None:
        event: dict[str, Any] = {"event": kind, "at": datetime.now(UTC).isoformat()}
        if digest is not None:
            event["job"] = digest
        self.emit(event | facts, digest)


class JobLogs(Events):
    """Keeps the events of each job in the workspace, one JSON object per line."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._held: dict[str, list[bytes]] = {}  # an object store cannot append

    def emit(self, event: dict[str, Any], digest: str | None) -> None:
        if digest is None or event.get("reused"):
            return
        line, path = orjson.dumps(event) + b"\n", self.workspace.job_log(digest)
        if not self.workspace.remote:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(line)
            return
        self._held.setdefault(digest, []).append(line)
        if event["event"] == "recorded":
            path.write_bytes(b"".join(self._held.pop(digest)))


def shard_events(workspace: Workspace, digest: str) -> list[dict[str, Any]]:
    """Return what the log of a job says of its finished shards, in the order of time."""
    log = workspace.job_log(digest)
    lines = log.read_bytes().splitlines() if log.is_file() else []
    events = [orjson.loads(line) for line in lines]
    return [event for event in events if event["event"] == "shard"]


class StatusFile(Progress):
    """Keeps the run's numbers in the workspace, where ``harness status`` reads them."""

    EVERY = 1.0
    """Seconds between two versions of the file."""

    def __init__(self, path: Path, command: str) -> None:
        super().__init__()
        self._path = path
        self._facts = {"command": command, "host": socket.gethostname(), "pid": os.getpid()}
        self._written = float("-inf")

    def started(self, job: PlannedJob, done: int) -> None:
        super().started(job, done)
        self._write()

    def shard(self, key: str, report: ShardReport) -> None:
        super().shard(key, report)
        self._write()

    def end(self, state: str) -> None:
        """Say how the run has ended."""
        self._written = float("-inf")
        self._write(state)

    def _write(self, state: str = "running") -> None:
        if time.monotonic() - self._written < self.EVERY:
            return
        now = datetime.now(UTC).isoformat()
        document = {"state": state, "updated_at": now, **self._facts, **self.document()}
        with contextlib.suppress(OSError):  # a full disk is told where it loses something
            write_atomically(self._path, orjson.dumps(document, option=orjson.OPT_INDENT_2))
        self._written = time.monotonic()
