"""``harness sync``: bring MLflow level with the results store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.run import WorkspaceOption


def sync(
    workspace: WorkspaceOption = Path("workspace"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Log to MLflow what an outage has kept from it; nothing is logged twice.

    The results store is always complete. Run this when the tracking server answers again, or to
    fill an empty one.
    """
    from harness.cli.output import console, print_json
    from harness.recording import synchronise
    from harness.records.store import Store
    from harness.workspace import Workspace

    space = Workspace(workspace)
    with space.lock():
        store = Store(space.store_url)
        try:
            logged, total = synchronise(space, store)
        finally:
            store.close()
    if json:
        print_json({"tracking_uri": space.tracking_uri, "logged": logged, "results": total})
    else:
        console.print(
            f"MLflow at {space.tracking_uri} holds all {total} results; {logged} were missing.",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
