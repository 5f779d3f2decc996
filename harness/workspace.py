"""The workspace: the one folder in which a user's runs leave everything.

results.db, results/<id>/   results store and the evidence behind each result
jobs/<digest>/              shard files of a job, finished or not, and its log
status.json                 how far the run is
mlflow.db, mlartifacts/     MLflow's own store
site/                       the leaderboard

It is a folder of a disk that every node sees, or a bucket of an object store; databases cannot
live in a bucket and then are named by ``HARNESS_STORE`` and ``MLFLOW_TRACKING_URI``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.api import PrerequisiteError
from harness.records.record import Evidence

DEFAULT = Path("workspace")


def as_folder(address: str | Path) -> Path:
    """Return a folder of a disk, or of an object store such as ``s3://bucket/folder``.

    The latter behaves as a :class:`pathlib.Path` in all that the harness does with it.

    Raises
    ------
    PrerequisiteError
        If the package for that kind of store is not installed.
    """
    if "://" not in str(address):
        return Path(address).absolute()
    try:
        from upath import UPath

        # What another process has just written must be seen.
        folder: Path = UPath(address, use_listings_cache=False)
        return folder
    except (ImportError, ValueError) as error:
        raise PrerequisiteError(
            f"The workspace {address} cannot be reached: {error}.",
            "Install what object stores need: pip install 'pose-harness[s3]'.",
        ) from None


class Workspace:
    """Paths and addresses of one workspace.

    Parameters
    ----------
    root : Path or str
        Created if it does not exist.

    Raises
    ------
    PrerequisiteError
        If the folder cannot be written, or an object store lacks its databases.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = as_folder(root)
        self.remote = not isinstance(self.root, Path)
        if self.remote and not self.store_url.startswith("postgresql"):
            raise PrerequisiteError(
                f"The workspace {self.root} is an object store, which can hold no database.",
                "Set HARNESS_STORE to a PostgreSQL URL, and MLFLOW_TRACKING_URI to a server.",
            )
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except Exception as error:  # every object store has errors of its own
            reason = getattr(error, "strerror", None) or error
            raise PrerequisiteError(
                f"The workspace {self.root} cannot be written: {reason}.",
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

    def page(self, record_id: str) -> Path:
        """Return the page of a record on that leaderboard."""
        return self.site / "result" / f"{record_id}.html"

    @property
    def status(self) -> Path:
        """File that says how far the run is."""
        return self.root / "status.json"

    def job_folder(self, digest: str) -> Path:
        """Return (and create) the folder of a job's shard files."""
        folder = self.root / "jobs" / digest[:32]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def job_log(self, digest: str) -> Path:
        """Return the file of a job's events, one JSON object per line."""
        return self.root / "jobs" / digest[:32] / "log.jsonl"

    def evidence(self, record_id: str) -> Evidence:
        """Return the evidence of a record."""
        return Evidence(self.root / "results" / record_id[:32])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second driver out while this one writes.

        The lock is a file's on a disk, and the database's for an object store; both end with the
        process that holds them.

        Raises
        ------
        PrerequisiteError
            If another driver is at work in this workspace.
        """
        with self._sole_access() as alone:
            if not alone:
                raise PrerequisiteError(
                    f"Another run is at work in the workspace {self.root}.",
                    "Wait until it has ended, or choose another folder with --workspace.",
                )
            yield

    def busy(self) -> bool:
        """Return whether a driver is at work in this workspace."""
        with self._sole_access() as alone:
            return not alone

    @contextmanager
    def _sole_access(self) -> Iterator[bool]:
        if self.remote:
            from harness.records.store import sole_access

            with sole_access(self.store_url, str(self.root)) as alone:
                yield alone
            return
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()
