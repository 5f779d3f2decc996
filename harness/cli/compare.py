"""``harness compare``: by how much do results differ, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.api.errors import PrerequisiteError
from harness.cli import completion
from harness.cli.run import WorkspaceOption


def compare(
    results: Annotated[
        list[str],
        typer.Argument(
            help="Two or more: METHOD:VARIANT for its newest result, or the id of a result.",
            autocompletion=completion.methods,
        ),
    ],
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="Benchmark, where the methods have results on several.",
            autocompletion=completion.benchmarks,
        ),
    ] = None,
    workspace: WorkspaceOption = Path("workspace"),
    html: Annotated[Path | None, typer.Option(help="Write a page with the samples.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare results of one protocol and data set by paired bootstrap.

    For every metric the difference with its 95 % interval and p-value, and the samples on which the
    results differ most.
    """
    from harness import registry
    from harness.cli.output import console, print_json
    from harness.comparison import compare as run
    from harness.comparison import find_results
    from harness.records.record import write_atomically
    from harness.records.store import Store
    from harness.workspace import Workspace

    if len(results) < 2:
        raise PrerequisiteError("One result alone cannot be compared.", "Name two or more.")
    space = Workspace(workspace)
    store = Store(space.store_url)
    try:
        chosen = find_results(store.records(), results, benchmark)
    finally:
        store.close()
    found = run(chosen, lambda r: space.evidence(r.id), registry.benchmark(chosen[0].benchmark))
    if html is not None:
        page = registry.load(registry.entry(registry.REPORTS, "comparison"))(found)
        try:
            write_atomically(html, page.encode())
        except OSError as error:
            raise PrerequisiteError(
                f"{html} cannot be written: {error.strerror}.", "Choose another place with --html."
            ) from None
    if json:
        print_json(document(found))
        return
    _print(found)
    if html is not None:
        console.print(f"Comparison: {html.absolute()}", soft_wrap=True, highlight=False)


def document(found: Any) -> dict[str, Any]:
    """Return a comparison as plain JSON values; differences are in the metrics' own units."""
    from dataclasses import asdict

    names = found.names()
    first = found.records[0]
    return {
        "benchmark": first.benchmark,
        "split": first.split,
        "protocol": first.protocol,
        "protocol_digest": first.protocol_digest,
        "dataset_digest": first.dataset_digest,
        "limit": first.limit,
        "results": [
            {
                "name": name,
                "id": record.id,
                "metrics": {metric: record.metrics[metric] for metric in found.metrics},
            }
            for name, record in zip(names, found.records, strict=True)
        ],
        "differences": [
            {**asdict(d), "first": names[d.first], "second": names[d.second]}
            for d in found.differences
        ],
        "score": found.score,
        "samples": [
            {
                "first": names[a],
                "second": names[b],
                "most_different": [asdict(c) for c in found.contrasts(a, b)],
            }
            for a, b in found.pairs
        ],
    }


def _print(found: Any) -> None:
    from harness.cli.output import console, print_table

    names = found.names()
    record = found.records[0]
    console.print(
        f"{found.benchmark.title}, {record.split}, protocol {record.protocol} "
        f"({record.protocol_digest[:8]})",
        highlight=False,
        markup=False,
    )
    for a, b in found.pairs:
        rows = [_row(found, d) for d in found.differences if (d.first, d.second) == (a, b)]
        shown = [row for row in rows if row]
        print_table(f"{names[a]} less {names[b]}", shown)
        contrasts = found.contrasts(a, b, most=5)
        if contrasts:
            print_table(
                f"Samples that differ most ({found.score})",
                [
                    {
                        "sample": c.sample_id,
                        names[a]: f"{c.first:.3f}",
                        names[b]: f"{c.second:.3f}",
                        "difference": f"{c.difference:+.3f}",
                    }
                    for c in contrasts
                ],
            )


def _row(found: Any, difference: Any) -> dict[str, str]:
    """Return a table row in the column's units; empty for a metric that is no column."""
    from harness.comparison import shown_p

    column = next((c for c in found.benchmark.columns if c.metric == difference.metric), None)
    if column is None:
        return {}
    values = [
        found.records[i].metrics[column.metric] for i in (difference.first, difference.second)
    ]
    first, second = (f"{value * column.scale:.{column.decimals}f}" for value in values)
    digits = column.decimals + 1

    def signed(value: float) -> str:
        return f"{value * column.scale:+.{digits}f}" if value == value else "-"

    return {
        "metric": column.header,
        "first": first,
        "second": second,
        "difference": signed(difference.value),
        "95 % interval": f"{signed(difference.low)} to {signed(difference.high)}",
        "p": shown_p(difference.p),
        "p (Holm)": shown_p(difference.p_holm),
    }
