"""The scheduler on workers that do not exist: what does bookkeeping cost, and when does it hurt?

    python perf/simulate.py                       10,000 jobs of 100 shards on 1,000 workers
    python perf/simulate.py --curve               utilisation by number of workers
    python perf/simulate.py --ray                 two real Ray actors that do nothing

A worker is a number and a shard takes a fixed time of a simulated clock. The driver's own work
takes CPU time, and the simulated clock runs on by as much: workers that have ended meanwhile stand
idle. So the simulated utilisation is what the driver leaves of the workers' time.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from harness.api import Sample
from harness.api.card import Resources
from harness.execution.fleet import Call, MethodFailedError, RayFleet, WorkerLostError
from harness.execution.scheduler import Watcher, Work, execute
from harness.execution.shards import FailedSample
from harness.execution.worker import Engine, MethodSpec, ShardReport
from harness.records.record import Record
from harness.records.store import Store
from harness.view import JobLogs, PlannedJob, StatusFile, View, Views
from harness.workspace import Workspace

SHARD_SAMPLES = 32
TIMINGS = dict.fromkeys(("prepare", "forward", "decode", "wall", "rows"), 1.0)


@dataclass
class SimulatedFleet:
    """Workers that only take time.

    Parameters
    ----------
    size : int
        Nodes of one CPU, thus workers.
    shard_seconds, load_seconds : float
        Of the simulated clock.
    deadly : set of str
        Samples that kill their worker.
    hanging : set of str
        Samples that keep their worker for ever.
    lost_calls : set of int
        Calls, in the order they are made, whose worker is lost.
    """

    size: int
    shard_seconds: float = 1.0
    load_seconds: float = 10.0
    deadly: frozenset[str] = frozenset()
    hanging: frozenset[str] = frozenset()
    lost_calls: frozenset[int] = frozenset()
    broken: str | None = None
    time_of_driver: bool = False
    busy_seconds: float = 0.0
    kept: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._clock = 0.0
        self._spent = time.process_time()
        self._ids = itertools.count()
        self._ends: list[tuple[float, int]] = []
        self._results: dict[int, Any] = {}
        self._random = random.Random(0)
        self._nodes: list[Mapping[str, float]] = [{"CPU": 1.0, "memory": 2.0**40}] * self.size
        self.started = 0
        self.stopped: set[int] = set()

    def now(self) -> float:
        """Return the simulated time."""
        return self._clock

    def nodes(self) -> Sequence[Mapping[str, float]]:
        """Return the nodes, until :meth:`resize` changes them."""
        return self._nodes

    def make_room(self, missing: Sequence[tuple[Resources, int]]) -> None:
        """Do nothing: it grows by :meth:`resize` alone."""

    def start(self, spec: MethodSpec, needs: Resources, engine: Engine) -> int:
        """Start a worker."""
        self.started += 1
        return next(self._ids)

    def load(self, worker: int) -> Call:
        """Take the time that loading takes."""
        result = MethodFailedError(self.broken) if self.broken else {"device": "simulated"}
        return self._call(self.load_seconds, result)

    def run(
        self,
        worker: int,
        index: int,
        samples: Sequence[Sample],
        folder: str | None,
        lost: Sequence[FailedSample],
    ) -> Call:
        """Take the time that a shard takes, with a spread of a tenth."""
        gone = {sample.sample_id for sample in lost}
        ids = tuple(sample.id for sample in samples if sample.id not in gone)
        seconds = self.shard_seconds * self._random.uniform(0.95, 1.05)
        self.busy_seconds += seconds
        if self.hanging.intersection(ids):
            return next(self._ids)
        if self.deadly.intersection(ids):
            return self._call(seconds, WorkerLostError("It was killed."))
        if folder is not None and self.deadly | self.hanging:
            self.kept.append((folder, index, ids))
        report = ShardReport(index, "", len(samples), tuple(lost), TIMINGS, 32)
        return self._call(seconds, report)

    def wait(self, calls: Sequence[Call], timeout: float) -> Sequence[Call]:
        """Let the clock run to the next end of a call; return all that have ended by then."""
        self._charge_driver()
        ends = self._ends
        if not ends or (ends[0][0] > self._clock + timeout):
            self._clock += timeout
            return []
        self._clock = max(self._clock, ends[0][0])
        done = []
        while ends and ends[0][0] <= self._clock:
            call = heapq.heappop(ends)[1]
            if call in self._results:
                done.append(call)
        return done

    def result(self, call: Call) -> Any:
        """Return or raise what a call has given."""
        result = self._results.pop(call)
        if isinstance(result, Exception):
            raise result
        return result

    def stop(self, worker: int) -> None:
        """Note that a worker is gone."""
        self.stopped.add(worker)

    def resize(self, size: int) -> None:
        """Give the cluster another number of nodes."""
        self._nodes = [{"CPU": 1.0, "memory": 2.0**40}] * size

    def _call(self, seconds: float, result: Any) -> int:
        call = next(self._ids)
        if call in self.lost_calls:
            result = WorkerLostError("Its node is gone.")
        self._results[call] = result
        heapq.heappush(self._ends, (self._clock + seconds, call))
        return call

    def _charge_driver(self) -> None:
        spent = time.process_time()
        if self.time_of_driver:
            self._clock += spent - self._spent
        self._spent = spent


def jobs(count: int, shards: int) -> Iterator[Work]:
    """Yield jobs whose samples come into being when their turn comes."""
    box = np.zeros((1, 4))
    for job in range(count):

        def samples(job: int = job) -> dict[int, Sequence[Sample]]:
            return {
                shard: [
                    Sample(id=f"{job}-{shard}-{i}", images=("x.jpg",), boxes=box)
                    for i in range(SHARD_SAMPLES)
                ]
                for shard in range(shards)
            }

        spec = MethodSpec("simulated:method", None, None)
        yield Work(f"{job:064x}", spec, Resources(), f"job-{job}", samples)


def record_of(key: str) -> Record:
    """Return what is written to the store for a job."""
    return Record(
        id=key, status="done", reason=None, source="run", method="simulated", variant="method",
        benchmark="none", split="test", synthetic=False, protocol="p", protocol_digest="0" * 64,
        quirks={"box_source": "none"}, dataset_digest="0" * 64, data_root="/", limit=None,
        weights_sha256=None, run_id="run", command="", created_at=datetime.now(UTC),
        metrics=dict.fromkeys("abcdefghij", 0.5), intervals=dict.fromkeys("abcdefghij", (0.4, 0.6)),
    )  # fmt: skip


def simulate(
    count: int, shards: int, workers: int, shard_seconds: float, books: bool
) -> dict[str, float]:
    """Run a simulation and return what it has cost.

    ``books`` also keeps what a real run keeps: job logs, the status file and the results store.
    """
    fleet = SimulatedFleet(workers, shard_seconds, load_seconds=0.0, time_of_driver=True)
    watcher: Watcher = Watcher()
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        if books:
            workspace = Workspace(Path(folder))
            store = Store(workspace.store_url)
            store.begin_run("run", "simulation", "")
            view: View = Views(JobLogs(workspace), StatusFile(workspace.status, ""))
            size = shards * SHARD_SAMPLES
            planned = [PlannedJob(f"{job:064x}", f"job {job}", size) for job in range(count)]
            view.planned(planned)
            watcher = view
        start, cpu = time.perf_counter(), time.process_time()
        for result in execute(_started(count, shards, watcher), fleet, watcher):
            assert result.failure is None
            done += len(result.reports)
            if books:
                record = record_of(result.key)
                store.write(record)
                view.recorded(record, reused=False)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert done == count * shards
    return {
        "jobs": count,
        "shards": done,
        "workers": workers,
        "wall_s": wall,
        "cpu_ms_per_shard": 1e3 * cpu / done,
        "simulated_s": fleet.now(),
        "utilisation": fleet.busy_seconds / (workers * fleet.now()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def _started(count: int, shards: int, watcher: Watcher) -> Iterator[Work]:
    for work in jobs(count, shards):
        if isinstance(watcher, View):
            watcher.started(PlannedJob(work.key, work.folder, shards * SHARD_SAMPLES), 0)
        yield work


class Idle:
    """A Ray actor with a worker's calls that does nothing."""

    def load(self) -> dict[str, str]:
        """Name no device."""
        return {"device": "none"}

    def run(
        self, index: int, samples: Sequence[Sample], folder: str, lost: Sequence[FailedSample]
    ) -> ShardReport:
        """Report the shard as done."""
        return ShardReport(index, "", len(samples), tuple(lost), TIMINGS, SHARD_SAMPLES)


class IdleFleet(RayFleet):
    """Two actors that do nothing."""

    def start(self, spec: MethodSpec, needs: Resources, engine: Engine) -> Any:
        """Start an actor."""
        import ray

        return ray.remote(Idle).options(num_cpus=1).remote()


class Stopwatch(Watcher):
    """Notes the time and the driver's CPU time at the end of each shard."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def shard(self, key: str, report: ShardReport) -> None:
        """Note both."""
        self.ends.append((time.perf_counter(), time.process_time()))


def on_ray(shards: int, warm_up: int = 500) -> dict[str, float]:
    """Run shards that do nothing through Ray; return what each has cost after the warm-up."""
    from harness.execution.cluster import cluster

    watch = Stopwatch()
    with cluster("local", cpus=2):
        list(execute(jobs(1, warm_up + shards), IdleFleet(may_grow=False), watch))
    first, last = watch.ends[warm_up - 1], watch.ends[-1]
    wall, cpu = (1e3 * (b - a) / shards for a, b in zip(first, last, strict=True))
    return {"shards": shards, "wall_ms_per_shard": wall, "driver_cpu_ms_per_shard": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=100, help="per job")
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--shard-seconds", type=float, default=10.0)
    parser.add_argument("--curve", action="store_true", help="8 to 4,096 workers, shards of 1 s")
    parser.add_argument("--ray", action="store_true", help="real actors that do nothing")
    arguments = parser.parse_args()
    if arguments.ray:
        rows = [on_ray(2500)]
    elif arguments.curve:
        rows = []
        for workers in (8, 64, 256, 1024, 4096):
            shards = max(500, 5 * workers)
            rows.append(simulate(2, shards, workers, 1.0, books=False))
    else:
        seconds = arguments.shard_seconds
        rows = [simulate(arguments.jobs, arguments.shards, arguments.workers, seconds, True)]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(
            *(f"{value:,.3f}" if value < 10 else f"{value:,.0f}" for value in row.values())
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
