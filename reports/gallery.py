"""Picture galleries: the best, the worst and some random samples of a result, drawn over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from harness.api import Benchmark, PrerequisiteError, SampleError
from harness.records.record import Evidence, Record
from reports.drawings import (
    Draw,
    Picture,
    Truth,
    draw_body,
    draw_in_space,
    draw_people,
    draw_strip,
    draw_surface,
)

EACH = 4
"""Pictures of each kind: best, worst, random."""

Shows = Literal["poses", "tracks", "surfaces", "meshes"]


@dataclass(frozen=True)
class Gallery:
    """Pictures of a result, or the reason why there are none."""

    pictures: tuple[Picture, ...] = ()
    score_name: str = ""
    reason: str = ""
    shows: Shows = "poses"
    """Poses; strips of sequences, in which every track has its colour; surfaces, by part and by
    place on it; or persons, the second time under their mesh."""
    sided: bool = True
    """Whether joints have a left and a right, as a hand's have not."""


ReadTruth = Callable[[Benchmark, Record], Truth]


def draw_gallery(
    record: Record, evidence: Evidence, benchmark: Benchmark, truth: ReadTruth, folder: Path
) -> Gallery:
    """Draw the gallery of a result; its image files go into ``folder``.

    ``truth`` gives a split's truth, and may remember it from result to result.
    """
    if not _drawable(benchmark):
        return Gallery(reason="There is no drawing for this kind of prediction yet.")
    gone = Gallery(reason="The data of this result is no longer where it was when scored.")
    try:
        known = truth(benchmark, record)
    except PrerequisiteError:
        return gone
    if known.dataset.digest != record.dataset_digest:
        return Gallery(reason="The data has changed since this result was scored.")
    draw, shows = _way(benchmark)
    if not (known.surfaces if shows == "surfaces" else known.poses):
        return Gallery(reason="The files of this split hold no poses in pictures to draw over.")
    try:
        higher_is_better = benchmark.ranked_by(record.protocol).higher_is_better
        chosen, score_name = choose(record, evidence, higher_is_better)
        predictions = evidence.predictions()
        folder.mkdir(parents=True)
        drawn = [
            draw(kind, sample_id, score, known, predictions, folder / f"{number:02}.jpg")
            for number, (kind, sample_id, score) in enumerate(chosen, start=1)
        ]
    except FileNotFoundError:
        return Gallery(reason="The predictions of this result are no longer in the workspace.")
    except SampleError:
        return gone
    skeleton = benchmark.skeleton
    sided = skeleton is None or list(skeleton.flip_order) != list(range(len(skeleton.joints)))
    return Gallery(tuple(drawn), score_name, shows=shows, sided=sided)


def _way(benchmark: Benchmark) -> tuple[Draw, Shows]:
    """Return how results of a benchmark are drawn, and what the pictures then show."""
    task = benchmark.schema.task
    if task == "dense-pose":
        return draw_surface, "surfaces"
    if task == "mesh":
        return draw_body, "meshes"
    if task == "joints-3d":
        return draw_in_space, "poses"
    if type(benchmark).units is not Benchmark.units:
        return draw_strip, "tracks"
    return draw_people, "poses"


def _drawable(benchmark: Benchmark) -> bool:
    """Whether a result is of poses whose truth the benchmark hands out."""
    kind = type(benchmark)
    known = (
        kind.training_samples is not Benchmark.training_samples or kind.poses is not Benchmark.poses
    )
    task = benchmark.schema.task
    if task == "dense-pose":
        return known
    return known and benchmark.skeleton is not None and task in ("people-2d", "joints-3d", "mesh")


def choose(
    record: Record, evidence: Evidence, higher_is_better: bool
) -> tuple[list[tuple[str, str, float]], str]:
    """Choose samples by the result's first per-sample score.

    Returns
    -------
    chosen : list of (kind, sample id, score)
        No sample twice; random ones depend on the record's id alone.
    score_name : str
    """
    columns = evidence.per_sample()
    name = next((name for name in columns if name != "sample_id"), None)
    if name is None:
        return [], ""
    valued = np.flatnonzero(np.isfinite(columns[name]))
    order = valued[np.argsort(columns[name][valued], kind="stable")]
    if higher_is_better:
        order = order[::-1]
    count = min(EACH, (len(order) + 1) // 2)
    best, rest = order[:count], order[count:]
    worst, rest = rest[::-1][:EACH], rest[: max(len(rest) - EACH, 0)]
    seed = int.from_bytes(record.id.encode()[:16], "big")
    chance = np.random.default_rng(seed).permutation(np.sort(rest))[:EACH]
    return [
        (kind, str(columns["sample_id"][i]), float(columns[name][i]))
        for kind, indices in (("best", best), ("worst", worst), ("random", chance))
        for i in indices
    ], name
