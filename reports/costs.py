"""The cost of networks, measured beside printed: what ``harness profile --all`` shows."""

from __future__ import annotations

from harness import registry
from harness.profiling import Profile
from reports.verdicts import published_row

_PRINTED_UNITS = {"M": "M", "G": "G"}  # of columns that state parameters and operations


def cost_row(profile: Profile) -> dict[str, str]:
    """Return a variant's line: measured counts, the same as the papers count, and as printed.

    Latency is the median of one row on ``profile.device``; memory its peak, weights included.
    """
    timing = profile.latency[0] if profile.latency else None
    return {
        "method": profile.name,
        "input": " + ".join("x".join(map(str, shape[1:])) for shape in profile.input_shapes),
        "parameters": f"{profile.parameters / 1e6:.3f} M",
        "MACs": f"{profile.macs / 1e9:.3f} G",
        "paper's count": f"{profile.paper_gflops:.2f} G",
        "published": _published(profile.name),
        "latency": f"{timing.p50_ms:.1f} ms" if timing else "",
        "memory": f"{timing.peak_memory_mb:.0f} MB" if timing else "",
    }


def _published(name: str) -> str:
    """Return the printed parameters and operations of a variant, and where they are printed."""
    method, variant = registry.split_name(name)
    found = published_row(registry.method_card(method).variant(variant))
    if found is None:
        return ""
    table, row = found
    printed = [
        f"{row.printed[column.name]} {_PRINTED_UNITS[column.unit]}"
        for column in table.columns
        if column.unit in _PRINTED_UNITS and row.printed[column.name]
    ]
    return f"{', '.join(printed)} ({table.id})" if printed else ""
