"""``harness weights``: checkpoints on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion

app = typer.Typer(help="Show, download and import weights.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="METHOD:VARIANT.", autocompletion=completion.methods)]


@app.command()
def status(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say for every variant where its weights are."""
    from dataclasses import asdict

    from harness import registry
    from harness import weights as files
    from harness.cli.output import print_json, print_table

    cards = [registry.method_card(name) for name in registry.entries(registry.METHODS)]
    rows = [asdict(row) for row in files.status(cards)]
    if json:
        print_json(rows)
    else:
        print_table("Weights", [{k: row[k] for k in ("name", "source", "licence")} for row in rows])


@app.command()
def fetch(name: Name) -> None:
    """Download public weights into the cache, verified by SHA-256."""
    from rich.progress import Progress

    from harness import registry
    from harness import weights as files
    from harness.cli.output import console

    method, variant = registry.split_name(name)
    with Progress(console=console) as bar:
        task = bar.add_task(name, total=None)

        def progress(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        path = files.fetch(registry.method_card(method), variant, progress)
    console.print(f"Weights of {name}: {path}", soft_wrap=True, highlight=False)


@app.command("import")
def import_weights(
    name: Name, file: Annotated[Path, typer.Argument(help="A checkpoint you have.")]
) -> None:
    """Copy a checkpoint into the cache after checking that it loads."""
    from harness import registry
    from harness import weights as files
    from harness.cli.output import console

    method, variant = registry.split_name(name)
    path = files.import_file(registry.method_card(method), variant, file)
    console.print(f"Weights of {name}: {path}", soft_wrap=True, highlight=False)
