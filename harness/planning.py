"""Turn a suite into jobs: one method under one protocol on one split, with a content digest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import harness
from harness import registry
from harness.api import (
    FOUND_BY,
    JOINTS_TO_BOX,
    Benchmark,
    Card,
    Dataset,
    PrerequisiteError,
    Protocol,
    Sample,
    Skeleton,
    content_digest,
    file_digest,
    missing_joints,
    skeletons,
)
from harness.checkpoint import verify
from harness.data import Located
from harness.execution.worker import MethodSpec, Precision
from harness.suites import Suite, SuiteEntry
from harness.weights import known_digest
from harness.weights import locate as locate_weights

SHARD_SAMPLES = 32
"""Samples of one shard: what a worker's death costs, and the unit of load balance."""


@dataclass(frozen=True)
class Job:
    """One row of the leaderboard to be: everything that decides its numbers.

    Parameters
    ----------
    method, variant : str
    card : Card
    benchmark : Benchmark
    protocol : Protocol
        With its final box source.
    dataset : Dataset
        Already cut to ``limit`` samples.
    detections : Path or None
        File of person boxes, if the protocol's box source is one.
    detector : Job or None
        The job whose people are the person boxes, if the protocol's box source is one.
    weights, weights_sha256
        The checkpoint; None if it is not on this machine (then the job is skipped).
    limit : int or None
    skip : str or None
        Why the job cannot run here.
    precision : str
        Arithmetic of the network: fp32, bf16 or fp16.
    compiled : bool
        Whether the network goes through ``torch.compile``.
    """

    method: str
    variant: str
    card: Card
    benchmark: Benchmark
    protocol: Protocol
    dataset: Dataset
    detections: Path | None
    weights: Path | None
    weights_sha256: str | None
    limit: int | None
    skip: str | None
    detector: Job | None = None
    precision: Precision = "fp32"
    compiled: bool = False

    @property
    def name(self) -> str:
        """``METHOD:VARIANT``."""
        return f"{self.method}:{self.variant}"

    @property
    def conversion(self) -> tuple[Skeleton, Skeleton] | None:
        """The method's joints and the benchmark's, where they are not the same."""
        own, wanted = self.card.skeleton_of(self.variant), self.benchmark.skeleton
        if own is None or wanted is None or own == wanted.name:
            return None
        return skeletons()[own], wanted

    @property
    def spec(self) -> MethodSpec:
        """What a worker needs to build the method."""
        weights = str(self.weights) if self.weights is not None else None
        return MethodSpec(self.name, weights, self.weights_sha256, self.precision, self.compiled)

    @cached_property
    def digest(self) -> str:
        """Identity of the result: equal digests give equal predictions and metrics."""
        arithmetic: dict[str, Any] = {"precision": self.precision, "compiled": self.compiled}
        usual = {"precision": "fp32", "compiled": False}
        return content_digest(
            {name: value for name, value in arithmetic.items() if value != usual[name]}
            | {
                "method": self.method,
                "variant": self.card.variants[self.variant].model_dump(
                    mode="json", exclude={"resources": {"gpu_share", "accelerator"}}
                ),
                "code": file_digest(registry.method_source(self.method)),
                "weights": self.weights_sha256,
                "benchmark": self.benchmark.name,
                "protocol": self.protocol.digest,
                "dataset": self.dataset.digest,
                "split": self.dataset.split,
                "limit": self.limit,
                "shard_samples": SHARD_SAMPLES,
                "harness": harness.__version__,
            }
        )

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return -(-len(self.dataset.sample_ids) // SHARD_SAMPLES)

    def shards(self) -> list[list[Sample]]:
        """Return the job's samples cut into shards, in the split's order."""
        samples = self.benchmark.samples(self.dataset, self.protocol, self.detections)
        samples = samples[: len(self.dataset.sample_ids)]
        return [samples[i : i + SHARD_SAMPLES] for i in range(0, len(samples), SHARD_SAMPLES)]


def plan(
    suite: Suite,
    *,
    methods: Sequence[str],
    split: str | None,
    boxes: str | None,
    limit: int | None,
    precision: Precision = "fp32",
    compiled: bool = False,
    find: Callable[[Benchmark, str | None], Located],
) -> list[Job]:
    """Plan every job of a suite; the job of a detector comes before those that use its boxes.

    The suite's entries with detected boxes belong to the suite as it stands: they are left out
    where ``methods`` or ``boxes`` say otherwise.

    Parameters
    ----------
    suite : Suite
    methods : sequence of str
        ``METHOD`` or ``METHOD:VARIANT`` to run in place of the suite's own; a bare method keeps
        the suite's variants of it, or means all of them where the suite has none.
    split : str, optional
    boxes : str, optional
        ``gt``, the path of a detections file, or ``METHOD:VARIANT`` for the people that a method
        finds; by default what the suite says, or the protocol's own source.
    limit : int, optional
        Use only the first samples of the split.
    precision, compiled
        See :class:`Job`.
    find : callable
        Gives root and split of a benchmark.

    Raises
    ------
    PrerequisiteError
        If a name is unknown or the data is not there.
    """
    jobs: dict[str, Job] = {}
    for entry in suite.entries:
        if entry.boxes and (methods or boxes):
            continue
        benchmark = registry.benchmark(entry.benchmark)
        located = find(benchmark, split)
        dataset = benchmark.load(located.root, located.split)
        if limit is not None:
            dataset = dataclasses.replace(dataset, sample_ids=dataset.sample_ids[:limit])
        setting = _Setting(
            benchmark, benchmark.protocol(entry.protocol), dataset, limit, precision, compiled
        )
        chosen = boxes
        if entry.boxes:
            chosen = entry.boxes.embedded if dataset.synthetic else entry.boxes.real
        setting = _with_boxes(setting, chosen)
        for name in _chosen(entry, methods, dataset.synthetic):
            job = _job(name, setting)
            for one in (job.detector, job):
                if one is not None:
                    jobs.setdefault(one.digest, one)
    return list(jobs.values())


@dataclass(frozen=True)
class _Setting:
    """What the jobs of one entry have in common; see :class:`Job`."""

    benchmark: Benchmark
    protocol: Protocol
    dataset: Dataset
    limit: int | None
    precision: Precision
    compiled: bool
    detections: Path | None = None
    detector: Job | None = None


def _chosen(entry: SuiteEntry, methods: Sequence[str], synthetic: bool) -> list[str]:
    listed = entry.methods.embedded if synthetic else entry.methods.real
    if not methods:
        return list(listed)
    chosen: list[str] = []
    for spec in methods:
        if ":" in spec:
            chosen.append(":".join(registry.split_name(spec)))
            continue
        card = registry.method_card(spec)
        own = [name for name in listed if name.partition(":")[0] == spec]
        chosen += own or [f"{spec}:{variant}" for variant in card.variants]
    return list(dict.fromkeys(chosen))


def _with_boxes(setting: _Setting, boxes: str | None) -> _Setting:
    """Put the source of person boxes into a setting, in the words of ``harness run --boxes``."""
    if boxes is None:
        return setting
    if boxes == "gt":
        return _sourced(setting, "ground truth")
    if (path := Path(boxes)).is_file():
        source = f"detections sha256:{file_digest(path)}"
        return _sourced(setting, source, detections=path)
    if boxes.partition(":")[0] not in registry.entries(registry.METHODS):
        raise PrerequisiteError(
            f"--boxes {boxes}: there is no such file, and no method of that name.",
            "Give `gt`, an existing detections file, or METHOD:VARIANT.",
        )
    detector = _job(boxes, setting)
    if detector.card.needs_boxes:
        raise PrerequisiteError(
            f"--boxes {boxes}: it needs person boxes itself.",
            "Take a method that finds people: `harness list methods` says which.",
        )
    around = "" if detector.card.finds_boxes else f", {JOINTS_TO_BOX} times their joints"
    source = f"{FOUND_BY}{detector.name}{around} {detector.digest}"
    return _sourced(setting, source, detector=detector)


def _sourced(
    setting: _Setting, source: str, detections: Path | None = None, detector: Job | None = None
) -> _Setting:
    protocol = dataclasses.replace(setting.protocol, box_source=source)
    return dataclasses.replace(setting, protocol=protocol, detections=detections, detector=detector)


def _job(name: str, setting: _Setting) -> Job:
    method, variant = registry.split_name(name)
    card = registry.method_card(method)
    if not card.needs_boxes:
        setting = _sourced(setting, "none")
    weights = locate_weights(card, variant)
    if weights is not None:
        verify(weights, known_digest(weights, card, card.variants[variant]))
    skip = _skip(name, variant, card, setting.benchmark, weights)
    if setting.detector and setting.detector.skip:
        skip = skip or f"Its person boxes are missing. {setting.detector.skip}"
    return Job(
        method=method,
        variant=variant,
        card=card,
        weights=weights,
        weights_sha256=file_digest(weights) if weights is not None else None,
        skip=skip,
        benchmark=setting.benchmark,
        protocol=setting.protocol,
        dataset=setting.dataset,
        detections=setting.detections,
        detector=setting.detector,
        limit=setting.limit,
        precision=setting.precision,
        compiled=setting.compiled,
    )


def _skip(
    name: str, variant: str, card: Card, benchmark: Benchmark, weights: Path | None
) -> str | None:
    if card.task != benchmark.schema.task:
        return f"{name} predicts {card.task}, {benchmark.name} scores {benchmark.schema.task}."
    own, wanted = skeletons().get(card.skeleton_of(variant) or ""), benchmark.skeleton
    if wanted is not None and (own is None or missing_joints(own, wanted) is None):
        predicted = own.name if own else "no fixed joints"
        return (
            f"{name} predicts {predicted}, {benchmark.name} scores {wanted.name}, and no "
            "conversion between the two is declared."
        )
    if weights is None and card.variants[variant].weights is not None:
        return (
            f"The weights of {name} are not on this machine: `harness weights fetch {name}` "
            f"downloads them where they are public, `harness weights import {name} FILE` takes "
            "a file you have."
        )
    return None
