"""How a run shows itself: live bars on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson
import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn

from harness import registry
from harness.execution.worker import ShardReport
from harness.records.record import Record
from harness.view import Events, PlannedJob, Progress, View


class JsonView(Events):
    """Prints every event as one line of JSON on standard error."""

    def emit(self, event: dict[str, Any], digest: str | None) -> None:
        """Print an event."""
        sys.stderr.write(orjson.dumps(event).decode() + "\n")
        sys.stderr.flush()


class TerminalView(View):
    """Shows a run on standard error, so that standard output stays free for results.

    A terminal gets a bar for every job under way and a line with the numbers of the whole run;
    anything else a plain line now and then.
    """

    PLAIN_EVERY = 10.0
    """Seconds between two lines about progress where there is no terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._live = self.console.is_terminal
        self._bars = rich.progress.Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress()
        self._said = time.monotonic()

    def __enter__(self) -> TerminalView:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def note(self, text: str) -> None:
        """Print a remark."""
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def building(self, what: str, done: int, total: int) -> None:
        """Move the bar of data that is being made."""
        if what not in self._tasks:
            self.note(f"Making the {what} ({total} pictures), once.")
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done)

    def planned(self, jobs: Sequence[PlannedJob]) -> None:
        """Open the line of the whole run."""
        self._progress.planned(jobs)
        self._tasks[""] = self._bars.add_task("", total=self._progress.samples)

    def started(self, job: PlannedJob, done: int) -> None:
        """Open a bar for a job."""
        again = f", {done} of them done before" if done else ""
        self.note(f"{job.name}: {job.samples} samples{again}")
        self._progress.started(job, done)
        self._tasks[job.digest] = self._bars.add_task(job.name, total=job.samples, completed=done)

    def shard(self, key: str, report: ShardReport) -> None:
        """Move a job's bar."""
        self._progress.shard(key, report)
        self._bars.advance(self._tasks[key], report.samples)
        self._show()

    def retried(self, key: str, what: str, reason: str) -> None:
        """Say that work was lost."""
        self._progress.retried(key, what, reason)
        name = self._progress.running[key]["name"]
        self.note(f"{name}: a worker was lost at {what}. {reason}")

    def fleet(self, nodes: int, workers: int) -> None:
        """Take the new numbers."""
        self._progress.fleet(nodes, workers)

    def recorded(self, record: Record, *, reused: bool) -> None:
        """Print a job's result in one line and close its bar."""
        self._progress.recorded(record, reused=reused)
        if (task := self._tasks.pop(record.id, None)) is not None:
            self._bars.remove_task(task)
        what = f"{record.name} on {record.benchmark} {record.split}"
        if record.status != "done":
            self.note(f"{what}: {record.status.upper()}. {record.reason}")
            return
        done_before = " (done before)" if reused else ""
        if not record.metrics:
            self.note(f"{what}: predicted; there is no ground truth to score with{done_before}")
            return
        name = registry.benchmark(record.benchmark).ranked_by(record.protocol).metric
        value = record.metrics.get(name)
        shown = "no value" if value is None else f"{value:.4f}"
        self.note(f"{what}: {name} {shown}{done_before}")

    def _show(self) -> None:
        progress = self._progress
        if self._live:
            line = progress.line()
            self._bars.update(self._tasks[""], description=line, completed=progress.samples_done)
        elif time.monotonic() - self._said > self.PLAIN_EVERY:
            self._said = time.monotonic()
            self.note(progress.line())
