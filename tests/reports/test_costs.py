"""``harness profile --all``: measured cost beside printed cost."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from harness import registry
from harness.cli import app
from harness.loading import load_method
from harness.profiling import profile
from reports.costs import cost_row


def test_printed_numbers_stand_beside_measured_ones() -> None:
    row = cost_row(profile(load_method("hrnet:w32-256x192"), latency=False))
    assert row["parameters"] == "28.536 M"
    assert row["published"] == "28.5 M, 7.10 G (coco-val-hrnet)"
    assert row["paper's count"] == "7.12 G"
    assert row["input"] == "3x256x192"
    assert row["latency"] == ""


def test_a_variant_without_published_row_says_nothing() -> None:
    row = cost_row(profile(load_method("hrnet:nano")))
    assert row["published"] == ""
    assert row["latency"].endswith(" ms")
    assert row["memory"].endswith(" MB")


def test_all_variants_that_have_a_network_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    every = registry.entries(registry.METHODS)
    few = {name: every[name] for name in ("mean-pose", "deeppose")}
    entries = registry.entries
    monkeypatch.setattr(
        registry, "entries", lambda group: few if group == registry.METHODS else entries(group)
    )
    result = CliRunner().invoke(app, ["profile", "--all", "--no-latency", "--json"])
    assert result.exit_code == 0, result.output
    names = [row["method"] for row in json.loads(result.output)]
    assert [name for name in names if name.startswith("deeppose")] == [
        "deeppose:alexnet-220x220",
        "deeppose:nano",
    ]


@pytest.mark.parametrize("arguments", [[], ["hrnet:nano", "--all"]])
def test_one_or_all(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["profile", *arguments])
    assert result.exit_code != 0
