"""MLflow holds what the store holds, also after its server was killed in the middle."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from typer.testing import CliRunner

from harness import recording
from harness.api import PEOPLE_2D, Curve, Evaluation, Predictions, PrerequisiteError, Statistics
from harness.cli import app
from harness.execution.worker import ShardReport
from harness.recording import conclude, synchronise
from harness.records.record import Record, write_evidence
from harness.records.store import Store
from harness.records.tracking import Tracker, self_contained
from harness.view import JobLogs
from harness.workspace import Workspace

METRICS = {"AP": 0.6, "AP50": 0.9, "AP@0.5 (odd) [name] 50%": 0.5, "AP_L": None}
SUITE, COMMAND = "coco", "harness run --suite coco"


def made(number: int, run_id: str = "r" * 32, **changes: object) -> Record:
    """Return a result; every third one failed."""
    failed = number % 3 == 2
    record = Record(
        id=f"{number:064x}",
        status="failed" if failed else "done",
        reason="3 of 9 samples failed." if failed else None,
        source="run",
        method=f"method-{number}",
        variant="nano",
        benchmark="coco",
        split="embedded-val",
        synthetic=True,
        protocol="official",
        protocol_digest="b" * 64,
        quirks={"box_source": "ground truth"},
        dataset_digest="c" * 64,
        data_root="/data/coco",
        limit=None,
        weights_sha256=None,
        run_id=run_id,
        command=COMMAND,
        created_at=datetime(2025, 2, 3, 4, 5, number, tzinfo=UTC),
        metrics={} if failed else METRICS,
        intervals={} if failed else {"AP": (0.55, 0.65)},
        counts={} if failed else {"samples": 2, "predictions": 0},
        environment={"torch": "2.13"},
    )
    return dataclasses.replace(record, **changes)


def evaluation() -> Evaluation:
    return Evaluation(
        metrics={},
        intervals={},
        counts={},
        statistics=Statistics(np.arange(2), {}),
        curves=(Curve("pr", np.linspace(0, 1, 5), np.linspace(1, 0, 5), "recall", "precision"),),
        per_sample={"oks": np.array([0.25, np.nan])},
    )


@pytest.fixture(autouse=True)
def no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write one page per result in place of the whole site, which is not the matter here."""

    def pages(records, workspace: Workspace, out: Path) -> Path:
        for record in records:
            page = workspace.page(record.id)
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(f"<p>{record.id}</p>")
        return out

    monkeypatch.setattr(recording, "publish", pages)


class Runs:
    """A workspace with the results of suite runs, not yet in MLflow."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.store = Store(self.workspace.store_url)
        self.notes: list[str] = []

    def add(self, run_id: str, records: list[Record]) -> None:
        self.store.begin_run(run_id, SUITE, COMMAND)
        predictions = Predictions(
            PEOPLE_2D,
            ("1", "2"),
            np.zeros(3, np.int64),
            {
                "keypoints": np.zeros((0, 17, 2)),
                "keypoint_scores": np.zeros((0, 17)),
                "score": np.zeros(0),
            },
        )
        for record in records:
            if record.status == "done":
                folder = self.workspace.evidence(record.id).folder
                write_evidence(folder, ("1", "2"), evaluation(), predictions)
            self.store.write(record)

    def conclude(self, run_id: str) -> None:
        conclude(self.workspace, self.store, run_id, self.notes.append)

    def synchronise(self) -> tuple[int, int]:
        return synchronise(self.workspace, self.store)

    def assert_level(self) -> None:
        """MLflow holds exactly the store: a parent per run, a complete child per result."""
        client = MlflowClient(self.workspace.tracking_uri)
        (experiment,) = [e for e in client.search_experiments() if e.name == "pose-harness"]
        logged = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
        parents = {r.info.run_id: r for r in logged if "harness.id" not in r.data.tags}
        children = {r.info.run_id: r for r in logged if r.info.run_id not in parents}
        runs = {run.id: run for run in self.store.runs()}
        assert {r.data.tags["harness.run"] for r in parents.values()} == set(runs)
        assert len(parents) == len(runs)
        records = self.store.records()
        assert {record.mlflow_run_id for record in records} == set(children)
        assert len(records) == len(children)
        for record in records:
            own = children[record.mlflow_run_id]
            assert own.info.status == ("FAILED" if record.status == "failed" else "FINISHED")
            assert own.data.tags["harness.id"] == record.id
            parent = parents[own.data.tags["mlflow.parentRunId"]]
            assert parent.data.tags["harness.run"] == record.run_id
            assert parent.info.run_id == runs[record.run_id].mlflow_run_id
            assert parent.info.status in ("FINISHED", "FAILED")
            names = {artifact.path for artifact in client.list_artifacts(own.info.run_id)}
            done = record.status == "done"
            assert names == {"page", *(("evaluation.json", "per_image.json") if done else ())}
            if done:
                assert own.data.metrics["coco/AP"] == record.metrics["AP"]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes longer than most tests."""
    folder = tmp_path_factory.mktemp("template")
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def runs(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    own = Runs(tmp_path / "w")
    (tmp_path / "mlflow.db").write_bytes(template.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return own


def test_a_run_arrives_once_with_all_that_a_comparison_needs(runs: Runs) -> None:
    runs.add("r" * 32, [made(i) for i in range(3)])
    runs.conclude("r" * 32)
    assert runs.notes == []
    runs.assert_level()
    client = MlflowClient(runs.workspace.tracking_uri)
    record = runs.store.records()[0]
    own = client.get_run(record.mlflow_run_id)
    assert own.data.metrics["coco/AP_low"] == 0.55
    assert own.data.metrics["coco/AP_high"] == 0.65
    assert own.data.metrics["coco/AP_0.5 _odd_ _name_ 50_"] == 0.5
    assert "coco/AP_L" not in own.data.metrics
    assert own.data.tags["harness.method"] == "method-0"
    assert own.data.tags["harness.benchmark"] == "coco"
    (dataset,) = own.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("coco embedded-val", "c" * 36)
    table = json.loads(
        Path(client.download_artifacts(own.info.run_id, "per_image.json")).read_text()
    )
    assert table == {"columns": ["sample_id", "oks"], "data": [["1", 0.25], ["2", None]]}
    curve = client.get_metric_history(record.mlflow_run_id, "curves/pr")
    assert [point.value for point in curve] == [1, 0.75, 0.5, 0.25, 0]
    (run,) = runs.store.runs()
    parent = client.get_run(run.mlflow_run_id)
    assert parent.data.metrics == {"jobs/done": 2, "jobs/failed": 1, "jobs/skipped": 0}
    assert parent.data.tags["harness.suite"] == SUITE
    assert parent.info.status == "FAILED"
    assert own.info.start_time == own.info.end_time == parent.info.end_time - 2000


def test_what_nodes_were_busy_with_is_on_the_page_of_system_metrics(runs: Runs) -> None:
    record = made(0)
    runs.add("r" * 32, [record])
    logs = JobLogs(runs.workspace)
    for index in range(500):
        usage = {"cpu_utilization_percentage": float(index)}
        report = ShardReport(index, "", 32, (), {}, node=f"gpu{index % 2}.lab", usage=usage)
        logs.shard(record.id, report)
    runs.conclude("r" * 32)
    client = MlflowClient(runs.workspace.tracking_uri)
    (run,) = [record.mlflow_run_id for record in runs.store.records()]
    nodes = [
        client.get_metric_history(run, f"system/gpu{node}.lab/cpu_utilization_percentage")
        for node in range(2)
    ]
    points = [point for node in nodes for point in node]
    assert sorted(point.step for point in points) == list(range(0, 500, 3))
    assert all(point.value == point.step for point in points)


def test_syncing_again_changes_nothing(runs: Runs) -> None:
    runs.add("r" * 32, [made(i) for i in range(2)])
    runs.conclude("r" * 32)
    before = runs.store.records()
    assert runs.synchronise() == (0, 2)
    assert runs.store.records() == before
    runs.assert_level()


def test_an_empty_server_is_filled_from_the_store(
    runs: Runs, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs, one result made again by the second: nothing is there twice."""
    first, second = "1" * 32, "2" * 32
    runs.add(first, [made(i, first) for i in range(2)])
    runs.conclude(first)
    runs.add(second, [made(1, second), made(3, second)])
    runs.conclude(second)
    (tmp_path / "new.db").write_bytes(template.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'new.db'}")
    assert runs.synchronise() == (3, 3)
    assert runs.synchronise() == (0, 3)
    runs.assert_level()


def test_a_driver_killed_before_it_logged_is_made_good(runs: Runs) -> None:
    runs.add("r" * 32, [made(i) for i in range(2)])
    result = CliRunner().invoke(
        app, ["sync", "--workspace", str(runs.workspace.root)], catch_exceptions=False
    )
    assert "holds all 2 results; 2 were missing" in result.output.replace("\n", " ")


def test_what_is_there_twice_is_there_once_afterwards(runs: Runs) -> None:
    """As after two drivers, or a store that was restored from a backup."""
    runs.add("r" * 32, [made(0)])
    runs.conclude("r" * 32)
    client = MlflowClient(runs.workspace.tracking_uri)
    kept = client.get_run(runs.store.records()[0].mlflow_run_id)
    for tags in (kept.data.tags, {"harness.run": "r" * 32, "harness.suite": SUITE}):
        twin = client.create_run(kept.info.experiment_id, tags=tags)
        client.set_terminated(twin.info.run_id)
    assert runs.synchronise() == (0, 1)
    runs.assert_level()


class Server:
    """A tracking server in a process of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).read()
                return
            except OSError:
                time.sleep(0.1)
        pytest.fail("the tracking server did not start")

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    own = Server(tmp_path)
    (tmp_path / "server.db").write_bytes(template.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    own.start()
    yield own
    own.kill()


def test_a_server_killed_in_mid_run_loses_nothing_and_sync_brings_it_level(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The server dies while the second result is half logged, and comes back later."""
    runs = Runs(tmp_path / "w")
    records = [made(i) for i in range(4)]
    runs.add("r" * 32, records)
    half_logged = Tracker._log_artifacts
    calls: list[str] = []

    def killing(self: Tracker, mlflow_id: str, evidence: object) -> None:
        calls.append(mlflow_id)
        if len(calls) == 2:
            server.kill()
        half_logged(self, mlflow_id, evidence)

    monkeypatch.setattr(Tracker, "_log_artifacts", killing)
    runs.conclude("r" * 32)
    monkeypatch.setattr(Tracker, "_log_artifacts", half_logged)
    assert len(calls) == 2
    assert [note for note in runs.notes if "`harness sync`" in note]

    kept = runs.store.records()
    assert [dataclasses.replace(r, mlflow_run_id=None) for r in kept] == records
    assert [r.mlflow_run_id is not None for r in kept] == [True, False, False, False]
    with pytest.raises(PrerequisiteError, match="does not take results"):
        runs.synchronise()

    server.start()
    capsys.readouterr()
    assert runs.synchronise() == (3, 4)
    assert capsys.readouterr().out == ""  # standard output is for results
    runs.assert_level()
    assert runs.synchronise() == (0, 4)
    runs.assert_level()


def test_a_page_is_attached_as_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "site" / "result"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "site" / "static").mkdir()
    (tmp_path / "site" / "static" / "site.css").write_text("p { color: red }")
    (folder / "a" / "1.jpg").write_bytes(b"jpeg")
    page = folder / "a.html"
    page.write_text(
        '<link rel="stylesheet" href="../static/site.css"><script src="../static/site.js"></script>'
        '<img src="a/1.jpg" alt=""><img src="gone.jpg"><a href="../index.html">x</a>'
        '<a href="#main">y</a><a href="https://example.org">z</a>'
    )
    assert self_contained(page) == (
        '<style>p { color: red }</style><img src="data:image/jpeg;base64,anBlZw==" alt="">'
        '<img src="gone.jpg"><a>x</a><a href="#main">y</a><a href="https://example.org">z</a>'
    )
