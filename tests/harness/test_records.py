"""The results store and the files behind a record."""

from __future__ import annotations

import dataclasses
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from harness.api import (
    PEOPLE_2D,
    Curve,
    Evaluation,
    Predictions,
    PrerequisiteError,
    Ragged,
    Statistics,
)
from harness.records.record import Record, write_atomically, write_evidence
from harness.records.store import Store


@pytest.fixture
def record() -> Record:
    return Record(
        id="a" * 64,
        status="done",
        reason=None,
        source="run",
        method="hrnet",
        variant="nano",
        benchmark="coco",
        split="embedded-val",
        synthetic=True,
        protocol="official",
        protocol_digest="b" * 64,
        quirks={"sigmas": [0.026, 0.1]},
        dataset_digest="c" * 64,
        data_root="/data",
        limit=None,
        weights_sha256=None,
        run_id="r1",
        command="harness run --suite coco",
        created_at=datetime(2020, 2, 3, 4, 5, 6, 789000, tzinfo=UTC),
        metrics={"AP": 0.1 + 0.2, "AP_M": None},
        intervals={"AP": (1 / 3, 2 / 3)},
        counts={"samples": 3},
    )


def test_a_record_comes_back_to_the_bit(record: Record, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deep' / 'results.db'}"
    store = Store(url)
    store.begin_run("r1", "coco", record.command)
    store.write(record)
    assert Store(url).get(record.id) == record
    changed = dataclasses.replace(record, metrics={"AP": 0.5}, intervals={})
    store.write(changed)
    assert store.records() == [changed]
    assert store.get("unknown") is None


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PrerequisiteError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path / 'file' / 'results.db'}")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 9)
    with pytest.raises(PrerequisiteError, match="not a database"):
        Store(f"sqlite:///{tmp_path / 'text.db'}")


def test_the_schema_is_that_of_the_models(tmp_path: Path) -> None:
    """The migrations build what the models declare."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    from harness.records.store import Base

    url = f"sqlite:///{tmp_path / 'results.db'}"
    Store(url)
    with create_engine(url).connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
    with sqlite3.connect(tmp_path / "results.db") as plain:
        assert plain.execute("select version_num from alembic_version").fetchall() == [("0001",)]


def test_evidence_comes_back(tmp_path: Path) -> None:
    predictions = Predictions.from_samples(
        PEOPLE_2D,
        [
            (
                "7",
                {
                    "keypoints": np.ones((2, 1, 2)),
                    "keypoint_scores": np.ones((2, 1)),
                    "score": np.array([0.2, 0.7]),
                },
            )
        ],
    )
    statistics = Statistics(
        np.array([0]),
        {"flags": Ragged.from_lists([np.array([True, False])]), "count": np.array([2])},
    )
    evaluation = Evaluation(
        metrics={"AP": 0.5},
        intervals={},
        counts={"samples": 1},
        statistics=statistics,
        curves=(Curve("pr", np.arange(3.0), np.array([1, np.nan, 0]), "recall", "precision"),),
        breakdown={"joint": {"nose": 0.5}},
        per_sample={"oks": np.array([0.25])},
    )
    evidence = write_evidence(tmp_path / "r", ("7",), evaluation, predictions)
    assert evidence.predictions().digest() == predictions.digest()
    assert evidence.per_sample()["sample_id"].tolist() == ["7"]
    assert evidence.per_sample()["oks"].tolist() == [0.25]
    assert evidence.breakdown() == {"joint": {"nose": 0.5}}
    (curve,) = evidence.curves()
    assert (curve.name, curve.x_label) == ("pr", "recall")
    np.testing.assert_array_equal(curve.y.astype(float), [1, np.nan, 0])
    back = evidence.statistics()
    np.testing.assert_array_equal(back.ragged("flags").values, [True, False])
    np.testing.assert_array_equal(back.dense("count"), [2])


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
