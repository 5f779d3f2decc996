"""How the leaderboard scales: time to build it, to renew it, and to use its largest page.

    python perf/report_scale.py [--methods 1000] [--benchmarks 12] [--keep DIR]

Every result has metrics with intervals, bootstrap draws of the metric that ranks, a curve and a
breakdown by joint, as a scored result has; no picture is drawn, for the data is not there. Wall
time and processor time (of this process, or of the page's thread) are both printed: on a machine
that does other work only the latter means something.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.published import published_tables
from harness import registry
from harness.api import Benchmark, Card, content_digest
from harness.records.record import Evidence, Record
from harness.records.store import Store
from reports.site import build_site

_START = datetime(2025, 1, 1, tzinfo=UTC)
_DRAWS = 1000
_STORED = 200
"""Results that are read back from a store: writing all of them takes longer than anything else."""


class Timings:
    """Named wall and processor times, and the limits that they must keep."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float | None, float | None]] = []

    @contextmanager
    def of(self, name: str, limit: float | None = None) -> Iterator[None]:
        """Time a block of this process."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        used = time.process_time() - processor
        self.rows.append((name, time.perf_counter() - wall, used, limit))

    def table(self) -> Table:
        """Return all times as a table."""
        table = Table("", "wall (s)", "processor (s)", "limit (s)")
        for name, wall, processor, limit in self.rows:
            table.add_row(
                name,
                f"{wall:.3f}",
                "" if processor is None else f"{processor:.3f}",
                "" if limit is None else f"{limit:g}",
            )
        return table


def benchmarks(count: int) -> list[Benchmark]:
    """Return benchmarks, those with published tables first, the widest of them before the rest."""
    published = {name for table in published_tables().values() for name in table.benchmarks}
    every = [registry.benchmark(name) for name in registry.entries(registry.BENCHMARKS)]
    every.sort(key=lambda b: (b.name not in published, -len(b.columns)))
    return every[:count]


def record(benchmark: Benchmark, number: int) -> Record:
    """Make up the result of a method."""
    random = np.random.default_rng([number, len(benchmark.name)])
    protocol = benchmark.protocol()
    values = {
        column.metric: float(random.uniform(0.3, 0.9) * 100 / column.scale)
        for column in benchmark.columns
    }
    return Record(
        id=content_digest([benchmark.name, number]),
        status="done",
        reason=None,
        source="run",
        method=f"method-{number:04}",
        variant="w32-256x192",
        benchmark=benchmark.name,
        split=benchmark.default_split,
        synthetic=False,
        protocol=protocol.variant,
        protocol_digest=protocol.digest,
        quirks=orjson.loads(orjson.dumps(protocol.quirks(), default=str)),
        dataset_digest=content_digest(benchmark.name),
        data_root="/data/that/is/not/here",
        limit=None,
        weights_sha256=content_digest(number),
        run_id=f"run-{number // 50}",
        command=f"harness run --suite {benchmark.name}",
        created_at=_START + timedelta(minutes=number),
        metrics=values,
        intervals={name: (0.99 * value, 1.01 * value) for name, value in values.items()},
        counts={"samples": 5000, "predictions": 6352},
        timings={"forward_s": 61.2, "rows": 6352.0},
        profile={
            "parameters": float(random.uniform(1e6, 9e7)),
            "macs": float(random.uniform(1e9, 4e10)),
            "paper_gflops": float(random.uniform(1, 40)),
        },
        environment={"device": "cpu", "python": "3.11.7", "torch": "2.13.0"},
    )


def write_evidence(folder: Path, benchmark: Benchmark, made: Record) -> None:
    """Write what a page reads of a result's evidence."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(int(made.id[:8], 16))
    x = np.linspace(0, 1, 101)
    curve = {"name": "OKS 0.50", "x": x, "y": 1 - x**4, "x_label": "recall", "y_label": "precision"}
    joints = {f"joint {i}": float(random.uniform(0.3, 1)) for i in range(17)}
    document = {"curves": [curve], "breakdown": {"joint": joints}}
    (folder / "evaluation.json").write_bytes(
        orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    )
    value = made.metrics[benchmark.primary]
    assert value is not None
    draws = np.zeros(_DRAWS, dtype=[(benchmark.primary, np.float64)])
    draws[benchmark.primary] = random.normal(value, 0.005 * abs(value), _DRAWS)
    np.save(folder / "draws.npy", draws)


def card(name: str) -> Card:
    """Return the card of a made-up method."""
    return registry.method_card("hrnet").model_copy(update={"name": name, "title": name})


def in_browser(page: Path, timings: Timings) -> None:
    """Sort and filter a page in Chromium: medians from the event to the end of the next frame."""
    from playwright.sync_api import sync_playwright

    sort = "() => document.querySelector('th[data-column=\"params_m\"] button').click()"
    search = """() => {{
        const box = document.querySelector('#tools [name="q"]');
        box.value = {};
        box.dispatchEvent(new Event('input', {{ bubbles: true }}));
    }}"""
    actions = {
        "sort by a number": sort,
        "sort the other way": sort,
        "search, first letter": search.format("'7'"),
        "search, three letters": search.format("'777'"),
        "search, nothing typed": search.format("''"),
    }
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("Chromium is not on this machine (apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.goto(page.as_uri(), timeout=0)
        tools = opened.context.new_cdp_session(opened)
        tools.send("Performance.enable", {"timeDomain": "threadTicks"})
        taken = [[_frame(opened, tools, action) for action in actions.values()] for _ in range(5)]
        for name, own in zip(actions, np.median(taken, axis=0).tolist(), strict=True):
            timings.rows.append((f"{name} in the browser", *own, 0.1))
        browser.close()


def _frame(page: Any, tools: Any, action: str) -> tuple[float, float]:
    """Return the wall time and the processor time of the page's thread that an action takes."""

    def processor() -> float:
        metrics = tools.send("Performance.getMetrics")["metrics"]
        return next(float(m["value"]) for m in metrics if m["name"] == "TaskDuration")

    before = processor()
    wall = page.evaluate(
        f"""async () => {{
            const start = performance.now();
            ({action})();
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            return (performance.now() - start) / 1000;
        }}"""
    )
    return float(wall), processor() - before


def main() -> None:
    """Print the measured times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", type=int, default=1000)
    parser.add_argument("--benchmarks", type=int, default=12)
    parser.add_argument("--keep", type=Path, help="folder for the store and the site")
    arguments = parser.parse_args()
    if arguments.keep:
        measure(arguments.keep, arguments.methods, benchmarks(arguments.benchmarks))
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), arguments.methods, benchmarks(arguments.benchmarks))


def measure(folder: Path, methods: int, chosen: Sequence[Benchmark]) -> None:
    """Make up results, build their site, add one, build again and use the largest page."""
    console, timings = Console(), Timings()
    first, *records = [record(b, number) for number in range(methods) for b in chosen]
    by_name = {benchmark.name: benchmark for benchmark in chosen}
    with console.status("writing the evidence"):
        for made in (first, *records):
            write_evidence(folder / made.id, by_name[made.benchmark], made)
    with console.status("writing some of the results to a store"):
        store = Store(f"sqlite:///{folder / 'results.db'}")
        for run in dict.fromkeys(made.run_id for made in records[:_STORED]):
            store.begin_run(run, "scale", "harness run")
        for made in records[:_STORED]:
            store.write(made)

    def build(records: Sequence[Record]) -> Path:
        files: Callable[[Record], Evidence] = lambda made: Evidence(folder / made.id)  # noqa: E731
        return build_site(records, files, folder / "site", registry.benchmark, card)

    with timings.of(f"read {_STORED} results from the store"):
        store.records()
    store.close()
    with timings.of("build", 20):
        build(records)
    with timings.of("build again, nothing new"):
        build(records)
    with timings.of("build again, one new result", 2):
        build([*records, dataclasses.replace(first, created_at=_START + timedelta(days=9))])
    pages = sorted((folder / "site" / "benchmark").glob("*.html"), key=lambda p: p.stat().st_size)
    in_browser(pages[-1], timings)
    files = [path for path in (folder / "site").rglob("*") if path.is_file()]
    console.print(timings.table())
    console.print(
        f"{len(records):,} results, {len(files):,} files, "
        f"{sum(path.stat().st_size for path in files) / 2**20:,.0f} MiB; the largest page is "
        f"{pages[-1].name} with {pages[-1].stat().st_size / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    main()
