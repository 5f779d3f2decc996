"""Write the predictions behind a result as the official submission of its benchmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness import registry
from harness.api import PrerequisiteError
from harness.records.record import Record
from harness.records.store import Store
from harness.workspace import Workspace


def export_submission(workspace: Workspace, prefix: str, out: Path) -> Record:
    """Write ``out`` from the result whose id begins with ``prefix``, and return its record.

    Raises
    ------
    PrerequisiteError
        If there is no such result or several, it is not of a whole split, its data has changed,
        its benchmark takes no submissions, or ``out`` cannot be written.
    """
    record = _find(workspace, prefix)
    if record.status != "done" or record.limit is not None:
        state = f"of the first {record.limit} samples" if record.limit else record.status
        raise PrerequisiteError(
            f"The result {record.id[:12]} ({record.name} on {record.benchmark}) is {state}.",
            "A submission needs the predictions of a whole split.",
        )
    benchmark = registry.benchmark(record.benchmark)
    dataset = benchmark.load(Path(record.data_root), record.split)
    if dataset.digest != record.dataset_digest:
        raise PrerequisiteError(
            f"The annotations below {dataset.root} have changed since {record.id[:12]} was made.",
            "Restore them, or run the method again.",
        )
    protocol = replace(benchmark.protocol(record.protocol), box_source=record.quirks["box_source"])
    predictions = workspace.evidence(record.id).predictions()
    try:
        benchmark.write_submission(predictions, dataset, protocol, out)
    except OSError as error:
        raise PrerequisiteError(
            f"{out} cannot be written: {error.strerror}.", "Choose another place with --out."
        ) from error
    return record


def _find(workspace: Workspace, prefix: str) -> Record:
    store = Store(workspace.store_url)
    try:
        found = [record for record in store.records() if record.id.startswith(prefix)]
    finally:
        store.close()
    if not found:
        raise PrerequisiteError(
            f"No result in {workspace.root} has an id that begins with {prefix!r}.",
            "The id stands on the page of each result, and in what `harness run --json` prints.",
        )
    if len(found) > 1:
        names = ", ".join(f"{record.id[:12]} ({record.name})" for record in found[:5])
        raise PrerequisiteError(
            f"{len(found)} results have ids that begin with {prefix!r}: {names}.",
            "Give more digits.",
        )
    return found[0]
