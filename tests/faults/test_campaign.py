"""A short campaign of random faults; the long one is ``python tests/faults/campaign.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.usefixtures("plugin")
def test_short_campaign() -> None:
    # A process of its own: it starts another cluster than the tests around it.
    campaign = Path(__file__).with_name("campaign.py")
    done = subprocess.run(
        [sys.executable, str(campaign), "--injections", "6", "--seed", "3"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 injections in" in done.stdout
    assert ": 0 wrong results." in done.stdout
