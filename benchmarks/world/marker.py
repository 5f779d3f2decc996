"""Finished splits of the embedded world: folders with a file that says so, made as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.world.pictures import alone
from harness.api.errors import PrerequisiteError

NAME = "embedded.json"
LABELS = "labels.npz"
"""``keypoints`` (n, 21, 2) of COCO_MPII_21 in pixels, NaN outside the picture, for training."""


def is_made(folder: Path, version: int | None = None) -> bool:
    """Return whether a split is there: of any version, or of a given one."""
    path = folder / NAME
    if not path.is_file():
        return False
    return version is None or json.loads(path.read_text(encoding="utf-8"))["version"] == version


def check_split(split: str, known: Sequence[str], benchmark: str) -> None:
    """Raise PrerequisiteError for a split that is not among a benchmark's embedded ones."""
    if split not in known:
        raise PrerequisiteError(
            f"There is no embedded split {split!r} of {benchmark}.",
            f"Choose one of: {', '.join(known)}." if known else "Give real data.",
        )


def made_once(folder: Path, version: int, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a folder, unless one of this version is there; return its marker.

    The folder appears as a whole: an interrupted split never looks finished. One process at a
    time makes it.

    Raises
    ------
    PrerequisiteError
        If the folder cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder.with_name(f".{folder.name}.lock")):
            if not is_made(folder, version):
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                write(unfinished)
                text = json.dumps({"synthetic": True, "version": version})
                (unfinished / NAME).write_text(text + "\n", encoding="utf-8")
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
    except OSError as error:
        raise PrerequisiteError(
            f"The embedded split {folder} cannot be written: {error}",
            "Set HARNESS_CACHE to a folder that can be written, with 100 MB free.",
        ) from error
    return folder / NAME
