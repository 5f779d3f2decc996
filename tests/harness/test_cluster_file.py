"""``ray_cluster.yaml`` against Ray's own schema."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_cluster_file_is_valid() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    path = REPOSITORY / "ray_cluster.yaml"
    config = prepare_config(yaml.safe_load(path.read_text()))
    validate_config(config)
    assert config["available_node_types"]["gpu_worker"]["resources"]["GPU"] == 1
    assert config["head_node_type"] in config["available_node_types"]


def test_the_on_premise_variant_is_valid() -> None:
    """As ``docs/cluster.md`` says: its block in place of the cloud's provider and node types."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((REPOSITORY / "ray_cluster.yaml").read_text())
    blocks = re.findall(r"```\n(.*?)```", (REPOSITORY / "docs" / "cluster.md").read_text(), re.S)
    (block,) = [block for block in blocks if block.startswith("provider:")]
    for name in ("available_node_types", "head_node_type"):
        del config[name]
    prepared = prepare_config(config | yaml.safe_load(block))
    validate_config(prepared)
    assert prepared["provider"]["head_ip"] == "head.example.org"


def test_the_commands_of_the_guide_exist() -> None:
    """Every option that the guide gives to ``harness run`` is one."""
    from typer.main import get_command

    from harness.cli import app

    run = get_command(app).commands["run"]
    known = {name for parameter in run.params for name in parameter.opts}
    guide = (REPOSITORY / "docs" / "cluster.md").read_text()
    used = set(re.findall(r"`(--[a-z-]+)", guide))
    for line in re.findall(r"^.*harness run .*$", guide, re.M):
        used |= set(re.findall(r"(--[a-z-]+)", line.split("harness run ")[1]))
    assert used
    assert used <= known
