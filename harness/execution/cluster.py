"""Start or join a Ray cluster, and say at once what it cannot do."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from harness.api import PrerequisiteError
from harness.api.card import Resources


@contextmanager
def cluster(address: str = "local", cpus: int | None = None) -> Iterator[str | None]:
    """Hold a connection to a cluster; yields the address of its dashboard, if it has one.

    Parameters
    ----------
    address : str
        ``local`` starts an own cluster on this machine and stops it at the end; ``auto`` or
        ``HOST:PORT`` joins a running one.
    cpus : int, optional
        CPUs of a local cluster; all of the machine by default.

    Raises
    ------
    PrerequisiteError
        If there is no cluster at the address.
    """
    # Tasks that ask for no GPU must not see one; telemetry stays off.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # On a busy machine half a minute, Ray's own limit, is not enough to start.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")
    import ray

    if ray.is_initialized():  # a caller that is connected already keeps its connection
        yield None
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    folder, dashboard = None, None
    if address == "local":
        # An own folder: never attach to, or disturb, another cluster of this machine. Short,
        # because Unix sockets below it have a limit of 107 characters.
        folder = tempfile.mkdtemp(prefix="ph-", dir="/tmp")
    try:
        if folder is not None:
            ray.init(
                address="local",
                num_cpus=cpus or os.cpu_count(),
                logging_level=logging.ERROR,
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=256 * 2**20,
                _temp_dir=folder,
            )
        else:
            try:
                context = ray.init(
                    address=address, log_to_driver=False, logging_level=logging.ERROR
                )
            except ConnectionError as error:
                raise PrerequisiteError(
                    f"No Ray cluster answers at --address {address}: {error}.",
                    "Start one (`ray start --head`), or leave the option out to run locally.",
                ) from None
            if context.dashboard_url:
                dashboard = f"http://{context.dashboard_url}"
        yield dashboard
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


_CPU, _GPU, _MEMORY = "CPU", "GPU", "memory"  # Ray's names
_EXACT = 1e-6  # sums of shares of a GPU are not exact
Nodes = Sequence[Mapping[str, float]]


def requirements(needs: Resources) -> dict[str, float]:
    """Return what a worker takes, by Ray's names of resources; nothing that it does not need."""
    gpus = 1 / int(1 / needs.gpus) if 0 < needs.gpus < 1 else needs.gpus  # no share spans two
    wanted = {_CPU: needs.cpus, _GPU: gpus, _MEMORY: needs.memory_gb * 2**30}
    if needs.accelerator:
        wanted[f"accelerator_type:{needs.accelerator}"] = 0.001  # as Ray counts it
    return {name: amount for name, amount in wanted.items() if amount}


def capacity(needs: Resources, nodes: Nodes) -> int:
    """Return how many workers with these needs the nodes can hold at once; 0 if none ever."""
    wanted = requirements(needs)
    return sum(
        min(
            (int(node.get(name, 0) / amount + _EXACT) for name, amount in wanted.items()), default=1
        )
        for node in nodes
    )


class Room:
    """What no worker holds. Own books: Ray's lag behind starts and kills.

    Parameters
    ----------
    have : mapping
        What the nodes have together.
    held : iterable of (int, Resources)
        Numbers of workers and what each of them takes.
    """

    def __init__(self, have: Mapping[str, float], held: Iterable[tuple[int, Resources]]) -> None:
        self._free = dict(have)
        for count, needs in held:
            for name, amount in requirements(needs).items():
                self._free[name] = self._free.get(name, 0) - count * amount

    def take(self, needs: Resources) -> bool:
        """Take one worker's resources; return whether they were there."""
        wanted = requirements(needs)
        if any(self._free.get(name, 0) + _EXACT < amount for name, amount in wanted.items()):
            return False
        for name, amount in wanted.items():
            self._free[name] -= amount
        return True


def total(nodes: Nodes) -> dict[str, float]:
    """Return what the nodes have together, by Ray's names of resources."""
    have: Counter[str] = Counter()
    for node in nodes:
        have.update(node)
    return dict(have)


def infeasible(name: str, needs: Resources, nodes: Nodes) -> str:
    """Say why a worker can never be placed on these nodes."""
    wanted = [f"{needs.cpus:g} CPUs", f"{needs.gpus:g} GPUs", f"{needs.memory_gb:g} GiB of memory"]
    if needs.accelerator:
        wanted.append(f"a GPU of the kind {needs.accelerator}")
    return (
        f"A worker of {name} needs {', '.join(wanted[:-1])} and {wanted[-1]} on one node, which no "
        f"node has; the cluster has {describe(nodes)} in all."
    )


def describe(nodes: Nodes) -> str:
    """Say in words what a cluster has."""
    have, prefix = total(nodes), "accelerator_type:"
    kinds = ", ".join(sorted(n.removeprefix(prefix) for n in have if n.startswith(prefix)))
    gpus = f"{have.get(_GPU, 0):g} GPUs{f' ({kinds})' if kinds else ''}"
    memory = have.get(_MEMORY, 0) / 2**30
    return (
        f"{len(nodes)} nodes with {have.get(_CPU, 0):g} CPUs, {gpus} and {memory:.1f} GiB of memory"
    )


def placed(needs: Resources, nodes: Nodes) -> Resources:
    """Return what a worker takes on these nodes: a GPU if there are any, even if not needed.

    A worker on a GPU also gets its share of that node's CPUs, for preparation and decoding.
    """
    shares = [node.get(_CPU, 0) / node[_GPU] for node in nodes if node.get(_GPU)]
    if not shares:
        return needs
    gpus = needs.gpus or needs.gpu_share
    cpus = max(needs.cpus, float(int(gpus * min(shares))))
    return needs.model_copy(update={"gpus": gpus, "cpus": cpus})
