"""Throughput of ``harness run`` with one worker against a plain PyTorch loop, in one process run.

    python perf/engine_throughput.py [--method hrnet:nano] [--rounds 3]

The plain loop prepares every sample of the embedded validation split, then runs the network over
batches of the same rows, on one thread, without decoding, writing or scoring. The engine's time is
taken between the first and the last finished shard: the worker is warm, and all bookkeeping
between shards counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from harness import load_method, registry
from harness.data import make_embedded
from harness.execution.cluster import cluster
from harness.execution.worker import ShardReport
from harness.running import RunOptions, run_suite
from harness.view import View
from harness.weights import locate


class Clock(View):
    """A view that notes when shards end."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, int]] = []

    def shard(self, digest: str, report: ShardReport) -> None:
        self.ends.append((time.perf_counter(), report.samples))

    def samples_per_second(self) -> float:
        """Return the throughput after the first shard."""
        first, last = self.ends[0][0], self.ends[-1][0]
        return sum(samples for _, samples in self.ends[1:]) / (last - first)


def plain_loop(name: str, root: Path, split: str) -> float:
    """Return samples per second of preparation and forward passes one after the other."""
    card, variant = registry.method_card(name.partition(":")[0]), name.partition(":")[2]
    method = load_method(name, locate(card, variant))
    benchmark = registry.benchmark("coco")
    samples = benchmark.samples(benchmark.load(root, split), benchmark.protocol())
    size = method.variant.batch_size
    with torch.inference_mode():
        start = time.perf_counter()
        prepared = [method.prepare(sample) for sample in samples]
        rows = {
            key: np.concatenate([p.rows[key] for p in prepared if len(p)])
            for key in prepared[0].rows
        }
        count = len(next(iter(rows.values())))
        for first in range(0, count, size):
            method.forward({k: torch.from_numpy(v[first : first + size]) for k, v in rows.items()})
        return len(samples) / (time.perf_counter() - start)


def engine(name: str, workspace: Path) -> float:
    """Return samples per second of a run with one warm worker."""
    clock = Clock()
    options = RunOptions("coco", methods=(name,), workspace=workspace, max_workers=1, rerun="all")
    run_suite(options, clock)
    return clock.samples_per_second()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="hrnet:nano")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    benchmark = registry.benchmark("coco")
    root = make_embedded(benchmark, "embedded-val")
    torch.set_num_threads(1)
    table = Table("round", "plain loop, samples/s", "harness run, samples/s", "ratio")
    ratios = []
    with tempfile.TemporaryDirectory() as folder, cluster("local"):
        for number in range(arguments.rounds):
            plain = plain_loop(arguments.method, root, "embedded-val")
            ours = engine(arguments.method, Path(folder))
            ratios.append(ours / plain)
            table.add_row(str(number + 1), f"{plain:.1f}", f"{ours:.1f}", f"{ratios[-1]:.2f}")
    table.add_row("median", "", "", f"{statistics.median(ratios):.2f}")
    Console().print(f"{arguments.method}, one worker, one thread", table)


if __name__ == "__main__":
    main()
