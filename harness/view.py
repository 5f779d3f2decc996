"""What the engine tells its user while it works."""

from __future__ import annotations

from collections.abc import Sequence

from harness.execution.worker import ShardReport
from harness.records.record import Record


class View:
    """What a run tells its user; this one keeps quiet, a subclass says what it cares for."""

    def note(self, text: str) -> None:
        """Say something the user should know."""

    def building(self, what: str, done: int, total: int) -> None:
        """Embedded data is being made."""

    def planned(self, jobs: Sequence[tuple[str, str, int, int]]) -> None:
        """Say what will run: (digest, name, finished samples, all samples)."""

    def shard(self, digest: str, report: ShardReport) -> None:
        """A shard of a job has been written."""

    def recorded(self, record: Record, *, reused: bool) -> None:
        """A job has its result."""
