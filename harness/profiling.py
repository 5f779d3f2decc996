"""What a network costs: parameters, multiply-adds, latency and memory.

One profile is one pass of the network, without the flip test and without pre- and post-processing.
"""

from __future__ import annotations

import copy
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api import Method

if TYPE_CHECKING:
    import torch
    from torch import nn

WARM_UP_PASSES = 3
MIN_PASSES = 10
MAX_SECONDS = 3.0
"""Of timed passes per batch size, once there are ``MIN_PASSES`` of them."""


@dataclass(frozen=True)
class Timing:
    """One pass of the network with one batch size, warm-up left out.

    Parameters
    ----------
    batch_size : int
        Rows in the pass.
    passes : int
        Number of timed passes.
    p50_ms, p90_ms, p99_ms : float
        Percentiles of a pass, in milliseconds.
    rows_per_second : float
        Over all timed passes.
    peak_memory_mb : float
        Highest memory (2^20 bytes) during a pass, weights included: on a GPU what torch has
        allocated, on a CPU all tensors that are alive at once.
    """

    batch_size: int
    passes: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    rows_per_second: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Profile:
    """The cost of one method.

    Parameters
    ----------
    name : str
        ``METHOD:VARIANT``.
    input_shapes : tuple
        Shapes of the network's inputs for one row.
    parameters : int
        Those that the output depends on.
    registered_parameters : int
        All of the network, dead ones included.
    macs : int
        Multiply-adds of one row: convolutions, transposed convolutions (at input pixels), linear
        layers and matrix products; no bias, norm, activation or interpolation.
    paper_gflops : float
        The convention of SimpleBaseline's and HRNet's tables: weights x *output* pixels of every
        convolution (four times too high for a transposed one of stride 2) and linear layers, in
        units of 2^30.
    device : str
        Where latency was taken; empty without them.
    threads : int
        Of torch on the CPU.
    latency : tuple of Timing
        One per batch size; empty if not asked for.
    """

    name: str
    input_shapes: tuple[tuple[int, ...], ...]
    parameters: int
    registered_parameters: int
    macs: int
    paper_gflops: float
    device: str = ""
    threads: int = 0
    latency: tuple[Timing, ...] = ()


def profile(method: Method, batch_sizes: Sequence[int] = (1,), latency: bool = True) -> Profile:
    """Measure a method's network, on the device where it is.

    Counts come from a copy without data (torch's meta device), so they are exact and take no
    arithmetic; latencies are real passes.

    Parameters
    ----------
    method : Method
    batch_sizes : sequence of int
        Batch sizes to time.
    latency : bool
        Whether to time at all.
    """
    import torch

    inputs = tuple(tensor.to("meta") for tensor in method.example_inputs(1))
    used, macs, weight_pixels = _count(_without_data(method.network), inputs)
    device = next(_tensors(method.network.state_dict())).device
    timed = tuple(_time(method, size, device) for size in batch_sizes) if latency else ()
    return Profile(
        name=method.name,
        input_shapes=tuple(tuple(tensor.shape) for tensor in inputs),
        parameters=used,
        registered_parameters=sum(p.numel() for p in method.network.parameters()),
        macs=macs,
        paper_gflops=weight_pixels / 2**30,
        device=_device_name(device) if latency else "",
        threads=torch.get_num_threads() if latency else 0,
        latency=timed,
    )


def peak_memory(method: Method, rows: int) -> int:
    """Return the peak in bytes of all tensors alive in a pass of that many rows, with weights.

    Computed on torch's meta device: exact for the network's own tensors, and takes no memory.
    """
    inputs = tuple(tensor.to("meta") for tensor in method.example_inputs(rows))
    return _live_bytes(_without_data(method.network), inputs)


def _count(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[int, int, int]:
    """Return used parameters, multiply-adds, and weights x output pixels, of a meta network."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    weight_pixels = 0

    def add(module: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal weight_pixels
        spatial = output.shape[2:] if "Conv" in type(module).__name__ else ()
        weight_pixels += module.weight.numel() * int(np.prod(spatial, dtype=np.int64))

    for module in network.modules():
        # By class name, as the papers' counter finds them.
        if type(module).__name__ == "Linear" or (
            "Conv" in type(module).__name__ and hasattr(module, "weight")
        ):
            module.register_forward_hook(add)
    network.requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        outputs = list(_tensors(network(*inputs)))
    if learned := [output.sum() for output in outputs if output.requires_grad]:
        torch.stack(learned).sum().backward()
    used = sum(p.numel() for p in network.parameters() if p.grad is not None)
    return used, counter.get_total_flops() // 2, weight_pixels


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the floating tensors of nested tuples, lists and dictionaries."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _time(method: Method, batch_size: int, device: torch.device) -> Timing:
    import torch

    network, gpu = method.network, device.type == "cuda"
    dtype = next(_tensors(network.state_dict())).dtype
    inputs = tuple(
        tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
        for tensor in method.example_inputs(batch_size)
    )
    training = network.training
    network.eval()
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []
    with torch.inference_mode():
        while len(seconds) < WARM_UP_PASSES + MIN_PASSES or sum(seconds) < MAX_SECONDS:
            start = time.perf_counter()
            network(*inputs)
            if gpu:
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
    network.train(training)
    if gpu:
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = _live_bytes(_without_data(network), tuple(t.to("meta") for t in inputs))
    seconds = seconds[WARM_UP_PASSES:]
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99]) * 1e3
    return Timing(
        batch_size=batch_size,
        passes=len(seconds),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        rows_per_second=batch_size * len(seconds) / sum(seconds),
        peak_memory_mb=peak / 2**20,
    )


def _without_data(network: nn.Module) -> nn.Module:
    """Return a copy on the meta device: shapes without numbers."""
    return copy.deepcopy(network).to("meta").eval()


def _live_bytes(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """Return the peak of all tensors alive during a pass of a meta network, weights included."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    own = [*network.parameters(), *network.buffers(), *inputs]
    live = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in own}
    peak = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal peak
            result = func(*args, **(kwargs or {}))
            for tensor in _tensors(result):
                storage = tensor.untyped_storage()
                if storage._cdata not in live:
                    live[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, live.pop, storage._cdata)
            peak = max(peak, sum(live.values()))
            return result

    with torch.no_grad(), Watch():
        network(*inputs)
    return peak


def _device_name(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
