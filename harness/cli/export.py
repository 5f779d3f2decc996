"""``harness export``: the official submission of a result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.run import WorkspaceOption


def export(
    result: Annotated[str, typer.Argument(help="Id of a result, or its first digits.")],
    out: Annotated[
        Path,
        typer.Option(help="File to write; its ending chooses the form where there are several."),
    ],
    workspace: WorkspaceOption = Path("workspace"),
) -> None:
    """Write a result's predictions as the benchmark's evaluation server takes them."""
    from harness.cli.output import console
    from harness.exporting import export_submission
    from harness.workspace import Workspace

    record = export_submission(Workspace(workspace), result, out)
    what = f"{record.name} on {record.benchmark} {record.split}"
    console.print(f"Submission of {what}: {out}", soft_wrap=True, highlight=False, markup=False)
