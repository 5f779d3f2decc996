"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real evaluation data beside the checkout, ``../shared/data``."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if folder.is_dir():
        return folder
    message = f"the real evaluation data is not at {folder}"
    if os.environ.get("HARNESS_REQUIRE_SHARED_DATA"):
        pytest.fail(message)
    pytest.skip(message)
