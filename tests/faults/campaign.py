"""A campaign of random faults: whatever is done to a run, its result is the right one.

    python tests/faults/campaign.py [--injections 100] [--seed 0]

The plug-in ``tests/plugin`` must be installed. Every round writes a small data set, starts a run in
a process of its own on a cluster of three nodes, and injects one to three random faults; where
a fault ends the run (a killed driver, a full disk) it is started again, as a user would. A round is
right if the predictions are those computed without the engine, to the bit, and no shard is
missing or there twice. The seed fixes the faults and their places; what a worker is at when it is
killed from outside is up to the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil
from ray.cluster_utils import Cluster
from rich.console import Console
from toy_runs import expected_digest, options, write_toy

from harness.api import PrerequisiteError
from harness.running import run_suite
from harness.view import View

SAMPLES = 100
SHARDS = -(-SAMPLES // 32)
DEADLINE = 15
TRIES = 6


# Drivers are forked from a server that has only imported what they need: to import it anew takes
# longer than the run, and a process that talks to Ray must not be forked.
_drivers = multiprocessing.get_context("forkserver")
_drivers.set_forkserver_preload(["torch", "ray.cluster_utils", "harness.running", "toy_runs"])


class Driver:
    """A run in a process of its own: 0 if it has a result, 2 if it was refused, 3 if it failed."""

    def __init__(self, this: Round) -> None:
        self.answer = this.folder / f"answer-{time.monotonic_ns()}.json"
        task = (this.folder, this.cluster.address, len(this.lost), self.answer)
        self.process = _drivers.Process(target=drive, args=task)
        self.process.start()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs; negative if it was killed."""
        return self.process.exitcode

    def wait(self) -> int | None:
        """Wait for the end and return the exit code."""
        self.process.join()
        return self.process.exitcode

    def kill(self) -> None:
        """Kill it without warning."""
        self.process.kill()
        self.process.join()


def drive(folder: Path, address: str, lost: int, answer: Path) -> None:
    """Run the suite; write what the record says, and exit with the code that it deserves."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    # No folder can be below a file: MLflow never answers.
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'toy' / 'toy.json' / 'm.db'}"
    wanted = options(
        folder / "toy",
        folder / "w",
        address=address,
        shard_deadline=DEADLINE,
        max_failed_samples=lost,
    )
    try:
        (record,) = run_suite(wanted, View()).records
    except PrerequisiteError:
        sys.exit(2)
    except BaseException:
        sys.exit(4)
    facts = {"status": record.status, "reason": record.reason}
    facts |= {"notes": record.notes, "counts": record.counts}
    answer.write_bytes(orjson.dumps(facts))
    sys.exit(0 if record.status == "done" else 3)


@dataclass
class Round:
    """One disturbed run.

    ``orders`` are misbehaviours of samples, ``strokes`` what is done to the run from outside, and
    ``lost`` the samples that no run can survive.
    """

    folder: Path
    random: random.Random
    cluster: Cluster
    nodes: list[Any]
    orders: dict[int, str] = field(default_factory=dict)
    strokes: list[Callable[[Driver], None]] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)

    def place(self) -> int:
        """Return a sample that has no order yet."""
        return self.random.choice([i for i in range(SAMPLES) if i not in self.orders])

    def once(self, order: str) -> None:
        """Let a sample misbehave at its first preparation."""
        place = self.place()
        self.orders[place] = f"{order} once {self.folder / f'once-{place}'}"

    @property
    def workspace(self) -> Path:
        return self.folder / "w"

    def shard_files(self) -> list[Path]:
        return sorted(self.workspace.glob("jobs/*/*.parquet"))


def worker_dies(this: Round) -> None:
    this.once("die")


def worker_hangs(this: Round) -> None:
    this.once("sleep 3600")


def worker_freezes(this: Round) -> None:
    this.once("freeze")


def disk_full(this: Round) -> None:
    this.once("full disk")


def memory_short(this: Round) -> None:
    this.orders[this.place()] = "memory 1"


def clock_jumps(this: Round) -> None:
    this.orders[this.place()] = "clock"


def poison_image(this: Round) -> None:
    # In the last shard, which is small: isolating it takes few workers.
    place = this.random.choice([i for i in range(96, SAMPLES) if i not in this.orders])
    this.orders[place] = "die"
    this.lost.add(place)


def worker_killed(this: Round) -> None:
    delay = this.random.uniform(0.0, 1.0)

    def stroke(driver: Driver) -> None:
        time.sleep(delay)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith("ray::Worker"):
                    process.kill()
                    return

    this.strokes.append(stroke)


def node_killed(this: Round) -> None:
    def stroke(driver: Driver) -> None:
        this.cluster.remove_node(this.nodes.pop(0), allow_graceful=False)
        this.nodes.append(this.cluster.add_node(num_cpus=1))

    this.strokes.append(stroke)


def driver_killed(this: Round) -> None:
    delay = this.random.uniform(0.0, 1.5)

    def stroke(driver: Driver) -> None:
        time.sleep(delay)
        driver.kill()

    this.strokes.append(stroke)


def shard_corrupt(this: Round) -> None:
    """The driver is killed, and a finished shard file is damaged before it starts again."""
    place = this.random.random()

    def stroke(driver: Driver) -> None:
        driver.kill()
        if files := this.shard_files():
            path = files[int(place * len(files))]
            content = bytearray(path.read_bytes())
            content[int(place * len(content))] ^= 0xFF
            path.write_bytes(bytes(content))

    this.strokes.append(stroke)


def second_driver(this: Round) -> None:
    def stroke(driver: Driver) -> None:
        code = Driver(this).wait()
        assert code == 2 or driver.poll() is not None, "two drivers at once"

    this.strokes.append(stroke)


def store_locked(this: Round) -> None:
    """The results store takes nothing for some seconds."""
    seconds = this.random.uniform(1.0, 7.0)

    def stroke(driver: Driver) -> None:
        store = sqlite3.connect(this.workspace / "results.db", timeout=30)
        store.execute("begin exclusive")
        time.sleep(seconds)
        store.close()

    this.strokes.append(stroke)


FAULTS = (
    worker_dies,
    worker_hangs,
    worker_freezes,
    disk_full,
    memory_short,
    clock_jumps,
    poison_image,
    worker_killed,
    node_killed,
    driver_killed,
    shard_corrupt,
    second_driver,
    store_locked,
)


def carry_out(this: Round) -> str:
    """Run until there is a result; return what is wrong with it, or nothing."""
    write_toy(this.folder / "toy", SAMPLES, this.orders)
    strokes = list(this.strokes)
    for _ in range(TRIES):
        driver = Driver(this)
        while driver.poll() is None:
            # Strokes fall when the run is under way: its first shard is on disk.
            if strokes and this.shard_files():
                strokes.pop(0)(driver)
            time.sleep(0.05)
        if driver.poll() == 0:
            return judge(this, orjson.loads(driver.answer.read_bytes()))
    return f"no result in {TRIES} tries"


def judge(this: Round, result: dict[str, Any]) -> str:
    """Return what is wrong with a result, or nothing."""
    if result["notes"]["predictions_digest"] != expected_digest(SAMPLES, sorted(this.lost)):
        return "the predictions differ"
    if result["counts"].get("failed_samples", 0) != len(this.lost):
        return "another number of samples is lost"
    indices = Counter(int(path.name.split(".")[0]) for path in this.shard_files())
    return "" if indices == Counter(range(SHARDS)) else f"shard files {dict(indices)}"


@contextlib.contextmanager
def three_nodes() -> Iterator[tuple[Cluster, list[Any]]]:
    """Start a cluster of three nodes, on which a lost one is noticed within seconds."""
    # An own folder, so that nobody on this machine takes this cluster for the current one.
    folder = tempfile.mkdtemp(prefix="ph-", dir="/tmp")
    (Path(folder) / "ray").mkdir()
    # A busy machine must neither keep Ray from starting nor make workers look hung.
    patient = {"RAY_raylet_start_wait_time_s": "180", "RAY_worker_niceness": "0"}
    os.environ.update(patient, RAY_TMPDIR=folder)
    noticed_soon = {
        "health_check_initial_delay_ms": 5000,
        "health_check_period_ms": 1000,
        "health_check_timeout_ms": 10000,
        "health_check_failure_threshold": 3,
    }
    head = {"num_cpus": 1, "_system_config": noticed_soon}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def campaign(injections: int, seed: int, console: Console) -> tuple[int, int]:
    """Inject that many faults; return the number of runs and of wrong results."""
    chosen = random.Random(seed)
    made = rounds = wrong = 0
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder, three_nodes() as (ray, nodes):
        while made < injections:
            # Every kind in turn, and up to two random ones with it.
            count = min(chosen.choice((1, 1, 2, 3)), injections - made)
            faults = [FAULTS[rounds % len(FAULTS)], *chosen.sample(FAULTS, count - 1)]
            this = Round(Path(folder) / str(rounds), chosen, ray, nodes)
            this.folder.mkdir()
            for fault in faults:
                fault(this)
            begin = time.monotonic()
            trouble = carry_out(this)
            names = ", ".join(fault.__name__.replace("_", " ") for fault in faults)
            seconds = time.monotonic() - begin
            console.print(f"{rounds:3d}  {seconds:5.0f} s  {trouble or 'right':8s}  {names}")
            made, rounds, wrong = made + count, rounds + 1, wrong + bool(trouble)
    return rounds, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--injections", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console(width=120)
    rounds, wrong = campaign(arguments.injections, arguments.seed, console)
    console.print(f"{arguments.injections} injections in {rounds} runs: {wrong} wrong results.")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
