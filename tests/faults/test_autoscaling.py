"""A cluster with an autoscaler grows for a run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest
from toy_runs import expected_digest, write_toy

from harness.api.card import Resources
from harness.execution.fleet import RayFleet

SAMPLES = 512

# The autoscaler of `ray up`, on nodes that are processes of this machine.
CLUSTER = {
    "cluster_name": "grows",
    "max_workers": 2,
    "idle_timeout_minutes": 5,
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    },
    "head_node_type": "ray.head.default",
    "upscaling_speed": 1.0,
    "auth": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}


DRIVER = """
    import sys
    from pathlib import Path

    import orjson
    import ray

    sys.path.insert(0, {here!r})
    from toy_runs import run

    ray.init(address={address!r}, log_to_driver=False, logging_level="ERROR")
    record, heard = run(Path({root!r}), Path({workspace!r}), address={address!r})
    Path({told!r}).write_bytes(orjson.dumps({{
        "status": record.status,
        "reason": record.reason,
        "digest": record.notes.get("predictions_digest"),
        "nodes": heard.nodes,
    }}))
"""


def environment() -> dict[str, str]:
    """Without the token that some other cluster of this machine may have left."""
    return {**os.environ, "RAY_AUTH_MODE": "disabled"}


@pytest.fixture
def autoscaled() -> Iterator[str]:
    """The address of a cluster of one node that may grow by two."""
    # An own folder, short because of the sockets below it.
    temp = Path("/tmp") / f"ph-grows-{os.getpid()}"
    temp.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    provider = {
        "type": "fake_multinode",
        "gcs_address": f"127.0.0.1:{port}",
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    (temp / "cluster.json").write_text(json.dumps({**CLUSTER, "provider": provider}))
    head_id = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"  # of the fake provider
    command = ["ray", "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    command += [f"--autoscaling-config={temp / 'cluster.json'}", f"--temp-dir={temp}"]
    command += ["--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    head = subprocess.Popen(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment()
        | {
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": head_id,
            "RAY_TMPDIR": str(temp),
            "RAY_raylet_start_wait_time_s": "180",
            "RAY_worker_niceness": "0",
        },
    )
    yield f"127.0.0.1:{port}"
    for process in [*psutil.Process(head.pid).children(recursive=True), head]:
        process.kill()
    head.wait()
    shutil.rmtree(temp, ignore_errors=True)


@pytest.mark.usefixtures("local_ray")
def test_room_is_asked_for_every_missing_worker() -> None:
    """Also where jobs need the same; what is no longer missing is taken back."""
    fleet = RayFleet(may_grow=True)
    alike, other = Resources(cpus=1000), Resources(cpus=2000)  # no node of the tests has so many
    for missing, count in (([(alike, 2), (alike, 3), (other, 1)], 6), ([(alike, 4)], 4), ([], 0)):
        fleet.make_room(missing)
        assert sum(len(calls) for calls in fleet._asked.values()) == count


@pytest.mark.usefixtures("plugin")
def test_a_cluster_grows_for_a_run(tmp_path: Path, autoscaled: str) -> None:
    slow = dict.fromkeys(range(0, SAMPLES, 32), "sleep 1.5")
    root = write_toy(tmp_path / "toy", SAMPLES, slow)
    told = tmp_path / "told.json"
    code = DRIVER.format(
        here=str(Path(__file__).parent),
        address=autoscaled,
        root=str(root),
        workspace=str(tmp_path / "w"),
        told=str(told),
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        env={**environment(), "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'toy.json' / 'm.db'}"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer = orjson.loads(told.read_bytes())
    assert answer["status"] == "done", answer["reason"]
    assert answer["digest"] == expected_digest(SAMPLES)
    assert answer["nodes"][0] == 1
    assert max(answer["nodes"]) == 3
