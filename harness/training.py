"""Train any trainable method: the paper's loss from the method, Adam and a step schedule.

On the CPU the result depends only on the recipe, the samples, the library versions and the number
of threads; interrupted and resumed training gives the same bits as uninterrupted training.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api import Method, PrerequisiteError, Sample, content_digest, file_digest
from harness.api.card import Recipe

if TYPE_CHECKING:
    import torch

Truth = Mapping[str, NDArray[Any]]
Batch = Mapping[str, NDArray[Any]]
Progress = Callable[[float, float, float], None]
"""Called about once a second with epochs done, recent loss and samples per second."""

CHECKPOINT = "checkpoint.pt"
_AHEAD = 24  # samples that are prepared before they are needed


@dataclass(frozen=True)
class TrainingResult:
    """What training left behind.

    Parameters
    ----------
    weights : Path
        ``METHOD-VARIANT.safetensors``; its provenance is in the ``.json`` beside it.
    sha256 : str
        Of the weights file, for the card.
    loss : float
        Mean over the last epoch.
    minutes, cpu_minutes : float
        Time and processor time spent, over all runs that it was resumed in.
    """

    weights: Path
    sha256: str
    loss: float
    minutes: float
    cpu_minutes: float


@dataclass
class _State:
    """How far training is; all of it is in the checkpoint."""

    epoch: int = 0
    loss: float = float("nan")
    minutes: float = 0.0
    cpu_minutes: float = 0.0


def train(
    method: Method,
    samples: Sequence[tuple[Sample, Truth]],
    recipe: Recipe,
    out: Path,
    *,
    data_digest: str = "",
    start_digest: str = "",
    device: str = "cpu",
    resume: bool = True,
    progress: Progress | None = None,
    threads: int | None = None,
) -> TrainingResult:
    """Train a method's network and write its weights.

    A checkpoint is written after every epoch. Random numbers depend on the recipe's seed, the
    epoch and the sample alone, so they need no state.

    Parameters
    ----------
    method : Method
        With ``trainable``; its network is trained from where it stands.
    samples : sequence of (sample, truth)
        ``Benchmark.training_samples(dataset)``.
    recipe : Recipe
        Epochs, batch size (rows), learning rate, its drops by ten, weight decay and seed.
    out : Path
        Folder for checkpoint and weights.
    data_digest : str
        Digest of the data set, for the record.
    start_digest : str
        SHA-256 of the weights that the network starts from, if any, for the record.
    device : str
        Torch device.
    resume : bool
        Go on from the checkpoint in ``out``, if there is one.
    threads : int, optional
        Torch threads on the CPU; by default torch's own number (``OMP_NUM_THREADS``).

    Raises
    ------
    PrerequisiteError
        If the method cannot be trained, there are no samples, ``out`` cannot be written, or its
        checkpoint is of another training.
    """
    import torch

    _check(method, samples, out)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    digests = {"data_digest": data_digest, "start_sha256": start_digest}
    if next(method.network.parameters(), None) is None:  # all of it is fitted
        method.fit(samples)
        return _write_weights(method, recipe, out, digests, device, _State())
    network = method.network.to(device).train()
    for weights in network.parameters():  # a CPU convolves faster with channels last
        if weights.dim() == 4:
            weights.data = weights.data.contiguous(memory_format=torch.channels_last)
    # One kernel for all tensors: a thin network has hundreds of small ones.
    optimiser = torch.optim.Adam(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    drops = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(recipe.drops))
    identity = content_digest([method.name, recipe.model_dump(), digests, len(samples)])
    parts = {"network": network, "optimiser": optimiser, "schedule": drops}
    path = out / CHECKPOINT
    state = _State()
    if resume and path.is_file():
        state = _restore(path, parts, identity)
    else:
        method.fit(samples)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while state.epoch < recipe.epochs:
            start, cpu_start = time.monotonic(), time.process_time()
            batches = _batches(method, samples, recipe, state.epoch, pool)
            state.loss = _epoch(method, optimiser, batches, device, state.epoch, len(samples),
                                progress)  # fmt: skip
            drops.step()
            state.epoch += 1
            state.minutes += (time.monotonic() - start) / 60
            state.cpu_minutes += (time.process_time() - cpu_start) / 60
            _save(path, parts, identity, state)
    network.eval()
    return _write_weights(method, recipe, out, digests, device, state)


def _check(method: Method, samples: Sequence[Any], out: Path) -> None:
    if not method.trainable:
        raise PrerequisiteError(f"{method.name} cannot be trained here.",
                                "Import trained weights: harness weights import.")  # fmt: skip
    if not samples:
        raise PrerequisiteError("There are no training samples.", "Use a split with people in it.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise PrerequisiteError(
            f"The folder {out} for checkpoint and weights cannot be written: {error.strerror}.",
            "Choose another with --out.",
        ) from error


def _epoch(
    method: Method, optimiser: torch.optim.Optimizer, batches: Iterator[tuple[Batch, int]],
    device: str, epoch: int, samples: int, progress: Progress | None,
) -> float:  # fmt: skip
    """Take one step per batch; return the mean loss over the rows."""
    import torch

    total, rows, shown, start = 0.0, 0, 0.0, time.monotonic()
    for batch, used in batches:
        size = len(next(iter(batch.values())))
        loss = method.loss({k: torch.from_numpy(v).to(device) for k, v in batch.items()})
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total, rows = total + loss.item() * size, rows + size
        if not np.isfinite(total):
            raise RuntimeError(f"{method.name}: the loss is {loss.item()} in epoch {epoch + 1}")
        passed = time.monotonic() - start
        if progress and passed - shown > 1:
            progress(epoch + used / samples, total / rows, rows / passed)
            shown = passed
    mean = total / max(rows, 1)
    if progress:
        progress(epoch + 1, mean, rows / max(time.monotonic() - start, 1e-9))
    return mean


def _batches(
    method: Method, samples: Sequence[tuple[Sample, Truth]], recipe: Recipe, epoch: int,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Batch, int]]:  # fmt: skip
    """Yield batches of rows in a random order of the samples, and how many samples are behind.

    Rows are prepared ahead on other threads. A remainder that is too small for batch
    normalisation is left out.
    """
    order = np.random.default_rng([recipe.seed, epoch]).permutation(len(samples))

    def rows_of(index: int) -> Batch:
        sample, truth = samples[index]
        random = np.random.default_rng([recipe.seed, epoch, index])
        return method.training_rows(sample, truth, random)

    waiting: deque[Future[Batch]] = deque()
    ready: dict[str, NDArray[Any]] = {}
    queue = iter(order.tolist())
    for used in range(1, len(order) + 1):
        while len(waiting) < _AHEAD and (index := next(queue, None)) is not None:
            waiting.append(pool.submit(rows_of, index))
        rows = waiting.popleft().result()
        ready = {k: np.concatenate([ready[k], v]) if ready else v for k, v in rows.items()}
        while len(next(iter(ready.values()))) >= recipe.batch_size:
            yield {k: v[: recipe.batch_size] for k, v in ready.items()}, used - 1
            ready = {k: v[recipe.batch_size :] for k, v in ready.items()}
    if len(next(iter(ready.values()))) > 1:
        yield ready, len(order)


def _save(path: Path, parts: Mapping[str, Any], identity: str, state: _State) -> None:
    import torch

    content = {name: part.state_dict() for name, part in parts.items()}
    unfinished = path.with_suffix(".partial")
    torch.save({**content, "identity": identity, "state": asdict(state),
                "random": torch.get_rng_state()}, unfinished)  # fmt: skip
    os.replace(unfinished, path)


def _restore(path: Path, parts: Mapping[str, Any], identity: str) -> _State:
    import torch

    remedy = "Choose another folder with --out, or start again with --restart."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = content["identity"]
    except Exception as error:  # damaged bytes surface as almost any exception
        raise PrerequisiteError(f"The checkpoint {path} is damaged.", remedy) from error
    if found != identity:
        raise PrerequisiteError(
            f"The checkpoint {path} is of another method, recipe or data set.", remedy
        )
    for name, part in parts.items():
        part.load_state_dict(content[name])
    torch.set_rng_state(content["random"])
    return _State(**content["state"])


def _write_weights(
    method: Method, recipe: Recipe, out: Path, digests: dict[str, str], device: str, state: _State
) -> TrainingResult:
    """Write the weights and, beside them, where they come from."""
    import torch
    from safetensors.torch import save_file

    path = out / f"{method.name.replace(':', '-')}.safetensors"
    tensors = {k: v.detach().cpu().contiguous() for k, v in method.network.state_dict().items()}
    save_file(tensors, path)
    result = TrainingResult(path, file_digest(path), state.loss, state.minutes, state.cpu_minutes)
    record = {
        "method": method.name,
        "sha256": result.sha256,
        "recipe": recipe.model_dump(mode="json"),
        **{name: digest for name, digest in digests.items() if digest},
        "loss": state.loss if state.loss == state.loss else None,  # nothing but fitted
        "minutes": round(state.minutes, 2),
        "cpu_minutes": round(state.cpu_minutes, 2),
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "numpy", "opencv-python-headless")},
    }
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return result
