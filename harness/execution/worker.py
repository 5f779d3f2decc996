"""The Ray actor that holds one method on one device and predicts one shard at a time."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.api import PrerequisiteError, Sample
from harness.execution.shards import FailedSample
from harness.execution.usage import usage

if TYPE_CHECKING:
    from harness.execution.pipeline import Outcome

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class MethodSpec:
    """What a worker needs to build its method.

    Parameters
    ----------
    name : str
        ``METHOD:VARIANT``.
    weights, weights_sha256 : str or None
    precision : str
        Arithmetic of the network; bf16 and fp16 leave to torch's autocast what must stay fp32.
    compiled : bool
        Whether the network goes through ``torch.compile``.
    """

    name: str
    weights: str | None
    weights_sha256: str | None
    precision: Precision = "fp32"
    compiled: bool = False


@dataclass(frozen=True)
class Engine:
    """How a worker drives its device.

    Parameters
    ----------
    threads : int
        Threads of torch, and of preparation: as many as CPUs were given to the worker, so that
        the workers of a node never ask for more cores than it has.
    batch_size : int or None
        Rows per forward pass, if less than the variant's own: what earlier workers of the job
        found to fit the device's memory.
    """

    threads: int = 1
    batch_size: int | None = None


@dataclass(frozen=True)
class ShardReport:
    """What a worker says about a shard it has written.

    ``warm`` is false for a worker's first shard, whose time includes the device's warm-up;
    ``usage`` says how busy its node was meanwhile (:func:`harness.execution.usage.usage`).
    """

    index: int
    path: str
    samples: int
    failed: tuple[FailedSample, ...]
    timings: dict[str, float]
    batch_size: int = 0
    warm: bool = True
    node: str = ""
    pid: int = 0
    usage: dict[str, float] = field(default_factory=dict)


class Worker:
    """Actor body. Constructing it is cheap; :meth:`load` builds the method and may fail."""

    def __init__(self, spec: MethodSpec, engine: Engine) -> None:
        self.spec = spec
        self.engine = engine
        self.warm = False
        self.node = socket.gethostname()

    def load(self) -> dict[str, str]:
        """Build the method with its weights on the device; return what the device is."""
        import cv2
        import torch

        from harness.loading import load_method

        cv2.setNumThreads(0)
        torch.set_num_threads(self.engine.threads)
        _verify(self.spec)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.method = load_method(self.spec.name, self.spec.weights)
        self.batch_size = self.engine.batch_size or self.method.variant.batch_size
        network = self.method.network.to(self.device)
        if self.device == "cuda":
            # Channels last is what tensor cores read fastest; torch's stubs do not know the form.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.spec.compiled:
            network.compile()
        name = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        usage(self.device)  # what is said of the first shard counts from here
        return {"device": name, "node": self.node, "pid": str(os.getpid())}

    def run(
        self,
        index: int,
        samples: Sequence[Sample],
        folder: str | None,
        lost: Sequence[FailedSample] = (),
    ) -> ShardReport:
        """Predict a shard and write its file.

        ``lost`` are samples of the shard that killed their workers: they are recorded as failed.
        Without a folder nothing is kept: the samples are only tried.
        """
        gone = {sample.sample_id for sample in lost}
        outcome = self._predict([sample for sample in samples if sample.id not in gone])
        failed = (*outcome.failed, *lost)
        path = "" if folder is None else _write(folder, index, outcome, failed)
        warm, self.warm = self.warm, True
        return ShardReport(
            index=index,
            path=path,
            samples=len(samples),
            failed=failed,
            timings=asdict(outcome.timings),
            batch_size=self.batch_size,
            warm=warm,
            node=self.node,
            pid=os.getpid(),
            usage=usage(self.device),
        )

    def _predict(self, samples: Sequence[Sample]) -> Outcome:
        """Predict samples; where the device's memory is too small, in batches half as large.

        The whole shard starts again: its predictions depend on its batches, and those must be of
        one size.
        """
        import torch

        from harness.execution.pipeline import predict

        while True:
            try:
                return predict(
                    self.method,
                    samples,
                    device=self.device,
                    precision=self.spec.precision,
                    batch_size=self.batch_size,
                    prepare_threads=self.engine.threads,
                )
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
            if self.device == "cuda":
                torch.cuda.empty_cache()


def _verify(spec: MethodSpec) -> None:
    from harness.api import file_digest

    if spec.weights is None or spec.weights_sha256 is None:
        return
    found = file_digest(Path(spec.weights))
    if found != spec.weights_sha256:
        raise PrerequisiteError(
            f"Weights {spec.weights} have SHA-256 {found} on {socket.gethostname()}, "
            f"but {spec.weights_sha256} where the run was planned.",
            "Give every node the same file.",
        )


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}


def _write(folder: str, index: int, outcome: Outcome, failed: Sequence[FailedSample]) -> str:
    from harness.execution.shards import write_shard
    from harness.workspace import as_folder

    try:
        return str(write_shard(as_folder(folder), index, outcome.predictions, failed))
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise PrerequisiteError(
            f"{folder} on {socket.gethostname()} cannot be written: {error.strerror}.",
            "Make room (or choose another --workspace) and run the same command again; finished "
            "shards are kept.",
        ) from None
