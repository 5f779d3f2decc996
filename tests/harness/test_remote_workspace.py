"""A workspace that is no folder of this disk: results on PostgreSQL, files in an object store.

Both are real servers: PostgreSQL as Debian ships it, and an S3 server that runs in this process.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from harness.api import PEOPLE_2D, Evaluation, Predictions, PrerequisiteError, Ragged, Statistics
from harness.execution.shards import FailedSample, finished_shards, read_job, write_shard
from harness.records.record import Record, write_evidence
from harness.records.store import Store
from harness.workspace import Workspace, as_folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's server programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).parent if found else installed[-1].parent if installed else None


class Postgres:
    """A private PostgreSQL server."""

    def __init__(self, folder: Path) -> None:
        self.programs = postgres_programs()
        self.data = folder / "data"
        self.port = free_port()
        # The server refuses to run as root.
        self.user = "nobody" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(folder, self.user)
        self._do("initdb", "--auth=trust", "--username=pose", "--no-sync")
        self.url = f"postgresql+psycopg://pose:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k '' -c fsync=off"
        self._do("pg_ctl", "-w", "-l", str(self.data / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._do("pg_ctl", "-w", "-m", "immediate", "stop")

    def _do(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.data), *arguments]
        done = subprocess.run(
            command, user=self.user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of these tests alone."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    folder = Path(f"/tmp/ph-postgres-{os.getpid()}")  # where everyone may enter
    folder.mkdir()
    server = Postgres(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server in this process."""
    pytest.importorskip("s3fs", reason="the extra 's3' is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    port = free_port()
    thread = server.ThreadedMotoServer(port=port)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem().mkdir("pose")
        yield "s3://pose/workspace"
        s3fs.S3FileSystem.clear_instance_cache()
    thread.stop()


@pytest.fixture
def database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database, named as the results store."""
    import psycopg

    with psycopg.connect(postgres.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    monkeypatch.setenv("HARNESS_STORE", postgres.url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    return postgres.url


def record(**changes: object) -> Record:
    facts = Record(
        id="a" * 64, status="done", reason=None, source="run", method="m", variant="v",
        benchmark="toy", split="test", synthetic=False, protocol="official",
        protocol_digest="b" * 64, quirks={"clip": 100.0}, dataset_digest="c" * 64, data_root="/",
        limit=None, weights_sha256=None, run_id="1" * 32, command="harness run",
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        metrics={"AP": 1 / 3, "AR": None}, intervals={"AP": (0.1, 0.5)}, counts={"samples": 3},
    )  # fmt: skip
    return dataclasses.replace(facts, **changes)


def test_records_come_back_from_postgresql(database: str) -> None:
    store = Store(database)
    store.begin_run("1" * 32, "toy", "harness run")
    store.write(record())
    assert store.get("a" * 64) == record()
    store.write(record(metrics={"AP": 0.25}, intervals={}))  # in place of the first
    assert [r.metrics for r in store.records()] == [{"AP": 0.25}]
    store.close()
    again = Store(database)  # the schema is there already
    assert len(again.records()) == 1
    again.close()


def test_restart_of_the_database_is_waited_for(database: str, postgres: Postgres) -> None:
    notes: list[str] = []
    store = Store(database, notes.append)
    store.begin_run("1" * 32, "toy", "harness run")
    postgres.stop()

    def bring_back(note: str) -> None:
        if not notes:
            postgres.start()
        notes.append(note)

    store._note = bring_back
    store.write(record())
    assert store.get("a" * 64) == record()
    assert "takes nothing" in notes[0]
    assert "secret" not in notes[0]
    store.close()


def test_database_that_is_not_there_is_said_without_its_password() -> None:
    url = f"postgresql+psycopg://pose:secret@127.0.0.1:{free_port()}/postgres"
    with pytest.raises(PrerequisiteError, match="cannot be opened") as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def predictions(first: int, last: int) -> Predictions:
    rows = []
    for sample in range(first, last):
        random = np.random.default_rng(sample)
        count = sample % 3
        columns = {
            "keypoints": random.normal(size=(count, 17, 2)),
            "keypoint_scores": random.random((count, 17)),
            "score": random.random(count),
        }
        rows.append((str(sample), columns))
    return Predictions.from_samples(PEOPLE_2D, rows)


def test_shards_in_an_object_store(bucket: str) -> None:
    folder = as_folder(f"{bucket}/jobs/shards")
    ids = [[str(i) for i in range(4)], [str(i) for i in range(4, 8)], ["8"]]
    for index, (first, last) in enumerate(((0, 4), (4, 8))):
        write_shard(folder, index, predictions(first, last), [])
    write_shard(folder, 2, predictions(8, 9), [FailedSample("9", "unreadable")])
    whole, failed = read_job(folder, 3)
    assert whole.digest() == predictions(0, 9).digest()
    assert failed == (FailedSample("9", "unreadable"),)
    damaged = next(path for path in folder.glob("*.parquet") if path.name.startswith("00001"))
    content = bytearray(damaged.read_bytes())
    content[40] ^= 1
    damaged.write_bytes(bytes(content))
    assert finished_shards(folder, ids) == {0}
    assert [path.name[:5] for path in folder.glob("*.parquet")] == ["00000"]


def test_evidence_in_an_object_store(bucket: str) -> None:
    lists = [np.array([1.0]), np.array([]), np.array([0.5, 2.0])]
    statistics = Statistics(np.arange(3), {"distance": Ragged.from_lists(lists)})
    evaluation = Evaluation(
        metrics={}, intervals={}, counts={}, statistics=statistics,
        per_sample={"distance": np.array([1.0, np.nan, 2.0])},
    )  # fmt: skip
    folder = as_folder(f"{bucket}/results/evidence")
    evidence = write_evidence(folder, ("0", "1", "2"), evaluation, predictions(0, 3))
    assert evidence.predictions().digest() == predictions(0, 3).digest()
    found = evidence.statistics().ragged("distance")
    assert np.array_equal(found.values, statistics.ragged("distance").values)
    assert evidence.per_sample()["sample_id"].tolist() == ["0", "1", "2"]
    assert evidence.breakdown() == {}


def test_object_store_needs_a_database(bucket: str) -> None:
    with pytest.raises(PrerequisiteError, match="can hold no database"):
        Workspace(bucket)


def test_one_driver_at_a_time_in_an_object_store(bucket: str, database: str) -> None:
    first, second = Workspace(bucket), Workspace(bucket)
    with first.lock():
        assert second.busy()
        with pytest.raises(PrerequisiteError, match="Another run"), second.lock():
            pass
        with Workspace(f"{bucket}-of-somebody-else").lock():
            pass
    assert not second.busy()


@pytest.mark.usefixtures("plugin")
def test_run_with_everything_elsewhere(
    bucket: str, database: str, toy_data: Callable[..., Path]
) -> None:
    """As a user types it; workers inherit the address of the object store from the command."""
    workspace = ("--workspace", f"{bucket}/run", "--json")
    arguments = ["run", "--suite", "toy", "--data", f"toy={toy_data([''] * 70)}", *workspace]

    def harness(*arguments: str) -> dict[str, Any]:
        code = "from harness.cli import main; main()"
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        document: dict[str, Any] = orjson.loads(done.stdout)
        return document

    (result,) = harness(*arguments)["results"]
    space = Workspace(f"{bucket}/run")
    found = space.evidence(result["id"]).predictions()
    assert found.digest() == result["notes"]["predictions_digest"]
    assert b"<html" in (space.site / "index.html").read_bytes()
    assert b'"recorded"' in space.job_log(result["id"]).read_bytes()
    store = Store(database)
    assert store.get(result["id"]).metrics == result["metrics"]
    store.close()
    assert harness(*arguments)["reused"] == 1
    status = harness("status", *workspace)
    assert (status["run"]["state"], status["results"]) == ("ended", {"done": 1})
