"""Hand shards to workers, one at a time, until every job is finished or has failed.

A worker holds a job's method on one device. An idle worker takes the next shard of its job; when
its job has none left it makes room for the next job. What may go wrong, and what it costs:

- a worker dies, or takes longer than the deadline and is killed: its shard runs again;
- a shard keeps killing its workers: it is halved until the samples that do it are found, and runs
  again without them (`harness.execution.suspicion`);
- the method raises: its job fails;
- a sample cannot be read: it is in the shard's report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api import Sample
from harness.api.card import Resources
from harness.execution.cluster import Nodes, Room, capacity, infeasible, placed, total
from harness.execution.fleet import Call, Fleet, MethodFailedError, WorkerLostError
from harness.execution.suspicion import Suspicion, Task
from harness.execution.worker import Engine, MethodSpec, ShardReport

DEADLINE = 1800.0
"""Seconds after which a worker at one shard is taken for hung."""

LOOK_AHEAD = 4
"""Jobs that may wait for room at once: one that waits for a rare GPU does not hold up the rest."""

SHARDS_PER_WORKER = 4
"""A job gets no more workers than shards for so many each while other jobs wait for room: loading
a method takes longer than a shard."""

GROWTH = 8
"""Workers that the cluster is asked to make room for at once, if it holds no more than these: an
autoscaler that gives all that it is asked for thus doubles the cluster each time."""

MAX_FAILED_LOADS = 3
"""Deaths of workers at loading the method that end a job."""

GRACE = 300.0
"""Seconds that a job whose last possible node has gone waits for another one."""


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
    folder : str
        Where shard files go; the same place for every node.
    shards : callable
        Returns the shards that still have to run, by number; called when the job's turn comes, so
        that ten thousand jobs do not hold their samples all at once.
    max_failed : int
        Samples that may be lost before the job is given up.
    """

    key: str
    spec: MethodSpec
    needs: Resources
    folder: str
    shards: Callable[[], dict[int, Sequence[Sample]]]
    max_failed: int = 0


@dataclass(frozen=True)
class WorkResult:
    """How a job ended: with a report per shard, or with a reason."""

    key: str
    reports: tuple[ShardReport, ...]
    devices: tuple[dict[str, str], ...]
    worker_deaths: int
    failure: str | None


class Watcher:
    """Told what happens while jobs run; this one does not care."""

    def shard(self, key: str, report: ShardReport) -> None:
        """A shard is on disk."""

    def retried(self, key: str, what: str, reason: str) -> None:
        """A worker was lost, and what it was at is done again."""

    def fleet(self, nodes: int, workers: int) -> None:
        """The number of nodes or of workers has changed."""


def execute(
    works: Iterable[Work],
    fleet: Fleet,
    watcher: Watcher,
    *,
    max_workers: int | None = None,
    deadline: float = DEADLINE,
) -> Iterator[WorkResult]:
    """Run all jobs and yield each as it ends.

    Parameters
    ----------
    works : iterable of Work
        In order of priority; taken one by one as there is room for them.
    fleet : Fleet
    watcher : Watcher
    max_workers : int, optional
        Limit on workers of one job; as many as the cluster holds by default.
    deadline : float
        Seconds that a worker may take to load its method, or for one shard.
    """
    scheduler = _Scheduler(iter(works), fleet, watcher, max_workers, deadline)
    try:
        yield from scheduler.run()
    finally:
        scheduler.stop()


@dataclass(eq=False)
class _Crew:
    """A job, its workers and what is left for them to do."""

    work: Work
    needs: Resources
    shards: dict[int, Sequence[Sample]]
    capacity: int  # workers that the cluster could hold
    todo: deque[Task] = field(init=False)
    workers: int = 0
    loading: int = 0
    batch_size: int | None = None
    reports: list[ShardReport] = field(default_factory=list)
    devices: list[dict[str, str]] = field(default_factory=list)
    deaths: int = 0
    failed_loads: int = 0
    last_failed_load: float = float("-inf")
    stranded: float | None = None  # since when no node can hold a worker of a job under way
    failure: str | None = None

    def __post_init__(self) -> None:
        self.todo = deque(Task(index) for index in sorted(self.shards))
        self.suspicion = Suspicion(self.shards)

    @property
    def ended(self) -> bool:
        return self.failure is not None or (not self.todo and not self.workers)

    @property
    def fair_share(self) -> int:
        """Workers that it may start while other jobs wait for room."""
        return -(-len(self.todo) // SHARDS_PER_WORKER) - self.workers

    def result(self) -> WorkResult:
        reports = tuple(sorted(self.reports, key=lambda report: report.index))
        return WorkResult(self.work.key, reports, tuple(self.devices), self.deaths, self.failure)


@dataclass(frozen=True)
class _Running:
    """A call under way; ``task`` is None while the worker loads its method."""

    crew: _Crew
    worker: Any
    task: Task | None
    since: float


@dataclass
class _Scheduler:
    waiting: Iterator[Work]
    fleet: Fleet
    watcher: Watcher
    max_workers: int | None
    deadline: float
    crews: list[_Crew] = field(default_factory=list)
    calls: dict[Call, _Running] = field(default_factory=dict)
    touched: set[_Crew] = field(default_factory=set)  # jobs that may have ended
    nodes: Nodes = ()
    total: Mapping[str, float] = field(default_factory=dict)
    staffed: bool = False  # nothing has changed since the last look for room
    looked: float = float("-inf")
    told: tuple[int, int] = (0, 0)

    def run(self) -> Iterator[WorkResult]:
        while True:
            self._staff()
            if not self.crews:
                return
            if not self.touched:
                # The timeout lets hung workers and new nodes be noticed.
                for call in self.fleet.wait(list(self.calls), timeout=1.0):
                    self._settle(self.calls.pop(call), call)
                self._look_after_all()
            ended = [crew for crew in self.touched if crew.ended]
            self.touched.clear()
            for crew in ended:
                self._dismiss(crew)
                yield crew.result()

    def stop(self) -> None:
        """Kill all workers that are left."""
        for crew in list(self.crews):
            self._dismiss(crew)

    def _staff(self) -> None:
        """Start workers while there are shards for them and room for both."""
        self._look_at_nodes()
        if self.staffed:
            return
        self.staffed = True
        room = Room(self.total, ((crew.workers, crew.needs) for crew in self.crews))
        hungry = sum(self._recruit(crew, room, crew.fair_share) for crew in self.crews)
        while hungry < LOOK_AHEAD:
            if (work := next(self.waiting, None)) is None:
                for crew in self.crews:  # nobody else wants the room
                    self._recruit(crew, room, len(crew.todo) - crew.loading)
                break
            needs = placed(work.needs, self.nodes)
            crew = _Crew(work, needs, work.shards(), capacity(needs, self.nodes))
            self.crews.append(crew)
            self._check_place(crew)
            hungry += self._recruit(crew, room, crew.fair_share)
            if crew.ended:  # all was done before, or it fits nowhere: give it back first
                self.touched.add(crew)
                self.staffed = False
                break
        self._ask_for_room()
        if (now := (len(self.nodes), len(self.calls))) != self.told:
            self.told = now
            self.watcher.fleet(*now)

    def _ask_for_room(self) -> None:
        """Tell the fleet which workers of the jobs under way find no room."""
        left = max(GROWTH, sum(crew.workers for crew in self.crews))
        missing = []
        for crew in self.crews:
            count = min(crew.fair_share, left)
            if self.max_workers:
                count = min(count, self.max_workers - crew.workers)
            if count > 0:
                missing.append((crew.needs, count))
                left -= count
        self.fleet.make_room(missing)

    def _look_at_nodes(self) -> None:
        nodes = self.fleet.nodes()
        if nodes is self.nodes:
            return
        self.nodes, self.total, self.staffed = nodes, total(nodes), False
        for crew in self.crews:
            crew.capacity = capacity(crew.needs, nodes)

    def _recruit(self, crew: _Crew, room: Room, wanted: int) -> bool:
        """Start workers of one job; return whether it could do with more."""
        limit = min(crew.capacity, self.max_workers or crew.capacity)
        wanted = min(wanted, limit - crew.workers)
        while wanted > 0 and room.take(crew.needs):
            engine = Engine(max(1, int(crew.needs.cpus)), crew.batch_size)
            worker = self.fleet.start(crew.work.spec, crew.needs, engine)
            crew.workers, crew.loading = crew.workers + 1, crew.loading + 1
            self._watch(self.fleet.load(worker), crew, worker, None)
            wanted -= 1
        return wanted > 0

    def _check_place(self, crew: _Crew) -> None:
        """Give a job up that fits nowhere: at once, or when a lost node has had time to return."""
        if crew.capacity or crew.workers or not crew.todo:
            return
        now = self.fleet.now()
        crew.stranded = crew.stranded or now
        if not crew.devices or now - crew.stranded > GRACE:
            crew.failure = infeasible(crew.work.spec.name, crew.needs, self.nodes)
            self.touched.add(crew)

    def _watch(self, call: Call, crew: _Crew, worker: Any, task: Task | None) -> None:
        self.calls[call] = _Running(crew, worker, task, self.fleet.now())

    def _settle(self, running: _Running, call: Call) -> None:
        """Take in a finished call and give its worker the next task."""
        crew, task = running.crew, running.task
        self.touched.add(crew)
        crew.loading -= task is None
        try:
            result = self.fleet.result(call)
        except WorkerLostError as lost:
            self._lose(running, str(lost))
            return
        except MethodFailedError as error:
            self._release(running)
            crew.failure = str(error)
            return
        if task is None:
            crew.devices.append(result)
            crew.stranded = None
        elif task.part is not None:
            crew.todo.extendleft(crew.suspicion.acquit(task))
        else:
            crew.batch_size = result.batch_size
            crew.reports.append(result)
            self.watcher.shard(crew.work.key, result)
        if crew.todo and crew.failure is None:
            self._give(crew, running.worker, crew.todo.popleft())
        else:
            self._release(running)

    def _give(self, crew: _Crew, worker: Any, task: Task) -> None:
        samples = crew.shards[task.shard]
        if task.part is None:
            lost = crew.suspicion.guilty(task.shard)
            call = self.fleet.run(worker, task.shard, samples, crew.work.folder, lost)
        else:
            tried = samples[task.part.start : task.part.stop]
            call = self.fleet.run(worker, task.shard, tried, None, ())
        self._watch(call, crew, worker, task)

    def _lose(self, running: _Running, reason: str) -> None:
        """A worker is gone: decide what becomes of the task that it was at."""
        crew, task = running.crew, running.task
        self.touched.add(crew)
        crew.deaths += 1
        self._release(running)
        if task is None:
            self._count_failed_load(running, reason)
        else:
            crew.todo.extendleft(crew.suspicion.accuse(task, reason))
            crew.failure = crew.suspicion.verdict(crew.work.max_failed)
        what = "loading" if task is None else str(task)
        self.watcher.retried(crew.work.key, what, reason)

    def _count_failed_load(self, running: _Running, reason: str) -> None:
        """Give a job up whose method kills its workers; those lost with one node count as one."""
        crew = running.crew
        if running.since > crew.last_failed_load:
            crew.failed_loads, crew.last_failed_load = crew.failed_loads + 1, self.fleet.now()
        if crew.failed_loads >= MAX_FAILED_LOADS:
            died = f"The worker died {MAX_FAILED_LOADS} times while loading the method."
            crew.failure = f"{died} {reason}"

    def _look_after_all(self) -> None:
        """Kill workers that hang, and give up jobs that have lost their place, now and then."""
        now = self.fleet.now()
        if now - self.looked < min(1.0, self.deadline / 4):
            return
        self.looked = now
        for call, running in list(self.calls.items()):
            if now - running.since > self.deadline:
                del self.calls[call]
                running.crew.loading -= running.task is None
                self._lose(running, f"It took longer than {self.deadline:g} s and was killed.")
        for crew in self.crews:
            self._check_place(crew)

    def _release(self, running: _Running) -> None:
        running.crew.workers -= 1
        self.staffed = False
        self.fleet.stop(running.worker)

    def _dismiss(self, crew: _Crew) -> None:
        """Stop the workers of a job that has ended."""
        for call, running in [item for item in self.calls.items() if item[1].crew is crew]:
            del self.calls[call]
            self._release(running)
        self.crews.remove(crew)
        self.staffed = False
