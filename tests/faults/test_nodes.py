"""Several Ray nodes on one host: the result does not depend on them, nor on losing one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import orjson
import pytest
from toy_runs import expected_digest, write_toy

SAMPLES = 640

DRIVER = """
    import sys
    from pathlib import Path

    import orjson
    import ray
    from ray.cluster_utils import Cluster

    sys.path.insert(0, str(Path({here!r})))
    from toy_runs import Heard, run

    # Three nodes; a lost one is noticed within seconds.
    cluster = Cluster(
        initialize_head=True,
        head_node_args={{
            "num_cpus": 1,
            "_system_config": {{
                "health_check_initial_delay_ms": 5000,
                "health_check_period_ms": 1000,
                "health_check_timeout_ms": 10000,
                "health_check_failure_threshold": 3,
            }},
        }},
    )
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")


    class Axe(Heard):
        def shard(self, key, report):
            super().shard(key, report)
            if len(self.shards) == 4 and nodes:
                cluster.remove_node(nodes.pop(), allow_graceful=False)


    record, heard = run(Path({root!r}), Path({workspace!r}), Axe())
    Path({told!r}).write_bytes(orjson.dumps({{
        "status": record.status,
        "reason": record.reason,
        "digest": record.notes.get("predictions_digest"),
        "environment": record.environment,
        "retries": heard.retries,
        "nodes": heard.nodes,
        "shards": sorted(report.index for report in heard.shards),
    }}))
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.mark.usefixtures("plugin")
def test_losing_a_node_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    # Every shard takes long enough for the node to be lost in the middle of some.
    slow = dict.fromkeys(range(0, SAMPLES, 32), "sleep 0.5")
    root = write_toy(tmp_path / "toy", SAMPLES, slow)
    # An own folder, short because of the sockets below it: nobody on this machine takes this
    # cluster for the current one.
    temp = Path("/tmp") / f"ph-nodes-{os.getpid()}"
    (temp / "ray").mkdir(parents=True)
    here = str(Path(__file__).parent)
    workspace = str(tmp_path / "w")
    answer = tmp_path / "told.json"
    code = DRIVER.format(here=here, root=str(root), workspace=workspace, told=str(answer))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        env={
            **os.environ,
            "RAY_TMPDIR": str(temp),
            "RAY_raylet_start_wait_time_s": "180",
            "RAY_worker_niceness": "0",
            "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'toy.json' / 'mlflow.db'}",
        },
        timeout=300,
        check=False,
    )
    subprocess.run(["rm", "-rf", str(temp)], check=True)
    assert done.returncode == 0, done.stderr.decode()
    told = orjson.loads(answer.read_bytes())
    assert told["status"] == "done", told["reason"]
    assert told["digest"] == expected_digest(SAMPLES)
    assert told["shards"] == list(range(SAMPLES // 32))
    assert max(told["nodes"]) == 3
    assert told["nodes"][-1] == 2
    assert told["retries"]
