"""``harness list``, ``show``, ``profile`` and ``doctor``: look without running."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.api.errors import PrerequisiteError
from harness.cli import completion

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KINDS = ("methods", "benchmarks", "suites")


def list_entries(
    kind: Annotated[
        str, typer.Argument(help="methods, benchmarks or suites.", autocompletion=lambda: KINDS)
    ],
    json: Json = False,
) -> None:
    """List what is registered, built in or by plug-ins."""
    from harness.cli.output import print_json, print_table

    if kind not in KINDS:
        raise PrerequisiteError(f"Nothing to list under {kind!r}.", f"Use {', '.join(KINDS)}.")
    rows = {"methods": _methods, "benchmarks": _benchmarks, "suites": _suites}[kind]()
    if json:
        print_json(rows)
        return
    short = [
        {
            name: ", ".join(value) if isinstance(value, list) else value
            for name, value in row.items()
            if not (isinstance(value, list) and value and isinstance(value[0], dict))
        }
        for row in rows
    ]
    print_table(kind.capitalize(), short)


def show(
    name: Annotated[
        list[str], typer.Argument(help="METHOD[:VARIANT], or `protocol BENCHMARK[:VARIANT]`.")
    ],
    json: Json = False,
) -> None:
    """Show a method's card, or every quirk of a protocol in plain words."""
    from harness import registry
    from harness.cli.output import console, print_json, print_table

    if name[0] == "protocol" and len(name) == 2:
        benchmark, _, variant = name[1].partition(":")
        protocol = registry.benchmark(benchmark).protocol(variant or None)
        meanings = protocol.meanings()
        rows = [
            {"quirk": key, "value": _short(value), "meaning": meanings[key]}
            for key, value in protocol.quirks().items()
        ]
        if json:
            print_json(
                {
                    "variant": protocol.variant,
                    "title": protocol.title,
                    "digest": protocol.digest,
                    "quirks": protocol.quirks(),
                    "meanings": meanings,
                }
            )
        else:
            print_table(f"{protocol.title} ({protocol.digest[:12]})", rows)
        return
    if len(name) != 1:
        raise PrerequisiteError(
            f"Cannot show {' '.join(name)!r}.", "Name a method, or `protocol BENCHMARK`."
        )
    method, _, variant = name[0].partition(":")
    card = registry.method_card(method).model_dump(mode="json")
    if variant:
        card["variants"] = {variant: registry.method_card(method).variant(variant).model_dump()}
    if json:
        print_json(card)
    else:
        import yaml

        console.print(
            yaml.safe_dump(card, sort_keys=False, allow_unicode=True), markup=False, highlight=False
        )


def profile(
    method: Annotated[
        str, typer.Argument(help="METHOD:VARIANT.", autocompletion=completion.methods)
    ] = "",
    every: Annotated[
        bool, typer.Option("--all", help="One table of all variants, with published values.")
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Whether to time forward passes.")
    ] = True,
    batch_sizes: Annotated[
        str, typer.Option(help="Comma-separated rows per pass to time one method with.")
    ] = "1",
    json: Json = False,
) -> None:
    """Count parameters and multiply-adds of networks, and time them on the GPU, if there is one."""
    from dataclasses import asdict

    from harness.cli.output import print_json, print_table
    from harness.loading import load_method
    from harness.profiling import profile as measure

    if every == bool(method):
        raise PrerequisiteError("Profile one method or all.", "Give METHOD:VARIANT or --all.")
    if every:
        _profile_all(latency, json)
        return
    sizes = _sizes(batch_sizes)
    built = load_method(method)
    if latency:
        import torch

        built.network.to("cuda" if torch.cuda.is_available() else "cpu")
    found = asdict(measure(built, sizes, latency=latency))
    if json:
        print_json(found)
        return
    timings = found.pop("latency")
    rows = [{"quantity": name, "value": _short(value)} for name, value in found.items()]
    print_table(method, rows)
    if timings:
        rounded = [{name: f"{value:.4g}" for name, value in row.items()} for row in timings]
        print_table("Latency and throughput by batch size", rounded)


def _sizes(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) for word in words):
        raise PrerequisiteError(
            f"--batch-sizes {text} is no list of numbers above 0.", "Write it as 1,8,32."
        )
    return tuple(int(word) for word in words)


def _profile_all(latency: bool, json: bool) -> None:
    """Print one table of every variant that has a network."""
    from harness import registry
    from harness.cli.output import print_json, print_table
    from harness.loading import load_method
    from harness.profiling import profile as measure

    cost_row = registry.load(registry.entry(registry.REPORTS, "costs"))
    rows = []
    for name in registry.entries(registry.METHODS):
        for variant in registry.method_card(name).variants:
            built = load_method(f"{name}:{variant}")
            if any(True for _ in built.network.parameters()):
                rows.append(cost_row(measure(built, latency=latency)))
    if json:
        print_json(rows)
    else:
        print_table("Cost of one pass of the network", rows)


def doctor(json: Json = False) -> None:
    """Check the installation, the registered entries and the places that are written to."""
    from harness.checkup import checkup
    from harness.cli.output import print_json, print_table

    findings = checkup()
    if json:
        print_json(findings)
    else:
        print_table("Doctor", findings)
    if any(finding["state"] == "bad" for finding in findings):
        raise typer.Exit(1)


def _methods() -> list[dict[str, Any]]:
    from harness import registry

    cards = [registry.method_card(name) for name in registry.entries(registry.METHODS)]
    return [
        {
            "name": card.name,
            "title": card.title,
            "year": card.paper.year if card.paper else None,
            "family": card.family,
            "task": card.task,
            "skeleton": card.skeleton,
            "variants": list(card.variants),
        }
        for card in cards
    ]


def _benchmarks() -> list[dict[str, Any]]:
    from dataclasses import asdict

    from harness import registry

    rows = []
    for name in registry.entries(registry.BENCHMARKS):
        benchmark = registry.benchmark(name)
        rows.append(
            {
                "name": name,
                "title": benchmark.title,
                "task": benchmark.schema.task,
                "primary": benchmark.primary,
                "protocols": [
                    {"variant": p.variant, "title": p.title, "digest": p.digest}
                    for p in benchmark.protocols.values()
                ],
                "columns": [asdict(column) for column in benchmark.columns],
                "split": benchmark.default_split,
                "embedded_split": benchmark.embedded_split,
            }
        )
    return rows


def _suites() -> list[dict[str, Any]]:
    from harness import registry
    from harness.suites import read_suite

    suites = [read_suite(name) for name in registry.entries(registry.SUITES)]
    return [
        {
            "name": suite.name,
            "title": suite.title,
            "benchmarks": [entry.benchmark for entry in suite.entries],
            "methods": sorted({m for e in suite.entries for m in e.methods.real}),
        }
        for suite in suites
    ]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
