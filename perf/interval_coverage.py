"""How often 95 % intervals of COCO's AP hold the true value, and how they do for few images.

A population of images is drawn once; its AP is the truth. Then many small data sets are drawn from
it, each gets its bootstrap interval, and the share of intervals that hold the truth is printed.

    python perf/interval_coverage.py --images 100 300 1000 --repetitions 1000
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.metrics.matching import FALSE_POSITIVE, TRUE_POSITIVE
from harness import registry
from harness.api import Ragged, Statistics
from harness.evaluation import bootstrap, percentile_intervals

POPULATION = 100_000


def population(random: np.random.Generator) -> Statistics:
    """Draw images with one to four people; a hard image is hard for all its people."""
    people = random.integers(1, 5, POPULATION)
    extra = random.poisson(0.5, POPULATION)
    counts = people + extra
    owner = np.repeat(np.arange(POPULATION), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    real = place < people[owner]
    ease = random.normal(0, 0.6, POPULATION)[owner]
    quality = 1 / (1 + np.exp(-(1.6 + ease + random.normal(0, 0.8, len(owner)))))
    oks = np.where(real, quality, 0.0)
    score = np.clip(np.where(real, quality, 0.45) + random.normal(0, 0.12, len(owner)), 0, 1)
    thresholds = np.linspace(0.5, 0.95, 10)
    found = np.where(oks[:, None] >= thresholds, TRUE_POSITIVE, FALSE_POSITIVE).astype(np.int8)
    order = np.lexsort((-score, owner))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Statistics(
        np.arange(POPULATION),
        {
            "score": Ragged(score[order], offsets),
            "outcome": Ragged(np.repeat(found[order, None], 3, axis=1), offsets),
            "truths": np.repeat(people[:, None], 3, axis=1),
        },
    )


def main() -> None:
    """Print the coverage for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--repetitions", type=int, default=1000)
    options = parser.parse_args()
    random = np.random.default_rng(1)
    coco = registry.benchmark("coco")
    protocol = coco.protocol()
    everything = population(random)
    true = coco.compute(everything, protocol)["AP"]
    print(f"AP of the population {true:.4f}")
    for images in options.images:
        hits, widths = 0, []
        for _ in range(options.repetitions):
            chosen = np.sort(random.choice(POPULATION, images, replace=False))
            sample = everything.take(chosen)
            low, high = percentile_intervals(bootstrap(coco, sample, protocol))["AP"]
            hits += low <= true <= high
            widths.append(high - low)
        share = hits / options.repetitions
        print(
            f"{images} images: coverage {share:.3f}, mean width {np.mean(widths):.4f}", flush=True
        )


if __name__ == "__main__":
    main()
