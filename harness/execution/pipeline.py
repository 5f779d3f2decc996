"""Run a method over samples on one device: prepare ahead of it, decode behind it.

Batches are formed from consecutive rows of the given samples alone, so what a shard predicts
depends on nothing but the shard.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.api import SCHEMAS, Method, Predictions, Prepared, Rows, Sample, SampleError
from harness.execution.shards import FailedSample


@dataclass
class Timings:
    """Seconds spent, summed over threads; ``wall`` is the elapsed time of the whole."""

    prepare: float = 0.0
    forward: float = 0.0
    decode: float = 0.0
    wall: float = 0.0
    rows: int = 0


@dataclass(frozen=True)
class Outcome:
    """Predictions of the samples that could be processed, and the ones that could not."""

    predictions: Predictions
    failed: tuple[FailedSample, ...]
    timings: Timings


@dataclass
class _InFlight:
    """A sample between preparation and decoding."""

    sample: Sample
    prepared: Prepared
    outputs: list[Mapping[str, NDArray[Any]]] = field(default_factory=list)
    waiting: int = 0


def predict(
    method: Method,
    samples: Sequence[Sample],
    *,
    device: str = "cpu",
    precision: str = "fp32",
    batch_size: int | None = None,
    prepare_threads: int = 1,
) -> Outcome:
    """Predict every sample.

    Parameters
    ----------
    method : Method
        Its network is already on ``device`` and in evaluation mode.
    samples : sequence of Sample
    device : str
        Torch device.
    precision : str
        ``fp32``, or ``bf16`` or ``fp16`` under torch's autocast.
    batch_size : int, optional
        Rows per forward pass; the variant's own by default.
    prepare_threads : int
        Threads that read and transform samples; one more decodes.

    Returns
    -------
    Outcome
        Predictions in the order of ``samples``; a :class:`SampleError` becomes a failed sample.
        Any other exception is a bug and is raised, with the sample's id as a note.
    """
    batch_size = batch_size or method.variant.batch_size
    timings = Timings()
    failed: list[FailedSample] = []
    decoded: list[Future[tuple[str, Rows]]] = []
    begin = time.perf_counter()
    with ThreadPoolExecutor(prepare_threads) as preparers, ThreadPoolExecutor(1) as decoder:
        ready = _prepare_ahead(method, samples, preparers, 2 * prepare_threads + 2, timings, failed)

        def finish(item: _InFlight) -> None:
            decoded.append(decoder.submit(_decode, method, item, timings))

        def settle(computed: _Computed, owners: Owners) -> None:
            start = time.perf_counter()
            outputs = computed.fetch()
            timings.forward += time.perf_counter() - start
            first = 0
            for item, count in owners:
                item.outputs.append({k: v[first : first + count] for k, v in outputs.items()})
                item.waiting -= count
                first += count
                if item.waiting == 0:
                    finish(item)

        # A GPU computes a batch while the outputs of the one before are on their way back.
        on_device: deque[tuple[_Computed, Owners]] = deque()
        for rows, owners in _batches(ready, batch_size, finish):
            start = time.perf_counter()
            on_device.append((_compute(method, rows, device, precision), owners))
            timings.forward += time.perf_counter() - start
            timings.rows += len(next(iter(rows.values())))
            if len(on_device) > (device != "cpu"):
                settle(*on_device.popleft())
        while on_device:
            settle(*on_device.popleft())
        by_id = dict(future.result() for future in decoded)
    timings.wall = time.perf_counter() - begin
    order = [sample.id for sample in samples if sample.id in by_id]
    predictions = Predictions.from_samples(
        SCHEMAS[method.card.task], ((sample_id, by_id[sample_id]) for sample_id in order)
    )
    return Outcome(predictions, tuple(failed), timings)


def _prepare_ahead(
    method: Method,
    samples: Sequence[Sample],
    pool: ThreadPoolExecutor,
    ahead: int,
    timings: Timings,
    failed: list[FailedSample],
) -> Iterator[_InFlight]:
    """Yield prepared samples in order, with at most ``ahead`` of them prepared and waiting."""

    def prepare(sample: Sample) -> tuple[Prepared, float]:
        start = time.perf_counter()
        try:
            return method.prepare(sample), time.perf_counter() - start
        except SampleError:
            raise
        except Exception as error:
            error.add_note(f"while preparing sample {sample.id} for {method.name}")
            raise

    pending: deque[tuple[Sample, Future[tuple[Prepared, float]]]] = deque()
    remaining = iter(samples)
    while True:
        while len(pending) < ahead and (sample := next(remaining, None)) is not None:
            pending.append((sample, pool.submit(prepare, sample)))
        if not pending:
            return
        sample, future = pending.popleft()
        try:
            prepared, seconds = future.result()
        except SampleError as error:
            failed.append(FailedSample(sample.id, error.reason))
            continue
        timings.prepare += seconds
        yield _InFlight(sample, prepared, waiting=len(prepared))


Owners = list[tuple[_InFlight, int]]


def _batches(
    ready: Iterator[_InFlight], batch_size: int, finish: Callable[[_InFlight], None]
) -> Iterator[tuple[dict[str, NDArray[Any]], Owners]]:
    """Pack rows of consecutive samples into batches; rows of other shapes start a new batch.

    A sample without rows goes straight to ``finish``.
    """
    pieces: list[Mapping[str, NDArray[Any]]] = []
    owners: Owners = []
    held = 0

    def flush() -> tuple[dict[str, NDArray[Any]], Owners]:
        nonlocal pieces, owners, held
        batch = {k: np.concatenate([piece[k] for piece in pieces]) for k in pieces[0]}
        done = (batch, owners)
        pieces, owners, held = [], [], 0
        return done

    for item in ready:
        rows, count = item.prepared.rows, len(item.prepared)
        item.prepared = Prepared({}, item.prepared.context)
        if count == 0:
            finish(item)
            continue
        if pieces and _shapes(rows) != _shapes(pieces[0]):
            yield flush()
        first = 0
        while first < count:
            take = min(batch_size - held, count - first)
            pieces.append({k: v[first : first + take] for k, v in rows.items()})
            owners.append((item, take))
            held, first = held + take, first + take
            if held == batch_size:
                yield flush()
    if pieces:
        yield flush()


def _shapes(rows: Mapping[str, NDArray[Any]]) -> dict[str, tuple[Any, ...]]:
    return {name: (array.dtype, array.shape[1:]) for name, array in rows.items()}


@dataclass(frozen=True)
class _Computed:
    """Outputs of a batch on their way to the host; ``arrived`` is None where they are there."""

    outputs: Mapping[str, torch.Tensor]
    arrived: torch.cuda.Event | None

    def fetch(self) -> dict[str, NDArray[Any]]:
        """Wait for the outputs and return them as arrays."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return {name: tensor.numpy() for name, tensor in self.outputs.items()}


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def _compute(
    method: Method, rows: Mapping[str, NDArray[Any]], device: str, precision: str
) -> _Computed:
    """Start a forward pass; on a GPU it goes on after the return."""
    reduced, gpu = precision != "fp32", device != "cpu"
    with (
        torch.inference_mode(),
        torch.autocast(device, _DTYPES[precision] if reduced else None, enabled=reduced),
    ):
        outputs = method.forward({name: _to(device, array) for name, array in rows.items()})
        back = {
            name: _widened(tensor).to("cpu", non_blocking=gpu) for name, tensor in outputs.items()
        }
    if not gpu:
        return _Computed(back, None)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return _Computed(back, arrived)


def _to(device: str, array: NDArray[Any]) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    if device == "cpu":
        return tensor
    # From pinned memory the copy runs beside the computation; images go channels last.
    layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.pin_memory().to(device, non_blocking=True).to(memory_format=layout)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """Return reduced floats as fp32, which numpy knows."""
    return tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor


def _decode(method: Method, item: _InFlight, timings: Timings) -> tuple[str, Rows]:
    start = time.perf_counter()
    outputs = {
        name: np.concatenate([part[name] for part in item.outputs])
        for name in (item.outputs[0] if item.outputs else ())
    }
    try:
        return item.sample.id, method.decode(outputs, item.prepared, item.sample)
    except Exception as error:
        error.add_note(f"while decoding sample {item.sample.id} for {method.name}")
        raise
    finally:
        timings.decode += time.perf_counter() - start
