"""Every kind of fault, injected for real into a run of the plug-in's method.

A run that is disturbed must end with the predictions of an undisturbed one, to the bit, or say
what it has lost.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from toy_runs import Heard, expected_digest, run, write_toy

from harness.api import PrerequisiteError
from harness.execution.worker import ShardReport
from harness.records.store import Store
from harness.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")

SAMPLES = 70
RIGHT = expected_digest(SAMPLES)


@pytest.fixture(scope="module", autouse=True)
def tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow is not what is tested here: nothing answers, at once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("mlflow") / "none"
        folder.touch()
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        yield


def test_hung_worker_is_killed_and_its_shard_runs_again(tmp_path: Path) -> None:
    hung = {
        3: f"sleep 3600 once {tmp_path / 'hung'}",
        40: f"freeze once {tmp_path / 'frozen'}",  # SIGSTOP: cannot even notice a request to end
    }
    root = write_toy(tmp_path / "toy", SAMPLES, hung)
    record, heard = run(root, tmp_path / "w", shard_deadline=12.0)
    assert record.notes["predictions_digest"] == RIGHT
    assert sorted(what for what, _ in heard.retries) == ["shard 0", "shard 1"]
    assert all(reason.startswith("It took longer than 12 s") for _, reason in heard.retries)


def test_deadly_sample_is_isolated_and_the_rest_is_scored(tmp_path: Path) -> None:
    root = write_toy(tmp_path / "toy", 36, {33: "die"})
    record, heard = run(root, tmp_path / "w", max_failed_samples=1)
    assert record.status == "done"
    assert record.counts == {"samples": 35, "predictions": 53, "failed_samples": 1}
    assert "0033: killed its worker 2 times" in record.notes["failed_samples"]
    assert record.notes["predictions_digest"] == expected_digest(36, without=[33])
    tried = {what for what, _ in heard.retries}
    assert tried == {"shard 1", "samples 0 to 1 of shard 1", "samples 1 to 1 of shard 1"}


def test_eight_workers_at_once_predict_the_same(tmp_path: Path) -> None:
    # A quarter of a CPU each; every shard takes long enough for all of them to get one.
    count = 16 * 32
    root = write_toy(tmp_path / "toy", count, dict.fromkeys(range(0, count, 32), "sleep 1"))
    record, heard = run(root, tmp_path / "w", methods=("box-centre:quarter",), max_workers=8)
    assert record.notes["predictions_digest"] == expected_digest(count)
    assert sorted(report.index for report in heard.shards) == list(range(16))
    assert [report.index for report in heard.shards] != list(range(16))  # in another order
    assert len({report.pid for report in heard.shards}) == 8


def test_batch_halves_until_it_fits_and_is_remembered(tmp_path: Path) -> None:
    # The first sample of the second shard lets the memory shrink from then on.
    record, heard = run(
        write_toy(tmp_path / "toy", SAMPLES, {32: "memory 1"}), tmp_path / "w", max_workers=1
    )
    assert record.status == "done"
    assert [report.batch_size for report in heard.shards] == [4, 1, 1]
    assert record.environment["batch_size"] == "1, 4"
    assert record.notes["predictions_digest"] == RIGHT  # nothing here depends on batches


def test_full_disk_in_a_worker(tmp_path: Path) -> None:
    root = write_toy(tmp_path / "toy", SAMPLES, {40: f"full disk once {tmp_path / 'full'}"})
    record, _ = run(root, tmp_path / "w")
    assert record.status == "failed"
    assert "cannot be written: No space left on device" in record.reason
    assert "Make room" in record.reason
    again, heard = run(root, tmp_path / "w")
    assert again.notes["predictions_digest"] == RIGHT
    assert 0 < len(heard.shards) <= 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_of_the_driver(
    tmp_path: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Store, "PATIENCE", 0.0)
    root = write_toy(tmp_path / "toy", SAMPLES)
    run(root, small_disk / "w", limit=1)  # the store and the site are there
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)
    with pytest.raises(PrerequisiteError, match=r"full|takes nothing|cannot be (written|opened)"):
        run(root, small_disk / "w")
    ballast.unlink()
    record, _ = run(root, small_disk / "w")
    assert record.notes["predictions_digest"] == RIGHT


def test_store_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    root, workspace = write_toy(tmp_path / "toy", SAMPLES), tmp_path / "w"
    run(root, workspace, limit=1)
    other = sqlite3.connect(workspace / "results.db", check_same_thread=False)
    other.execute("begin exclusive")
    release = threading.Timer(8.0, other.rollback)  # longer than SQLite waits by itself
    release.start()
    record, heard = run(root, workspace)
    release.join()
    other.close()
    assert record.notes["predictions_digest"] == RIGHT
    assert any("takes nothing (database is locked); trying again" in note for note in heard.notes)


def test_store_that_stays_away_ends_the_run_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, workspace = write_toy(tmp_path / "toy", SAMPLES, {0: "sleep 1"}), tmp_path / "w"
    monkeypatch.setattr(Store, "PATIENCE", 0.0)
    begin = Store.begin_run

    def begin_and_vanish(store: Store, *facts: str) -> None:
        begin(store, *facts)
        sqlite3.connect(workspace / "results.db").execute("drop table metrics")

    monkeypatch.setattr(Store, "begin_run", begin_and_vanish)
    with pytest.raises(PrerequisiteError, match="no such table: metrics"):
        run(root, workspace)
    monkeypatch.setattr(Store, "begin_run", begin)
    (workspace / "results.db").unlink()
    record, heard = run(root, workspace)
    assert record.notes["predictions_digest"] == RIGHT
    assert heard.shards == []  # all of them had been kept


def test_tracking_server_that_does_not_answer_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    record, heard = run(write_toy(tmp_path / "toy", SAMPLES), tmp_path / "w")
    assert record.notes["predictions_digest"] == RIGHT
    assert record.mlflow_run_id is None
    assert any("took no results" in note for note in heard.notes)
    assert time.monotonic() - start < 60


def test_jumping_clock_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's clock goes back to 1970, the driver's a day ahead."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86400.0)
    root = write_toy(tmp_path / "toy", SAMPLES, {1: "clock"})
    record, _ = run(root, tmp_path / "w", max_workers=1)
    assert record.notes["predictions_digest"] == RIGHT
    seconds = [record.timings[f"{stage}_s"] for stage in ("prepare", "forward", "decode", "wall")]
    assert all(0 <= value < 600 for value in (*seconds, record.timings["evaluate_s"]))


def test_second_driver_is_refused_and_the_first_one_goes_on(tmp_path: Path) -> None:
    root, busy = write_toy(tmp_path / "toy", SAMPLES), []

    class Intruder(Heard):
        def shard(self, key: str, report: ShardReport) -> None:
            with pytest.raises(PrerequisiteError, match="Another run is at work"):
                run(root, tmp_path / "w")
            busy.append(Workspace(tmp_path / "w").busy())

    record, _ = run(root, tmp_path / "w", Intruder())
    assert busy == [True] * 3
    assert record.notes["predictions_digest"] == RIGHT
    assert not Workspace(tmp_path / "w").busy()


def test_killed_worker(tmp_path: Path) -> None:
    """SIGKILL from outside, as the kernel does it when memory runs out."""
    killed: list[int] = []

    class Killer(Heard):
        def shard(self, key: str, report: ShardReport) -> None:
            for process in psutil.Process().children(recursive=True):
                if not killed and process.name().startswith("ray::Worker"):
                    process.kill()
                    killed.append(process.pid)

    root = write_toy(tmp_path / "toy", SAMPLES, {33: "sleep 1", 65: "sleep 1"})
    record, heard = run(root, tmp_path / "w", Killer(), max_workers=1)
    assert killed
    assert len(heard.retries) == 1
    assert record.notes["predictions_digest"] == RIGHT
    assert record.environment["worker_deaths"] == "1"
