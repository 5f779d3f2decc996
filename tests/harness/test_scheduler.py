"""The scheduler's decisions, on simulated workers and a simulated clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import Sample
from harness.api.card import Resources
from harness.execution.cluster import Room, capacity, infeasible, placed, total
from harness.execution.scheduler import GRACE, Watcher, Work, WorkResult, execute
from harness.execution.worker import MethodSpec
from perf.simulate import SimulatedFleet


def work(key: str, shards: int, size: int = 8, **changes: object) -> Work:
    samples = {
        shard: [Sample(id=f"{key}-{shard}-{i}") for i in range(size)] for shard in range(shards)
    }
    facts = {"needs": Resources(), "folder": key, "shards": lambda: samples, **changes}
    return Work(key, MethodSpec("toy:plain", None, None), **facts)


def finish(works: list[Work], fleet: SimulatedFleet, **options: object) -> dict[str, WorkResult]:
    return {r.key: r for r in execute(works, fleet, Watcher(), **options)}


@given(
    lost=st.frozensets(st.integers(0, 60), max_size=6),
    workers=st.integers(1, 9),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6),
)
def test_every_shard_is_done_once_whatever_worker_is_lost(
    lost: frozenset[int], workers: int, sizes: list[int]
) -> None:
    fleet = SimulatedFleet(workers, lost_calls=lost)
    results = finish([work(f"j{i}", size) for i, size in enumerate(sizes)], fleet)
    for i, size in enumerate(sizes):
        result = results[f"j{i}"]
        if result.failure is None:
            assert [report.index for report in result.reports] == list(range(size))
        else:  # so many deaths in a row that loading was given up
            assert "while loading" in result.failure
            assert len(lost) >= 3
    assert len(fleet.stopped) == fleet.started  # nobody is left behind


@given(
    deadly=st.frozensets(st.integers(0, 31), max_size=4),
    hanging=st.frozensets(st.integers(0, 31), max_size=2),
    lost=st.frozensets(st.integers(0, 200), max_size=2),
    workers=st.integers(1, 4),
)
def test_exactly_the_deadly_samples_are_left_out(
    deadly: frozenset[int], hanging: frozenset[int], lost: frozenset[int], workers: int
) -> None:
    bad = {f"j-0-{i}" for i in deadly | hanging}
    fleet = SimulatedFleet(
        workers,
        deadly=frozenset(f"j-0-{i}" for i in deadly),
        hanging=frozenset(f"j-0-{i}" for i in hanging),
        lost_calls=lost,
    )
    result = finish([work("j", 2, 32, max_failed=6)], fleet, deadline=100.0)["j"]
    if result.failure is not None:
        assert len(lost) == 2
        assert "no single sample" in result.failure or "while loading" in result.failure
        return
    assert {sample.sample_id for report in result.reports for sample in report.failed} == bad
    if bad:
        kept = {index: set(ids) for _, index, ids in fleet.kept}
        assert kept[0] == {f"j-0-{i}" for i in range(32)} - bad
        assert kept[1] == {f"j-1-{i}" for i in range(32)}


def test_a_job_that_has_lost_too_many_samples_ends_at_once() -> None:
    fleet = SimulatedFleet(1, deadly=frozenset({"j-0-3"}))
    result = finish([work("j", 500)], fleet)["j"]
    assert result.failure.startswith("Sample j-0-3 killed its worker 2 times (It was killed.)")
    assert len(result.reports) < 10


def test_method_that_does_not_load_fails_its_job() -> None:
    result = finish([work("j", 3)], SimulatedFleet(2, broken="no such weights"))["j"]
    assert result.failure == "no such weights"


def test_workers_lost_together_while_loading_count_as_one() -> None:
    result = finish([work("j", 40)], SimulatedFleet(8, lost_calls=frozenset(range(1, 16, 2))))["j"]
    assert result.failure is None
    assert result.worker_deaths == 8


def test_jobs_are_taken_up_as_there_is_room() -> None:
    taken: list[int] = []
    running: set[str] = set()
    most = 0

    def works() -> Iterator[Work]:
        for i in range(200):
            taken.append(i)
            running.add(f"j{i}")
            yield work(f"j{i}", 3)

    for result in execute(works(), SimulatedFleet(5), Watcher()):
        most = max(most, len(running))
        running.remove(result.key)
    assert len(taken) == 200
    assert most <= 5 + 4 + 1  # one per worker, the look-ahead, and the one that has just ended


def test_job_without_open_shards_ends_without_a_worker() -> None:
    fleet = SimulatedFleet(1)
    results = finish([work(f"j{i}", 0) for i in range(50)], fleet)
    assert len(results) == 50
    assert fleet.started == 0


def test_lost_nodes_are_waited_for() -> None:
    fleet = SimulatedFleet(2)
    resized: list[float] = []

    class Cutter(Watcher):
        def shard(self, key: str, report: object) -> None:
            if not resized:
                resized.append(fleet.now())
                fleet.resize(0)

        def retried(self, key: str, what: str, reason: str) -> None:
            fleet.resize(2)

    lost = SimulatedFleet(2, lost_calls=frozenset({6, 7}))
    fleet = lost
    (result,) = execute([work("j", 6)], fleet, Cutter())
    assert result.failure is None
    assert len(result.reports) == 6


def test_nodes_that_do_not_come_back_are_given_up() -> None:
    fleet = SimulatedFleet(1, lost_calls=frozenset({3}))

    class Cutter(Watcher):
        def retried(self, key: str, what: str, reason: str) -> None:
            fleet.resize(0)

    (result,) = execute([work("j", 6)], fleet, Cutter())
    assert "which no node has; the cluster has 0 nodes" in result.failure
    assert fleet.now() > GRACE


GIB = 2.0**30
CPU_NODE = {"CPU": 8.0, "memory": 16 * GIB}
T4_NODE = {"CPU": 8.0, "GPU": 2.0, "memory": 32 * GIB, "accelerator_type:T4": 1.0}
A100_NODE = {"CPU": 32.0, "GPU": 4.0, "memory": 256 * GIB, "accelerator_type:A100": 1.0}


@pytest.mark.parametrize(
    ("needs", "workers"),
    [
        ({"cpus": 3}, 2 + 2 + 10),
        ({"gpus": 1}, 2 + 4),
        ({"gpus": 4}, 1),
        ({"gpus": 1, "accelerator": "A100"}, 4),
        ({"gpus": 1, "accelerator": "H100"}, 0),
        ({"gpus": 0.25}, 8 + 16),
        ({"gpus": 0.6}, 2 + 4),  # no share spans two GPUs
        ({"memory_gb": 20}, 0 + 1 + 12),
        ({"cpus": 64}, 0),
    ],
)
def test_capacity(needs: dict[str, object], workers: int) -> None:
    assert capacity(Resources(**needs), [CPU_NODE, T4_NODE, A100_NODE]) == workers


def test_room_is_what_nobody_holds() -> None:
    quarter = Resources(cpus=1, gpus=0.25)
    room = Room(total([T4_NODE]), [(3, quarter)])
    assert sum(room.take(quarter) for _ in range(10)) == 5


def test_small_networks_share_a_gpu_where_there_is_one() -> None:
    small = Resources(gpu_share=0.25)
    assert placed(small, [CPU_NODE]) == small
    assert placed(small, [CPU_NODE, A100_NODE]).gpus == 0.25
    assert placed(small, [A100_NODE]).cpus == 2  # its part of the node's 8 CPUs per GPU
    assert placed(Resources(), [A100_NODE]).gpus == 1


def test_what_cannot_be_placed_is_said_in_full() -> None:
    needs = Resources(gpus=1, accelerator="H100", memory_gb=8)
    (result,) = execute([work("j", 1, needs=needs)], SimulatedFleet(3), Watcher())
    assert result.failure.startswith(
        "A worker of toy:plain needs 1 CPUs, 1 GPUs, 8 GiB of memory and a GPU of the kind H100 "
        "on one node, which no node has; the cluster has 3 nodes with 3 CPUs"
    )
    assert "6 GPUs (A100, T4)" in infeasible("m:v", needs, [CPU_NODE, T4_NODE, A100_NODE])


def test_an_autoscaler_is_asked_for_what_finds_no_room() -> None:
    asked = []

    class Fleet(SimulatedFleet):
        def make_room(self, missing: Sequence[tuple[Resources, int]]) -> None:
            asked.append([count for _, count in missing])

    finish([work("a", 400), work("b", 8)], Fleet(2))
    assert asked[0] == [8]  # as many as GROWTH says, not the hundred that could be used
    assert max(sum(counts) for counts in asked) == 8
    assert asked[-1] == []  # nothing is wanted any more


def test_no_more_is_asked_for_than_the_user_allows() -> None:
    asked = []

    class Fleet(SimulatedFleet):
        def make_room(self, missing: Sequence[tuple[Resources, int]]) -> None:
            asked.append(sum(count for _, count in missing))

    finish([work("a", 400)], Fleet(2), max_workers=5)
    assert max(asked) == 3
