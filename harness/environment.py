"""The environment that a result was made in."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import harness

_LIBRARIES = ("torch", "numpy", "opencv-python-headless", "ray", "pyarrow", "scipy")


def environment() -> dict[str, str]:
    """Return versions and machine facts, without importing any of the libraries."""
    facts = {
        "harness": harness.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
    }
    for name in _LIBRARIES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "absent"
    return facts
