"""Time every evaluator on synthetic inputs of full size, beside a reference.

Each runs in a process of its own on one core, from the files on disk to the metrics; then it draws
the bootstrap samples. Seconds are processor time, so that other work on the machine does not count.
References: pycocotools, py-motmetrics, and straight numpy where no tool of the field installs.

    python perf/evaluators.py [--only h36m,otb] [--folder DIR] [--draws 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import coco_evaluator
import inputs
import references
from coco_evaluator import peak_mb
from references import Report, clock


class Case(NamedTuple):
    """One benchmark at its full size."""

    benchmark: str
    what: str
    """The input in words."""
    write: Callable[[Path], Path]
    """Writes the files and returns the predictions."""
    reference: str
    """Name of the reference, as printed."""
    refer: Callable[[Path, Path], Report]
    split: str
    protocol: str | None = None


def write_coco(folder: Path) -> Path:
    """Write the set of ``coco_evaluator.py``."""
    return coco_evaluator.make(folder)[1]


def refer_coco(root: Path, predictions: Path) -> Report:
    """Run pycocotools from the two files to its ten numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from benchmarks.protocols.coco import Coco

    start = clock()
    truth = COCO(str(root / "annotations" / "person_keypoints_val2017.json"))
    found = truth.loadRes(str(predictions))
    loaded = clock()
    run = COCOeval(truth, found, "keypoints")
    run.evaluate()
    run.accumulate()
    run.summarize()
    names = [column.metric for column in Coco.columns]
    metrics = dict(zip(names, run.stats.tolist(), strict=True))
    return references.report(start, loaded, metrics)


CASES = {
    "coco": Case(
        "coco",
        "5,000 images, 104,000 people found",
        write_coco,
        "pycocotools",
        refer_coco,
        "val2017",
    ),
    "mpii": Case("mpii", "2,958 people", inputs.mpii, "numpy", references.mpii, "val"),
    "h36m": Case(
        "h36m",
        "550,080 frames, both protocols",
        inputs.h36m,
        "numpy",
        references.h36m,
        "test",
        "martinez-no-drop",
    ),
    "nyu-hand": Case(
        "nyu-hand", "8,252 frames", inputs.nyu_hand, "numpy", references.nyu_hand, "test"
    ),
    "posetrack": Case(
        "posetrack",
        "170 sequences, 40,800 poses",
        inputs.posetrack,
        "py-motmetrics (tracking alone)",
        references.posetrack,
        "val",
    ),
    "mot": Case(
        "mot", "11 sequences, 44,000 boxes", inputs.mot, "py-motmetrics", references.mot, "train"
    ),
    "otb": Case("otb", "100 sequences, 59,000 frames", inputs.otb, "numpy", references.otb, "all"),
}


def ours(case: Case, root: Path, predictions: Path, draws: int) -> Report:
    """Score through the public benchmark and draw the bootstrap samples."""
    from harness import registry
    from harness.evaluation import bootstrap

    benchmark = registry.benchmark(case.benchmark)
    protocol = benchmark.protocol(case.protocol)
    start = clock()
    dataset = benchmark.load(root, case.split)
    read = benchmark.read_predictions(predictions, dataset, protocol)
    loaded = clock()
    statistics = benchmark.statistics(dataset, read, protocol)
    metrics = benchmark.compute(statistics, protocol)
    result = references.report(start, loaded, metrics) | {"peak_mb": peak_mb()}
    start = clock()
    bootstrap(benchmark, statistics, protocol, draws)
    return result | {"bootstrap": clock() - start, "bootstrap_peak_mb": peak_mb()}


def child(name: str, engine: str, root: Path, predictions: Path, draws: int) -> Report:
    """Run one engine in a process of its own, on one core."""
    command = [sys.executable, __file__, "--only", name, "--engine", engine]
    command += ["--root", str(root), "--predictions", str(predictions), "--draws", str(draws)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **threads}
    )
    found: Report = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(name: str, folder: Path, draws: int) -> tuple[Report, Report]:
    """Write a case's files and run both engines on them."""
    root = folder / name
    root.mkdir()
    predictions = CASES[name].write(root)
    own, reference = (child(name, e, root, predictions, draws) for e in ("ours", "reference"))
    return own, reference


def table(rows: dict[str, tuple[Report, Report]], draws: int) -> bool:
    """Print all results; return whether every metric agrees with its reference."""
    from rich.console import Console
    from rich.table import Table

    grid = Table("benchmark", "input", "engine")
    for header in ("load s", "evaluate s", "peak MB", f"{draws:,} draws s", "peak MB", "agree to"):
        grid.add_column(header, justify="right")
    agree = True
    for name, (own, reference) in rows.items():
        case = CASES[name]
        away = max(abs(own["metrics"][k] - v) for k, v in reference["metrics"].items())
        agree &= away < 1e-6
        for engine, report in (("pose-harness", own), (case.reference, reference)):
            mine = report is own
            grid.add_row(
                case.benchmark if mine else "",
                case.what if mine else "",
                engine,
                f"{report['load']:.3f}",
                f"{report['evaluate']:.3f}",
                f"{report['peak_mb']:.0f}",
                f"{own['bootstrap']:.2f}" if mine else "",
                f"{own['bootstrap_peak_mb']:.0f}" if mine else "",
                f"{away:.0e}" if mine else "",
            )
        grid.add_section()
    Console(width=None if sys.stdout.isatty() else 160).print(grid)
    return agree


def main() -> int:
    """Compare all cases; exit 1 if a metric differs from its reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(CASES), help="comma-separated benchmarks")
    parser.add_argument("--folder", type=Path, help="keep the generated files here")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    parser.add_argument("--engine", choices=("ours", "reference"), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--predictions", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine:
        case = CASES[given.only]
        found: dict[str, Any]
        if given.engine == "ours":
            found = ours(case, given.root, given.predictions, given.draws)
        else:
            found = case.refer(given.root, given.predictions)
        # An empty line first: tools print as they please.
        print("\n" + json.dumps({"peak_mb": peak_mb()} | found, default=float))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        rows = {name: measure(name, folder, given.draws) for name in given.only.split(",")}
    return 0 if table(rows, given.draws) else 1


if __name__ == "__main__":
    sys.exit(main())
