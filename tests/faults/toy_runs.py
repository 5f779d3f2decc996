"""Runs of the plug-in's method, and what must come out of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.api import PEOPLE_2D, Predictions
from harness.data import DataFolders
from harness.execution.worker import ShardReport
from harness.records.record import Record
from harness.running import RunOptions, run_suite
from harness.view import View


class Heard(View):
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.retries: list[tuple[str, str]] = []
        self.shards: list[ShardReport] = []
        self.nodes: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def retried(self, key: str, what: str, reason: str) -> None:
        self.retries.append((what, reason))

    def shard(self, key: str, report: ShardReport) -> None:
        self.shards.append(report)

    def fleet(self, nodes: int, workers: int) -> None:
        self.nodes.append(nodes)


def boxes_of(sample: int) -> list[list[int]]:
    """Boxes of a sample: from none to three, of different heights."""
    return [[sample, 2 * sample, 10, 20 + j] for j in range(sample % 4)]


def write_toy(folder: Path, count: int, orders: dict[int, str] | None = None) -> Path:
    """Write a data set of the plug-in's benchmark in which some samples order misbehaviour."""
    samples = [
        {
            "id": f"{i:04d}",
            "boxes": boxes_of(i),
            "points": [[i + 5, 2 * i + 10 + j] for j in range(i % 4)],
            "behaviour": (orders or {}).get(i, ""),
        }
        for i in range(count)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.json").write_text(json.dumps({"samples": samples}))
    return folder


def expected_digest(count: int, without: Sequence[int] = ()) -> str:
    """Return the digest of the centres of all boxes, computed without the engine."""
    rows = []
    for sample in range(count):
        if sample in without:
            continue
        boxes = np.array(boxes_of(sample), dtype=float).reshape(-1, 4)
        columns = {
            "keypoints": (boxes[:, :2] + boxes[:, 2:] / 2)[:, None],
            "keypoint_scores": np.ones((len(boxes), 1)),
            "score": np.ones(len(boxes)),
        }
        rows.append((f"{sample:04d}", columns))
    return Predictions.from_samples(PEOPLE_2D, rows).digest()


def options(root: Path, workspace: Path, **changes: object) -> RunOptions:
    """Options of ``harness run --suite toy``."""
    data = DataFolders(own={"toy": root})
    return dataclasses.replace(RunOptions("toy", data=data, workspace=workspace), **changes)


def run(
    root: Path, workspace: Path, heard: Heard | None = None, **changes: object
) -> tuple[Record, Heard]:
    """Run the toy suite and return its one result."""
    heard = heard or Heard()
    return run_suite(options(root, workspace, **changes), heard).records[0], heard
