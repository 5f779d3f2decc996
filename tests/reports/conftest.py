"""A small leaderboard and its site, for all tests of reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.leaderboards import Leaderboard, fill


@pytest.fixture(scope="session")
def leaderboard(tmp_path_factory) -> Leaderboard:
    """The records of a leaderboard; tests that change it make a copy."""
    return fill(tmp_path_factory.mktemp("leaderboard"))


@pytest.fixture(scope="session")
def site(leaderboard, tmp_path_factory) -> Path:
    """Its site."""
    return leaderboard.build(tmp_path_factory.mktemp("site") / "out")
