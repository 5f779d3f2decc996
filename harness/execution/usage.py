"""How busy a worker's node and device are, by MLflow's names for it."""

from __future__ import annotations

import psutil


def usage(device: str) -> dict[str, float]:
    """Return percentages and megabytes in use.

    Parameters
    ----------
    device : str
        ``cuda`` adds the worker's GPU.

    Returns
    -------
    dict
        ``cpu_utilization_percentage`` of the node since this process's last call (0 at the first),
        ``system_memory_usage_megabytes`` and, for a GPU, ``gpu_utilization_percentage`` and
        ``gpu_memory_usage_megabytes``, which count everybody who uses it.
    """
    found = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": psutil.virtual_memory().used / 1e6,
    }
    if device == "cuda":
        import torch

        free, whole = torch.cuda.mem_get_info()
        found["gpu_utilization_percentage"] = float(torch.cuda.utilization())
        found["gpu_memory_usage_megabytes"] = (whole - free) / 1e6
    return {name: round(value, 1) for name, value in found.items()}
