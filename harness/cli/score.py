"""``harness score``: score predictions that were made elsewhere."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.run import Data, WorkspaceOption


def score(
    benchmark: Annotated[
        str, typer.Argument(help="Name of a benchmark.", autocompletion=completion.benchmarks)
    ],
    predictions: Annotated[
        Path, typer.Argument(help="Result file or folder in the benchmark's official format.")
    ],
    data: Data = None,
    split: Annotated[str | None, typer.Option(help="Split that the predictions are for.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Named variant of the protocol; the official one if left out."),
    ] = None,
    method: Annotated[str, typer.Option(help="Name of the method on the page.")] = "submission",
    workspace: WorkspaceOption = Path("workspace"),
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Whether to keep the result.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Score a result file with the official metric, every record of it checked."""
    from harness.cli.output import console, print_json, print_table
    from harness.cli.view import TerminalView
    from harness.data import DataFolders
    from harness.scoring import ScoreOptions, score_predictions

    options = ScoreOptions(
        benchmark=benchmark,
        predictions=predictions,
        data=DataFolders.parse(data or []),
        split=split,
        protocol=protocol,
        method=method,
        workspace=workspace if record else None,
        command=shlex.join(["harness", *sys.argv[1:]]),
    )
    with TerminalView() as view:
        scored = score_predictions(options, view)
    found = scored.record
    if json:
        print_json(
            {
                "benchmark": found.benchmark,
                "protocol": found.protocol,
                "digest": found.protocol_digest,
                "split": found.split,
                "metrics": found.metrics,
                "counts": found.counts,
            }
        )
        return
    rows = []
    for name, value in found.metrics.items():
        low, high = found.intervals.get(name, (None, None))
        interval = "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
        shown = "no value" if value is None else f"{value:.6f}"
        rows.append({"metric": name, "value": shown, "95 % interval": interval})
    print_table(f"{found.method} on {found.benchmark} {found.split} ({found.protocol})", rows)
    if scored.page:
        console.print(f"Leaderboard: {scored.page}", soft_wrap=True, highlight=False)
