"""``harness data``: what data is there, and the embedded world."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli import completion
from harness.cli.run import Data

app = typer.Typer(help="Show data folders and make embedded data.", no_args_is_help=True)


@app.command()
def status(
    data: Data = None, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Say per benchmark what is there, what is missing and the layout that is expected."""
    from harness import registry
    from harness.cli.output import console, print_json, print_table
    from harness.data import DataFolders

    folders = DataFolders.parse(data or [])
    rows: list[dict[str, Any]] = []
    for name in registry.entries(registry.BENCHMARKS):
        benchmark = registry.benchmark(name)
        root = folders.root(benchmark)
        splits = benchmark.splits(root) if root is not None else ()
        rows.append(
            {
                "benchmark": name,
                "root": None if root is None else str(root),
                "splits": list(splits),
                "wanted": benchmark.default_split,
                "layout": benchmark.layout(benchmark.default_split),
                "obtain": benchmark.obtain,
            }
        )
    if json:
        print_json(rows)
        return
    short = [{**r, "splits": ", ".join(r["splits"]) or "none"} for r in rows]
    keys = ("benchmark", "root", "splits", "wanted")
    print_table("Data", [{key: row[key] for key in keys} for row in short])
    for row in rows:
        if row["wanted"] not in row["splits"]:
            console.print(
                f"\n{row['benchmark']} {row['wanted']}: expected below DIR of "
                f"--data {row['benchmark']}=DIR\n{row['layout']}\n{row['obtain']}",
                markup=False,
                highlight=False,
            )


@app.command()
def make(
    benchmark: Annotated[
        str, typer.Argument(help="Benchmark to make.", autocompletion=completion.benchmarks)
    ] = "coco",
    split: Annotated[
        str | None, typer.Option(help="Embedded split; the validation split by default.")
    ] = None,
) -> None:
    """Make an embedded split of synthetic pictures in the cache."""
    from harness import registry
    from harness.api.errors import PrerequisiteError
    from harness.cli.output import console
    from harness.cli.view import TerminalView
    from harness.data import make_embedded

    chosen = registry.benchmark(benchmark)
    if chosen.embedded_split is None:
        raise PrerequisiteError(f"{benchmark} has no embedded data.", "Give real data with --data.")
    with TerminalView() as view:
        root = make_embedded(chosen, split or chosen.embedded_split, view)
    console.print(f"Data of {benchmark}: {root}", soft_wrap=True, highlight=False)
