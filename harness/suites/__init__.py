"""Suites: which methods are run under which protocols, as YAML validated here."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.api.errors import PrerequisiteError
from harness.registry import SUITES, entry, resource


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SuiteMethods(_Model):
    """Methods by the data they make sense on."""

    embedded: tuple[str, ...] = ()
    """On the embedded world: variants whose weights are shipped."""
    real: tuple[str, ...] = ()
    """On the real data set; a variant whose weights are not here is skipped with the reason."""


class SuiteDetector(_Model):
    """The method, ``METHOD:VARIANT``, whose people are the person boxes of other methods."""

    embedded: str
    real: str


class SuiteEntry(_Model):
    """One benchmark of a suite."""

    benchmark: str
    protocol: str | None = None
    """Named variant of the protocol; the benchmark's default if left out."""
    boxes: SuiteDetector | None = None
    """Where the person boxes come from; the protocol's own source if left out."""
    methods: SuiteMethods


class Suite(_Model):
    """What ``harness run --suite NAME`` runs."""

    name: str
    title: str
    entries: tuple[SuiteEntry, ...]


def read_suite(name: str) -> Suite:
    """Return a registered suite, or one of the user's own by the path of its YAML file.

    Raises
    ------
    PrerequisiteError
        If the name is unknown or the file is not valid.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise PrerequisiteError(f"Suite file {path} does not exist.", "Give an existing file.")
        text, source = path.read_text(encoding="utf-8"), str(path)
    else:
        text, source = resource(entry(SUITES, name))
    try:
        return Suite.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise PrerequisiteError(f"Suite {source} is not valid: {error}", "Correct it.") from None
