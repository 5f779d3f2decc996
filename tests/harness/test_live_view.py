"""What a run says while it works: to a terminal, to machines, and into the workspace."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.cli.run import print_results
from harness.cli.view import JsonView, TerminalView
from harness.execution.shards import FailedSample
from harness.execution.worker import ShardReport
from harness.records.record import Record
from harness.running import RunSummary
from harness.view import JobLogs, PlannedJob, Progress, StatusFile, View, Views
from harness.workspace import Workspace

JOBS = [PlannedJob("a" * 64, "toy:plain on coco", 64), PlannedJob("b" * 64, "toy:big on coco", 40)]


def report(index: int, failed: tuple[FailedSample, ...] = ()) -> ShardReport:
    usage = {"cpu_utilization_percentage": 20.0 + 40 * index}
    return ShardReport(
        index, f"{index}.parquet", 32, failed, {"wall": 1.0}, 4, node=f"node-{index}", usage=usage
    )


def record(digest: str, **changes: object) -> Record:
    facts = Record(
        id=digest, status="done", reason=None, source="run", method="toy", variant="plain",
        benchmark="coco", split="test", synthetic=False, protocol="official",
        protocol_digest="", quirks={}, dataset_digest="", data_root="/", limit=None,
        weights_sha256=None, run_id="", command="", created_at=datetime.now(UTC),
        metrics={"AR": 0.7, "AP": 0.5},
    )  # fmt: skip
    return dataclasses.replace(facts, **changes)


def tell(view: View) -> None:
    """Tell a run: one job was half done before and loses a worker, the other one fails."""
    view.planned(JOBS)
    view.fleet(2, 3)
    view.started(JOBS[0], 32)
    view.retried(JOBS[0].digest, "shard 1", "It was killed.")
    view.shard(JOBS[0].digest, report(1, (FailedSample("0033", "unreadable"),)))
    view.recorded(record("a" * 64), reused=False)
    view.started(JOBS[1], 0)
    view.shard(JOBS[1].digest, report(0))


def test_progress_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 104.0, 104.0, 104.0, 104.0])
    monkeypatch.setattr("harness.view.time.monotonic", lambda: next(clock, 104.0))
    progress = Progress()
    tell(progress)
    document = progress.document()
    assert document["samples_per_s"] == 16.0  # 64 samples of this run in 4 s; 32 were there before
    assert document["seconds_left"] == 0.5
    assert document["samples_done"] == 96
    assert document["running"] == [
        {"digest": "b" * 64, "name": "toy:big on coco", "samples": 40, "done": 32}
    ]
    assert progress.line() == (
        "1/2 jobs, 96/104 samples, 16.0 samples/s, 0:00 left, 3 workers on 2 nodes, "
        "CPUs 40 % busy, 1 retries"
    )
    on_gpu = {"cpu_utilization_percentage": 10.0, "gpu_utilization_percentage": 90.0}
    progress.shard("b" * 64, dataclasses.replace(report(1), usage=on_gpu))
    assert "GPUs 90 % busy" in progress.line()


def test_json_events(capsys: pytest.CaptureFixture[str]) -> None:
    tell(JsonView())
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == [
        "planned", "fleet", "started", "retried", "shard", "recorded", "started", "shard",
    ]  # fmt: skip
    assert events[3]["what"] == "shard 1"
    assert events[4]["failed"] == [{"sample_id": "0033", "reason": "unreadable"}]
    assert events[5]["metrics"] == {"AR": 0.7, "AP": 0.5}
    assert all(datetime.fromisoformat(event["at"]).tzinfo for event in events)


def test_plain_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TerminalView, "PLAIN_EVERY", -1.0)
    with TerminalView() as view:
        tell(view)
        view.recorded(record("b" * 64, status="failed", reason="it broke"), reused=False)
    lines = capsys.readouterr().err
    assert "\x1b" not in lines
    assert "toy:plain on coco: 64 samples, 32 of them done before" in lines
    assert "toy:plain on coco: a worker was lost at shard 1. It was killed." in lines
    assert "0/2 jobs, 64/104 samples" in lines
    assert "toy:plain on coco test: AP 0.5000" in lines
    assert "FAILED. it broke" in lines


def test_logs_and_status_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StatusFile, "EVERY", -1.0)
    workspace = Workspace(tmp_path / "w")
    status = StatusFile(workspace.status, "harness run --suite toy")
    with workspace.lock():
        tell(Views(JobLogs(workspace), status))
        log = [orjson.loads(line) for line in workspace.job_log("a" * 64).open("rb")]
        assert [event["event"] for event in log] == ["started", "retried", "shard", "recorded"]
        shown = CliRunner().invoke(app, ["status", "--workspace", str(workspace.root), "--json"])
        run = json.loads(shown.stdout)["run"]
        assert (run["state"], run["command"]) == ("running", "harness run --suite toy")
        shown = CliRunner().invoke(app, ["status", "--workspace", str(workspace.root)])
        assert re.search(r"node-1 .* 60\.0", shown.stdout)
        status.end("ended")
    assert orjson.loads(workspace.status.read_bytes())["jobs_done"] == 1
    assert orjson.loads(workspace.status.read_bytes())["samples_done"] == 96


def test_status_of_a_run_that_was_killed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    tell(StatusFile(workspace.status, "harness run --suite toy"))
    shown = CliRunner().invoke(app, ["status", "--workspace", str(workspace.root), "--json"])
    assert json.loads(shown.stdout)["run"]["state"].startswith("broken off")


def test_status_where_nothing_was_ever_run(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["status", "--workspace", str(tmp_path / "w")])
    assert shown.exit_code == 0
    assert "No run has been started here." in shown.stdout


def test_results_with_other_boxes_stand_in_other_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sources = ("ground truth", "none", "ground truth")
    records = tuple(
        record(digest * 64, variant=f"v{digest}", quirks={"box_source": source})
        for digest, source in zip("abc", sources, strict=True)
    )
    print_results(RunSummary(records, 0, None))
    first, second = " ".join(capsys.readouterr().out.split()).split("boxes: none")
    assert "boxes: ground truth" in first
    assert ("toy:va" in first, "toy:vb" in first, "toy:vc" in first) == (True, False, True)
    assert ("toy:va" in second, "toy:vb" in second, "toy:vc" in second) == (False, True, False)


def test_results_show_the_error_that_their_protocol_averages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = {"mpjpe": 62.94, "mpjpe/Directions": 51.83, "pa_mpjpe": 47.72}
    values["pa_mpjpe/Directions"] = 39.51
    records = tuple(
        record(digest * 64, benchmark="h36m", protocol=protocol, metrics=values)
        for digest, protocol in zip("ab", ("martinez-p1", "martinez-p2"), strict=True)
    )
    print_results(RunSummary(records, 0, None))
    first, second = capsys.readouterr().out.split("martinez-p2")
    for shown, hidden, table in (
        (("62.9", "51.8"), ("47.7", "39.5"), first),
        (("47.7", "39.5"), ("62.9", "51.8"), second),
    ):
        assert all(number in table for number in shown)
        assert not any(number in table for number in hidden)


@pytest.mark.usefixtures("plugin")
def test_arithmetic_is_part_of_the_identity(toy_data: Callable[..., Path]) -> None:
    from harness.data import DataFolders
    from harness.running import RunOptions, plan_suite

    def digest(**changes: object) -> str:
        options = RunOptions("toy", data=DataFolders(own={"toy": root}))
        (job,) = plan_suite(dataclasses.replace(options, **changes), View())
        return job.digest

    root = toy_data([""] * 3)
    digests = [
        digest(),
        digest(precision="bf16"),
        digest(precision="fp16"),
        digest(compiled=True),
        digest(precision="bf16", compiled=True),
    ]
    assert len(set(digests)) == 5
    # What leaves the numbers alone leaves the identity alone.
    assert digest(max_failed_samples=3, shard_deadline=5.0, max_workers=1) == digests[0]


def test_unknown_precision_is_refused() -> None:
    from harness.api import PrerequisiteError

    arguments = ["run", "--suite", "coco", "--precision", "fp8"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, PrerequisiteError)
    assert "--precision fp8 is unknown" in str(result.exception)


def test_profile_by_batch_size() -> None:
    arguments = ["profile", "mean-pose:coco", "--batch-sizes", "1,zero"]
    result = CliRunner().invoke(app, arguments)
    assert "--batch-sizes 1,zero is no list of numbers" in str(result.exception)
    arguments = ["profile", "coordinate-net:nano", "--batch-sizes", "1,4", "--json"]
    timed = json.loads(CliRunner().invoke(app, arguments).stdout)["latency"]
    assert [timing["batch_size"] for timing in timed] == [1, 4]
    assert all(0 < t["p50_ms"] <= t["p90_ms"] <= t["p99_ms"] for t in timed)
    assert all(timing["rows_per_second"] > 0 for timing in timed)
