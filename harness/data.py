"""Find a benchmark's data: the user's folder, or the embedded world."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.api import Benchmark, PrerequisiteError
from harness.cache import cache_root

Progress = Callable[[int, int], None]
"""Called with (pictures made, pictures in all)."""


@dataclass(frozen=True)
class DataFolders:
    """Where the user says that data lies.

    Parameters
    ----------
    common : Path, optional
        Folder of benchmark folders (``DIR/coco/...``), from ``--data DIR`` or ``HARNESS_DATA``.
    own : mapping of str to Path
        One benchmark's own root, from ``--data coco=DIR``.
    """

    common: Path | None = None
    own: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Sequence[str]) -> DataFolders:
        """Read ``--data`` options.

        Raises
        ------
        PrerequisiteError
            If a folder does not exist or two common ones are given.
        """
        common, own = None, {}
        for option in options:
            name, equals, folder = option.partition("=")
            path = Path(folder if equals else option).expanduser()
            if not path.is_dir():
                raise PrerequisiteError(
                    f"--data {option}: the folder {path} does not exist.", "Give an existing one."
                )
            if equals:
                own[name] = path
            elif common is not None:
                raise PrerequisiteError(
                    f"--data is given twice: {common}, {path}.", "Use --data BENCHMARK=DIR."
                )
            else:
                common = path
        if common is None and (default := os.environ.get("HARNESS_DATA")):
            common = Path(default)
        return cls(common, own)

    def root(self, benchmark: Benchmark) -> Path | None:
        """Return the benchmark's root if the user has named one that exists."""
        if benchmark.name in self.own:
            return self.own[benchmark.name]
        if self.common is not None and (self.common / benchmark.name).is_dir():
            return self.common / benchmark.name
        return None


@dataclass(frozen=True)
class Located:
    """The root and split to use, and what the user should know about the choice."""

    root: Path
    split: str
    note: str = ""


def embedded_root(benchmark: Benchmark) -> Path:
    """Return where the embedded splits of a benchmark are kept."""
    return cache_root() / "data" / benchmark.name


def locate(
    benchmark: Benchmark,
    folders: DataFolders,
    split: str | None = None,
    progress: Progress | None = None,
) -> Located:
    """Choose root and split; an embedded split is built if it is not there yet.

    Raises
    ------
    PrerequisiteError
        If the split is not below the user's folder; the message shows the expected layout.
    """
    root = folders.root(benchmark)
    available = benchmark.splits(root) if root is not None else ()
    if root is not None and (split or benchmark.default_split) in available:
        return Located(root, split or benchmark.default_split)
    embedded = split is None or split.startswith("embedded")
    if embedded and benchmark.embedded_split is not None and (root is None or split is not None):
        chosen = split or benchmark.embedded_split
        own = embedded_root(benchmark)
        benchmark.make_embedded(own, chosen, progress)
        note = (
            ""
            if split
            else f"{benchmark.title}: no real data found, so the embedded synthetic split "
            f"{chosen!r} is used. Real data: {benchmark.obtain}"
        )
        return Located(own, chosen, note)
    wanted = split or benchmark.default_split
    where = f"below {root}" if root is not None else "in any folder given"
    also = f"\nSplits found there: {', '.join(available)}." if available else ""
    raise PrerequisiteError(
        f"{benchmark.title}: the split {wanted!r} is not {where}.{also}",
        f"Expected layout below --data {benchmark.name}=DIR:\n{benchmark.layout(wanted)}\n"
        f"Where to get it: {benchmark.obtain}",
    )
