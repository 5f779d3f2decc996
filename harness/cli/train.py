"""``harness train``: train a variant on the embedded world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.api.errors import PrerequisiteError
from harness.cli import completion


def train(
    method: Annotated[
        str, typer.Argument(help="METHOD:VARIANT.", autocompletion=completion.methods)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and the weights.")] = Path(
        "training"
    ),
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume/--restart", help="Go on from the last finished epoch.")
    ] = True,
) -> None:
    """Train a variant by its card's recipe, with its paper's loss.

    Interrupted, the same command goes on from the last finished epoch.
    """
    from rich.progress import Progress

    from harness import registry
    from harness.cli.output import console
    from harness.cli.view import TerminalView
    from harness.data import make_embedded
    from harness.loading import load_method
    from harness.training import train as run_training
    from harness.weights import start_from

    name, variant = registry.split_name(method)
    recipe = registry.method_card(name).variant(variant).recipe
    if recipe is None:
        raise PrerequisiteError(f"{method} has no recipe.", "Add one to its card.")
    benchmark_name, _, split = recipe.data.partition(":")
    benchmark = registry.benchmark(benchmark_name)
    with TerminalView() as view:
        root = make_embedded(benchmark, split, view)
    dataset = benchmark.load(root, split)
    network = load_method(method)
    start_digest = start_from(network, recipe.start) if recipe.start else ""
    with Progress(console=console) as bar:
        task = bar.add_task(method, total=recipe.epochs)

        def progress(epoch: float, loss: float, samples_per_s: float) -> None:
            text = f"{method} loss {loss:.5f}, {samples_per_s:.0f} samples/s"
            bar.update(task, completed=epoch, description=text)

        result = run_training(
            network,
            benchmark.training_samples(dataset, network.skeleton),
            recipe,
            out,
            data_digest=dataset.digest,
            start_digest=start_digest,
            device=device,
            resume=resume,
            progress=progress,
        )
    console.print(f"Weights of {method}: {result.weights}", soft_wrap=True, highlight=False)
