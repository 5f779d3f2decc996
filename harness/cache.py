"""Where files live that any run may use again: fetched weights, generated data."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_root() -> Path:
    """Return the cache folder shared by all runs of this user.

    ``HARNESS_CACHE`` names it; without it the platform's own place is used. The folder need not
    exist yet.
    """
    chosen = os.environ.get("HARNESS_CACHE")
    return (
        Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("pose-harness"))
    )
