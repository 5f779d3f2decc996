"""Workers on a Ray cluster, behind the few calls that the scheduler needs.

The scheduler knows nothing of Ray; ``perf/simulate.py`` gives it ten thousand simulated jobs on
workers that do not exist.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from harness.api import PrerequisiteError, Sample
from harness.api.card import Resources
from harness.execution.shards import FailedSample
from harness.execution.worker import Engine, MethodSpec, Worker

Call = Any
"""A call of a worker that is under way; hashable."""

NODES_EVERY = 1.0
"""Seconds between two looks at the cluster's nodes."""


class WorkerLostError(Exception):
    """The worker is gone: killed, its node gone, or its memory exhausted."""


class MethodFailedError(Exception):
    """The method, or what it needs, is at fault; the message is what the record keeps."""


class Fleet(Protocol):
    """Where workers run."""

    def now(self) -> float:
        """Return seconds of a clock that never jumps."""

    def nodes(self) -> Sequence[Mapping[str, float]]:
        """Return the resources of every living node: CPU, GPU, memory in bytes, ..."""

    def make_room(self, missing: Sequence[tuple[Resources, int]]) -> None:
        """Take note of the workers that find no room now; an autoscaled cluster grows for them."""

    def start(self, spec: MethodSpec, needs: Resources, engine: Engine) -> Any:
        """Start a worker; returns at once."""

    def load(self, worker: Any) -> Call:
        """Let a worker build its method; the result says what its device is."""

    def run(
        self,
        worker: Any,
        index: int,
        samples: Sequence[Sample],
        folder: str | None,
        lost: Sequence[FailedSample],
    ) -> Call:
        """Let a worker predict a shard and write its file; without a folder it only tries."""

    def wait(self, calls: Sequence[Call], timeout: float) -> Sequence[Call]:
        """Return the calls that have ended, after at most ``timeout`` seconds."""

    def result(self, call: Call) -> Any:
        """Return what an ended call has given.

        Raises
        ------
        WorkerLostError
        MethodFailedError
        """

    def stop(self, worker: Any) -> None:
        """Kill a worker, whatever it is doing."""


class RayFleet:
    """Workers on the Ray cluster that this process is connected to.

    Parameters
    ----------
    may_grow : bool
        Whether the cluster may have an autoscaler; one that this process has started has none.
    """

    def __init__(self, *, may_grow: bool) -> None:
        self._may_grow = may_grow
        self._nodes: list[Mapping[str, float]] = []
        self._looked = float("-inf")
        self._asked: dict[Bundle, list[Call]] = {}

    def now(self) -> float:
        """Return seconds of the monotonic clock."""
        return time.monotonic()

    def nodes(self) -> Sequence[Mapping[str, float]]:
        """Return the resources of every living node."""
        import ray

        if self.now() - self._looked > NODES_EVERY:
            self._nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._looked = self.now()
        return self._nodes

    def make_room(self, missing: Sequence[tuple[Resources, int]]) -> None:
        """Keep a task that does nothing waiting for the room of each missing worker.

        Ray's autoscaler starts nodes for tasks that wait. Unlike a request through
        ``ray.autoscaler.sdk`` they end with this process, however it ends, so that nobody pays
        for nodes that no run wants any more.
        """
        import ray

        if not self._may_grow:
            return
        wanted: Counter[Bundle] = Counter()
        for needs, count in missing:  # jobs may have the same needs
            wanted[_bundle(needs)] += count
        for bundle in {*wanted, *self._asked}:
            asked = self._asked.pop(bundle, [])
            if asked:
                asked = ray.wait(asked, num_returns=len(asked), timeout=0)[1]
            count = wanted[bundle]
            for call in asked[count:]:
                ray.cancel(call, force=True)
            options = dict(bundle)
            asked = asked[:count] + [
                ray.remote(_nothing).options(**options).remote() for _ in range(len(asked), count)
            ]
            if asked:
                self._asked[bundle] = asked

    def start(self, spec: MethodSpec, needs: Resources, engine: Engine) -> Any:
        """Start an actor with the resources that it needs."""
        import ray

        return ray.remote(Worker).options(**dict(_bundle(needs))).remote(spec, engine)

    def load(self, worker: Any) -> Call:
        """Let a worker build its method."""
        return worker.load.remote()

    def run(
        self,
        worker: Any,
        index: int,
        samples: Sequence[Sample],
        folder: str | None,
        lost: Sequence[FailedSample],
    ) -> Call:
        """Let a worker predict a shard."""
        return worker.run.remote(index, samples, folder, lost)

    def wait(self, calls: Sequence[Call], timeout: float) -> Sequence[Call]:
        """Wait for the first call to end; return all that have ended by then."""
        import ray

        if not calls:  # every worker waits for a node
            time.sleep(timeout)
            return []
        done, running = ray.wait(list(calls), num_returns=1, timeout=timeout)
        if done and running:
            done += ray.wait(running, num_returns=len(running), timeout=0)[0]
        return list(done)

    def result(self, call: Call) -> Any:
        """Return what an ended call has given."""
        import ray
        from ray.exceptions import RayActorError, RayError, RayTaskError

        try:
            return ray.get(call)
        except RayTaskError as error:
            cause = error.cause
            message = str(cause if isinstance(cause, PrerequisiteError) else error)
            raise MethodFailedError(message) from None
        except RayActorError as error:
            raise WorkerLostError(_reason(error)) from None
        except RayError as error:  # the node ran out of memory, or its disk is full
            raise WorkerLostError(_reason(error)) from None

    def stop(self, worker: Any) -> None:
        """Kill an actor."""
        import ray

        ray.kill(worker)


Bundle = tuple[tuple[str, Any], ...]
"""What a worker takes, as options of a Ray task or actor."""


def _bundle(needs: Resources) -> Bundle:
    bundle: dict[str, Any] = {
        "num_cpus": needs.cpus,
        "num_gpus": needs.gpus,
        "memory": int(needs.memory_gb * 2**30),
    }
    if needs.accelerator:
        bundle["accelerator_type"] = needs.accelerator
    return tuple(bundle.items())


def _nothing() -> None:
    """Take room, for no time."""


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
