"""The workspace: the one folder in which a user's runs leave everything.

results.db, results/<id>/   results store and the evidence behind each result
jobs/<digest>/              shard files of a job, finished or not
mlflow.db, mlartifacts/     MLflow's own store
site/                       the leaderboard
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.api import PrerequisiteError
from harness.records.record import Evidence

DEFAULT = Path("workspace")


class Workspace:
    """Paths and addresses of one workspace.

    Parameters
    ----------
    root : Path
        Created if it does not exist.

    Raises
    ------
    PrerequisiteError
        If the folder cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise PrerequisiteError(
                f"The workspace {self.root} cannot be written: {error.strerror}.",
                "Choose another folder with --workspace.",
            ) from None

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the results store; ``HARNESS_STORE`` overrides the default."""
        return os.environ.get("HARNESS_STORE", f"sqlite:///{self.root / 'results.db'}")

    @property
    def tracking_uri(self) -> str:
        """MLflow tracking URI; ``MLFLOW_TRACKING_URI`` overrides the default."""
        return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{self.root / 'mlflow.db'}")

    @property
    def artifacts(self) -> Path:
        """Folder of MLflow's artifacts for the default store."""
        return self.root / "mlartifacts"

    @property
    def site(self) -> Path:
        """Folder of the leaderboard that every run renews."""
        return self.root / "site"

    def job_folder(self, digest: str) -> Path:
        """Return (and create) the folder of a job's shard files."""
        folder = self.root / "jobs" / digest[:32]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def evidence(self, record_id: str) -> Evidence:
        """Return the evidence of a record."""
        return Evidence(self.root / "results" / record_id[:32])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second driver out while this one writes.

        Raises
        ------
        PrerequisiteError
            If another driver is at work in this workspace.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise PrerequisiteError(
                f"Another run is at work in the workspace {self.root}.",
                "Wait until it has ended, or choose another folder with --workspace.",
            ) from None
        try:
            yield
        finally:
            lock.release()
