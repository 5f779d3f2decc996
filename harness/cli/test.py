"""``harness test``: does a method keep its promises."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import completion


def conform(
    method: Annotated[
        str,
        typer.Argument(
            help="METHOD[:VARIANT]; without variant the one named nano.",
            autocompletion=completion.methods,
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a method against what every method must keep; exit code 1 if it fails."""
    from dataclasses import asdict

    from harness.cli.output import print_json, print_table
    from harness.conformance import conformance, default_variant

    spec = default_variant(method)
    checks = [asdict(check) for check in conformance(spec)]
    if json:
        print_json({"method": spec, "checks": checks})
    else:
        print_table(spec, checks)
    if any(check["state"] == "fail" for check in checks):
        raise typer.Exit(1)
