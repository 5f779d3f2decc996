"""What ``harness doctor`` looks at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from harness import registry
from harness.api import PrerequisiteError
from harness.cache import cache_root
from harness.environment import environment

MIN_FREE_GB = 2


def checkup() -> list[dict[str, str]]:
    """Return findings as ``{"what", "state": "good" | "bad", "detail"}``."""
    findings = [
        {
            "what": f"version of {name}",
            "state": "bad" if version == "absent" else "good",
            "detail": version,
        }
        for name, version in environment().items()
    ]
    findings.append(_check("cache folder", lambda: _writable(cache_root())))
    for group in (registry.METHODS, registry.BENCHMARKS, registry.SUITES, registry.REPORTS):
        for name, entry in registry.entries(group).items():
            what = f"{group.rpartition('.')[2]} {name}"
            findings.append(_check(what, lambda entry=entry: _loads(entry)))
    findings.append(_check("device", _device))
    return findings


def _check(what: str, look: Callable[[], str]) -> dict[str, str]:
    try:
        return {"what": what, "state": "good", "detail": look()}
    except (PrerequisiteError, OSError) as error:
        return {"what": what, "state": "bad", "detail": str(error)}


def _loads(entry: registry.EntryPoint) -> str:
    if entry.group == registry.SUITES:
        return registry.resource(entry)[1]
    registry.load(entry)
    if entry.group == registry.METHODS:
        registry.method_card(entry.name)
    return entry.value


def _writable(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PrerequisiteError(f"{folder} cannot be written.", "Set HARNESS_CACHE.")
    free = shutil.disk_usage(folder).free / 1e9
    if free < MIN_FREE_GB:
        raise PrerequisiteError(f"{folder} has {free:.1f} GB free.", "Make room.")
    return f"{folder}, {free:.0f} GB free"


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return f"CPU, {os.cpu_count()} cores"
