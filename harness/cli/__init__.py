"""The ``harness`` command.

Command modules import nothing heavy at their top, so that help, listing and completion answer at
once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import harness
from harness.api.errors import PrerequisiteError
from harness.cli import (
    compare,
    data,
    export,
    inspect,
    publish,
    run,
    score,
    status,
    sync,
    test,
    train,
    weights,
)

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("score")(score.score)
app.command("status")(status.status)
app.command("export")(export.export)
app.command("compare")(compare.compare)
app.command("list")(inspect.list_entries)
app.command("show")(inspect.show)
app.command("report")(publish.report)
app.command("ui")(publish.ui)
app.command("sync")(sync.sync)
app.command("train")(train.train)
app.command("test")(test.conform)
app.command("profile")(inspect.profile)
app.command("doctor")(inspect.doctor)
app.add_typer(weights.app, name="weights")
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(harness.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Benchmark and leaderboard harness for human pose estimation."""


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2."""
    try:
        app()
    except PrerequisiteError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("harness: interrupted; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
