"""``ray_cluster.yaml`` against Ray's own schema."""

from __future__ import annotations

from pathlib import Path

import yaml


def test_the_cluster_file_is_valid() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    path = Path(__file__).resolve().parents[2] / "ray_cluster.yaml"
    config = prepare_config(yaml.safe_load(path.read_text()))
    validate_config(config)
    assert config["available_node_types"]["gpu_worker"]["resources"]["GPU"] == 1
    assert config["head_node_type"] in config["available_node_types"]
