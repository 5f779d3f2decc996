"""Find the samples of a shard that kill their workers, by halving.

A shard that has killed several workers is cut in two, and each half is only tried: nothing of it
is kept. A half that kills its worker is cut again, down to single samples. A sample is guilty when
it has killed alone as often as a shard must to become suspect, so that a worker that died for
another reason accuses nobody. Then the shard runs again without the guilty ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.api import Sample
from harness.execution.shards import FailedSample

MAX_DEATHS = 2
"""Workers that a shard, and then a sample of it, may cost."""


@dataclass(frozen=True)
class Task:
    """A shard to run, or a part of it to try."""

    shard: int
    part: range | None = None

    def __str__(self) -> str:
        if self.part is None:
            return f"shard {self.shard}"
        return f"samples {self.part.start} to {self.part.stop - 1} of shard {self.shard}"


class Suspicion:
    """What is known about the deaths of one job's workers.

    Parameters
    ----------
    shards : mapping of int to samples
        The job's shards by number.
    """

    def __init__(self, shards: Mapping[int, Sequence[Sample]]) -> None:
        self._shards = shards
        self._deaths: Counter[Task] = Counter()
        self._open: Counter[int] = Counter()
        self._searched: set[int] = set()
        self._guilty: dict[int, list[FailedSample]] = {}
        self._hopeless: str | None = None

    def accuse(self, task: Task, reason: str) -> list[Task]:
        """Note that a task killed its worker; return what is to be done next."""
        self._deaths[task] += 1
        part = task.part
        if part is not None and len(part) > 1:
            return self._close(task, self._halves(task.shard, part))
        if self._deaths[task] < MAX_DEATHS:
            return [task]
        if part is not None:
            sample = self._shards[task.shard][part.start]
            blame = f"killed its worker {MAX_DEATHS} times ({reason})"
            self._guilty.setdefault(task.shard, []).append(FailedSample(sample.id, blame))
            return self._close(task, [])
        if task.shard in self._searched:
            self._hopeless = (
                f"The worker died {MAX_DEATHS} times on shard {task.shard}, and no single sample "
                f"of it is to blame. {reason}"
            )
            return []
        self._searched.add(task.shard)
        del self._deaths[task]
        self._open[task.shard] = 1
        return self._close(task, self._halves(task.shard, range(len(self._shards[task.shard]))))

    def acquit(self, task: Task) -> list[Task]:
        """Note that a part did no harm; return what is to be done next."""
        return self._close(task, [])

    def guilty(self, shard: int) -> Sequence[FailedSample]:
        """Return the samples of a shard that were found to kill their workers."""
        return self._guilty.get(shard, ())

    def verdict(self, max_failed: int) -> str | None:
        """Return why the job cannot go on, if so."""
        found = [sample for samples in self._guilty.values() for sample in samples]
        if len(found) > max_failed:
            last = found[-1]
            return f"Sample {last.sample_id} {last.reason}."
        return self._hopeless

    def _close(self, task: Task, following: list[Task]) -> list[Task]:
        """Count a part as tried; when a shard has none left, the whole of it runs again."""
        self._open[task.shard] += len(following) - 1
        return following if self._open[task.shard] else [Task(task.shard)]

    @staticmethod
    def _halves(shard: int, part: range) -> list[Task]:
        middle = part.start + max(1, len(part) // 2)
        halves = (range(part.start, middle), range(middle, part.stop))
        return [Task(shard, half) for half in halves if half]
