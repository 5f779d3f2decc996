"""Distributed benchmark and leaderboard harness for human pose estimation."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.loading import load_method as load_method

__version__ = version("pose-harness")
__all__ = ["__version__", "load_method"]


def __getattr__(name: str) -> Any:
    # Loading a method imports torch; importing the package must not.
    if name == "load_method":
        from harness.loading import load_method

        return load_method
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
