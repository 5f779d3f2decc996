"""How much each stage of the iterative methods adds, on the embedded single-person split.

    python perf/stages.py [METHOD:VARIANT ...]

Prints PCKh@0.5 of MPII's protocol after every stage whose joints a method shows in its outputs.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from harness import registry
from harness.api import PEOPLE_2D, Method, Predictions, in_skeleton
from harness.data import make_embedded
from harness.loading import load_method
from harness.weights import locate

ITERATIVE = ("deeppose", "ief", "pfister", "part-heatmap-regression", "dlcm", "tompson")


def stages(method: Method) -> list[float]:
    """Return the score after each stage."""
    benchmark = registry.benchmark("mpii")
    dataset = benchmark.load(make_embedded(benchmark, "embedded-val"), "embedded-val")
    protocol = benchmark.protocol()
    found: list[list[tuple[str, dict]]] = []
    for sample in benchmark.samples(dataset, protocol):
        prepared = method.prepare(sample)
        rows = {name: torch.from_numpy(array) for name, array in prepared.rows.items()}
        with torch.inference_mode():
            outputs = {k: v.numpy() for k, v in method.forward(rows).items()}
        steps = outputs.pop("stages")
        found.append([
            (sample.id, method.decode({**outputs, "points": steps[:, i]}, prepared, sample))
            for i in range(steps.shape[1])
        ])  # fmt: skip
    scores = []
    for step in zip(*found, strict=True):
        predictions = Predictions.from_samples(PEOPLE_2D, step)
        predictions = in_skeleton(predictions, method.skeleton, benchmark.skeleton)
        statistics = benchmark.statistics(dataset, predictions, protocol)
        scores.append(benchmark.compute(statistics, protocol)[benchmark.primary])
    return scores


def main() -> None:
    """Print one line per method."""
    specs = sys.argv[1:] or [f"{name}:nano" for name in ITERATIVE]
    for spec in specs:
        name, variant = registry.split_name(spec)
        method = load_method(spec, locate(registry.method_card(name), variant))
        line = "  ".join(f"{score:5.1f}" for score in np.array(stages(method)))
        print(f"{spec:32s} {line}", flush=True)


if __name__ == "__main__":
    main()
