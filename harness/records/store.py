"""The results store: one SQL database, SQLite by default. Only the driver writes.

The schema's history is in ``migrations``; opening a store brings it up to date.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

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
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
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


@dataclass(frozen=True)
class SuiteRun:
    """One call of ``harness run`` or ``harness score``, as its readers see it."""

    id: str
    suite: str
    command: str
    started_at: datetime
    mlflow_run_id: str | None


_T = TypeVar("_T")
_OWN_TABLE = ("metrics", "intervals")
_PLAIN = tuple(f.name for f in fields(Record) if f.name not in _OWN_TABLE)


class Store:
    """An open results store.

    Parameters
    ----------
    url : str
        SQLAlchemy URL; the schema is created or brought up to date.

    note : callable, optional
        Told when the database does not answer and is waited for.

    Raises
    ------
    PrerequisiteError
        If the database cannot be opened or written; once open, only after it has not answered
        for ``PATIENCE`` seconds.
    """

    PATIENCE = 120.0

    def __init__(self, url: str, note: Callable[[str], None] = lambda _: None) -> None:
        self.url = url
        self._note = note
        try:
            if make_url(url).get_backend_name() == "sqlite":
                Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
            self._engine = create_engine(url, pool_pre_ping=True)
            # What cannot be reached at all is a wrong URL; a lock goes away.
            self._patiently(self._migrate, lambda error: "locked" in str(error.orig))
        except (DatabaseError, ArgumentError, OSError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise PrerequisiteError(
                f"The results store {_shown(url)} cannot be opened: {reason}.",
                "Check the URL, that the folder is writable and that the disk is not full.",
            ) from None

    def begin_run(self, run_id: str, suite: str, command_line: str) -> None:
        """Write the start of a suite run."""

        def add(session: Session) -> None:
            session.add(
                RunRow(id=run_id, suite=suite, command=command_line, started_at=datetime.now(UTC))
            )

        self._do(add)

    def finish_run(self, run_id: str) -> None:
        """Write the end of a suite run."""

        def finish(session: Session) -> None:
            session.get_one(RunRow, run_id).finished_at = datetime.now(UTC)

        self._do(finish)

    def link_run(self, run_id: str, mlflow_run_id: str) -> None:
        """Write under which id MLflow holds a suite run."""

        def link(session: Session) -> None:
            session.get_one(RunRow, run_id).mlflow_run_id = mlflow_run_id

        self._do(link)

    def runs(self) -> list[SuiteRun]:
        """Return every suite run, oldest first."""

        def read(session: Session) -> list[SuiteRun]:
            rows = session.scalars(select(RunRow).order_by(RunRow.started_at, RunRow.id))
            return [
                SuiteRun(row.id, row.suite, row.command, _in_utc(row.started_at), row.mlflow_run_id)
                for row in rows
            ]

        return self._do(read)

    def write(self, record: Record) -> None:
        """Write a record, in place of an earlier one of the same identity."""

        def replace(session: Session) -> None:
            if (old := session.get(ResultRow, record.id)) is not None:
                session.delete(old)
                session.flush()
            session.add(_row(record))

        self._do(replace)

    def records(self) -> list[Record]:
        """Return every record, oldest first."""
        oldest_first = select(ResultRow).order_by(ResultRow.created_at, ResultRow.id)
        return self._do(lambda session: [_record(row) for row in session.scalars(oldest_first)])

    def get(self, record_id: str) -> Record | None:
        """Return the record of that id, if there is one."""

        def find(session: Session) -> Record | None:
            row = session.get(ResultRow, record_id)
            return None if row is None else _record(row)

        return self._do(find)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _do(self, step: Callable[[Session], _T]) -> _T:
        """Do a step in one transaction; while the database does not answer, try again."""

        def transaction() -> _T:
            with Session(self._engine) as session, session.begin():
                return step(session)

        return self._patiently(transaction, lambda _: True)

    def _patiently(
        self, step: Callable[[], _T], may_pass: Callable[[OperationalError], bool]
    ) -> _T:
        give_up, pause = time.monotonic() + self.PATIENCE, 0.25
        while True:
            try:
                return step()
            except OperationalError as error:
                if not may_pass(error):
                    raise
                reason = f"The results store {_shown(self.url)} takes nothing ({error.orig})"
                if time.monotonic() > give_up:
                    raise PrerequisiteError(
                        f"{reason}.",
                        "Bring it back and run the same command again; finished shards are kept.",
                    ) from None
                self._note(f"{reason}; trying again.")
            time.sleep(pause)
            pause = min(10.0, 2 * pause)

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def sole_access(url: str, name: str) -> Iterator[bool]:
    """Hold a PostgreSQL database's lock of that name; yields whether nobody else held it.

    The lock ends with the connection, so also when this process is killed.
    """
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    try:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        connection = engine.connect()
        alone = connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": key})
    except (DatabaseError, ArgumentError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise PrerequisiteError(
            f"The results store {_shown(url)} cannot be opened: {reason}.",
            "Check the URL and that the server runs.",
        ) from None
    try:
        yield bool(alone)
    finally:
        connection.invalidate()  # also where the server has gone meanwhile
        connection.close()
        engine.dispose()


def _shown(url: str) -> str:
    """Return a URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def _row(record: Record) -> ResultRow:
    row = ResultRow(**{name: _plain(getattr(record, name)) for name in _PLAIN})
    for place, (name, value) in enumerate(record.metrics.items()):
        low, high = record.intervals.get(name, (None, None))
        row.values.append(MetricRow(name=name, place=place, value=value, low=low, high=high))
    return row


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _in_utc(moment: datetime) -> datetime:
    """Give back the time zone, which SQLite forgets; everything is stored in UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _record(row: ResultRow) -> Record:
    plain = {name: getattr(row, name) for name in _PLAIN}
    plain["created_at"] = _in_utc(row.created_at)
    return Record(
        **plain,
        metrics={v.name: v.value for v in row.values},
        intervals={
            v.name: (v.low, v.high) for v in row.values if v.low is not None and v.high is not None
        },
    )
