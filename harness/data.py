"""Find a benchmark's data: the user's folder, or the embedded world."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.api import Benchmark, PrerequisiteError
from harness.cache import cache_root
from harness.view import View


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
        if self.common is None:
            return None
        # Data sets are on disk as nyu_hand as often as nyu-hand.
        for name in (benchmark.name, benchmark.name.replace("-", "_")):
            if (self.common / name).is_dir():
                return self.common / name
        return None


@dataclass(frozen=True)
class Located:
    """The root and split to use."""

    root: Path
    split: str


def make_embedded(benchmark: Benchmark, split: str, view: View | None = None) -> Path:
    """Build an embedded split in the cache unless it is there, and return its root."""

    def progress(done: int, total: int) -> None:
        if view is not None:
            view.building(f"{benchmark.name} {split}", done, total)

    root = cache_root() / "data" / benchmark.name
    benchmark.make_embedded(root, split, progress)
    return root


def locate(
    benchmark: Benchmark,
    folders: DataFolders,
    split: str | None = None,
    view: View | None = None,
) -> Located:
    """Choose root and split, and tell what the user did not choose.

    An embedded split is built if it is not there yet.

    Raises
    ------
    PrerequisiteError
        If the split is not below the user's folder; the message shows the expected layout.
    """
    root = folders.root(benchmark)
    available = benchmark.splits(root) if root is not None else ()
    if root is not None and (split or benchmark.default_split) in available:
        return Located(root, split or benchmark.default_split)
    if root is not None and split is None and len(available) == 1:
        only = available[0]
        _note(view, f"{benchmark.title}: {root} holds the split {only!r} alone, so it is used.")
        return Located(root, only)
    embedded = split is None or split.startswith("embedded")
    if embedded and benchmark.embedded_split is not None and (root is None or split is not None):
        chosen = split or benchmark.embedded_split
        if split is None:
            _note(
                view,
                f"{benchmark.title}: no real data found, so the embedded synthetic split "
                f"{chosen!r} is used. Real data: {benchmark.obtain}",
            )
        return Located(make_embedded(benchmark, chosen, view), chosen)
    wanted = split or benchmark.default_split
    where = f"below {root}" if root is not None else "in any folder given"
    also = f"\nSplits found there: {', '.join(available)}." if available else ""
    raise PrerequisiteError(
        f"{benchmark.title}: the split {wanted!r} is not {where}.{also}",
        f"Expected layout below --data {benchmark.name}=DIR:\n{benchmark.layout(wanted)}\n"
        f"Where to get it: {benchmark.obtain}",
    )


def _note(view: View | None, text: str) -> None:
    if view is not None:
        view.note(text)
