"""Names that the shell can complete; read from metadata and cards alone."""

from __future__ import annotations

from harness import registry


def suites(incomplete: str) -> list[str]:
    """Complete the name of a suite."""
    return [name for name in registry.entries(registry.SUITES) if name.startswith(incomplete)]


def benchmarks(incomplete: str) -> list[str]:
    """Complete the name of a benchmark."""
    return [name for name in registry.entries(registry.BENCHMARKS) if name.startswith(incomplete)]


def methods(incomplete: str) -> list[str]:
    """Complete ``METHOD:VARIANT``."""
    names = (
        f"{name}:{variant}"
        for name in registry.entries(registry.METHODS)
        for variant in registry.method_card(name).variants
    )
    return [name for name in names if name.startswith(incomplete)]
