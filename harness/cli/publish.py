"""``harness report`` and ``harness ui``: what others look at."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.api.errors import PrerequisiteError
from harness.cli.run import WorkspaceOption


def report(
    out: Annotated[Path, typer.Option(help="Folder of the site; any static host serves it.")],
    workspace: WorkspaceOption = Path("workspace"),
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Render the results store as a static site that works offline."""
    from harness.cli.output import console
    from harness.recording import publish
    from harness.records.store import Store
    from harness.workspace import Workspace

    space = Workspace(workspace)
    store = Store(space.store_url)
    try:
        page = publish(store.records(), space, out.absolute())
    finally:
        store.close()
    console.print(f"Leaderboard: {page}", soft_wrap=True, highlight=False)
    if open_page:
        typer.launch(page.as_uri())


def ui(
    workspace: WorkspaceOption = Path("workspace"),
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> None:
    """Start MLflow's interface on the workspace's tracking store."""
    from harness.workspace import Workspace

    space = Workspace(workspace)
    database = space.root / "mlflow.db"
    if "MLFLOW_TRACKING_URI" not in os.environ and not database.is_file():
        raise PrerequisiteError(
            f"The workspace {space.root} has no MLflow store yet.", "Run a suite first."
        )
    # The job executor costs eight processes and more than a gigabyte, and has nothing to do here.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    arguments = ["ui", "--backend-store-uri", space.tracking_uri, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])
