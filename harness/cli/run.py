"""``harness run``: the main job."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.api.errors import PrerequisiteError
from harness.cli import completion
from harness.workspace import as_folder

if TYPE_CHECKING:
    from harness.api import Benchmark, Column
    from harness.records.record import Record
    from harness.running import RunSummary

Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="DIR|BENCHMARK=DIR",
        help="Folder of benchmark folders, or one benchmark's own root; HARNESS_DATA by default.",
    ),
]
WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        metavar="DIR|s3://BUCKET/DIR",
        parser=as_folder,
        help="Where results, predictions and the site are kept.",
    ),
]


def run(
    suite: Annotated[
        str,
        typer.Option(help="Name of a suite, or a YAML file.", autocompletion=completion.suites),
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="METHOD or METHOD:VARIANT in place of the suite's own; several, or with commas.",
            autocompletion=completion.methods,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split; the real one by default, else the embedded one.")
    ] = None,
    boxes: Annotated[
        str | None,
        typer.Option(
            metavar="gt|PATH|METHOD:VARIANT",
            help="Person boxes: the ground truth's, a detections file's, or what a method finds.",
        ),
    ] = None,
    data: Data = None,
    workspace: WorkspaceOption = Path("workspace"),
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first samples of the split.")
    ] = None,
    address: Annotated[
        str, typer.Option(metavar="local|auto|HOST:PORT", help="Ray cluster to run on.")
    ] = "local",
    rerun: Annotated[
        str, typer.Option(metavar="never|failed|all", help="Which earlier results to make again.")
    ] = "failed",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers per job; as many as fit by default.")
    ] = None,
    max_failed_samples: Annotated[
        int, typer.Option(min=0, help="Samples a job may lose and still be scored on the rest.")
    ] = 0,
    shard_deadline: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="A worker longer at one shard counts as hung."),
    ] = 1800,
    precision: Annotated[
        str, typer.Option(metavar="fp32|bf16|fp16", help="Arithmetic of the networks.")
    ] = "fp32",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the networks with torch.compile.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print results, and events on stderr.")
    ] = False,
) -> None:
    """Run a suite of methods and renew the leaderboard.

    The same command run again uses what is finished and goes on where it was interrupted.

    Exit code: 0 all done, 1 some job failed, 2 something you can fix, 130 interrupted.
    """
    from harness.cli.view import JsonView, TerminalView
    from harness.data import DataFolders
    from harness.running import PRECISIONS, RERUN, RunOptions, plan_suite, run_suite

    if rerun not in RERUN:
        raise PrerequisiteError(f"--rerun {rerun} is unknown.", f"Use one of {', '.join(RERUN)}.")
    if precision not in PRECISIONS:
        raise PrerequisiteError(
            f"--precision {precision} is unknown.", f"Use one of {', '.join(PRECISIONS)}."
        )
    options = RunOptions(
        suite=suite,
        methods=tuple(name.strip() for name in ",".join(methods or ()).split(",") if name.strip()),
        split=split,
        boxes=boxes,
        data=DataFolders.parse(data or []),
        workspace=workspace,
        limit=limit,
        address=address,
        rerun=rerun,
        max_workers=workers,
        max_failed_samples=max_failed_samples,
        shard_deadline=shard_deadline,
        precision=precision,
        compiled=compiled,
        command=shlex.join(["harness", *sys.argv[1:]]),
    )
    with JsonView() if json else TerminalView() as view:
        if dry_run:
            _print_plan(plan_suite(options, view), json)
            return
        summary = run_suite(options, view)
    if json:
        _print_json(summary)
    else:
        print_results(summary)
    raise typer.Exit(1 if summary.failed else 0)


_SHOWN_COLUMNS = 6  # what a terminal of 80 characters holds; the page has them all


def _print_plan(jobs: list, json: bool) -> None:
    from harness.cli.output import print_json, print_table

    rows = [
        {
            "method": job.name,
            "benchmark": job.benchmark.name,
            "split": job.dataset.split,
            "samples": len(job.dataset.sample_ids),
            "boxes": job.protocol.box_source,
            "digest": job.digest,
            "skip": job.skip,
        }
        for job in jobs
    ]
    if json:
        print_json(rows)
    else:
        shown = [
            {**row, "boxes": _short(row["boxes"]), "digest": row["digest"][:12]} for row in rows
        ]
        print_table("Plan", shown)


def _short(text: str) -> str:
    """Shorten the digests in a text to their first 12 digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)


def _print_json(summary: RunSummary) -> None:
    from harness.cli.output import print_json, record_document

    print_json(
        {
            "results": [record_document(record) for record in summary.records],
            "reused": summary.reused,
            "page": str(summary.page) if summary.page else None,
        }
    )


def _shown_columns(benchmark: Benchmark, protocol: str) -> list[Column]:
    """Return the columns that fit a terminal: what ranks, then those of its group, then others."""
    main = benchmark.ranked_by(protocol)
    near = sorted(benchmark.columns, key=lambda c: (c != main, c.group != main.group))
    return [column for column in benchmark.columns if column in near[:_SHOWN_COLUMNS]]


def print_results(summary: RunSummary) -> None:
    """Print the results of a run: a table for each protocol and source of person boxes."""
    from harness import registry
    from harness.cli.output import console, print_table

    boards: dict[tuple[str, str, str | None], list[Record]] = {}
    for record in summary.records:
        key = record.benchmark, record.protocol, record.quirks.get("box_source")
        boards.setdefault(key, []).append(record)
    for (name, protocol, boxes), own in boards.items():
        benchmark = registry.benchmark(name)
        rows = []
        for record in own:
            row: dict[str, object] = {"method": record.name}
            for column in _shown_columns(benchmark, protocol):
                value = record.metrics.get(column.metric)
                row[column.header] = (
                    "-" if value is None else f"{value * column.scale:.{column.decimals}f}"
                )
            row["status"] = record.status
            rows.append(row)
        label = "embedded synthetic data" if own[0].synthetic else "real data"
        title = f"{benchmark.title}, {own[0].split}, protocol {protocol}"
        print_table(f"{title} ({label}; boxes: {_short(str(boxes))})", rows)
    if summary.reused:
        console.print(f"{summary.reused} of {len(summary.records)} results were done before.")
    if summary.page:
        console.print(f"Leaderboard: {summary.page}", soft_wrap=True, highlight=False)
