"""``harness status``: how far a run is, from any terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.run import WorkspaceOption


def status(
    workspace: WorkspaceOption = Path("workspace"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what runs in a workspace, how far it is, and what its results store holds."""
    from harness.cli.output import console, print_json, print_table
    from harness.records.store import Store
    from harness.workspace import Workspace

    space = Workspace(workspace)
    run = _run(space)
    store = Store(space.store_url)
    try:
        results = dict(Counter(record.status for record in store.records()))
    finally:
        store.close()
    if json:
        print_json({"run": run, "results": results})
        return
    if run is None:
        console.print("No run has been started here.")
    else:
        hide = ("running", "usage", "command")
        print_table(run["command"], [{k: v for k, v in run.items() if k not in hide}])
        if run["running"]:
            print_table("Jobs under way", run["running"])
        if run["usage"]:
            kinds = dict.fromkeys(kind for use in run["usage"].values() for kind in use)
            print_table(
                "Nodes",
                [
                    {"node": node} | {kind: use.get(kind) for kind in kinds}
                    for node, use in run["usage"].items()
                ],
            )
    counts = ", ".join(f"{count} {name}" for name, count in sorted(results.items()))
    console.print(f"Results: {counts or 'none'}")


def _run(space: Any) -> dict[str, Any] | None:
    """Return the last run's own account; one that broke off can no longer say so itself."""
    import orjson

    if not space.status.exists():
        return None
    run: dict[str, Any] = orjson.loads(space.status.read_bytes())
    if run["state"] == "running" and not space.busy():
        run["state"] = "broken off; the same command goes on from here"
    return run
