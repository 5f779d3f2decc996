"""Laws that the statistics of every benchmark obey, on cases of the real formats.

Whatever the metric is: shards of any cut and order merge to the same bits, the order of the
predictions changes nothing, a weight is a repetition, and the bootstrap gives every benchmark an
interval that is the same in every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from statistics_laws import assert_merging_is_exact, assert_weights_repeat, differing

from harness import registry
from harness.api import Benchmark, Dataset, Predictions, Protocol, Statistics
from harness.evaluation import bootstrap, percentile_intervals


class Case(NamedTuple):
    """A benchmark, its files below the shared data, and a protocol other than the default."""

    benchmark: str
    root: str
    predictions: str
    protocol: str | None = None
    split: str | None = None


CASES = [
    Case("coco", "coco/val4", "results/person_keypoints_val2017_example_results.json"),
    Case("coco-person", "oracles/coco_bbox/case2", "results/bbox_val2017_results.json"),
    Case("crowdpose", "oracles/crowdpose/case2", "results/crowdpose_val_results.json"),
    Case("mpii", "mpii", "results/bearpaw-hg_s2_b1.mat"),
    Case("lsp", "oracles/lsp_pck/case3", "predictions.json"),
    Case("flic", "oracles/flic_curve/case3", "predictions.json", "modec"),
    Case("lip", "oracles/lip_pose/case3", "pred_keypoints_lip.csv"),
    Case("h36m", "oracles/human36m/case2", "poses.json", "averaging"),
    Case("h36m", "oracles/human36m/case1", "poses.json", "hmr-p1"),
    Case("h36m-mesh", "oracles/human36m/case1", "mesh.json"),
    Case("nyu-hand", "oracles/depth_hand/case2", "results/nyu/example.txt"),
    Case("icvl-hand", "oracles/depth_hand/case3", "results/icvl/example.txt"),
    Case("msra-hand", "oracles/depth_hand/case1", "results/msra/example.txt"),
    Case("itop", "oracles/itop/case2", "result.json"),
    Case("densepose", "oracles/densepose/case3", "results.json"),
    Case("posetrack", "oracles/posetrack/case3", "results/val"),
    Case("mpii-multi", "oracles/mpii_multi/case3", "results/pred_keypoints_mpii_multi.json"),
    Case("mot", "oracles/mot/case2", "results/own"),
    Case("mot", "oracles/mot/case2", "results/own", "trackeval"),
    Case("otb", "oracles/otb_robustness/case3", "results.json", "ope_tre_sre"),
    Case("lip-parsing", "oracles/lip_parsing/case2", "results"),
    Case("atr", "oracles/atr_parsing/case2", "results", split="val"),
]

# Their statistics' unit is a whole sequence, while a sample is a frame of it.
SEQUENCES = ("h36m", "posetrack")


class Scored(NamedTuple):
    benchmark: Benchmark
    dataset: Dataset
    predictions: Predictions
    protocol: Protocol
    statistics: Statistics


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c.benchmark}-{c.protocol or ''}")
def scored(request: pytest.FixtureRequest, shared_data: Path) -> Scored:
    case: Case = request.param
    benchmark, root = registry.benchmark(case.benchmark), shared_data / case.root
    protocol = benchmark.protocol(case.protocol)
    dataset = benchmark.load(root, case.split or benchmark.default_split)
    predictions = benchmark.read_predictions(root / case.predictions, dataset, protocol)
    statistics = benchmark.statistics(dataset, predictions, protocol)
    return Scored(benchmark, dataset, predictions, protocol, statistics)


def units(scored: Scored) -> list[list[str]]:
    """Return the sample ids of every unit."""
    groups: dict[str, list[str]] = {}
    for sample_id in scored.dataset.sample_ids:
        whole = scored.benchmark.name in SEQUENCES
        groups.setdefault(sample_id.rpartition("/")[0] if whole else sample_id, []).append(
            sample_id
        )
    return list(groups.values())


@pytest.mark.parametrize("seed", [0, 1])
def test_shards_of_any_cut_and_order_merge_to_the_bit(scored: Scored, seed: int) -> None:
    random, groups = np.random.default_rng(seed), units(scored)
    part = random.integers(0, 3, len(groups))
    parts = [
        [i for row in random.permutation(np.flatnonzero(part == p)) for i in groups[row]]
        for p in random.permutation(3)
    ]
    assert_merging_is_exact(
        scored.benchmark,
        scored.dataset,
        scored.predictions,
        scored.protocol,
        [ids for ids in parts if ids],
    )


def test_the_order_of_the_predictions_changes_nothing(scored: Scored) -> None:
    ids = np.random.default_rng(2).permutation(scored.dataset.sample_ids).tolist()
    assert_merging_is_exact(
        scored.benchmark, scored.dataset, scored.predictions, scored.protocol, [ids]
    )


def test_a_weight_is_a_repetition(scored: Scored) -> None:
    weights = np.random.default_rng(3).integers(0, 4, len(scored.statistics))
    weights[0] = 2
    assert_weights_repeat(scored.benchmark, scored.statistics, scored.protocol, weights)


def test_the_bootstrap_gives_an_interval(scored: Scored) -> None:
    benchmark, statistics, protocol = scored.benchmark, scored.statistics, scored.protocol
    metrics = benchmark.compute(statistics, protocol)
    draws = bootstrap(benchmark, statistics, protocol, draws=100)
    intervals = percentile_intervals(draws)
    assert set(intervals) <= set(metrics)
    assert all(low <= high for low, high in intervals.values())
    low, high = intervals[benchmark.primary]
    spread = max(high - low, 1e-9)
    assert low - spread <= metrics[benchmark.primary] <= high + spread
    again = bootstrap(benchmark, statistics, protocol, draws=100)
    assert all(np.array_equal(draws[name], again[name], equal_nan=True) for name in draws)


def test_one_unit_counted_once_is_that_unit_alone(scored: Scored) -> None:
    only = units(scored)[0]
    alone = scored.benchmark.statistics(
        scored.dataset, scored.predictions.select(only), scored.protocol
    )
    if not len(alone):
        pytest.skip("the protocol does not score this sequence")
    weights = (scored.statistics.position == alone.position[0]).astype(np.int64)
    values = scored.benchmark.compute(alone, scored.protocol)
    weighted = scored.benchmark.compute(scored.statistics, scored.protocol, weights)
    assert not differing({n: weighted[n] for n in values}, values, 1e-9)
