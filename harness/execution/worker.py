"""The Ray actor that holds one method on one device and predicts one shard at a time."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.api import Sample
from harness.execution.pipeline import FailedSample


@dataclass(frozen=True)
class MethodSpec:
    """What a worker needs to build its method."""

    name: str
    weights: str | None
    weights_sha256: str | None


@dataclass(frozen=True)
class ShardReport:
    """What a worker says about a shard it has written."""

    index: int
    path: str
    samples: int
    failed: tuple[FailedSample, ...]
    timings: dict[str, float]


class Worker:
    """Actor body. Constructing it is cheap; :meth:`load` builds the method and may fail."""

    def __init__(self, spec: MethodSpec, threads: int) -> None:
        self.spec = spec
        self.threads = threads

    def load(self) -> dict[str, str]:
        """Build the method with its weights on the device; return what the device is."""
        import cv2
        import torch

        from harness.api import PrerequisiteError, file_digest
        from harness.loading import load_method

        cv2.setNumThreads(0)
        torch.set_num_threads(self.threads)
        if self.spec.weights is not None and self.spec.weights_sha256 is not None:
            found = file_digest(Path(self.spec.weights))
            if found != self.spec.weights_sha256:
                raise PrerequisiteError(
                    f"Weights {self.spec.weights} have SHA-256 {found} on {socket.gethostname()}, "
                    f"but {self.spec.weights_sha256} where the run was planned.",
                    "Give every node the same file.",
                )
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.method = load_method(self.spec.name, self.spec.weights)
        self.method.network.to(self.device)
        name = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        return {"device": name, "node": socket.gethostname(), "pid": str(os.getpid())}

    def run(self, index: int, samples: Sequence[Sample], folder: str) -> ShardReport:
        """Predict a shard and write its file."""
        from harness.execution.pipeline import predict
        from harness.execution.shards import write_shard

        outcome = predict(
            self.method, samples, device=self.device, prepare_threads=max(1, self.threads)
        )
        path = write_shard(Path(folder), index, outcome.predictions, outcome.failed)
        return ShardReport(index, str(path), len(samples), outcome.failed, asdict(outcome.timings))
