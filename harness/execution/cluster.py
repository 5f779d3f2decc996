"""Start or join a Ray cluster, and say at once what it cannot do."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from harness.api import PrerequisiteError
from harness.api.card import Resources


@contextmanager
def cluster(address: str = "local", cpus: int | None = None) -> Iterator[None]:
    """Hold a connection to a cluster.

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
    import ray

    if ray.is_initialized():  # a caller that is connected already keeps its connection
        yield
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    folder = None
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
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError as error:
                raise PrerequisiteError(
                    f"No Ray cluster answers at --address {address}: {error}.",
                    "Start one (`ray start --head`), or leave the option out to run locally.",
                ) from None
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def capacity(needs: Resources) -> int:
    """Return how many workers with these needs the cluster can hold at once; 0 if none ever."""
    import ray

    workers = 0
    for node in ray.nodes():
        if node["Alive"]:
            have = node["Resources"]
            room = have.get("CPU", 0) / needs.cpus if needs.cpus else float("inf")
            if needs.gpus:
                room = min(room, have.get("GPU", 0) / needs.gpus)
            workers += int(room)
    return workers


def placed(needs: Resources) -> Resources:
    """Return what a worker takes on this cluster: one GPU if there are any, even if not needed."""
    if describe()["gpu"] and not needs.gpus:
        return needs.model_copy(update={"gpus": 1.0})
    return needs


def describe() -> dict[str, float]:
    """Return the cluster's resources: nodes, CPU, GPU."""
    import ray

    total = ray.cluster_resources()
    alive = sum(node["Alive"] for node in ray.nodes())
    return {"nodes": alive, "cpu": total.get("CPU", 0), "gpu": total.get("GPU", 0)}
