"""The pipeline of a worker: what it is given, in which arithmetic, in which batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.api import Method, Prepared, Sample, read_card
from harness.execution.pipeline import predict
from harness.execution.worker import Engine, MethodSpec, Worker

CARD = """
name: line
title: Line
family: baseline
task: people-2d
skeleton: null
needs_boxes: true
summary: A linear layer over the box.
paper: null
licence: Apache-2.0
variants:
  plain: {input_size: [4, 4], weights: null, batch_size: 8}
"""


class Line(Method):
    """Predicts a linear function of the box; notes what it computes with."""

    def __init__(self) -> None:
        super().__init__(read_card(CARD, "test"), "plain")
        self.network = torch.nn.Linear(4, 2, bias=False)
        torch.nn.init.constant_(self.network.weight, 1.001)
        self.seen: list[tuple[torch.dtype, int]] = []
        self.memory = 100

    def prepare(self, sample: Sample) -> Prepared:
        return Prepared({"boxes": sample.boxes.astype(np.float32)})

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if len(inputs["boxes"]) > self.memory:
            raise torch.OutOfMemoryError("too small")
        points = self.network(inputs["boxes"])
        self.seen.append((points.dtype, len(points)))
        return {"points": points}

    def decode(self, outputs: dict, prepared: Prepared, sample: Sample) -> dict:
        count = len(sample.boxes)
        points = outputs["points"].astype(float) if count else np.zeros((0, 2))
        ones = np.ones((count, 1))
        return {"keypoints": points[:, None], "keypoint_scores": ones, "score": ones[:, 0]}


def samples(count: int) -> list[Sample]:
    return [
        Sample(id=str(i), boxes=np.full((i % 3, 4), 1.0 + i / 7), box_scores=np.ones(i % 3))
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("precision", "dtype", "tolerance"),
    [("fp32", torch.float32, 1e-6), ("bf16", torch.bfloat16, 1e-2), ("fp16", torch.float16, 1e-3)],
)
def test_precision(precision: str, dtype: torch.dtype, tolerance: float) -> None:
    method = Line()
    outcome = predict(method, samples(20), precision=precision)
    assert {seen for seen, _ in method.seen} == {dtype}
    expected = np.concatenate([np.full((i % 3, 1, 2), 4 * 1.001 * (1 + i / 7)) for i in range(20)])
    found = outcome.predictions.columns["keypoints"]
    assert found == pytest.approx(expected, rel=tolerance)
    if precision != "fp32":  # it was not fp32 after all that computed
        assert not np.allclose(found, expected, rtol=1e-6)


def test_batches_are_full_whatever_the_samples_hold() -> None:
    method = Line()
    predict(method, samples(20))
    assert [rows for _, rows in method.seen] == [8, 8, 3]


def test_worker_halves_its_batches_and_remembers() -> None:
    worker = Worker(MethodSpec("line:plain", None, None), Engine())
    worker.method, worker.device, worker.batch_size = Line(), "cpu", 8
    worker.method.memory = 3
    first = worker.run(0, samples(20), None)
    assert first.batch_size == 2
    assert not first.warm
    worker.method.seen.clear()
    second = worker.run(1, samples(20), None)
    assert (second.batch_size, second.warm) == (2, True)
    assert {rows for _, rows in worker.method.seen} <= {1, 2}
    worker.method.memory = 0
    with pytest.raises(torch.OutOfMemoryError):
        worker.run(2, samples(20), None)


def test_lost_samples_are_left_out_and_recorded(tmp_path) -> None:
    from harness.execution.shards import FailedSample, read_job

    worker = Worker(MethodSpec("line:plain", None, None), Engine())
    worker.method, worker.device, worker.batch_size = Line(), "cpu", 8
    lost = FailedSample("3", "killed its worker")
    report = worker.run(0, samples(6), str(tmp_path), [lost])
    assert report.failed == (lost,)
    predictions, failed = read_job(tmp_path, 1)
    assert predictions.sample_ids == ("0", "1", "2", "4", "5")
    assert failed == (lost,)
