"""The one registry: methods, benchmarks and suites by name, found through entry points.

Built-in entries are declared in this distribution's ``pyproject.toml`` exactly as a plug-in
declares its own, so there is one mechanism and the engine names nobody. Listing reads metadata and
cards only; an entry's module is imported when the entry itself is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.api.benchmark import Benchmark
from harness.api.card import Card, read_card
from harness.api.errors import PrerequisiteError
from harness.api.method import Method

METHODS = "harness.methods"
BENCHMARKS = "harness.benchmarks"
SUITES = "harness.suites"
REPORTS = "harness.reports"


@cache
def entries(group: str) -> dict[str, EntryPoint]:
    """Return the entries of a group by name, sorted by name.

    Raises
    ------
    PrerequisiteError
        If two installed packages register different objects under one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise PrerequisiteError(
                f"{_kind(group)} {entry.name!r} is registered twice: {other.value}, {entry.value}.",
                "Rename or uninstall one of the two packages.",
            )
    return dict(sorted(found.items()))


def entry(group: str, name: str) -> EntryPoint:
    """Return one entry.

    Raises
    ------
    PrerequisiteError
        If there is none of that name; the message suggests the nearest ones.
    """
    known = entries(group)
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    raise PrerequisiteError(
        f"Unknown {_kind(group)} {name!r}.",
        f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}.",
    )


def load(found: EntryPoint) -> Any:
    """Import the object that an entry names.

    Raises
    ------
    PrerequisiteError
        If the module or the object does not exist (a broken plug-in).
    """
    try:
        return getattr(importlib.import_module(found.module), found.attr)
    except (ModuleNotFoundError, AttributeError) as error:
        raise PrerequisiteError(
            f"{_kind(found.group)} {found.name!r} names {found.value}, which fails: {error}.",
            "Reinstall the package that registers it.",
        ) from error


def resource(found: EntryPoint) -> tuple[str, str]:
    """Return the data file an entry stands for, as (text, its name for messages).

    The value ``package:file.yaml`` names it directly; a class ``package.module:Class`` has its
    ``module.yaml`` beside the module.
    """
    package, _, name = found.value.partition(":")
    if not name.endswith(".yaml"):
        package, _, module = package.rpartition(".")
        name = f"{module}.yaml"
    path = files(package) / name
    if not path.is_file():
        raise PrerequisiteError(
            f"{_kind(found.group)} {found.name!r} has no file {name} in {package}.",
            "Add the file to the package that registers it.",
        )
    return path.read_text(encoding="utf-8"), str(path)


@cache
def method_card(name: str) -> Card:
    """Return the card of a method without importing the method."""
    text, source = resource(entry(METHODS, name))
    card = read_card(text, source)
    if card.name != name:
        raise PrerequisiteError(
            f"Card {source} is of {card.name!r}, but registered as {name!r}.", "Use one name."
        )
    return card


def method_class(name: str) -> type[Method]:
    """Return the class of a method (imports torch)."""
    cls: type[Method] = load(entry(METHODS, name))
    return cls


def method_source(name: str) -> Path:
    """Return the file that holds a method's code, without importing it."""
    found = entry(METHODS, name)
    spec = importlib.util.find_spec(found.module)
    if spec is None or spec.origin is None:
        raise PrerequisiteError(
            f"method {name!r} names {found.module}, which does not exist.", "Reinstall its package."
        )
    return Path(spec.origin)


@cache
def benchmark(name: str) -> Benchmark:
    """Return a benchmark."""
    instance: Benchmark = load(entry(BENCHMARKS, name))()
    return instance


def split_name(spec: str) -> tuple[str, str]:
    """Split ``METHOD:VARIANT`` and check both names; a bare method means its only variant.

    Raises
    ------
    PrerequisiteError
        If a name is unknown, or the variant is left out where there are several.
    """
    name, _, variant = spec.partition(":")
    card = method_card(name)
    if not variant:
        if len(card.variants) > 1:
            raise PrerequisiteError(
                f"{name} has several variants.",
                f"Say which: {', '.join(f'{name}:{v}' for v in card.variants)}.",
            )
        variant = next(iter(card.variants))
    if variant not in card.variants:
        near = difflib.get_close_matches(variant, card.variants, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else ""
        raise PrerequisiteError(
            f"{name} has no variant {variant!r}.", hint or f"Known: {', '.join(card.variants)}."
        )
    return name, variant


def _kind(group: str) -> str:
    return group.rpartition(".")[2].removesuffix("s")
