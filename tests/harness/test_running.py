"""The engine end to end, driven by the plug-in's method, which misbehaves on demand."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.api import PrerequisiteError
from harness.cli import app
from harness.data import DataFolders
from harness.execution.shards import finished_shards
from harness.records.store import Store
from harness.running import RunOptions, RunSummary, run_suite
from harness.view import View
from harness.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")

WriteData = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One MLflow store for all tests here: making one takes longer than most of them."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


class Silent(View):
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.shards: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def shard(self, digest: str, report: object) -> None:
        self.shards.append(report.index)


def options(root: Path, workspace: Path, **changes: object) -> RunOptions:
    """Options of ``harness run --suite toy``."""
    data = DataFolders(own={"toy": root})
    return dataclasses.replace(RunOptions("toy", data=data, workspace=workspace), **changes)


def run(root: Path, workspace: Path, **changes: object) -> tuple[RunSummary, Silent]:
    view = Silent()
    return run_suite(options(root, workspace, **changes), view), view


def job_files(workspace: Path) -> dict[Path, int]:
    """Shard files with their inode, which a rewritten file does not keep."""
    return {path: path.stat().st_ino for path in workspace.glob("jobs/*/*.parquet")}


def test_result_is_scored_and_recorded_everywhere(
    toy_data: WriteData, tmp_path: Path, tracking_store: str
) -> None:
    summary, view = run(toy_data([""] * 100), tmp_path / "w")
    (record,) = summary.records
    # Box j of a picture is 20 + j high and its truth lies 10 + j below the top: off by j / 2.
    people = [j / 2 for i in range(100) for j in range(i % 4)]
    assert record.status == "done"
    assert record.metrics == {"distance": pytest.approx(sum(people) / len(people), abs=1e-12)}
    assert record.counts == {"samples": 100, "predictions": len(people)}
    low, high = record.intervals["distance"]
    assert low < record.metrics["distance"] < high
    assert sorted(view.shards) == [0, 1, 2, 3]

    store = Store(Workspace(tmp_path / "w").store_url)
    assert store.get(record.id).metrics == record.metrics
    from mlflow import MlflowClient

    logged = MlflowClient(tracking_store).get_run(record.mlflow_run_id)
    assert logged.data.metrics["toy/distance"] == record.metrics["distance"]
    assert logged.data.tags["harness.method"] == "box-centre"
    assert logged.inputs.dataset_inputs[0].dataset.digest == record.dataset_digest[:36]
    assert summary.page.is_file()


def test_second_run_finds_everything_done(toy_data: WriteData, tmp_path: Path) -> None:
    root, workspace = toy_data([""] * 40), tmp_path / "w"
    first, _ = run(root, workspace)
    files = job_files(workspace)
    second, view = run(root, workspace)
    assert (second.reused, view.shards) == (1, [])
    assert second.records == first.records
    assert job_files(workspace) == files
    third, view = run(root, workspace, rerun="all")
    assert (third.reused, sorted(view.shards)) == (0, [0, 1])


def test_unreadable_sample_fails_its_job_and_is_named(toy_data: WriteData, tmp_path: Path) -> None:
    root = toy_data(["", "unreadable", *[""] * 70])
    summary, _ = run(root, tmp_path / "w")
    (record,) = summary.records
    assert summary.failed
    assert record.status == "failed"
    assert record.reason.startswith(
        "1 of 72 samples failed. 0001: image 0001.jpg cannot be decoded"
    )
    # Nothing but the shard of the bad sample runs again, and a failure is never taken as done.
    again, view = run(root, tmp_path / "w")
    assert again.failed
    assert view.shards == [0]
    kept, view = run(root, tmp_path / "w", rerun="never")
    assert (kept.reused, view.shards) == (1, [])


def test_programming_error_keeps_its_traceback(toy_data: WriteData, tmp_path: Path) -> None:
    summary, _ = run(toy_data(["", "", "bug"]), tmp_path / "w")
    (record,) = summary.records
    assert record.status == "failed"
    assert "ValueError: a programming error" in record.reason
    assert "while preparing sample 0002" in record.reason


def test_dead_worker_costs_one_shard(toy_data: WriteData, tmp_path: Path) -> None:
    behaviours = [""] * 90
    behaviours[40] = f"die once {tmp_path / 'died'}"
    summary, view = run(toy_data(behaviours), tmp_path / "w")
    (record,) = summary.records
    assert (tmp_path / "died").exists()
    assert record.status == "done"
    assert record.environment["worker_deaths"] == "1"
    assert sorted(view.shards) == [0, 1, 2]


def test_deadly_sample_fails_its_job(toy_data: WriteData, tmp_path: Path) -> None:
    behaviours = [""] * 36
    behaviours[33] = "die"
    summary, view = run(toy_data(behaviours), tmp_path / "w")
    assert summary.records[0].reason.startswith("Sample 0033 killed its worker 2 times (")
    assert 1 not in view.shards


def test_infeasible_request_is_refused_at_once(toy_data: WriteData, tmp_path: Path) -> None:
    start = time.monotonic()
    summary, _ = run(toy_data([""]), tmp_path / "w", methods=("box-centre:hungry",))
    assert "needs 100000 CPUs" in summary.records[0].reason
    assert "the cluster has 1 nodes with 2 CPUs" in summary.records[0].reason
    assert time.monotonic() - start < 20


def test_damaged_shard_is_found_and_made_again(toy_data: WriteData, tmp_path: Path) -> None:
    root, workspace = toy_data([""] * 70), tmp_path / "w"
    first, _ = run(root, workspace)
    damaged = sorted(job_files(workspace))[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    Store(Workspace(workspace).store_url)  # the result is forgotten, its shards are not
    (workspace / "results.db").unlink()
    second, view = run(root, workspace)
    assert view.shards == [1]
    assert second.records[0].metrics == first.records[0].metrics
    assert second.records[0].notes == first.records[0].notes


def test_shards_of_other_samples_are_not_taken(toy_data: WriteData, tmp_path: Path) -> None:
    run(toy_data([""] * 40), tmp_path / "w")
    (folder,) = (tmp_path / "w" / "jobs").iterdir()
    ids = [[f"{i:04d}" for i in range(32)], [f"{i:04d}" for i in range(32, 39)]]
    assert finished_shards(folder, ids) == {0}


@pytest.mark.parametrize(
    "methods",
    [
        ["--methods", "box-centre:plain,box-centre:quarter"],
        ["--methods", "box-centre:plain", "--methods", "box-centre:quarter"],
    ],
)
def test_several_methods_are_all_planned(toy_data: WriteData, methods: list[str]) -> None:
    command = ["run", "--suite", "toy", "--data", f"toy={toy_data([''])}", "--dry-run", *methods]
    shown = CliRunner().invoke(app, command).stdout
    assert "box-centre:plain" in shown
    assert "box-centre:quarter" in shown


def test_predictions_do_not_depend_on_the_number_of_workers(
    toy_data: WriteData, tmp_path: Path
) -> None:
    root = toy_data([""] * 130)
    digests = {
        run(root, tmp_path / f"w{count}", max_workers=count)[0]
        .records[0]
        .notes["predictions_digest"]
        for count in (1, 2)
    }
    assert len(digests) == 1


def test_tracking_outage_loses_nothing(
    toy_data: WriteData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}")
    (tmp_path / "none").touch()
    summary, view = run(toy_data([""] * 5), tmp_path / "w")
    assert summary.records[0].status == "done"
    assert summary.records[0].mlflow_run_id is None
    assert any("took no results" in note for note in view.notes)


def test_limit_is_part_of_the_identity(toy_data: WriteData, tmp_path: Path) -> None:
    root = toy_data([""] * 40)
    whole, _ = run(root, tmp_path / "w")
    part, _ = run(root, tmp_path / "w", limit=10)
    assert part.records[0].counts["samples"] == 10
    assert part.records[0].id != whole.records[0].id


def test_workspace_that_cannot_be_written(toy_data: WriteData, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PrerequisiteError, match="cannot be written"):
        run(toy_data([""]), tmp_path / "file" / "w")


def test_second_driver_is_refused(toy_data: WriteData, tmp_path: Path) -> None:
    root = toy_data([""])
    with Workspace(tmp_path / "w").lock(), pytest.raises(PrerequisiteError, match="Another run"):
        run(root, tmp_path / "w")


def harness(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from harness.cli import main; main()", *arguments]


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_stopped_driver_goes_on_where_it_was(
    blow: signal.Signals, toy_data: WriteData, tmp_path: Path
) -> None:
    behaviours = [""] * 320
    for i in range(0, 320, 32):
        behaviours[i] = "sleep 0.7"
    root, workspace = toy_data(behaviours), tmp_path / "killed"
    command = harness("run", "--suite", "toy", "--data", f"toy={root}", "--json", "--workspace")
    driver = subprocess.Popen(
        [*command, str(workspace)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Tests that run in the background of a shell ignore it, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(job_files(workspace)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(blow)
    assert driver.wait() == (130 if blow is signal.SIGINT else -signal.SIGKILL)
    time.sleep(1.0)  # workers of the dead driver may still finish the shard they are at
    finished = job_files(workspace)
    assert 3 <= len(finished) < 10

    done = subprocess.run([*command, str(workspace)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    (resumed,) = json.loads(done.stdout)["results"]
    assert finished.items() <= job_files(workspace).items()
    undisturbed, _ = run(root, tmp_path / "undisturbed")
    record = undisturbed.records[0]
    assert resumed["metrics"] == record.metrics
    assert resumed["intervals"] == {k: list(v) for k, v in record.intervals.items()}
    assert resumed["notes"]["predictions_digest"] == record.notes["predictions_digest"]


def test_exit_codes(toy_data: WriteData, tmp_path: Path) -> None:
    good, bad = toy_data([""]), toy_data(["unreadable"], "bad")
    workspace = ("--workspace", str(tmp_path / "w"))
    environment = {**os.environ, "COLUMNS": "200"}

    def code(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            harness(*arguments), capture_output=True, text=True, env=environment, check=False
        )
        return done.returncode, done.stdout + done.stderr

    assert code("run", "--suite", "toy", "--data", f"toy={good}", *workspace)[0] == 0
    assert code("run", "--suite", "toy", "--data", f"toy={bad}", *workspace)[0] == 1
    unknown, message = code("run", "--suite", "tyo", *workspace)
    assert (unknown, "Did you mean toy?" in message) == (2, True)
    assert "Traceback" not in message
