"""Throughput of ``harness run`` against plain PyTorch loops, in one process run.

    python perf/engine_throughput.py [--method deeppose-resnet:r50-256x192] [--rounds 2]

The plain loop prepares samples of the embedded COCO split, then runs the network over full batches
of their rows, on one thread, without decoding, writing or scoring. It is measured alone and as two
processes side by side, which is all that the machine can do with two threads. The engine runs with
one and with two workers of one thread each; its time is taken while all of them are warm and at
work, and all bookkeeping between shards counts. The weights are random: speed does not depend on
them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from harness import load_method, registry
from harness.cache import cache_root
from harness.data import make_embedded
from harness.execution.cluster import cluster
from harness.execution.worker import ShardReport
from harness.profiling import profile
from harness.running import RunOptions, run_suite
from harness.view import View

SPLIT = "embedded-val"


class Clock(View):
    """A view that notes when shards end."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, ShardReport]] = []

    def shard(self, key: str, report: ShardReport) -> None:
        self.ends.append((time.perf_counter(), report))

    def rows_per_second(self) -> float:
        """Return the throughput of all workers after the first shard of each."""
        speed = 0.0
        for worker in {report.pid for _, report in self.ends}:
            ends = [
                (end, report.timings["rows"]) for end, report in self.ends if report.pid == worker
            ]
            speed += sum(rows for _, rows in ends[1:]) / (ends[-1][0] - ends[0][0])
        return speed


def plain_loop(name: str, limit: int, ready: Barrier, speeds: multiprocessing.Queue) -> None:
    """Put rows per second of preparation and forward passes one after the other."""
    torch.set_num_threads(1)
    method = load_method(name)
    benchmark = registry.benchmark("coco")
    dataset = benchmark.load(cache_root() / "data" / "coco", SPLIT)
    samples = benchmark.samples(dataset, benchmark.protocol())[:limit]
    size = method.variant.batch_size
    with torch.inference_mode():
        rows = next(p.rows for p in map(method.prepare, samples) if len(p))
        method.forward({k: torch.from_numpy(v[:1].repeat(size, 0)) for k, v in rows.items()})
        ready.wait()
        start = time.perf_counter()
        prepared = [p.rows for p in map(method.prepare, samples) if len(p)]
        rows = {k: np.concatenate([piece[k] for piece in prepared]) for k in prepared[0]}
        count = len(next(iter(rows.values())))
        for first in range(0, count, size):
            method.forward({k: torch.from_numpy(v[first : first + size]) for k, v in rows.items()})
        speeds.put(count / (time.perf_counter() - start))


def plain(name: str, limit: int, processes: int) -> float:
    """Return rows per second of plain loops side by side, added up."""
    context = multiprocessing.get_context("spawn")
    ready, speeds = context.Barrier(processes), context.Queue()
    loops = [
        context.Process(target=plain_loop, args=(name, limit, ready, speeds))
        for _ in range(processes)
    ]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    return sum(speeds.get() for _ in loops)


def engine(name: str, limit: int, workspace: Path, workers: int) -> float:
    """Return rows per second of a run in which each worker gets ``limit`` samples."""
    clock = Clock()
    options = RunOptions(
        "coco", methods=(name,), split=SPLIT, limit=workers * limit, workspace=workspace,
        max_workers=workers, rerun="all",
    )  # fmt: skip
    run_suite(options, clock)
    return clock.rows_per_second()


def random_weights(name: str, cache: Path) -> float:
    """Put random weights of a method into a cache that shares the data; return its GMACs."""
    (cache / "data").symlink_to(cache_root() / "data")
    os.environ["HARNESS_CACHE"] = str(cache)
    method = load_method(name)
    path = cache / "weights" / method.card.name / f"{name.partition(':')[2]}.safetensors"
    path.parent.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in method.network.state_dict().items()}, path)
    return profile(method, latency=False).macs / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="deeppose-resnet:r50-256x192")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=160, help="samples of a process")
    arguments = parser.parse_args()
    name, limit = arguments.method, arguments.limit
    make_embedded(registry.benchmark("coco"), SPLIT)
    measured: list[tuple[float, float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder, cluster("local"):
        macs = random_weights(name, Path(folder))
        for _ in range(arguments.rounds):
            workspace = Path(folder) / "workspace"
            loops = plain(name, limit, 1), plain(name, limit, 2)
            runs = engine(name, limit, workspace, 1), engine(name, limit, workspace, 2)
            measured.append((*loops, *runs))
    table = Table("rows/s", *(str(i + 1) for i in range(arguments.rounds)), "median")
    one, two, run, pair = (list(column) for column in zip(*measured, strict=True))
    for title, values in (
        ("plain loop", one),
        ("two plain loops", two),
        ("harness run, one worker", run),
        ("harness run, two workers", pair),
        ("one worker / plain loop", [a / b for a, b in zip(run, one, strict=True)]),
        ("two workers / one worker", [a / b for a, b in zip(pair, run, strict=True)]),
        ("two plain loops / one", [a / b for a, b in zip(two, one, strict=True)]),
        ("two workers / two plain loops", [a / b for a, b in zip(pair, two, strict=True)]),
    ):
        table.add_row(title, *(f"{v:.2f}" for v in (*values, statistics.median(values))))
    Console().print(f"{name}, {macs:.2f} GMAC, one thread each", table)


if __name__ == "__main__":
    main()
