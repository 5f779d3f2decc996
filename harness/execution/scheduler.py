"""Hand shards to workers, one at a time, until every job is finished or has failed.

One actor holds a job's method on one device. An idle actor takes the next shard of its job; when
its job has none left it makes room for the next job. A worker's death costs one shard, which runs
again; an exception of the method fails its job; a sample that cannot be read is in the report.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from harness.api import PrerequisiteError, Sample
from harness.api.card import Resources
from harness.execution.cluster import capacity, describe, placed
from harness.execution.worker import MethodSpec, ShardReport, Worker

MAX_WORKER_DEATHS = 3
"""A shard that killed this many workers fails its job."""


@dataclass(frozen=True)
class Work:
    """One job as the scheduler sees it.

    Parameters
    ----------
    key : str
        The job's digest.
    spec : MethodSpec
    needs : Resources
        What one worker takes.
    folder : Path
        Where shard files go; visible to every node.
    shards : mapping of int to samples
        The shards that still have to run, by number.
    """

    key: str
    spec: MethodSpec
    needs: Resources
    folder: Path
    shards: dict[int, Sequence[Sample]]


@dataclass(frozen=True)
class WorkResult:
    """How a job ended: with a report per shard, or with a reason."""

    key: str
    reports: tuple[ShardReport, ...]
    devices: tuple[dict[str, str], ...]
    worker_deaths: int
    failure: str | None


Notify = Callable[[str, ShardReport], None]
"""Called with a job's key and a shard's report as soon as the shard is on disk."""


def execute(
    works: Sequence[Work], notify: Notify, max_workers: int | None = None
) -> Iterator[WorkResult]:
    """Run all jobs on the connected cluster and yield each as it ends.

    Parameters
    ----------
    works : sequence of Work
        In order of priority.
    notify : callable
    max_workers : int, optional
        Limit on workers of one job; as many as the cluster holds by default.
    """
    crews = [_Crew(replace(work, needs=placed(work.needs)), max_workers) for work in works]
    try:
        while crews:
            total = ray.cluster_resources()
            for crew in crews:
                crew.staff(_free(total, crews))
            pending = {ref: crew for crew in crews for ref in crew.busy}
            if pending:
                # The timeout lets new room on the cluster be noticed.
                done, _ = ray.wait(list(pending), num_returns=1, timeout=1.0)
                for ref in done:
                    pending[ref].settle(ref, notify)
            for crew in [c for c in crews if c.ended]:
                crew.dismiss()
                crews.remove(crew)
                yield crew.result()
    finally:
        for crew in crews:
            crew.dismiss()


@dataclass
class _Crew:
    """The workers of one job and the shards between them."""

    work: Work
    max_workers: int | None
    todo: deque[int] = field(init=False)
    # What each running call does: (worker, shard number, or None while it loads the method).
    busy: dict[Any, tuple[Any, int | None]] = field(default_factory=dict)
    reports: list[ShardReport] = field(default_factory=list)
    devices: list[dict[str, str]] = field(default_factory=list)
    deaths: Counter[int | None] = field(default_factory=Counter)
    failure: str | None = None

    def __post_init__(self) -> None:
        self.todo = deque(sorted(self.work.shards))

    @property
    def ended(self) -> bool:
        return self.failure is not None or (not self.todo and not self.busy)

    def staff(self, free: Resources) -> None:
        """Start workers while there are shards for them and room on the cluster."""
        needs = self.work.needs
        if self.todo and not self.busy and capacity(needs) == 0:
            have = describe()
            self.failure = (
                f"A worker of {self.work.spec.name} needs {needs.cpus:g} CPUs and {needs.gpus:g} "
                f"GPUs on one node, which no node has; the cluster has {have['nodes']:g} nodes "
                f"with {have['cpu']:g} CPUs and {have['gpu']:g} GPUs in all."
            )
            return
        loading = sum(shard is None for _, shard in self.busy.values())
        room = min(_fit(free.cpus, needs.cpus), _fit(free.gpus, needs.gpus))
        if self.max_workers is not None:
            room = min(room, self.max_workers - len(self.busy))
        for _ in range(int(min(room, len(self.todo) - loading))):
            worker = (
                ray.remote(Worker)
                .options(num_cpus=needs.cpus, num_gpus=needs.gpus)
                .remote(self.work.spec, max(1, int(needs.cpus)))
            )
            self.busy[worker.load.remote()] = (worker, None)

    def settle(self, ref: Any, notify: Notify) -> None:
        """Take in a finished call and give its worker the next shard."""
        worker, shard = self.busy.pop(ref)
        try:
            result = ray.get(ref)
        except RayActorError:
            self._bury(shard)
            return
        except RayTaskError as error:
            ray.kill(worker)
            cause = error.cause
            self.failure = str(cause if isinstance(cause, PrerequisiteError) else error)
            return
        except RayError:  # the node ran out of memory, or its disk is full
            ray.kill(worker)
            self._bury(shard)
            return
        if shard is None:
            self.devices.append(result)
        else:
            self.reports.append(result)
            notify(self.work.key, result)
        if self.todo:
            index = self.todo.popleft()
            samples = self.work.shards[index]
            self.busy[worker.run.remote(index, samples, str(self.work.folder))] = (worker, index)
        else:
            ray.kill(worker)

    def dismiss(self) -> None:
        """Stop all workers that are left."""
        for worker, _ in self.busy.values():
            ray.kill(worker)
        self.busy.clear()

    def result(self) -> WorkResult:
        return WorkResult(
            self.work.key,
            tuple(sorted(self.reports, key=lambda report: report.index)),
            tuple(self.devices),
            self.deaths.total(),
            self.failure,
        )

    def _bury(self, shard: int | None) -> None:
        self.deaths[shard] += 1
        if self.deaths[shard] >= MAX_WORKER_DEATHS:
            what = "while loading the method" if shard is None else f"on shard {shard}"
            self.failure = f"The worker died {self.deaths[shard]} times {what}."
        elif shard is not None:
            self.todo.appendleft(shard)


def _free(total: Mapping[str, float], crews: Sequence[_Crew]) -> Resources:
    """Return what no worker holds. Own books: Ray's lag behind starts and kills."""
    held = [(len(crew.busy), crew.work.needs) for crew in crews]
    return Resources(
        cpus=total.get("CPU", 0) - sum(count * needs.cpus for count, needs in held),
        gpus=total.get("GPU", 0) - sum(count * needs.gpus for count, needs in held),
    )


def _fit(free: float, need: float) -> float:
    return max(0.0, free // need) if need else float("inf")
