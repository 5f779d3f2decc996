"""The file that says that a folder holds a finished split of the embedded world, and which."""

from __future__ import annotations

import json
from pathlib import Path

NAME = "embedded.json"
LABELS = "labels.npz"
"""``keypoints`` (n, 21, 2) of COCO_MPII_21 in pixels, NaN outside the picture, for training."""


def is_made(folder: Path, version: int | None = None) -> bool:
    """Return whether a split is there: of any version, or of a given one."""
    path = folder / NAME
    if not path.is_file():
        return False
    return version is None or json.loads(path.read_text(encoding="utf-8"))["version"] == version


def mark(folder: Path, version: int) -> Path:
    """Write the marker; call this last."""
    path = folder / NAME
    path.write_text(json.dumps({"synthetic": True, "version": version}) + "\n", encoding="utf-8")
    return path
