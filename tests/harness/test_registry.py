"""The registry, the plug-in in it, and what the command line may import."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import registry
from harness.api import PrerequisiteError
from harness.cli import app
from harness.suites import read_suite


@pytest.mark.usefixtures("plugin")
def test_a_plugin_is_as_good_as_a_built_in() -> None:
    assert registry.method_card("box-centre").title == "Box centre"
    assert registry.benchmark("toy").primary == "distance"
    assert read_suite("toy").entries[0].benchmark == "toy"
    assert set(registry.entries(registry.METHODS)) > {"box-centre", "hrnet"}


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(PrerequisiteError, match="Did you mean hrnet"):
        registry.method_card("hrnt")
    with pytest.raises(PrerequisiteError, match="Did you mean w32-256x192"):
        registry.split_name("hrnet:w32-256x193")
    with pytest.raises(PrerequisiteError, match="several variants"):
        registry.split_name("hrnet")


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ntitle: Mine\nentries:\n- benchmark: coco\n  methods: {}\n")
    assert read_suite(str(path)).name == "mine"
    path.write_text("name: mine\n")
    with pytest.raises(PrerequisiteError, match=r"mine\.yaml is not valid"):
        read_suite(str(path))


@pytest.mark.parametrize("arguments", [["--help"], ["list", "methods"], ["list", "suites"]])
def test_listing_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from harness.cli import main\n"
        f"sys.argv = ['harness', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'pandas', 'pyarrow', 'cv2', 'scipy', 'sqlalchemy'}\n"
        "print('IMPORTED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "IMPORTED []"


def test_list_benchmarks_as_json() -> None:
    code = "from harness.cli import main; main()"
    arguments = ["list", "benchmarks", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    coco = next(row for row in json.loads(done.stdout) if row["name"] == "coco")
    assert coco["primary"] == "AP"
    assert coco["protocols"][0]["variant"] == "official"
    assert len(coco["protocols"][0]["digest"]) == 64
    assert [column["metric"] for column in coco["columns"][:3]] == ["AP", "AP50", "AP75"]


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout.split() == [version("pose-harness")]
