"""Fixtures that several test modules share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same cases in every run: a red test can be run again and stays red. No deadline: the first
# example pays for imports.
settings.register_profile("harness", deadline=None, derandomize=True)
settings.load_profile("harness")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real evaluation data beside the checkout, ``../shared/data``."""
    folder = REPOSITORY.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    message = f"the real evaluation data is not at {folder}"
    if os.environ.get("HARNESS_REQUIRE_SHARED_DATA"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of the test session; the user's own is never touched."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["HARNESS_CACHE"] = str(folder)
    for name in ("HARNESS_DATA", "HARNESS_STORE", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    return folder


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The plug-in ``tests/plugin``, installed by pip where this session and its children see it."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin"
    subprocess.run(["cp", "-r", str(REPOSITORY / "tests" / "plugin"), str(source)], check=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*command, str(folder), "--no-build-isolation", str(source)], check=True)
    from harness import registry

    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    sys.path.insert(0, str(folder))
    registry.entries.cache_clear()
    yield folder
    sys.path.remove(str(folder))
    os.environ["PYTHONPATH"] = before
    registry.entries.cache_clear()


@pytest.fixture(scope="session")
def local_ray(plugin: Path) -> Iterator[None]:
    """The one Ray cluster of the session: two CPUs, own folder, knows the plug-in."""
    from harness.execution.cluster import cluster

    with cluster("local", cpus=2):
        yield


@pytest.fixture
def toy_data(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set of the plug-in's benchmark and return its root."""

    def write(behaviours: Sequence[str], name: str = "toy") -> Path:
        root = tmp_path / name
        root.mkdir()
        samples: list[dict[str, Any]] = [
            {
                "id": f"{i:04d}",
                # Sizes differ, and some pictures have no box at all.
                "boxes": [[i, 2 * i, 10, 20 + j] for j in range(i % 4)],
                "points": [[i + 5, 2 * i + 10 + j] for j in range(i % 4)],
                "behaviour": behaviour,
            }
            for i, behaviour in enumerate(behaviours)
        ]
        (root / "toy.json").write_text(json.dumps({"samples": samples}))
        return root

    return write
