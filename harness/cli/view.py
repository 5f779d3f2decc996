"""How a run shows itself: progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harness.execution.worker import ShardReport
from harness.records.record import Record
from harness.view import View


class TerminalView(View):
    """Shows a run on standard error, so that standard output stays free for results."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalView:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a remark."""
        self._progress.console.print(text, highlight=False, markup=False)

    def building(self, what: str, done: int, total: int) -> None:
        """Move the bar of data that is being made."""
        if what not in self._tasks:
            self.note(f"Making the {what} ({total} pictures), once.")
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done)

    def planned(self, jobs: Sequence[tuple[str, str, int, int]]) -> None:
        """Open a bar for every job."""
        for digest, name, done, total in jobs:
            again = f", {done} of them done before" if done else ""
            self.note(f"{name}: {total} samples{again}")
            self._tasks[digest] = self._progress.add_task(name, total=total, completed=done)

    def shard(self, digest: str, report: ShardReport) -> None:
        """Move a job's bar."""
        self._progress.advance(self._tasks[digest], report.samples)

    def recorded(self, record: Record, *, reused: bool) -> None:
        """Print a job's result in one line."""
        what = f"{record.name} on {record.benchmark} {record.split}"
        if record.status != "done":
            self.note(f"{what}: {record.status.upper()}. {record.reason}")
            return
        done_before = " (done before)" if reused else ""
        if not record.metrics:
            self.note(f"{what}: predicted; there is no ground truth to score with{done_before}")
            return
        name, value = next(iter(record.metrics.items()))
        shown = "no value" if value is None else f"{value:.4f}"
        self.note(f"{what}: {name} {shown}{done_before}")
