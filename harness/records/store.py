"""The results store: one SQL database, SQLite by default. Only the driver writes.

The schema's history is in ``migrations``; opening a store brings it up to date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    String,
    Text,
    create_engine,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from harness.api import PrerequisiteError
from harness.records.record import Record


class Base(DeclarativeBase):
    """Declarative base of the store's tables."""


class RunRow(Base):
    """One call of ``harness run`` or ``harness score``."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    suite: Mapped[str] = mapped_column(String(200))
    command: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))


class ResultRow(Base):
    """One result; its metrics are rows of their own so that SQL can ask for them."""

    __tablename__ = "results"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    status: Mapped[str] = mapped_column(String(10), index=True)
    reason: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(10))
    method: Mapped[str] = mapped_column(String(200), index=True)
    variant: Mapped[str] = mapped_column(String(200))
    benchmark: Mapped[str] = mapped_column(String(200), index=True)
    split: Mapped[str] = mapped_column(String(200))
    synthetic: Mapped[bool] = mapped_column(Boolean)
    protocol: Mapped[str] = mapped_column(String(200))
    protocol_digest: Mapped[str] = mapped_column(String(64), index=True)
    quirks: Mapped[dict[str, Any]] = mapped_column(JSON)
    dataset_digest: Mapped[str] = mapped_column(String(64), index=True)
    data_root: Mapped[str] = mapped_column(Text)
    limit: Mapped[int | None] = mapped_column("sample_limit")
    weights_sha256: Mapped[str | None] = mapped_column(String(64))
    command: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    timings: Mapped[dict[str, Any]] = mapped_column(JSON)
    profile: Mapped[dict[str, Any]] = mapped_column(JSON)
    environment: Mapped[dict[str, Any]] = mapped_column(JSON)
    notes: Mapped[dict[str, Any]] = mapped_column(JSON)
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    values: Mapped[list[MetricRow]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="MetricRow.place"
    )


class MetricRow(Base):
    """One metric of one result, with its 95 % interval; NULL where it has no value."""

    __tablename__ = "metrics"

    result_id: Mapped[str] = mapped_column(ForeignKey("results.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    place: Mapped[int]
    value: Mapped[float | None] = mapped_column(Float(53))
    low: Mapped[float | None] = mapped_column(Float(53))
    high: Mapped[float | None] = mapped_column(Float(53))


_OWN_TABLE = ("metrics", "intervals")
_PLAIN = tuple(f.name for f in fields(Record) if f.name not in _OWN_TABLE)


class Store:
    """An open results store.

    Parameters
    ----------
    url : str
        SQLAlchemy URL; the schema is created or brought up to date.

    Raises
    ------
    PrerequisiteError
        If the database cannot be opened or written.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            if make_url(url).get_backend_name() == "sqlite":
                Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(url)
            self._migrate()
        except (DatabaseError, ArgumentError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise PrerequisiteError(
                f"The results store {url} cannot be opened: {reason}.",
                "Check the URL, that the folder is writable and that the disk is not full.",
            ) from None

    def begin_run(self, run_id: str, suite: str, command_line: str) -> None:
        """Write the start of a suite run."""
        with self._session() as session:
            session.add(
                RunRow(id=run_id, suite=suite, command=command_line, started_at=datetime.now(UTC))
            )

    def finish_run(self, run_id: str, mlflow_run_id: str | None) -> None:
        """Write the end of a suite run."""
        with self._session() as session:
            row = session.get_one(RunRow, run_id)
            row.finished_at = datetime.now(UTC)
            row.mlflow_run_id = mlflow_run_id

    def write(self, record: Record) -> None:
        """Write a record, in place of an earlier one of the same identity."""
        row = ResultRow(**{name: _plain(getattr(record, name)) for name in _PLAIN})
        for place, (name, value) in enumerate(record.metrics.items()):
            low, high = record.intervals.get(name, (None, None))
            row.values.append(MetricRow(name=name, place=place, value=value, low=low, high=high))
        with self._session() as session:
            if (old := session.get(ResultRow, record.id)) is not None:
                session.delete(old)
                session.flush()
            session.add(row)

    def records(self) -> list[Record]:
        """Return every record, oldest first."""
        with self._session() as session:
            rows = session.scalars(select(ResultRow).order_by(ResultRow.created_at, ResultRow.id))
            return [_record(row) for row in rows]

    def get(self, record_id: str) -> Record | None:
        """Return the record of that id, if there is one."""
        with self._session() as session:
            row = session.get(ResultRow, record_id)
            return None if row is None else _record(row)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self._engine) as session, session.begin():
            yield session

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _record(row: ResultRow) -> Record:
    created = row.created_at
    plain = {name: getattr(row, name) for name in _PLAIN}
    # SQLite forgets the time zone; everything is stored in UTC.
    plain["created_at"] = created if created.tzinfo else created.replace(tzinfo=UTC)
    return Record(
        **plain,
        metrics={v.name: v.value for v in row.values},
        intervals={
            v.name: (v.low, v.high) for v in row.values if v.low is not None and v.high is not None
        },
    )
